//! Readers and whole jobs: what is being read stays, and goes the next night.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use nxs_base::ports::storage::{ObjectKey, PartTag};
use nxs_base::spec::Rotation;
use nxs_engine::lease::{Held, Lease, Leases};
use nxs_engine::{restore, verify};
use nxs_testkit::FlakyStorage;

use crate::house::{Disk, House, Night, at, keep};
use crate::v2;

fn reader(run: &str) -> PartTag {
    PartTag { host: "admin".into(), run_id: run.into() }
}

fn held(key: &str) -> Held {
    Held::Keys(vec![ObjectKey::new(key).unwrap()])
}

fn now(night: &str) -> Timestamp {
    at(&format!("{night}T03:00:00Z"))
}

#[test]
fn a_run_keeps_what_somebody_reads_whatever_the_order_and_drops_it_the_next_night() {
    for rotation in [Rotation::Auto, Rotation::Before, Rotation::After] {
        let (mut house, storage) = House::in_memory(keep(1, 0, 0));
        house.rotation = rotation;
        house.good_night("2026-02-03T03:00");
        let read = held("site1/daily/site1_2026-02-03_03-00.tar");
        let lease = Lease::take(&storage, &reader("1"), read, now("2026-02-04")).unwrap();
        let told = house.good_night("2026-02-04T03:00");
        assert_eq!(house.table(), "daily: 03f 04f", "{rotation:?}");
        assert!(told.says("stays for now: leased"), "{:?}", told.said);
        lease.finish().unwrap();
        house.good_night("2026-02-05T03:00");
        assert_eq!(house.table(), "daily: 05f");
        house.check();
    }
}

#[test]
fn what_is_read_makes_no_room_for_the_new_one() {
    let (mut house, storage) = House::in_memory(keep(1, 0, 0));
    let night = Night { content: vec![b'x'; 100_000], ..Night::default() };
    assert!(house.night_of("2026-02-03T03:00", night.clone()).is_complete());
    storage.set_quota(Some(storage.used_bytes() + 20_000));
    let lease = Lease::take(&storage, &reader("1"), Held::All, now("2026-02-04")).unwrap();
    let told = house.night_of("2026-02-04T03:00", night.clone());
    assert!(!told.is_complete() && told.says("hardly room"), "{:?}", told.said);
    assert_eq!(house.table(), "daily: 03f");
    lease.finish().unwrap();
    assert!(house.night_of("2026-02-05T03:00", night).is_complete());
    assert_eq!(house.table(), "daily: 05f");
}

#[test]
fn the_lease_of_a_reader_that_died_holds_up_one_night_at_most_and_is_swept() {
    let (mut house, storage) = House::in_memory(keep(1, 0, 0));
    house.good_night("2026-02-03T03:00");
    std::mem::forget(Lease::take(&storage, &reader("1"), Held::All, at("2026-02-04T02:30:00Z")).unwrap());
    house.good_night("2026-02-04T03:00");
    assert_eq!(house.table(), "daily: 03f 04f");
    house.good_night("2026-02-05T03:00");
    assert_eq!(house.table(), "daily: 05f");
    assert!(!storage.tree().contains(".nxs-leases"), "{}", storage.tree());
}

#[test]
fn verify_holds_a_lease_on_what_it_verifies_and_takes_it_back() {
    let (mut house, storage) = House::in_memory(keep(9, 0, 0));
    house.good_night("2026-02-03T03:00");
    let archive = ObjectKey::new("site1/daily/site1_2026-02-03_03-00.tar").unwrap();
    let mut seen = 0;
    let request = verify::Request { target: None, at: None, sample_percent: 100 };
    let (report, said) = house.read("2026-02-03T12:00:00Z", |ctx, job, opened| {
        verify::run(ctx, job, opened, &request, &mut |_| {
            seen += 1;
            assert!(Leases::read(&storage, at("2026-02-03T12:00:00Z")).unwrap().cover(&archive));
        })
    });
    assert_eq!((report.unwrap().copies.len(), seen, said.len()), (1, 1, 0));
    assert!(!storage.tree().contains(".nxs-leases"), "{}", storage.tree());
}

#[test]
fn a_restore_from_a_tree_of_v2_on_a_read_only_storage_goes_on_without_a_lease() {
    let disk = Disk::new();
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("srv/site1")).unwrap();
    fs::write(tree.path().join("srv/site1/file"), b"restored").unwrap();
    let tar =
        Command::new("tar").arg("-cC").arg(tree.path()).args(["-f", "-", "srv/site1"]).output().unwrap();
    v2::file(&disk, "site1/daily/site1_2018-07-28_03-00.tar", &tar.stdout, "2018-07-28");
    let flaky = FlakyStorage::new(disk.storage());
    let house = House::on(Arc::new(flaky.clone()), keep(1, 0, 0));
    let to = tempfile::tempdir().unwrap();
    let request = restore::Request { to: to.path().join("here"), ..restore::Request::default() };
    flaky.make_read_only();
    let (report, said) =
        house.read("2018-08-01T12:00:00Z", |ctx, job, opened| restore::run(ctx, job, opened, &request));
    let report = report.unwrap();
    assert!(!report.failed && report.restored.len() == 1, "{report:?}");
    assert_eq!(fs::read(to.path().join("here/srv/site1/file")).unwrap(), b"restored");
    assert!(said.iter().any(|line| line.contains("no lease can be had")), "{said:?}");
}
