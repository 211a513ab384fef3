//! Damaged and lying indexes and archives: another copy, another way, or a clear failure.

use std::fs;

use nxs_base::spec::Compression;
use nxs_engine::restore::Request;

use crate::scene::{Canned, Scene, names, read};

fn content(name: &str) -> String {
    format!("{name} ").repeat(200_000)
}

/// Files `a` to `h` in two frames, of which the index tells the truth.
fn canned(scene: &Scene) -> Canned {
    let mut c = Canned { has_index: true, ..Canned::of(scene) };
    c.dir(scene.member(""));
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        c.file(scene.member(name), &content(name));
    }
    c
}

fn assert_whole(scene: &Scene) {
    let tree = scene.restored_tree();
    assert_eq!(names(&tree), ["a", "b", "c", "d", "e", "f", "g", "h"]);
    for name in names(&tree) {
        assert_eq!(read(&tree.join(&name)), content(&name));
    }
}

#[test]
fn an_index_that_misplaces_a_member_yields_to_the_archive_itself() {
    let scene = Scene::new();
    let mut c = canned(&scene);
    let (b, f) = (c.entries[2].clone(), c.entries[6].clone());
    (c.entries[2].offset, c.entries[6].offset) = (f.offset, b.offset);
    c.entries[4].offset = 1 << 40;
    c.entries[5].stored_bytes = u64::MAX / 2;
    scene.save_from(Box::new(c));
    for name in ["b", "d"] {
        let to = scene.path(&format!("out-{name}"));
        let request = Request { paths: vec![scene.member(name)], to, ..Request::default() };
        let report = scene.restore_with(&request).unwrap();
        assert!(!report.failed, "{:?}", report.problems);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        let at = request.to.join(scene.member(""));
        assert_eq!(names(&at), [name]);
        assert_eq!(read(&at.join(name)), content(name));
    }
    assert!(scene.restored(&scene.request()).extracted.problems.is_empty());
    assert_whole(&scene);
}

#[test]
fn a_member_of_another_path_is_never_restored_in_place_of_the_wanted_one() {
    let scene = Scene::new();
    let mut c = canned(&scene);
    c.entries[2].offset = c.entries[3].offset;
    scene.save_from(Box::new(c));
    // The archive itself is damaged too: nothing is left to believe.
    let key = scene.archive_key(0);
    let bytes = scene.storages[0].bytes(&key).unwrap().len();
    scene.storages[0].corrupt(&key, bytes - 30);
    let request = Request { paths: vec![scene.member("b")], ..scene.request() };
    let report = scene.restore_with(&request).unwrap();
    assert!(report.failed && report.restored.is_empty(), "{report:?}");
    assert!(report.problems.iter().any(|p| p.message.contains("misplaces")), "{:?}", report.problems);
    // What was read before the damage showed may lie there; it is the right file.
    assert!(fs::read(scene.restored_tree().join("b")).is_ok_and(|found| found == content("b").as_bytes()));
}

#[test]
fn an_index_that_was_changed_yields_to_the_next_copy_or_to_the_archive() {
    for copies in [1, 2] {
        for paths in [vec![], vec!["c".to_owned()]] {
            let scene = if copies == 2 { Scene::with_two_storages() } else { Scene::new() };
            scene.save_from(Box::new(canned(&scene)));
            let index = format!("{}.nxs.idx", scene.archive_key(0));
            let len = scene.storages[0].bytes(&index).unwrap().len();
            for at in [10, len / 2, len - 60] {
                scene.storages[0].corrupt(&index, at);
            }
            let report = scene.restore_with(&Request { paths: paths.clone(), ..scene.request() }).unwrap();
            assert!(!report.failed, "{:?}", report.problems);
            assert!(report.problems.iter().any(|p| p.message.contains("index")), "{:?}", report.problems);
            assert_eq!(report.restored[0].storage, if copies == 2 { "two" } else { "one" });
            if paths.is_empty() {
                assert_whole(&scene);
            } else {
                assert_eq!(names(&scene.restored_tree()), ["c"]);
            }
        }
    }
}

#[test]
fn the_index_of_another_backup_is_not_believed() {
    let scene = Scene::with_two_storages();
    scene.save_from(Box::new(canned(&scene)));
    let key = scene.archive_key(0);
    let other = Scene::new();
    other.clock.set("2026-03-04T03:00");
    let mut c = canned(&scene);
    c.file(scene.member("z"), "more");
    other.save_from(Box::new(c));
    let foreign = other.storages[0].bytes(&format!("{}.nxs.idx", other.archive_key(0))).unwrap();
    scene.storages[0].insert(&format!("{key}.nxs.idx"), &foreign);
    let report = scene.restore_with(&Request { paths: vec!["a".into()], ..scene.request() }).unwrap();
    assert_eq!(report.restored[0].storage, "two");
    assert!(report.problems[0].message.contains("another backup"), "{:?}", report.problems);
}

#[test]
fn a_damaged_frame_of_the_first_copy_sends_to_the_second_and_leaves_no_half_files() {
    for compression in [Compression::None, Compression::Gzip(1), Compression::Zstd(1)] {
        let mut scene = Scene::with_two_storages();
        scene.compression = compression;
        scene.save_from(Box::new(canned(&scene)));
        let key = scene.archive_key(0);
        let len = scene.storages[0].bytes(&key).unwrap().len();
        scene.storages[0].corrupt(&key, len / 2);
        let report = scene.restore_with(&scene.request()).unwrap();
        assert!(!report.failed);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert_eq!(report.restored[0].storage, "two");
        assert_eq!(report.restored[0].extracted.problems, Vec::<String>::new());
        assert_whole(&scene);
    }
}

#[test]
fn an_archive_that_was_changed_is_noticed_without_an_index() {
    let mut scene = Scene::new();
    scene.compression = Compression::None;
    scene.save_from(Box::new(Canned { has_index: false, ..canned(&scene) }));
    let key = scene.archive_key(0);
    // In the content of a file, where no format would notice.
    scene.storages[0].corrupt(&key, 4 * 512 + 100);
    let report = scene.restore_with(&scene.request()).unwrap();
    assert!(report.failed && report.restored.is_empty(), "{report:?}");
    assert!(report.problems[0].message.contains("not what its record says"), "{:?}", report.problems);
}

#[test]
fn a_copy_that_was_cut_says_so() {
    let scene = Scene::new();
    scene.save_from(Box::new(canned(&scene)));
    let key = scene.archive_key(0);
    let len = scene.storages[0].bytes(&key).unwrap().len();
    scene.storages[0].truncate(&key, len / 2);
    let error = scene.restore_with(&scene.request());
    let clear = match &error {
        Ok(report) => report.failed && report.restored.is_empty(),
        Err(error) => error.kind() == nxs_base::ErrorKind::NotFound,
    };
    assert!(clear, "{error:?}");
}
