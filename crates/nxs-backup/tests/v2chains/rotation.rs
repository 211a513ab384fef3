//! What goes of a tree of version 2.

use std::path::Path;

use jiff::civil::date;

use crate::old::{Old, Variant};

fn there(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if std::fs::symlink_metadata(&path).unwrap().is_dir() {
                waiting.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_month_goes_with_its_state_files_and_links_and_nothing_else() {
    for variant in [Variant(&[]), Variant(&["copies"])] {
        let mut old = Old::new(variant, date(2018, 7, 28));
        old.v2_until(date(2018, 8, 13));
        let root = old.world.backups().join("shop");
        let notes = root.join("2018/month_07/notes.txt");
        std::fs::write(&notes, "mine").unwrap();
        let v2s = there(&root);
        // No run for months: the first one lets go what the calendar says by then, a month at a time.
        for (day, gone) in [
            (date(2018, 8, 13), &[][..]),
            (date(2019, 7, 28), &["month_07"]),
            (date(2019, 8, 28), &["month_07", "month_08", "year"]),
        ] {
            old.world.house.now = day.at(3, 0, 0, 0);
            old.world.backup();
            old.world.pass(1);
            old.world.backup();
            let left: Vec<String> = there(&root).into_iter().filter(|p| v2s.contains(p)).collect();
            let is_gone = |p: &String| {
                gone.iter().any(|g| p.starts_with(&format!("2018/{g}/"))) && !p.ends_with("notes.txt")
            };
            let expected: Vec<String> = v2s.iter().filter(|p| !is_gone(p)).cloned().collect();
            assert_eq!(left, expected, "{variant:?}, {day}");
        }
        let left: Vec<String> = there(&root).into_iter().filter(|p| p.starts_with("2018/")).collect();
        assert_eq!(left, ["2018/month_07/notes.txt"]);
        let answer = old.world.run(&["verify"]);
        assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    }
}
