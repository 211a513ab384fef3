//! Several jobs and several servers in one `backup_dir`.

use std::collections::BTreeMap;

use nxs_base::spec::Rotation;
use nxs_testkit::MemoryStorage;

use crate::house::{House, keep, nights, target};

/// Whose every object is, by the record beside it or by the link's name.
fn owners(house: &House) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::new();
    for entry in &house.catalog().entries {
        let Some(record) = entry.record() else { continue };
        let owner = format!("{}/{}", record.server_name, record.job);
        owners.insert(entry.key.to_string(), owner.clone());
        for link in &entry.links {
            owners.insert(link.key.to_string(), owner.clone());
        }
    }
    owners
}

#[test]
fn two_jobs_and_two_servers_with_the_same_names_never_touch_each_others_backups() {
    for rotation in [Rotation::Auto, Rotation::Before] {
        let storage = MemoryStorage::new("shared");
        let make = |server: &str, job: &str, days, run: u32| {
            let mut house = House::on(std::sync::Arc::new(storage.clone()), keep(days, 1, 1));
            (house.server, house.job, house.rotation, house.run) = (server.into(), job.into(), rotation, run);
            house
        };
        let mut houses =
            [make("web", "files", 1, 0), make("web", "other", 3, 10_000), make("db", "files", 2, 20_000)];
        for night in nights("2026-01-28", "2026-03-03") {
            for house in &mut houses {
                let before = owners(house);
                let me = format!("{}/{}", house.server, house.job);
                let told = house.night(&night);
                assert!(told.is_complete(), "{night} {me}: {:?} {:?}", told.report, told.said);
                let after = owners(house);
                let of_others = |all: &BTreeMap<String, String>| -> Vec<String> {
                    all.iter().filter(|(_, owner)| **owner != me).map(|(key, _)| key.clone()).collect()
                };
                assert_eq!(of_others(&before), of_others(&after), "{night} {me}");
                house.check();
            }
        }
        let count = |owner: &str| owners(&houses[0]).values().filter(|o| *o == owner).count();
        // Days, weeks and month by links and files: the numbers of each.
        assert_eq!((count("web/files"), count("web/other"), count("db/files")), (3, 5, 4));
    }
}

#[test]
fn a_name_that_another_server_writes_at_this_moment_is_not_taken_as_well() {
    let (mut house, storage) = House::in_memory(keep(2, 0, 0));
    let theirs = "site1/daily/.site1_2026-02-03_03-00.tar.db.7.nxs-part";
    storage.insert(theirs, b"half");
    let sec = crate::house::at("2026-02-03T02:59:00Z").as_second();
    storage.set_mtime(theirs, nxs_base::entry::FileTime { sec, nsec: 0 });
    house.good_night("2026-02-03T03:00:05");
    assert!(storage.tree().contains("site1/daily/site1_2026-02-03_03-00-05.tar\n"), "{}", storage.tree());
    assert!(storage.bytes(theirs).is_some(), "a foreign partial stays for a week");
}

#[test]
fn targets_of_one_job_that_share_a_name_are_counted_apart() {
    let (mut house, _) = House::in_memory(keep(2, 0, 0));
    let mut other = target("site1");
    other.root = "/srv/site1".into();
    house.targets.push(other);
    for night in nights("2026-02-03", "2026-02-06") {
        house.good_night(&night);
        house.check();
    }
    let roots: Vec<String> =
        house.catalog().entries.iter().map(|e| e.record().unwrap().root.clone()).collect();
    assert_eq!(roots.iter().filter(|r| *r == "/var/www/site1").count(), 2);
    assert_eq!(roots.iter().filter(|r| *r == "/srv/site1").count(), 2);
}

#[test]
fn a_target_that_is_no_longer_configured_keeps_its_backups() {
    let (mut house, storage) = House::in_memory(keep(1, 0, 0));
    house.targets.push(target("site2"));
    house.good_night("2026-02-03T03:00");
    house.targets.pop();
    for night in nights("2026-02-04", "2026-02-08") {
        house.good_night(&night);
    }
    assert!(storage.tree().contains("site2/daily/site2_2026-02-03_03-00.tar\n"));
}
