//! `ls` and `find` on what version 2 left, with and without indexes.

use std::fs;

use jiff::civil::date;

use crate::listings::{json, listed, shown};
use crate::old::{Old, VARIANTS, moments};

fn at(moment: jiff::civil::DateTime) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[test]
fn a_point_of_version_2_lists_what_gnu_tar_brings_back() {
    for variant in VARIANTS {
        let mut old = Old::new(variant, date(2018, 7, 28));
        old.v2_until(date(2018, 8, 14));
        let tree = old.tree();
        for has_index in [false, true] {
            for at_moment in moments(&old.world.points).into_iter().step_by(3) {
                let there = shown(&old.untarred(at_moment));
                let args = ["ls", "uploads", "--at", &at(at_moment), "--recursive", "--json"];
                let found = listed(&json(&old.world.run(&args)), &tree);
                assert_eq!(found, there, "{at_moment}, {variant:?}, {has_index}");
                // One directory of it.
                let Some(dir) = there.iter().find(|(_, text)| text.starts_with("dir")).map(|(path, _)| path)
                else {
                    continue;
                };
                let dir = std::str::from_utf8(dir).unwrap().to_owned();
                let answer = old.world.run(&["ls", "uploads", "--at", &at(at_moment), "--json", "--", &dir]);
                let entries = json(&answer)["points"][0]["paths"][0]["entries"].as_array().unwrap().len();
                let in_it = |path: &&Vec<u8>| {
                    let rest = path.strip_prefix(dir.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
                    rest.is_some_and(|rest| !rest.contains(&b'/'))
                };
                assert_eq!(entries, there.keys().filter(in_it).count(), "{dir} of {at_moment}, {variant:?}");
            }
            if !has_index {
                let answer = old.world.run(&["index", "rebuild", "uploads"]);
                assert_eq!(answer.code, 0, "{}", answer.err);
            }
        }
    }
}

#[test]
fn versions_of_a_file_are_found_in_chains_of_version_2() {
    for variant in VARIANTS {
        let mut old = Old::new(variant, date(2018, 7, 30));
        let story = old.tree().join("b/story");
        for day in 0..8 {
            match day {
                1 => fs::write(&story, "first").unwrap(),
                3 => fs::write(&story, "another").unwrap(),
                6 => fs::remove_file(&story).unwrap(),
                _ => {}
            }
            old.v2();
            old.world.pass(1);
        }
        for has_index in [false, true] {
            for pattern in ["story", "b/st*"] {
                let found = json(&old.world.run(&["find", "uploads", pattern, "--json"]));
                let versions = found["versions"].as_array().unwrap().iter();
                let told: Vec<(&str, &str, Option<u64>)> = versions
                    .map(|v| {
                        let day = &v["started"].as_str().unwrap()[..10];
                        (day, v["state"].as_str().unwrap(), v["size_bytes"].as_u64())
                    })
                    .collect();
                let expected = [
                    ("2018-07-31", "changed", Some(5)),
                    ("2018-08-02", "changed", Some(7)),
                    ("2018-08-05", "removed", None),
                ];
                assert_eq!(told, expected, "{variant:?}, {pattern}, {has_index}");
            }
            if !has_index {
                let answer = old.world.run(&["index", "rebuild", "uploads"]);
                assert_eq!(answer.code, 0, "{}", answer.err);
            }
        }
    }
}
