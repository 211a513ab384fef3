//! A small file system of its own: to be filled, or made read-only.

use std::path::Path;
use std::process::Command;

/// A tmpfs, unmounted at the end.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `options` as of `mount -o`: `size=2m`.
    pub fn mount(options: &str) -> Self {
        let dir = tempfile::tempdir().expect("cannot make a directory");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(dir.path()).output();
        let done = done.expect("the program `mount` is needed for this test");
        assert!(
            done.status.success(),
            "this test needs the right to mount a tmpfs (root, CAP_SYS_ADMIN): {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|s| s.success()) || std::thread::panicking(), "cannot unmount the small disk");
    }
}
