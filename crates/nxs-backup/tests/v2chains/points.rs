//! Restoring and verifying what version 2 left.

use jiff::civil::date;

use crate::old::{Old, VARIANTS, moments};

#[test]
fn every_point_of_version_2_comes_back_as_gnu_tar_brings_it_back() {
    for variant in VARIANTS {
        let mut old = Old::new(variant, date(2018, 7, 28));
        old.v2_until(date(2018, 8, 14));
        for at in moments(&old.world.points) {
            old.check_v2(at);
        }
        let answer = old.world.run(&["verify"]);
        assert_eq!(answer.code, 0, "{variant:?}: {}{}", answer.out, answer.err);
        // With indexes it is all the same.
        let answer = old.world.run(&["index", "rebuild", "uploads"]);
        assert_eq!(answer.code, 0, "{variant:?}: {}{}", answer.out, answer.err);
        assert!(answer.out.lines().all(|l| l.starts_with("rebuilt (no record): ")), "{}", answer.out);
        let answer = old.world.run(&["index", "rebuild", "uploads"]);
        assert!(answer.code == 0 && answer.out.lines().all(|l| l.starts_with("sound: ")), "{}", answer.out);
        for at in moments(&old.world.points) {
            old.check_v2(at);
        }
        let answer = old.world.run(&["verify"]);
        assert_eq!(answer.code, 0, "{variant:?}: {}{}", answer.out, answer.err);
    }
}

#[test]
fn single_paths_come_back_from_archives_of_version_2() {
    for variant in VARIANTS {
        let mut old = Old::new(variant, date(2018, 7, 28));
        let tree = old.tree();
        old.v2();
        std::fs::write(tree.join("a/x"), "new").unwrap();
        old.world.pass(1);
        old.v2();
        for has_index in [false, true] {
            for (path, content) in [("a/x", "new"), ("b/x", "new")] {
                let place = tempfile::tempdir().unwrap();
                let to = place.path().join("to");
                let answer = old.world.run(&[
                    "restore",
                    "uploads",
                    "--to",
                    to.to_str().unwrap(),
                    "--strip",
                    "--path",
                    path,
                ]);
                assert_eq!(answer.code, 0, "{variant:?} {path}: {}", answer.err);
                assert_eq!(
                    std::fs::read_to_string(to.join(path)).unwrap(),
                    content,
                    "{variant:?} {has_index}"
                );
                assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
            }
            let answer = old.world.run(&["index", "rebuild", "uploads"]);
            assert_eq!(answer.code, 0, "{}", answer.err);
        }
    }
}
