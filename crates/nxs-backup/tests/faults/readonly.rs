//! Storages that cannot be written: one alone, and one beside a good one.

use std::collections::BTreeSet;

use jiff::civil::date;

use crate::house::House;
use crate::judge::{Case, judge, problems};
use crate::mounts::Mount;
use crate::shelf::{self, Order};

#[test]
fn a_read_only_storage_fails_the_run_and_keeps_what_it_has() {
    let mut house = House::new(64 << 10);
    house.storages = vec![house.path("mnt/backup")];
    house.store = "{days: 1, weeks: 0, month: 0}";
    let mount = Mount::tmpfs(&house.path("mnt"), "size=16m");
    for rotation in ["auto", "before", "after"] {
        house.rotation = rotation;
        mount.remount("rw");
        assert_eq!(house.start_at(date(2020, 11, 9).at(3, 0, 0, 0)).code, Some(0));
        let before = shelf::read(&house.storages[0], Order::Settled);
        mount.remount("ro");
        house.touch(rotation);
        let said = house.start();
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(problems(&said.report).iter().any(|p| p.contains("Read-only file system")), "{said:?}");
        let (house, none) = (&house, &BTreeSet::new());
        let dir = &house.storages[0];
        judge(
            &Case { house, dir, before: &before, tree: None, may_go: none, order: Order::Settled },
            Some(&said),
        );
        mount.remount("rw");
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_dead_storage_beside_a_good_one_makes_the_run_partial_and_the_good_copy_complete() {
    let mut house = House::new(64 << 10);
    house.storages = vec![house.path("mnt/backup"), house.path("good")];
    let mount = Mount::tmpfs(&house.path("mnt"), "size=16m");
    assert_eq!(house.start_at(date(2020, 11, 9).at(3, 0, 0, 0)).code, Some(0));
    let before: Vec<_> = house.storages.iter().map(|d| shelf::read(d, Order::Settled)).collect();
    mount.remount("ro");
    house.touch("second");
    let tree = house.tree();
    let said = house.start();
    assert_eq!(said.code, Some(3), "{said:?}");
    let none = BTreeSet::new();
    let case = |n: usize| Case {
        house: &house,
        dir: &house.storages[n],
        before: &before[n],
        tree: Some(&tree),
        may_go: &none,
        order: Order::Settled,
    };
    let after: Vec<_> = (0..2).map(|n| judge(&case(n), Some(&said))).collect();
    assert_eq!((after[0].len(), after[1].len()), (1, 2));
    mount.remount("rw");
    let next = house.start();
    assert_eq!(next.code, Some(0), "{next:?}");
    assert_eq!(shelf::read(&house.storages[0], Order::Settled).len(), 2);
}

#[test]
fn a_storage_that_fills_up_in_the_middle_does_not_touch_the_copy_beside_it() {
    let mut house = House::new(512 << 10);
    house.storages = vec![house.path("good"), house.path("mnt/backup")];
    let _mount = Mount::tmpfs(&house.path("mnt"), "size=128k");
    let tree = house.tree();
    let said = house.start();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(problems(&said.report).iter().any(|p| p.contains("No space left on device")), "{said:?}");
    let (before, none) = (shelf::Shelf::new(), BTreeSet::new());
    let count = |dir| {
        let case = Case {
            house: &house,
            dir,
            before: &before,
            tree: Some(&tree),
            may_go: &none,
            order: Order::Settled,
        };
        judge(&case, Some(&said)).len()
    };
    assert_eq!((count(&house.storages[0]), count(&house.storages[1])), (1, 0));
}
