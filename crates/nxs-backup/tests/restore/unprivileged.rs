//! Restores by a user who is not root: content, modes and times come back, owners do not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nxs_base::entry::{EntryKind, Meta};

use crate::scene::{Canned, Scene, is_root, read};

const NOBODY: u32 = 65_534;
const ME: &str = "NXS_TEST_RESTORE_AS_NOBODY";
const NAME: &str = "unprivileged::without_root_owners_are_left_out_and_said_once";

#[test]
fn without_root_owners_are_left_out_and_said_once() {
    if is_root() {
        // Again as another user, in a directory that is theirs.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let child = Command::new("/proc/self/exe")
            .args(["--exact", NAME])
            .env(ME, "1")
            .env("TMPDIR", dir.path())
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let scene = Scene::new();
    let mut c = Canned { has_index: true, ..Canned::of(&scene) };
    let member = |name: &str| scene.member(name);
    c.dir(member("")).add_with(
        member("locked"),
        Meta { kind: EntryKind::Dir, mode: 0o2555, ..Meta::default() },
        "",
        b"",
        &[],
    );
    let meta = Meta { kind: EntryKind::File, mode: 0o6755, ..Meta::default() };
    let attributes = [
        (b"security.capability".to_vec(), vec![1, 0, 0, 2]),
        (b"trusted.x".to_vec(), b"1".to_vec()),
        (b"user.x".to_vec(), b"1".to_vec()),
    ];
    c.add_with(member("locked/f"), meta, "", b"text", &attributes);
    let node =
        Meta { kind: EntryKind::CharDevice, mode: 0o666, rdev_major: 1, rdev_minor: 3, ..Meta::default() };
    c.add_with(member("null"), node, "", b"", &[]);
    scene.save_from(Box::new(c));
    for request in [scene.request(), scene.in_place()] {
        let restored = scene.restored(&request);
        assert_eq!(restored.extracted.problem_count, 1, "{:?}", restored.extracted.problems);
        assert!(restored.extracted.problems[0].contains("null"), "{:?}", restored.extracted.problems);
        assert_eq!(restored.extracted.notes.len(), 1);
        let tree = scene.restored_tree();
        assert_eq!(read(&tree.join("locked/f")), "text");
        let file = fs::metadata(tree.join("locked/f")).unwrap();
        assert_eq!((file.permissions().mode() & 0o7777, file.mtime()), (0o755, 1_700_000_000));
        assert_eq!(fs::metadata(tree.join("locked")).unwrap().mode() & 0o7777, 0o555);
        let mut value = [0; 4];
        assert_eq!(rustix::fs::getxattr(tree.join("locked/f"), "user.x", &mut value).unwrap(), 1);
    }
}
