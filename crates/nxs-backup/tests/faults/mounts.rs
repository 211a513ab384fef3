//! File systems of a test's own: a tmpfs of a set size, an ext4 image that can lose its end. Gone with their guard.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command that must succeed and returns its stdout.
#[track_caller]
pub(crate) fn sh(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A mounted file system.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// A tmpfs at `path`, which is made.
    pub(crate) fn tmpfs(path: &Path, options: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        sh("mount", &["-t", "tmpfs", "-o", options, "faults", path.to_str().unwrap()]);
        Self(path.to_owned())
    }

    /// The ext4 file system in the file `image`.
    pub(crate) fn image(image: &Path, path: &Path, options: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("loop,{options}");
        sh("mount", &["-t", "ext4", "-o", &options, image.to_str().unwrap(), path.to_str().unwrap()]);
        Self(path.to_owned())
    }

    pub(crate) fn remount(&self, options: &str) {
        sh("mount", &["-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }

    /// Bytes in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.df("used")
    }

    pub(crate) fn used_inodes(&self) -> u64 {
        self.df("iused")
    }

    fn df(&self, what: &str) -> u64 {
        let out = sh("df", &["-B1", &format!("--output={what}"), self.0.to_str().unwrap()]);
        out.lines().nth(1).and_then(|l| l.trim().parse().ok()).unwrap_or_else(|| panic!("df says {out}"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        if !std::thread::panicking() {
            assert!(done.unwrap().success(), "cannot unmount {}", self.0.display());
        }
    }
}

/// Makes an empty ext4 file system in a new file.
pub(crate) fn make_image(path: &Path, bytes: u64) {
    std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
    sh("mkfs.ext4", &["-q", "-F", "-b", "1024", "-O", "^has_journal", path.to_str().unwrap()]);
}
