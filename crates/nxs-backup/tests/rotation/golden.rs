//! The golden tables of version 2 (days 2, weeks 2, months 2), and its rules in words, by whole jobs.

use std::sync::Arc;

use nxs_base::spec::Rotation;
use nxs_testkit::MemoryStorage;

use crate::house::{Disk, House, keep, keys, nights};
use crate::v2;

/// `site1` after each night, as version 2 shows it.
const TABLE: [(&str, &str); 6] = [
    ("2018-07-28", "daily: 27f 28f"),
    ("2018-07-29", "daily: 28f 29l | weekly: 29f"),
    ("2018-07-30", "daily: 29l 30f | weekly: 29f"),
    ("2018-07-31", "daily: 30f 31f | weekly: 29f"),
    ("2018-08-01", "daily: 31f 01l | weekly: 29f | monthly: 01f"),
    ("2018-08-02", "daily: 01l 02f | weekly: 29f | monthly: 01f"),
];

const ORDERS: [Rotation; 3] = [Rotation::Auto, Rotation::Before, Rotation::After];

#[test]
fn the_golden_table_of_v2_comes_out_night_by_night_in_every_order() {
    for rotation in ORDERS {
        let disk = Disk::new();
        let mut house = disk.house(keep(2, 2, 2));
        house.rotation = rotation;
        house.good_night("2018-07-27T03:00");
        assert_eq!(house.table(), "daily: 27f");
        for (day, row) in TABLE {
            house.good_night(&format!("{day}T03:00"));
            assert_eq!(house.table(), row, "{rotation:?} {day}");
            house.check();
        }
        assert!(keys(&*house.storage).contains(&"RESTORE.md".to_owned()));
    }
}

#[test]
fn a_tree_that_v2_left_on_any_night_goes_on_as_v2_would() {
    for rotation in ORDERS {
        for step in TABLE.windows(2) {
            let [(_, before), (day, after)] = step else { unreachable!("windows of two") };
            let disk = Disk::new();
            // What is of August in July's month is told with its month.
            let told = before.replace("01f", "08-01f").replace("01l", "08-01l");
            v2::tree(&disk, "site1", "site1", "2018-07", &told);
            let mut house = disk.house(keep(2, 2, 2));
            house.rotation = rotation;
            house.good_night(&format!("{day}T03:00"));
            assert_eq!(house.table(), *after, "{rotation:?} {day}");
            house.check();
        }
    }
}

#[test]
fn a_remote_storage_has_the_one_file_in_the_highest_period_and_counts_it_for_all() {
    let remote = [
        ("2018-07-27", "daily: 27f"),
        ("2018-07-28", "daily: 27f 28f"),
        ("2018-07-29", "daily: 28f | weekly: 29f"),
        ("2018-07-30", "daily: 30f | weekly: 29f"),
        ("2018-07-31", "daily: 30f 31f | weekly: 29f"),
        ("2018-08-01", "daily: 31f | weekly: 29f | monthly: 01f"),
        ("2018-08-02", "daily: 02f | weekly: 29f | monthly: 01f"),
    ];
    for rotation in ORDERS {
        let mut house = House::on(Arc::new(MemoryStorage::new("memory").without_links()), keep(2, 2, 2));
        house.rotation = rotation;
        for (day, row) in remote {
            house.good_night(&format!("{day}T03:00"));
            assert_eq!(house.table(), row, "{rotation:?} {day}");
        }
    }
}

#[test]
fn a_period_of_which_nothing_is_kept_is_emptied_on_the_next_backup_day() {
    let left = "daily: 30f 31f 08-01l | weekly: 15f 22f 29f | monthly: 01f 08-01f";
    for (retention, backup_day, row) in [
        (keep(2, 0, 0), "2018-08-02", "daily: 01f 02f"),
        (keep(2, 0, 2), "2018-08-02", "daily: 01l 02f | monthly: 01f 01f"),
        (keep(0, 2, 0), "2018-08-05", "weekly: 29f 05f"),
        (keep(0, 0, 2), "2018-09-01", "monthly: 01f 01f"),
        (keep(0, 1, 1), "2018-08-05", "weekly: 05f | monthly: 01f"),
    ] {
        let disk = Disk::new();
        v2::tree(&disk, "site1", "site1", "2018-07", left);
        let mut house = disk.house(retention);
        let before = house.table();
        for night in nights("2018-08-02", backup_day) {
            assert_eq!(house.table(), before, "no backup day before {night}");
            house.good_night(&night);
        }
        assert_eq!(house.table(), row, "{retention:?}");
        house.check();
    }
}

#[test]
fn the_names_that_v2_rotates_are_rotated_and_no_others() {
    let disk = Disk::new();
    let names = ["sql", "tar", "pgdump", "pgdump.sql", "mongodump", "rdb"];
    let mut all = Vec::new();
    for (i, ext) in names.into_iter().flat_map(|e| [e.to_owned(), format!("{e}.gz")]).enumerate() {
        let key = format!("site1/daily/site1_2018-06-{:02}_03-00.{ext}", i + 1);
        v2::file(&disk, &key, b"v2", &format!("2018-06-{:02}", i + 1));
        all.push(key);
    }
    let foreign = [
        "site1/daily/site1_2018-06-01_03-00.zip",
        "site1/daily/site1_2018-06-01_03-00.tar.bz2",
        "site1/daily/notes.txt",
        "site1/daily/site1.tar",
        "site1/hourly/site1_2018-06-01_03-00.tar",
        "site1_2018-06-01_03-00.tar",
        "site1/2018/month_06/monthly/site1_2018-06-01_03-00.tar",
        "site10/daily/site10_2018-06-01_03-00.tar",
        "x/site1/daily/site1_2018-06-01_03-00.tar",
    ];
    for key in foreign {
        v2::file(&disk, key, b"not ours", "2018-06-01");
    }
    let mut house = disk.house(keep(3, 0, 0));
    house.good_night("2018-08-02T03:00");
    let left = keys(&*house.storage);
    for (i, key) in all.iter().enumerate() {
        assert_eq!(left.contains(key), i >= all.len() - 2, "{key}");
    }
    for key in foreign {
        assert!(left.contains(&key.to_owned()), "{key}");
    }
}

#[test]
fn a_day_that_no_storage_wants_is_no_backup_day_and_nothing_is_touched() {
    let (mut house, storage) = House::in_memory(keep(0, 2, 2));
    for night in nights("2018-07-23", "2018-08-05") {
        let before = storage.tree();
        let told = house.night(&night);
        let is_due = night.starts_with("2018-07-29")
            || night.starts_with("2018-08-01")
            || night.starts_with("2018-08-05");
        assert_eq!(told.report.no_backup_day, !is_due, "{night}");
        assert_eq!(storage.tree() == before, !is_due, "{night}");
    }
    assert_eq!(house.table(), "weekly: 29f 05f | monthly: 01f");
}
