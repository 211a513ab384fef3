//! Trees of version 2 that are taken over: first contact, mixed trees, links of all sorts, what is nobody's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nxs_base::ErrorKind;
use nxs_base::spec::Rotation;
use nxs_engine::catalog;
use nxs_engine::restore::select::{self, Wanted};
use nxs_testkit::{FlakyStorage, OpKind};

use crate::house::{Disk, House, Night, keep, keys, target};
use crate::v2;

/// July 2018 as version 2 left it with days 5, weeks 3, months 2.
fn july(disk: &Disk) {
    v2::tree(
        disk,
        "site1",
        "site1",
        "2018-07",
        "daily: 27f 28f 29l 30f 31f | weekly: 15f 22f 29f | monthly: 06-01f 01f",
    );
}

fn adopted(house: &House) -> Vec<String> {
    house.catalog().entries.iter().filter(|e| e.record().is_none()).map(|e| e.key.to_string()).collect()
}

#[test]
fn the_first_contact_writes_down_what_was_there_and_no_later_stranger_joins() {
    let disk = Disk::new();
    july(&disk);
    let mut house = disk.house(keep(5, 3, 2));
    house.good_night("2018-08-01T03:00");
    let list = fs::read_to_string(disk.path(".nxs-adopted.json")).unwrap();
    for key in ["site1/daily/site1_2018-07-27_03-00.tar", "site1/weekly/site1_2018-07-29_03-00.tar"] {
        assert!(list.contains(key), "{list}");
    }
    assert!(!list.contains("site1/daily/site1_2018-07-29"), "links are not on it: {list}");
    let stranger = "site1/daily/site1_2018-07-26_03-00.tar";
    v2::file(&disk, stranger, b"put there by hand", "2018-07-26");
    house.good_night("2018-08-02T03:00");
    assert_eq!(fs::read_to_string(disk.path(".nxs-adopted.json")).unwrap(), list, "written once");
    assert_eq!(house.catalog().orphans[0].key.as_str(), stranger);
    for night in crate::house::nights("2018-08-03", "2018-08-20") {
        house.good_night(&night);
    }
    assert!(disk.path(stranger).exists(), "what is nobody's is never dropped");
    assert_eq!(adopted(&house), ["site1/monthly/site1_2018-07-01_03-00.tar"]);
}

#[test]
fn an_old_tree_and_new_backups_mixed_are_counted_together() {
    let disk = Disk::new();
    july(&disk);
    let mut house = disk.house(keep(5, 3, 2));
    let rows = [
        ("2018-08-01", "daily: 28f 29l 30f 31f 01l | weekly: 15f 22f 29f | monthly: 01f 01f"),
        ("2018-08-02", "daily: 29l 30f 31f 01l 02f | weekly: 15f 22f 29f | monthly: 01f 01f"),
        ("2018-08-03", "daily: 30f 31f 01l 02f 03f | weekly: 15f 22f 29f | monthly: 01f 01f"),
        ("2018-08-04", "daily: 31f 01l 02f 03f 04f | weekly: 15f 22f 29f | monthly: 01f 01f"),
        ("2018-08-05", "daily: 01l 02f 03f 04f 05l | weekly: 22f 29f 05f | monthly: 01f 01f"),
        ("2018-08-06", "daily: 02f 03f 04f 05l 06f | weekly: 22f 29f 05f | monthly: 01f 01f"),
    ];
    for (day, row) in rows {
        house.good_night(&format!("{day}T03:00"));
        assert_eq!(house.table(), row, "{day}");
        house.check();
    }
    assert!(disk.path("site1/weekly/site1_2018-07-29_03-00.tar").exists());
    let link = fs::read_link(disk.path("site1/daily/site1_2018-08-05_03-00.tar")).unwrap();
    assert_eq!(link, Path::new("../weekly/site1_2018-08-05_03-00.tar"), "new links are relative");
}

#[test]
fn the_file_moves_down_when_its_own_period_ends_and_a_link_of_v2_still_wants_it() {
    let disk = Disk::new();
    v2::tree(&disk, "site1", "site1", "2018-07", "daily: 01l 02f | weekly: 01l | monthly: 01f");
    let content = fs::read(disk.path("site1/monthly/site1_2018-07-01_03-00.tar")).unwrap();
    let mut house = disk.house(keep(9, 9, 0));
    house.good_night("2018-07-03T03:00");
    assert_eq!(house.table(), "daily: 01l 02f 03f | weekly: 01f");
    house.retention = keep(9, 0, 0);
    house.good_night("2018-07-04T03:00");
    assert_eq!(house.table(), "daily: 01f 02f 03f 04f");
    assert_eq!(fs::read(disk.path("site1/daily/site1_2018-07-01_03-00.tar")).unwrap(), content);
    assert_eq!(adopted(&house).len(), 2, "it stays adopted where it lies now");
    house.check();
}

#[test]
fn archive_index_and_record_of_our_own_all_move() {
    let disk = Disk::new();
    let mut house = disk.house(keep(9, 9, 9));
    house.good_night("2026-02-01T03:00");
    let name = "site1_2026-02-01_03-00.tar";
    let files = |period: &str| {
        let is_file = |suffix: &&str| {
            fs::symlink_metadata(disk.path(&format!("site1/{period}/{name}{suffix}")))
                .is_ok_and(|m| m.is_file())
        };
        ["", ".nxs.idx", ".nxs.json"].into_iter().filter(is_file).count()
    };
    assert_eq!((files("monthly"), files("weekly"), files("daily")), (3, 0, 0));
    house.retention = keep(9, 9, 0);
    house.good_night("2026-02-02T03:00");
    assert_eq!((files("monthly"), files("weekly"), files("daily")), (0, 3, 0));
    assert!(!disk.path("site1/monthly").exists());
    house.retention = keep(9, 0, 0);
    house.good_night("2026-02-03T03:00");
    assert_eq!((files("weekly"), files("daily")), (0, 3));
    house.check();
}

#[test]
fn links_that_lead_out_are_neither_followed_nor_deleted_through_and_stay() {
    let disk = Disk::new();
    july(&disk);
    let outside = disk.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let theirs = outside.join("site1_2018-06-20_03-00.tar");
    fs::write(&theirs, b"on another disk").unwrap();
    let out: [(&str, PathBuf); 4] = [
        ("site1/daily/site1_2018-06-20_03-00.tar", theirs.clone()),
        ("site1/daily/site1_2018-06-21_03-00.tar", outside.join("not-mounted.tar")),
        (
            "site1/weekly/site1_2018-06-24_03-00.tar",
            PathBuf::from("../../../outside/site1_2018-06-20_03-00.tar"),
        ),
        ("site1/daily/passwd_2018-06-20_03-00.tar", PathBuf::from("/etc/passwd")),
    ];
    for (key, text) in &out {
        symlink(text, disk.path(key)).unwrap();
    }
    let mut house = disk.house(keep(1, 1, 1));
    for night in crate::house::nights("2018-08-01", "2018-08-07") {
        house.good_night(&night);
    }
    for (key, text) in &out {
        assert_eq!(&fs::read_link(disk.path(key)).unwrap(), text, "{key}");
    }
    assert_eq!(fs::read(&theirs).unwrap(), b"on another disk");
    assert!(house.catalog().entries.iter().all(|e| e.started(&house.zone).as_second() > 1_530_403_200));
}

#[test]
fn dangling_links_of_our_names_go_and_links_to_links_are_understood() {
    let disk = Disk::new();
    july(&disk);
    // A link to the weekly link's file by way of the daily link, and links whose archive is gone.
    symlink(
        disk.path("site1/daily/site1_2018-07-29_03-00.tar"),
        disk.path("site1/monthly/site1_2018-07-29_03-00.tar"),
    )
    .unwrap();
    let gone = ["site1/daily/site1_2018-07-08_03-00.tar", "site1/daily/site1_2018-07-09_03-00.tar"];
    symlink(disk.path("site1/weekly/site1_2018-07-08_03-00.tar"), disk.path(gone[0])).unwrap();
    symlink(Path::new("../weekly/site1_2018-07-09_03-00.tar"), disk.path(gone[1])).unwrap();
    let theirs = ["site1/daily/latest.tar", "site1/daily/site2_2018-07-09_03-00.tar", "latest"];
    for key in theirs {
        symlink(Path::new("nowhere"), disk.path(key)).unwrap();
    }
    let mut house = disk.house(keep(9, 9, 9));
    let entry = |house: &House| {
        let catalog = house.catalog();
        let sunday = catalog.entries.iter().find(|e| e.key.as_str().contains("07-29")).cloned().unwrap();
        sunday.periods_present()
    };
    assert_eq!(format!("{:?}", entry(&house)), "{Daily, Weekly, Monthly}");
    house.good_night("2018-08-01T03:00");
    for key in gone {
        assert!(fs::symlink_metadata(disk.path(key)).is_err(), "{key}");
    }
    for key in theirs {
        assert!(fs::symlink_metadata(disk.path(key)).is_ok(), "{key} is nobody's");
    }
    let monthly = "site1/monthly/site1_2018-07-29_03-00.tar";
    house.retention = keep(9, 0, 1);
    house.good_night("2018-08-02T03:00");
    assert!(fs::symlink_metadata(disk.path(monthly)).is_err(), "August's has the one place");
    assert!(disk.path("site1/daily/site1_2018-07-29_03-00.tar").is_file(), "it moved to where it is wanted");
}

#[test]
fn links_of_a_backup_dir_that_was_moved_are_set_right() {
    let disk = Disk::new();
    v2::tree(&disk, "site1", "site1", "2018-07", "daily: 29l 30f | weekly: 29f");
    let link = disk.path("site1/daily/site1_2018-07-29_03-00.tar");
    fs::remove_file(&link).unwrap();
    symlink("/var/old-place/site1/weekly/site1_2018-07-29_03-00.tar", &link).unwrap();
    let mut house = disk.house(keep(5, 5, 5));
    house.good_night("2018-07-31T03:00");
    assert_eq!(fs::read(&link).unwrap(), b"v2 2018-07-29");
    house.check();
}

#[test]
fn a_directory_whose_listing_fails_stops_everything_that_deletes() {
    let disk = Disk::new();
    july(&disk);
    disk.house(keep(5, 3, 2)).good_night("2018-08-01T03:00");
    let before = keys(&*disk.storage());
    for nth in 1..=3 {
        let flaky = FlakyStorage::new(disk.storage());
        let mut house = House::on(Arc::new(flaky.clone()), keep(1, 0, 0));
        house.run = 10 + nth;
        // That of the first contact, of the sweep, of the catalog.
        flaky.fail_op(listing_of_a_run(&disk, nth), ErrorKind::Denied);
        let told = house.night("2018-08-02T03:00");
        let after = keys(&*disk.storage());
        assert!(!told.is_complete() && told.says("planned fault: List"), "listing {nth}: {:?}", told.said);
        assert_eq!(after, before, "listing {nth}");
    }
}

/// The number of the `nth` listing among the operations of an undisturbed run, on a copy.
fn listing_of_a_run(disk: &Disk, nth: u32) -> u64 {
    let copy = Disk::new();
    let done =
        std::process::Command::new("cp").arg("-a").arg(disk.root()).arg(copy.dir.path()).status().unwrap();
    assert!(done.success());
    let flaky = FlakyStorage::new(copy.storage());
    let mut house = House::on(Arc::new(flaky.clone()), keep(1, 0, 0));
    house.night("2018-08-02T03:00");
    let listings = flaky.ops().into_iter().enumerate().filter(|(_, op)| op.kind == OpKind::List);
    listings.map(|(i, _)| i as u64 + 1).nth(nth as usize - 1).expect("a run lists so often")
}

#[test]
fn a_tree_of_v2_on_a_read_only_storage_can_be_listed_and_chosen_from_and_not_written() {
    let disk = Disk::new();
    july(&disk);
    let before = keys(&*disk.storage());
    let flaky = FlakyStorage::new(disk.storage());
    flaky.make_read_only();
    let mut house = House::on(Arc::new(flaky.clone()), keep(1, 1, 1));
    let catalog = catalog::scan(&flaky).unwrap();
    assert!(!catalog.has_adoption_list && catalog.orphans.is_empty());
    assert_eq!(catalog.entries.len(), 9, "what the first contact would adopt");
    let (job, spec) = house.specs();
    let (shelves, problems) = select::shelves(&[(spec, Arc::clone(&house.storage))]);
    assert!(problems.is_empty());
    let found = select::candidates(&job, "web", &shelves, &Wanted::default(), &house.zone);
    assert_eq!(found.len(), 9);
    assert_eq!(found[0].copies[0].entry.key.as_str(), "site1/daily/site1_2018-07-31_03-00.tar");
    let told = house.night("2018-08-01T03:00");
    assert!(!told.is_complete() && told.dropped() == 0);
    assert_eq!(keys(&*disk.storage()), before);
}

#[test]
fn a_name_that_two_jobs_could_have_given_belongs_to_neither() {
    let disk = Disk::new();
    july(&disk);
    let mut house = disk.house(keep(1, 0, 0));
    let mut other = disk.house(keep(1, 0, 0));
    other.job = "other".into();
    house.neighbours = vec![other.group()];
    for night in ["2018-08-01T03:00", "2018-08-02T03:00"] {
        house.good_night(night);
    }
    assert_eq!(adopted(&house).len(), 9, "all of version 2's stay: nobody knows whose they are");
    house.neighbours.clear();
    house.good_night("2018-08-03T03:00");
    assert_eq!(adopted(&house).len(), 0);
    assert_eq!(house.table(), "daily: 03f");
}

#[test]
fn backups_of_another_target_with_a_like_name_are_not_touched() {
    let disk = Disk::new();
    for part in ["site1", "site10", "site", "site1/daily", "x/site1"] {
        v2::tree(&disk, part, "site1", "2018-07", "daily: 27f 28f");
    }
    v2::tree(&disk, "site1", "site1-old", "2018-07", "daily: 27f 28f");
    v2::tree(&disk, "site1", "1-site1", "2018-07", "daily: 27f 28f");
    let mut house = disk.house(keep(1, 0, 0));
    house.good_night("2018-08-02T03:00");
    let left = keys(&*house.storage);
    assert_eq!(left.iter().filter(|k| k.contains("2018-07")).count(), 12, "{left:?}");
    assert!(!left.iter().any(|k| k.starts_with("site1/daily/site1_2018-07")));
}

#[test]
fn a_failed_first_night_leaves_the_old_tree_whole_unless_v2s_order_is_asked_for() {
    for (rotation, left) in [(Rotation::Auto, 9), (Rotation::After, 9), (Rotation::Before, 2)] {
        let disk = Disk::new();
        july(&disk);
        let mut house = disk.house(keep(2, 1, 0));
        house.rotation = rotation;
        let told = house.night_of("2018-08-01T03:00", Night { fails: true, ..Night::default() });
        assert!(!told.is_complete());
        assert_eq!(adopted(&house).len(), left, "{rotation:?}");
        house.check();
    }
    let disk = Disk::new();
    july(&disk);
    let mut house = disk.house(keep(2, 1, 0));
    house.rotation = Rotation::Before;
    house.night_of("2018-08-01T03:00", Night { probe_fails: true, ..Night::default() });
    assert_eq!(adopted(&house).len(), 9, "nothing goes before the rehearsal went well");
    house.targets.push(target("site2"));
    house.good_night("2018-08-02T03:00");
}
