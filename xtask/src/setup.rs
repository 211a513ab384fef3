//! Brings from Debian packages what the tests need beyond the Rust toolchain: the stock tools that backups are
//! restored with, real servers, and the trees of real projects. Does nothing, and needs no network, when all is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Program looked for, and the package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("tar", "tar"),
    ("gzip", "gzip"),
    ("zstd", "zstd"),
    ("python3", "python3"),
    ("getfacl", "acl"),
    ("getfattr", "attr"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
    ("fincore", "util-linux-extra"),
    ("cp", "coreutils"),
    ("dpkg-deb", "dpkg"),
    ("mariadb-dump", "mariadb-client"),
    ("mariadbd", "mariadb-server"),
    ("mariadb-backup", "mariadb-backup"),
    ("psql", "postgresql-client"),
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    ("etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("sqlite3", "sqlite3"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("pkill", "procps"),
    ("vsftpd", "vsftpd"),
    ("sshd", "openssh-server"),
    ("sftp", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("unshare", "util-linux"),
    ("strace", "strace"),
    ("php", "php-cli"),
    ("/usr/lib/php/20220829/mysqli.so", "php-mysql"),
];

/// FTP servers that Debian does not install beside another one: they are unpacked below the fixtures.
const UNPACKED: [&str; 4] = ["proftpd-core", "proftpd-mod-crypto", "pure-ftpd", "pure-ftpd-common"];

/// Where to.
const FTPD: &str = "ftpd";

/// What the stand-in for MongoDB imports, in the interpreter of Debian, and the packages that bring it.
const PYTHON: &str = "/usr/bin/python3";
const IMPORTED: &str = "import bson; assert bson.has_c()";
const MODULES: [&str; 2] = ["python3-bson", "python3-bson-ext"];

/// Libraries that the unpacked ones need.
const LIBRARIES: [(&str, &str); 4] = [
    ("libhiredis.so.0.14", "libhiredis0.14"),
    ("libmemcached.so.11", "libmemcached11"),
    ("libmemcachedutil.so.2", "libmemcachedutil2"),
    ("libpcre2-posix.so.3", "libpcre2-posix3"),
];

/// The package whose files are the web project that the end-to-end test backs up. It is unpacked, never installed.
const SITE: &str = "wordpress";

/// What Zabbix is installed with, for databases to be filled with.
const ZABBIX: &str = "zabbix";
const SCRIPTS: [&str; 2] = ["zabbix-server-mysql", "zabbix-server-pgsql"];

/// Installs what is missing.
pub(crate) fn install() -> Result<(), String> {
    programs()?;
    unpacked(SITE, &[SITE])?;
    unpacked(ZABBIX, &SCRIPTS)?;
    unpacked(FTPD, &UNPACKED)
}

fn programs() -> Result<(), String> {
    let programs = NEEDED.iter().filter(|(p, _)| !in_path(p));
    let mut missing: Vec<&str> =
        programs.chain(LIBRARIES.iter().filter(|(l, _)| !is_library(l))).map(|(_, pkg)| *pkg).collect();
    let mut import = Command::new(PYTHON);
    import.args(["-c", IMPORTED]).stderr(std::process::Stdio::null());
    if !import.status().is_ok_and(|status| status.success()) {
        missing.extend(MODULES);
    }
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

/// Unpacks packages into one tree below the fixtures: under another name first, so that what is there is whole.
fn unpacked(name: &str, packages: &[&str]) -> Result<(), String> {
    let fixtures = fixtures();
    let place = fixtures.join(name);
    if place.is_dir() {
        return Ok(());
    }
    let half = fixtures.join(format!(".{name}.{}", std::process::id()));
    make_dir(&half)?;
    let made = download(&half, packages).and_then(|archives| {
        let tree = half.join("tree");
        for archive in archives {
            crate::run(Command::new("dpkg-deb").arg("--extract").args([&archive, &tree]))?;
        }
        fs::rename(&tree, &place).map_err(|e| format!("cannot make {}: {e}", place.display()))
    });
    let cleaned = fs::remove_dir_all(&half).map_err(|e| format!("cannot remove {}: {e}", half.display()));
    match made {
        // Another setup was faster.
        Err(_) if place.is_dir() => cleaned,
        made => made.and(cleaned),
    }
}

/// Downloads packages into `dir`. Lists of packages are fetched only if those of the host do not do.
fn download(dir: &Path, packages: &[&str]) -> Result<Vec<PathBuf>, String> {
    let get = || crate::run(Command::new("apt-get").args(["download", "-q"]).args(packages).current_dir(dir));
    get().or_else(|_| update().and_then(|()| get()))?;
    let listing = fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))?;
    let archives: Vec<PathBuf> = listing
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "deb"))
        .collect();
    if archives.len() < packages.len() {
        return Err(format!("apt-get download {packages:?} left too few packages in {}", dir.display()));
    }
    Ok(archives)
}

/// Whether the loader finds a library.
fn is_library(name: &str) -> bool {
    let dirs = ["/lib", "/usr/lib", "/usr/local/lib"];
    let triplets = ["", "x86_64-linux-gnu", "aarch64-linux-gnu"];
    dirs.iter().any(|dir| triplets.iter().any(|t| Path::new(dir).join(t).join(name).exists()))
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
