//! What may be wrong with a tree of version 2.

use jiff::civil::date;

use crate::old::{Old, Variant, moments};

const MONTH: &str = "shop/2018/month_08/monthly";

/// Version 2 from the end of July to the 4th of August, and a change since.
fn four_days(variant: Variant) -> Old {
    let mut old = Old::new(variant, date(2018, 7, 28));
    old.v2_until(date(2018, 8, 5));
    old
}

/// Where our first backup lies, and whether a WARNING tells why.
fn made(old: &mut Old) -> (String, bool) {
    old.world.backup();
    let name = format!("shop_{}_03-00.tar.nxs.json", old.now().date());
    let all = crate::world::files(&old.world.backups());
    let made = all.iter().find(|p| p.ends_with(&name)).unwrap_or_else(|| panic!("no {name}"));
    let place = made.parent().unwrap().strip_prefix(old.world.backups()).unwrap();
    (place.to_str().unwrap().to_owned(), old.world.house.log().contains("WARNING"))
}

fn archive(old: &Old, dir: &str) -> std::path::PathBuf {
    let there = crate::world::files(&old.world.backups().join(dir));
    there.into_iter().find(|p| p.to_str().unwrap().contains(".tar")).unwrap()
}

fn cut(path: &std::path::Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
}

#[test]
fn a_month_that_is_missing_or_cut_is_made_again_and_said() {
    for gzip in [Variant(&[]), Variant(&["gzip"])] {
        for is_missing in [false, true] {
            let mut old = four_days(gzip);
            let month = archive(&old, MONTH);
            if is_missing {
                std::fs::remove_file(&month).unwrap()
            } else {
                cut(&month)
            }
            assert_eq!(made(&mut old), (MONTH.to_owned(), true), "{}", old.world.house.log());
            let now = old.now();
            if is_missing {
                old.check_ours(now);
            } else {
                // The recipe would take the cut one; the program knows.
                std::fs::remove_file(&month).unwrap();
                old.check_ours(now);
            }
            // The days of July are whole, those of August lost what was cut.
            for at in moments(&old.world.points) {
                if at.month() == 7 {
                    old.check_v2(at);
                }
            }
            let answer = old.world.run(&["verify"]);
            assert_eq!(answer.code, 3, "{}{}", answer.out, answer.err);
        }
    }
}

#[test]
fn without_the_full_there_is_a_new_full() {
    let mut old = four_days(Variant(&["gzip"]));
    cut(&archive(&old, "shop/2018/year"));
    assert_eq!(made(&mut old), ("shop/2018/year".to_owned(), true));
    let now = old.now();
    let found = old.world.restored(now);
    old.world.points[&now].assert_same(&found, "a full of our own");
}

#[test]
fn a_state_file_that_is_gone_or_damaged_leaves_the_archives() {
    for damage in ["", "{\"/a\": ", "[]"] {
        let mut old = four_days(Variant(&["gzip"]));
        let state = old.world.backups().join(MONTH).join("month.inc");
        if damage.is_empty() {
            std::fs::remove_file(&state).unwrap()
        } else {
            std::fs::write(&state, damage).unwrap()
        }
        let expected = ("shop/2018/month_08/daily/day_01".to_owned(), !damage.is_empty());
        assert_eq!(made(&mut old), expected, "{damage}: {}", old.world.house.log());
        let now = old.now();
        old.check_ours(now);
    }
}

#[test]
fn a_parent_that_lacks_what_its_state_file_knows_is_not_gone_on_with() {
    let mut old = four_days(Variant(&["gzip"]));
    let state = old.world.backups().join(MONTH).join("month.inc");
    let text = std::fs::read_to_string(&state).unwrap();
    let path = old.tree().join("lost");
    std::fs::write(&state, text.replacen('{', &format!("{{\"{}\": 1.5, ", path.display()), 1)).unwrap();
    assert_eq!(made(&mut old), (MONTH.to_owned(), true));
    assert!(old.world.house.log().contains("which no archive of the chain has"), "{}", old.world.house.log());
    let now = old.now();
    let found = old.world.restored(now);
    assert_eq!(found.nodes.len(), old.world.points[&now].nodes.len());
}
