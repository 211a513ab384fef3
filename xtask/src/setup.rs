//! Installs from Debian packages what the tests need beyond the Rust toolchain: the stock tools that backups are
//! restored with. Does nothing when all are there.

use std::path::Path;
use std::process::Command;

/// Program looked for, and the package that brings it.
const NEEDED: [(&str, &str); 9] = [
    ("tar", "tar"),
    ("gzip", "gzip"),
    ("zstd", "zstd"),
    ("python3", "python3-minimal"),
    ("getfacl", "acl"),
    ("getfattr", "attr"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
];

/// Installs what is missing.
pub(crate) fn install() -> Result<(), String> {
    let missing: Vec<&str> = NEEDED.iter().filter(|(p, _)| !in_path(p)).map(|(_, pkg)| *pkg).collect();
    if missing.is_empty() {
        return Ok(());
    }
    crate::run(Command::new("apt-get").args(["update", "-q"]))?;
    crate::run(
        Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn in_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
}
