//! Archives that want out of the target.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nxs_base::entry::{EntryKind, Meta};
use nxs_engine::restore::{Request, Restored};

use crate::scene::{Canned, Scene, names, raw_header, read};

const FILE: EntryKind = EntryKind::File;
const LINK: EntryKind = EntryKind::Symlink;
const HARD: EntryKind = EntryKind::HardLink;

/// Restores an archive with these members (a target directory before them), with and without an index, and checks
/// that nothing outside the target changed. Hands out what was said and where the target is.
fn try_out(build: impl Fn(&mut Canned, &Scene), judge: impl Fn(&Restored, &Path)) {
    for has_index in [false, true] {
        let scene = Scene::new();
        let mut canned = Canned { has_index, ..Canned::of(&scene) };
        canned.dir(scene.member(""));
        build(&mut canned, &scene);
        scene.save_from(Box::new(canned));
        fs::create_dir(scene.path("out")).unwrap();
        symlink("../outside", scene.path("beside")).unwrap();
        let before = (scene.outside(), names(scene.dir.path()));
        let restored = scene.restored(&scene.request());
        before.0.assert_same(&scene.outside(), "nothing outside changes");
        assert_eq!(before.1, names(scene.dir.path()));
        judge(&restored, &scene.restored_tree());
    }
}

fn told(restored: &Restored, words: &[&str]) {
    for word in words {
        let problems = &restored.extracted.problems;
        assert!(problems.iter().any(|p| p.contains(word)), "`{word}` is not told of: {problems:?}");
    }
    assert_eq!(restored.extracted.problem_count as usize, words.len(), "{:?}", restored.extracted.problems);
}

#[test]
fn names_that_climb_are_refused_and_absolute_ones_stay_below() {
    try_out(
        |c, scene| {
            let outside = scene.path("outside/new");
            c.file(outside.to_str().unwrap(), "abs");
            c.file("../outside/new1", "x").file("a/../../outside/new2", "x").file("..", "x");
            c.file(scene.member("good"), "good");
        },
        |restored, tree| {
            told(restored, &["../outside/new1", "a/../../outside/new2", "`..`"]);
            assert_eq!(read(&tree.join("good")), "good");
            let outside = tree.parent().unwrap().join("outside/new");
            assert_eq!(read(&outside), "abs", "an absolute name is one below the target");
        },
    );
}

#[test]
fn nothing_is_written_through_a_link_of_the_archive() {
    try_out(
        |c, scene| {
            let outside = scene.path("outside");
            let outside = outside.to_str().unwrap();
            for (name, to) in
                [("abs", outside), ("up", "../../../../../../outside"), ("chain", "abs"), ("loop", "loop")]
            {
                c.add(scene.member(name), LINK, to, b"");
                c.file(scene.member(&format!("{name}/planted")), "bad");
            }
            c.add(scene.member("abs/h"), HARD, &scene.member("abs/secret"), b"");
            c.add(scene.member("h2"), HARD, &scene.member("abs/secret"), b"");
            c.dir(scene.member("abs/d"));
        },
        |restored, tree| {
            let members =
                ["abs/planted", "up/planted", "chain/planted", "loop/planted", "abs/h", "h2", "abs/d"];
            told(restored, &members);
            assert_eq!(names(tree), ["abs", "chain", "loop", "up"]);
        },
    );
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    try_out(
        |c, scene| {
            c.dir(scene.member("d"));
            c.add(scene.member("d"), LINK, scene.path("outside").to_str().unwrap(), b"");
            c.file(scene.member("d/planted"), "bad");
            c.file(scene.member("f"), "good");
        },
        |restored, tree| {
            assert!(restored.extracted.problem_count >= 1, "{:?}", restored.extracted.problems);
            assert!(restored.extracted.problems.iter().all(|p| p.contains("tree/d")));
            assert_eq!(read(&tree.join("f")), "good");
        },
    );
}

#[test]
fn hard_links_out_of_the_target_or_to_themselves_are_refused() {
    try_out(
        |c, scene| {
            c.add(scene.member("h1"), HARD, "../../outside/secret", b"");
            c.add(scene.member("h2"), HARD, &scene.member("h2"), b"");
            c.add(scene.member("h3"), HARD, &scene.member("h4"), b"");
            c.add(scene.member("h4"), HARD, &scene.member("h3"), b"");
            c.add(scene.member("h5"), HARD, "/etc/passwd", b"");
            c.add(scene.member("h6"), HARD, &scene.member(""), b"");
        },
        |restored, tree| {
            told(restored, &["tree/h1", "tree/h2", "tree/h3", "tree/h4", "tree/h5", "tree/h6"]);
            assert_eq!(names(tree), Vec::<String>::new());
        },
    );
}

#[test]
fn a_hard_link_to_a_link_is_a_further_name_of_the_link_itself() {
    try_out(
        |c, scene| {
            c.add(scene.member("s"), LINK, scene.path("outside/secret").to_str().unwrap(), b"");
            c.add(scene.member("h"), HARD, &scene.member("s"), b"");
            c.file(scene.member("h"), "own");
        },
        |restored, tree| {
            assert!(restored.extracted.problem_count <= 1, "{:?}", restored.extracted.problems);
            assert!(fs::symlink_metadata(tree.join("s")).unwrap().is_symlink());
            let h = fs::symlink_metadata(tree.join("h")).unwrap();
            assert!(h.is_symlink() || (h.is_file() && read(&tree.join("h")) == "own"));
        },
    );
}

#[test]
fn of_members_with_one_name_the_later_one_wins_without_an_index() {
    let scene = Scene::new();
    let mut c = Canned::of(&scene);
    let m = |name: &str| scene.member(name);
    c.dir(m("")).file(m("f"), "first").file(m("f"), "second");
    c.add(m("l"), LINK, scene.path("outside/secret").to_str().unwrap(), b"").file(m("l"), "file");
    c.file(m("g"), "old").add(m("h"), HARD, &m("g"), b"").file(m("g"), "new");
    c.dir(m("d")).file(m("d"), "was a directory");
    c.file(m("e"), "was a file").dir(m("e")).file(m("e/in"), "in");
    for n in 0..300 {
        c.file(m("many"), &n.to_string());
    }
    scene.save_from(Box::new(c));
    let before = scene.outside();
    let restored = scene.restored(&scene.request());
    let tree = scene.restored_tree();
    let text = |name: &str| read(&tree.join(name));
    assert_eq!(
        (text("f"), text("l"), text("g"), text("h")),
        ("second".into(), "file".into(), "new".into(), "old".into())
    );
    assert_eq!(
        (text("d"), text("e/in"), text("many")),
        ("was a directory".into(), "in".into(), "299".into())
    );
    before.assert_same(&scene.outside(), "nothing outside changes");
    assert!(
        restored.extracted.problems.iter().all(|p| p.contains("tree/d:")),
        "{:?}",
        restored.extracted.problems
    );
    assert!(!names(&tree).iter().any(|n| n.starts_with(".nxs-restore")), "{:?}", names(&tree));
}

#[test]
fn a_file_where_a_directory_is_needed_is_told_of() {
    try_out(
        |c, scene| {
            c.file(scene.member("x"), "file").file(scene.member("x/below"), "y");
            c.dir(scene.member("z")).file(scene.member("z/below"), "y").file(scene.member("zz"), "y");
        },
        |restored, tree| {
            assert_eq!(restored.extracted.problem_count, 1, "{:?}", restored.extracted.problems);
            assert!(restored.extracted.problems[0].contains("tree/x"), "{:?}", restored.extracted.problems);
            assert_eq!(read(&tree.join("z/below")), "y");
        },
    );
}

#[test]
fn attributes_of_odd_namespaces_are_refused_and_the_file_stays() {
    try_out(
        |c, scene| {
            let attribute = |name: &str| (name.as_bytes().to_vec(), b"v".to_vec());
            let meta = Meta { kind: FILE, mode: 0o640, ..Meta::default() };
            for (n, name) in ["system.nfs4_acl", "odd", "", "user."].iter().enumerate() {
                if !name.is_empty() {
                    c.add_with(
                        scene.member(&n.to_string()),
                        meta,
                        "",
                        b"data",
                        &[attribute(name), attribute("user.ok")],
                    );
                }
            }
        },
        |restored, tree| {
            told(restored, &["system.nfs4_acl", "`odd`", "tree/3"]);
            for name in ["0", "1", "3"] {
                assert_eq!(read(&tree.join(name)), "data");
                let mut value = [0; 8];
                assert_eq!(rustix::fs::getxattr(tree.join(name), "user.ok", &mut value).unwrap(), 1);
                assert_eq!(fs::metadata(tree.join(name)).unwrap().mode() & 0o777, 0o640);
            }
        },
    );
}

#[test]
fn members_for_the_root_itself_change_nothing_of_the_directory_that_was_named() {
    let scene = Scene::new();
    let mut c = Canned::of(&scene);
    c.add_with(".", Meta { kind: EntryKind::Dir, mode: 0o777, ..Meta::default() }, "", b"", &[]);
    c.file(scene.member("f"), "x");
    c.raw(&raw_header(b"./", b'2', b"00000000000\0", b"/etc"));
    scene.save_from(Box::new(c));
    fs::create_dir(scene.path("out")).unwrap();
    let before = fs::metadata(scene.path("out")).unwrap().mode();
    let restored = scene.restored(&scene.request());
    assert_eq!(fs::metadata(scene.path("out")).unwrap().mode(), before);
    assert_eq!(restored.extracted.problem_count, 1, "{:?}", restored.extracted.problems);
}

/// Restores an archive of raw blocks, without an index.
fn raw(blocks: &[u8]) -> (Scene, std::result::Result<Restored, Vec<String>>) {
    let scene = Scene::new();
    let mut c = Canned::of(&scene);
    c.dir(scene.member("")).file(scene.member("before"), "x").raw(blocks);
    scene.save_from(Box::new(c));
    let before = scene.outside();
    let mut report = scene.restore_with(&scene.request()).unwrap();
    before.assert_same(&scene.outside(), "nothing outside changes");
    let outcome = if report.failed {
        assert!(report.restored.is_empty());
        Err(report.problems.iter().map(|p| p.message.clone()).collect())
    } else {
        Ok(report.restored.remove(0))
    };
    (scene, outcome)
}

#[test]
fn absurd_sizes_end_in_an_error_at_once() {
    let exbibyte = [0x80, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0];
    for kind in [b'0', b'L', b'x', b'g', b'5', b'D', b'S'] {
        let (scene, outcome) = raw(&raw_header(b"big", kind, &exbibyte, b""));
        let problems = outcome.unwrap_err();
        assert!(problems.iter().any(|p| p.contains("tar")), "{problems:?}");
        assert!(!scene.path("out/big").exists(), "no half file stays");
    }
}

#[test]
fn a_sparse_file_larger_than_the_file_system_can_is_its_own_problem() {
    let records = |size: &str, map: &str| {
        let text = [
            ("GNU.sparse.major", "0"),
            ("GNU.sparse.minor", "1"),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.size", size),
            ("GNU.sparse.numblocks", "1"),
            ("GNU.sparse.map", map),
        ]
        .iter()
        .map(|(key, value)| {
            let body = format!(" {key}={value}\n");
            let len =
                (1..).find(|n| n + body.len() == { format!("{}{body}", n + body.len()).len() }).unwrap();
            format!("{}{body}", len + body.len())
        })
        .collect::<String>();
        let size = format!("{:011o}\0", text.len());
        let mut blocks = raw_header(b"pax", b'x', size.as_bytes(), b"");
        blocks.extend_from_slice(text.as_bytes());
        blocks.resize(blocks.len().next_multiple_of(512), 0);
        blocks.extend(raw_header(b"s", b'0', b"00000001000\0", b""));
        blocks.extend(vec![b'd'; 512]);
        blocks
    };
    let (scene, outcome) = raw(&records("9000000000000000000", "0,512"));
    let restored = outcome.unwrap();
    told(&restored, &["s: the file is too large"]);
    assert_eq!(read(&scene.restored_tree().join("before")), "x");
    for map in ["512,512,0,512", "0,512,256,512", "1024,512", "0,1024", "0"] {
        let problems = raw(&records("1024", map)).1.unwrap_err();
        assert!(problems.iter().any(|p| p.contains("sparse") || p.contains("tar")), "{map}: {problems:?}");
    }
}

#[test]
fn names_with_control_bytes_are_names_and_are_shown_escaped() {
    try_out(
        |c, scene| {
            c.file(scene.member("a\x1b[2Jb"), "x");
            c.add(scene.member("bad\n\x1b"), HARD, "../x", b"");
        },
        |restored, tree| {
            told(restored, &["bad%0A%1B"]);
            assert!(!restored.extracted.problems[0].contains('\x1b'));
            assert_eq!(names(tree), ["a\x1b[2Jb"]);
        },
    );
}

#[test]
fn a_bomb_of_zeros_is_bounded_by_what_members_say() {
    let mut blocks = raw_header(b"small", b'0', b"00000000001\0", b"");
    blocks.extend([b'x'; 512]);
    // The end mark, and then 64 MiB of zeros that compress to nothing.
    blocks.extend(vec![0; 64 << 20]);
    let (scene, outcome) = raw(&blocks);
    assert_eq!(outcome.unwrap().extracted.problem_count, 0);
    assert_eq!(read(&scene.path("out/small")), "x");
}

#[test]
fn an_archive_cannot_reach_other_parts_of_the_host_in_place() {
    for has_index in [false, true] {
        let scene = Scene::new();
        let mut c = Canned { has_index, ..Canned::of(&scene) };
        let elsewhere = scene.member("").replace("tree", "elsewhere");
        c.file(&elsewhere, "bad").dir(scene.member("")).file(scene.member("f"), "good");
        c.add(scene.member("h"), HARD, &elsewhere, b"");
        scene.save_from(Box::new(c));
        let victim = scene.path("out").join(&elsewhere);
        fs::create_dir_all(victim.parent().unwrap()).unwrap();
        fs::write(&victim, "mine").unwrap();
        let request = Request { target: Some("tree".into()), ..scene.in_place() };
        let restored = scene.restored(&request);
        assert_eq!(read(&victim), "mine");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
        assert_eq!(read(&scene.restored_tree().join("f")), "good");
        told(&restored, &["elsewhere: ", "h: `"]);
    }
}
