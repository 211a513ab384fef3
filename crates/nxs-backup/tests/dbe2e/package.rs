//! Debian packages whose files are the data: unpacked by `cargo xtask setup`, never installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The unpacked tree of a package.
pub(crate) fn tree(name: &str) -> PathBuf {
    let fixtures = std::env::var_os("NXS_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures"), PathBuf::from);
    let tree = fixtures.join(name);
    assert!(tree.is_dir(), "`{}` is missing: run `cargo xtask setup`", tree.display());
    // Servers are told these paths.
    fs::canonicalize(tree).unwrap()
}

/// All regular files of a tree, in the order of their names.
pub(crate) fn files(tree: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Feeds compressed scripts of a package to a client, one after the other.
pub(crate) fn feed(client: impl Fn() -> Command, scripts: &[PathBuf]) {
    for script in scripts {
        let mut plain = Command::new("gzip")
            .arg("-dc")
            .stdin(File::open(script).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = client().stdin(plain.stdout.take().unwrap()).output().unwrap();
        assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
        assert!(plain.wait().unwrap().success());
    }
}

/// The three scripts with which Zabbix is installed: its schema, with foreign keys, triggers and functions; its images; what
/// it is delivered with.
pub(crate) fn zabbix(kind: &str) -> [PathBuf; 3] {
    let dir = tree("zabbix").join(format!("usr/share/zabbix-server-{kind}"));
    ["schema", "images", "data"].map(|name| dir.join(format!("{name}.sql.gz")))
}
