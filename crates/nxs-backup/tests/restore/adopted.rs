//! Backups that version 2 left: archives of Python's `tarfile` without records, found by name and place.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use nxs_base::ErrorKind;
use nxs_base::ports::storage::{PartTag, Storage};
use nxs_engine::catalog::ensure_adoption_list;
use nxs_engine::restore::Request;
use nxs_testkit::snapshot::Snapshot;
use nxs_testkit::suite;

use crate::scene::{Canned, Scene, names, read};

/// What version 2 does for a target, in few lines.
const SCRIPT: &str = "
import sys, tarfile
mode, format, out, target = sys.argv[1:5]
with tarfile.open(out, mode, format=getattr(tarfile, format)) as archive:
    archive.add(target)
";

fn v2_tree(scene: &Scene) -> Snapshot {
    let tree = scene.tree();
    let deep = "d".repeat(120);
    fs::create_dir_all(tree.join(&deep).join(&deep)).unwrap();
    fs::write(tree.join(&deep).join(&deep).join("long name of a file"), "long").unwrap();
    fs::create_dir(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/first"), "linked").unwrap();
    fs::hard_link(tree.join("sub/first"), tree.join("hard")).unwrap();
    fs::hard_link(tree.join("sub/first"), tree.join("sub/zhard")).unwrap();
    symlink("x".repeat(150), tree.join("soft")).unwrap();
    fs::write(tree.join("file"), "text").unwrap();
    fs::set_permissions(tree.join("sub"), fs::Permissions::from_mode(0o2751)).unwrap();
    Snapshot::take(&tree)
}

fn v2_archive(scene: &Scene, mode: &str, format: &str) -> Vec<u8> {
    let out = scene.path("v2.tar");
    let status =
        Command::new("python3").args(["-c", SCRIPT, mode, format]).args([&out, &scene.tree()]).status();
    assert!(status.unwrap().success());
    let bytes = fs::read(&out).unwrap();
    fs::remove_file(&out).unwrap();
    bytes
}

fn tag() -> PartTag {
    suite::tag("9")
}

/// Whole seconds: all that the GNU format keeps.
fn whole_seconds(mut snapshot: Snapshot) -> Snapshot {
    snapshot.nodes.values_mut().for_each(|node| node.mtime.1 = 0);
    snapshot
}

#[test]
fn archives_of_version_2_come_back_whole_and_in_parts() {
    for (mode, format, suffix) in
        [("w:gz", "GNU_FORMAT", ".gz"), ("w", "GNU_FORMAT", ""), ("w:gz", "PAX_FORMAT", ".gz")]
    {
        let scene = Scene::new();
        let before = whole_seconds(v2_tree(&scene));
        let storage = &scene.storages[0];
        let key = format!("tree/monthly/tree_2026-03-01_03-00.tar{suffix}");
        storage.insert(&key, &v2_archive(&scene, mode, format));
        storage.link(&suite::key(&key.replace("monthly", "daily")), &suite::key(&key)).unwrap();
        assert_eq!(ensure_adoption_list(storage, &tag()).unwrap(), Some(1));
        let restored = scene.restored(&scene.request());
        assert_eq!(restored.extracted.problems, Vec::<String>::new());
        assert_eq!((restored.key.as_str(), restored.target.as_str()), (key.as_str(), "tree"));
        before.assert_same(&whole_seconds(Snapshot::take(&scene.restored_tree())), format);

        // Links of which the first name is not asked for, and a directory above.
        let request = Request {
            paths: vec!["sub/zhard".into(), "hard".into()],
            to: scene.path("part"),
            ..Request::default()
        };
        let restored = scene.restored(&request);
        assert_eq!(restored.extracted.problems, Vec::<String>::new());
        let part = scene.path("part").join(scene.member(""));
        assert_eq!(names(&part.join("sub")), ["zhard"]);
        let found = whole_seconds(Snapshot::take(&part));
        assert_eq!(found.nodes[&b"sub"[..]].mode, 0o2751);
        assert_eq!(found.nodes[&b"sub/zhard"[..]].kind, before.nodes[&b"sub/zhard"[..]].kind);
        assert_eq!(found.nodes[&b"sub/zhard"[..]].first_name.as_deref(), Some(&b"hard"[..]));

        let listed = scene.restored(&Request { dry_run: true, to: scene.path("none"), ..Request::default() });
        assert_eq!(listed.listed.len(), before.nodes.len());
    }
}

#[test]
fn an_orphan_is_restored_only_when_it_is_to_be_adopted() {
    let scene = Scene::new();
    v2_tree(&scene);
    let storage = &scene.storages[0];
    assert_eq!(ensure_adoption_list(storage, &tag()).unwrap(), Some(0));
    storage.insert("tree/daily/tree_2026-03-04_03-00.tar.gz", &v2_archive(&scene, "w:gz", "GNU_FORMAT"));
    let error = scene.restore_with(&scene.request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let restored = scene.restored(&Request { adopt: true, ..scene.request() });
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    assert_eq!(read(&scene.restored_tree().join("file")), "text");
}

#[test]
fn a_cut_archive_of_version_2_is_a_failure_and_nothing_claims_success() {
    for (mode, suffix) in [("w:gz", ".gz"), ("w", "")] {
        let scene = Scene::new();
        v2_tree(&scene);
        let whole = v2_archive(&scene, mode, "GNU_FORMAT");
        let lengths = [whole.len() / 2, whole.len() / 3, 100, 1, 0];
        for (n, len) in lengths.into_iter().enumerate() {
            let scene = Scene::new();
            let storage = &scene.storages[0];
            storage.insert(&format!("tree/daily/tree_2026-03-04_03-00.tar{suffix}"), &whole[..len]);
            ensure_adoption_list(storage, &tag()).unwrap();
            for paths in [vec![], vec!["file".to_owned()]] {
                let to = scene.path(&format!("out{n}{}", paths.len()));
                let report = scene.restore_with(&Request { paths, to, ..Request::default() }).unwrap();
                assert!(report.failed && report.restored.is_empty(), "{len} of {}: {report:?}", whole.len());
                assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
            }
        }
    }
}

#[test]
fn in_place_an_adopted_backup_must_be_named_and_never_deletes() {
    let scene = Scene::new();
    v2_tree(&scene);
    let storage = &scene.storages[0];
    storage.insert("tree/daily/tree_2026-03-04_03-00.tar.gz", &v2_archive(&scene, "w:gz", "GNU_FORMAT"));
    ensure_adoption_list(storage, &tag()).unwrap();
    let report = scene.restore_with(&scene.in_place()).unwrap();
    assert!(report.failed && report.problems[0].message.contains("no record"), "{:?}", report.problems);
    assert!(!scene.path("out").join(scene.member("")).exists());
    let named = Request { target: Some("tree".into()), ..scene.in_place() };
    let report = scene.restore_with(&Request { delete: true, ..named.clone() }).unwrap();
    assert!(report.failed && report.problems[0].message.contains("--delete"), "{:?}", report.problems);
    assert_eq!(scene.restored(&named).extracted.problems, Vec::<String>::new());
    assert_eq!(read(&scene.restored_tree().join("file")), "text");
}

#[test]
fn a_recorded_backup_is_newer_than_an_adopted_one_of_the_same_target() {
    let scene = Scene::new();
    v2_tree(&scene);
    let storage = &scene.storages[0];
    storage.insert("tree/daily/tree_2026-03-04_03-00.tar.gz", &v2_archive(&scene, "w:gz", "GNU_FORMAT"));
    ensure_adoption_list(storage, &tag()).unwrap();
    let mut c = Canned { has_index: true, ..Canned::of(&scene) };
    c.dir(scene.member("")).file(scene.member("file"), "newer");
    scene.save_from(Box::new(c));
    scene.restored(&Request { target: Some(scene.tree().to_str().unwrap().into()), ..scene.request() });
    assert_eq!(read(&scene.restored_tree().join("file")), "newer");
    let at = "2026-03-04T12:00:00Z".parse().unwrap();
    scene.restored(&Request { at: Some(at), to: scene.path("then"), ..Request::default() });
    assert_eq!(read(&scene.path("then").join(scene.member("file"))), "text");
}
