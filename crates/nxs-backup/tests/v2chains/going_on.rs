//! Our backups on top of version 2's.

use jiff::ToSpan;
use jiff::civil::{Date, date};

use crate::old::{Old, VARIANTS, Variant, moments};

/// Version 2 until the day before `handover`, then we.
fn go_on(variant: Variant, first: Date, handover: Date, days: i32) -> Old {
    let mut old = Old::new(variant, first);
    old.v2_until(handover);
    for _ in 0..days {
        old.world.backup();
        let now = old.now();
        old.check_ours(now);
        old.pass();
    }
    old
}

fn check_all(mut old: Old, handover: Date) {
    for at in moments(&old.world.points) {
        if at.date() < handover {
            old.check_v2(at);
        } else {
            old.check_ours(at);
        }
    }
    let answer = old.world.run(&["verify"]);
    assert_eq!(answer.code, 0, "{:?}: {}{}", old.variant, answer.out, answer.err);
}

#[test]
fn the_program_goes_on_from_any_day_in_its_place() {
    let first = date(2018, 7, 28);
    let table = [
        (date(2018, 7, 29), "2018/month_07/daily/day_21"),
        (date(2018, 8, 1), "2018/month_08/monthly"),
        (date(2018, 8, 2), "2018/month_08/daily/day_01"),
        (date(2018, 8, 11), "2018/month_08/daily/day_11"),
        (date(2018, 8, 14), "2018/month_08/daily/day_11"),
    ];
    for (number, (handover, place)) in table.into_iter().enumerate() {
        let variant = VARIANTS[number % VARIANTS.len()];
        let old = go_on(variant, first, handover, 4);
        let made = old.world.backups().join("shop").join(place);
        let name = format!("shop_{handover}_03-00.tar.nxs.json");
        assert!(made.join(&name).is_file(), "{variant:?}: no {place}/{name}");
        assert!(!old.world.house.log().contains("WARNING"), "{variant:?}: {}", old.world.house.log());
        check_all(old, handover);
    }
}

#[test]
fn every_variant_is_gone_on_with_over_the_turn_of_decade_and_month() {
    for variant in VARIANTS {
        let handover = date(2018, 8, 29);
        check_all(go_on(variant, date(2018, 8, 19), handover, 15), handover);
    }
}

#[test]
fn a_new_year_is_a_new_full_beside_version_2s() {
    let handover = date(2019, 1, 1);
    let old = go_on(Variant(&["gzip"]), date(2018, 12, 20), handover, 3);
    assert!(old.world.backups().join("shop/2019/year/shop_2019-01-01_03-00.tar.nxs.json").is_file());
    check_all(old, handover);
}

#[test]
fn what_version_2_saved_is_not_saved_again() {
    for variant in VARIANTS {
        let mut old = Old::new(variant, date(2018, 7, 28));
        old.v2_until(date(2018, 8, 13));
        std::fs::write(old.tree().join("fresh"), "x").unwrap();
        let links = old.world.points.values().next_back().map_or(0, |s| {
            s.nodes.values().filter(|n| matches!(n.kind, nxs_testkit::snapshot::Kind::Symlink { .. })).count()
        });
        // What changed since the 11th is version 2's own and is saved again by every day.
        let eleventh = date(2018, 8, 11).at(3, 0, 0, 0);
        let before = old.world.points[&eleventh].clone();
        old.world.backup();
        let now = old.world.points[&old.now()].clone();
        let is_new = |path: &Vec<u8>| {
            let (was, is) = (before.nodes.get(path), &now.nodes[path]);
            was.is_none_or(|was| (&was.kind, was.mtime) != (&is.kind, is.mtime))
        };
        let is_file =
            |n: &nxs_testkit::snapshot::Node| matches!(n.kind, nxs_testkit::snapshot::Kind::File { .. });
        let expected = now.nodes.iter().filter(|(p, n)| is_file(n) && is_new(p)).count();
        let record =
            old.world.backups().join("shop/2018/month_08/daily/day_11/shop_2018-08-13_03-00.tar.nxs.json");
        let record: serde_json::Value =
            serde_json::from_str(std::fs::read_to_string(record).unwrap().lines().next().unwrap()).unwrap();
        let saved = record["files"].as_u64().unwrap() as usize;
        assert!(saved <= expected + links, "{variant:?}: {saved} saved, {expected} changed, {links} links");
    }
}

#[test]
fn every_storage_of_version_2_keeps_its_own_chain() {
    // The archives have the same name and size on both, and not the same content.
    let mut old = Old::new(Variant(&[]), date(2018, 7, 28));
    let two = old.world.house.path("backup2");
    let job = "\
- job: uploads
  type: inc_files
  sources:
  - target: ['~/www/*/upload/']
    gzip: no
  storages:
  - {storage: local, enable: yes, backup_dir: ~/backup}
  - {storage: local, enable: yes, backup_dir: ~/backup2}
";
    let file = old.tree().join("a.txt");
    std::fs::write(&file, "one").unwrap();
    old.v2();
    std::fs::rename(old.world.backups(), &two).unwrap();
    std::fs::write(&file, "two").unwrap();
    old.v2();
    old.world.house.config(&format!("{}jobs:\n{job}", crate::house::MAIN));
    for _ in 0..3 {
        old.world.house.now = old.now().checked_add(1.day()).unwrap();
        old.world.backup();
        let now = old.now();
        for storage in ["local", "local-2"] {
            let place = tempfile::tempdir().unwrap();
            let to = place.path().join("to");
            let moment = now.strftime("%Y-%m-%d %H:%M:%S").to_string();
            let answer = old.world.run(&[
                "restore",
                "uploads",
                "--at",
                &moment,
                "--to",
                to.to_str().unwrap(),
                "--strip",
                "--from",
                storage,
            ]);
            assert_eq!(answer.code, 0, "{storage}: {}", answer.err);
            assert_eq!(std::fs::read_to_string(to.join("a.txt")).unwrap(), "two", "{storage}");
        }
    }
}
