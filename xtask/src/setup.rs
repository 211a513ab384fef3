//! Brings from Debian packages what the tests need beyond the Rust toolchain: the stock tools that backups are
//! restored with, and the tree of a real web project. Does nothing, and needs no network, when all is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Program looked for, and the package that brings it.
const NEEDED: [(&str, &str); 14] = [
    ("tar", "tar"),
    ("gzip", "gzip"),
    ("zstd", "zstd"),
    ("python3", "python3"),
    ("getfacl", "acl"),
    ("getfattr", "attr"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
    ("cp", "coreutils"),
    ("dpkg-deb", "dpkg"),
    ("mariadb-dump", "mariadb-client"),
    ("mariadbd", "mariadb-server"),
    ("openssl", "openssl"),
];

/// The package whose files are the web project that the end-to-end test backs up. It is unpacked, never installed.
const SITE: &str = "wordpress";

/// Installs what is missing.
pub(crate) fn install() -> Result<(), String> {
    programs()?;
    site()
}

fn programs() -> Result<(), String> {
    let missing: Vec<&str> = NEEDED.iter().filter(|(p, _)| !in_path(p)).map(|(_, pkg)| *pkg).collect();
    if missing.is_empty() {
        return Ok(());
    }
    update()?;
    crate::run(
        Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Unpacks the web project below the fixtures: under another name first, so that what is there is whole.
fn site() -> Result<(), String> {
    let fixtures = fixtures();
    let place = fixtures.join(SITE);
    if place.is_dir() {
        return Ok(());
    }
    let half = fixtures.join(format!(".{SITE}.{}", std::process::id()));
    make_dir(&half)?;
    let made = download(&half).and_then(|archive| {
        let tree = half.join("tree");
        crate::run(Command::new("dpkg-deb").arg("--extract").args([&archive, &tree]))?;
        fs::rename(&tree, &place).map_err(|e| format!("cannot make {}: {e}", place.display()))
    });
    let cleaned = fs::remove_dir_all(&half).map_err(|e| format!("cannot remove {}: {e}", half.display()));
    match made {
        // Another setup was faster.
        Err(_) if place.is_dir() => cleaned,
        made => made.and(cleaned),
    }
}

/// Downloads the package into `dir`. Lists of packages are fetched only if those of the host do not do.
fn download(dir: &Path) -> Result<PathBuf, String> {
    let get = || crate::run(Command::new("apt-get").args(["download", "-q", SITE]).current_dir(dir));
    get().or_else(|_| update().and_then(|()| get()))?;
    let listing = fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))?;
    listing
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or_else(|| format!("apt-get download {SITE} left no package in {}", dir.display()))
}

fn update() -> Result<(), String> {
    crate::run(Command::new("apt-get").args(["update", "-q"]))
}

/// `NXS_FIXTURES`, or `target/fixtures` of the workspace; the tests look in the same place.
fn fixtures() -> PathBuf {
    std::env::var_os("NXS_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("fixtures"),
        PathBuf::from,
    )
}

fn make_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
}
