//! A small file system of its own: to be filled, or made read-only. Needs the right to mount (root, `CAP_SYS_ADMIN`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system, unmounted at the end.
pub struct SmallDisk {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    /// A tmpfs; `options` as of `mount -o`: `size=2m`.
    pub fn mount(options: &str) -> Self {
        let dir = tempfile::tempdir().expect("cannot make a directory");
        let path = dir.path().to_owned();
        run("mount", &["-t", "tmpfs", "-o", options, "none"], &path);
        Self { path, _dir: dir }
    }

    /// An ext4 in an image of `bytes`.
    pub fn ext4(bytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("cannot make a directory");
        let (image, path) = (dir.path().join("image"), dir.path().join("mounted"));
        let made = std::fs::File::create(&image).and_then(|file| file.set_len(bytes));
        made.and_then(|()| std::fs::create_dir(&path)).expect("cannot make an image");
        run("mkfs.ext4", &["-q", "-F"], &image);
        run("mount", &["-o", "loop", &image.to_string_lossy()], &path);
        std::fs::remove_dir(path.join("lost+found")).expect("an ext4 begins with `lost+found`");
        Self { path, _dir: dir }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn run(program: &str, args: &[&str], path: &Path) {
    let done = Command::new(program).args(args).arg(path).output();
    let done = done.unwrap_or_else(|e| panic!("the program `{program}` is needed for this test: {e}"));
    assert!(done.status.success(), "`{program}` failed: {}", String::from_utf8_lossy(&done.stderr));
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.path).status();
        assert!(done.is_ok_and(|s| s.success()) || std::thread::panicking(), "cannot unmount the small disk");
    }
}
