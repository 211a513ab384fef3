//! Leases: what they cover, how long, and that rotation and sweep respect them.

use nxs_base::calendar::{Destination, Period};
use nxs_base::spec::Retention;
use nxs_testkit::{FakeClock, FlakyStorage, OpKind};

use super::*;
use crate::catalog::memory::{MemoryStorage, key};
use crate::catalog::tests::{Made, tag};
use crate::catalog::{scan, sweep};
use crate::rotation::{self, Policy, plan};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    at("2026-03-01T12:00:00Z")
}

const LEASE: &str = ".nxs-leases/web.7";
const X: &str = "site1/daily/site1_2026-02-03_03-00.tar.gz";

fn names(leases: &Leases) -> String {
    leases.expired.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_lease_covers_its_archives_in_any_period_directory_until_it_is_taken_back() {
    let storage = MemoryStorage::new(true);
    let lease = Lease::take(&storage, &tag("web", "7"), Held::Keys(vec![key(X)]), noon()).unwrap();
    assert_eq!(storage.names(), [LEASE]);
    let leases = Leases::read(&storage, noon()).unwrap();
    assert!(leases.cover(&key(X)) && leases.cover(&key(&X.replace("daily", "monthly"))));
    assert!(!leases.cover(&key(&X.replace("02-03", "02-04"))));
    lease.finish().unwrap();
    assert_eq!(storage.names(), Vec::<String>::new());
    assert_eq!(Leases::read(&storage, noon()).unwrap(), Leases::default());
}

#[test]
fn a_lease_that_is_dropped_is_taken_back_and_one_of_everything_covers_everything() {
    let storage = MemoryStorage::new(true);
    let lease = Lease::take(&storage, &tag("web", "7"), Held::All, noon()).unwrap();
    assert!(Leases::read(&storage, noon()).unwrap().cover(&key(X)));
    drop(lease);
    assert_eq!(storage.names(), Vec::<String>::new());
    let many = (0..=MAX_KEYS).map(|i| key(&format!("s/{i}"))).collect();
    let lease = Lease::take(&storage, &tag("web", "7"), Held::Keys(many), noon()).unwrap();
    assert_eq!(lease.held, Held::All, "too many to name");
}

#[test]
fn a_lease_counts_for_an_hour_after_it_was_written_and_renewing_moves_that() {
    let storage = MemoryStorage::new(true);
    let mut lease = Lease::take(&storage, &tag("web", "7"), Held::All, noon()).unwrap();
    let counts = |now: &str| Leases::read(&storage, at(now)).unwrap().cover(&key(X));
    assert!(counts("2026-03-01T12:59:59Z") && !counts("2026-03-01T13:00:00Z"));
    lease.renew(at("2026-03-01T12:45:00Z")).unwrap();
    assert!(counts("2026-03-01T13:44:59Z") && !counts("2026-03-01T13:45:00Z"));
    assert!(counts("2026-02-28T13:00:00Z"), "a clock that is a day behind");
    assert!(
        !counts("2025-03-01T12:00:00Z"),
        "a reader whose clock is a year ahead does not block for a year"
    );
}

#[test]
fn an_unreadable_lease_covers_everything_for_an_hour_after_it_was_written() {
    for text in ["", "{", "{\"format\":2,\"later\":1}", "[]"] {
        let storage = MemoryStorage::new(true);
        storage.set_now(noon().as_second());
        storage.put(LEASE, text.as_bytes());
        assert!(Leases::read(&storage, at("2026-03-01T12:59:00Z")).unwrap().cover(&key(X)), "{text}");
        let later = Leases::read(&storage, at("2026-03-01T13:01:00Z")).unwrap();
        assert!(!later.cover(&key(X)) && names(&later) == LEASE, "{text}");
    }
}

#[test]
fn expired_leases_are_swept_live_ones_stay_and_neither_is_a_backup_or_an_orphan() {
    let storage = MemoryStorage::new(true);
    let old = Lease::take(&storage, &tag("db", "1"), Held::All, at("2026-03-01T10:00:00Z")).unwrap();
    let live = Lease::take(&storage, &tag("web", "7"), Held::All, noon()).unwrap();
    storage.put(".nxs-leases/.web.8.web.8.nxs-part", b"half");
    let catalog = scan(&storage).unwrap();
    assert!(catalog.entries.is_empty() && catalog.orphans.is_empty() && catalog.damaged.is_empty());
    let swept = sweep(&storage, &tag("web", "9"), noon()).unwrap();
    assert_eq!(swept.leases, [key(".nxs-leases/db.1")]);
    assert_eq!(swept.objects(), 2, "the dead partial goes as all do");
    assert_eq!(storage.names(), [LEASE]);
    old.finish().unwrap();
    live.finish().unwrap();
}

/// Three nights on one storage, of which a policy of one day keeps the last.
fn three_nights(links: bool) -> MemoryStorage {
    let storage = MemoryStorage::new(links);
    for day in ["2026-02-03", "2026-02-04", "2026-02-05"] {
        let to = Destination { period: Period::Daily, links: Periods::NONE };
        Made::on(day.parse().unwrap()).publish(&storage, &tag("web", "1"), to).unwrap();
    }
    storage
}

#[test]
fn what_a_reader_keeps_in_place_keeps_what_that_needs() {
    let storage = MemoryStorage::new(true);
    let days: Vec<jiff::civil::Date> =
        ["2026-02-03", "2026-02-04", "2026-02-05", "2026-02-06"].map(|day| day.parse().unwrap()).to_vec();
    for n in 0..4 {
        let to = Destination { period: Period::Daily, links: Periods::NONE };
        // A chain of three, and one that begins anew.
        let parents = if n == 3 { Vec::new() } else { days[..n].iter().rev().copied().collect() };
        Made { parents, ..Made::on(days[n]) }.publish(&storage, &tag("web", "1"), to).unwrap();
    }
    let middle = key(&X.replace("02-03", "02-04"));
    let lease = Lease::take(&storage, &tag("db", "7"), Held::Keys(vec![middle.clone()]), noon()).unwrap();
    // Known before the plan.
    let found = items(&storage);
    let spared = Leases::read(&storage, noon()).unwrap().spare(&found, plan(&found, &one_day()));
    let shown: Vec<String> = rotation::needed_stay(&found, &[], spared)
        .iter()
        .map(|d| format!("{:?} {}", d.action, d.reason))
        .collect();
    assert_eq!(
        shown,
        [
            "Keep among the newest of daily",
            "Drop older than what is kept of daily",
            "Keep leased: a restore or a verification reads it",
            "Keep needed by a kept increment"
        ]
    );
    // Taken after it.
    let decisions = plan(&found, &one_day());
    let applied = rotation::apply(&storage, &tag("web", "2"), noon(), &scan(&storage).unwrap(), &decisions);
    assert_eq!((applied.leased, applied.dropped.len()), (vec![middle], 1));
    assert_eq!(scan(&storage).unwrap().entries.len(), 3);
    lease.finish().unwrap();
    let applied = rotation::apply(&storage, &tag("web", "3"), noon(), &scan(&storage).unwrap(), &decisions);
    let gone: Vec<&str> = applied.dropped.iter().map(|d| &d.key.as_str()[23..28]).collect();
    assert_eq!(gone, ["02-04", "02-03"], "what follows goes first");
}

fn one_day() -> Policy {
    Policy { retention: Retention { days: 1, weeks: 0, months: 0 }, now: noon(), ..Policy::default() }
}

fn items(storage: &MemoryStorage) -> Vec<RotationItem> {
    let catalog = scan(storage).unwrap();
    catalog.entries.iter().map(|e| RotationItem::from_entry(e, &jiff::tz::TimeZone::UTC)).collect()
}

#[test]
fn rotation_spares_what_is_read_with_the_reason_leased_and_drops_it_when_the_reader_is_done() {
    let storage = three_nights(true);
    let lease = Lease::take(&storage, &tag("db", "7"), Held::Keys(vec![key(X)]), noon()).unwrap();
    let decisions = plan(&items(&storage), &one_day());
    let spared = Leases::read(&storage, noon()).unwrap().spare(&items(&storage), decisions.clone());
    let shown: Vec<String> =
        spared.iter().map(|d| format!("{:?} {} {:?}", d.action, d.reason, d.keep)).collect();
    assert_eq!(
        shown,
        [
            "Keep among the newest of daily {Daily}",
            "Drop older than what is kept of daily {}",
            "Keep leased: a restore or a verification reads it {Daily}"
        ]
    );
    // A plan made before the reader came does not drop either.
    let applied = rotation::apply(&storage, &tag("web", "2"), noon(), &scan(&storage).unwrap(), &decisions);
    assert_eq!((applied.leased, applied.dropped.len()), (vec![key(X)], 1));
    assert_eq!(scan(&storage).unwrap().entries.len(), 2);
    let applied = rotation::apply(&storage, &tag("web", "2"), noon(), &scan(&storage).unwrap(), &spared);
    assert_eq!((applied.leased, applied.dropped.len()), (vec![key(X)], 0));
    lease.finish().unwrap();
    let applied = rotation::apply(&storage, &tag("web", "3"), noon(), &scan(&storage).unwrap(), &decisions);
    assert_eq!(applied.dropped.len(), 1);
    assert_eq!(scan(&storage).unwrap().entries.len(), 1);
}

#[test]
fn what_is_read_does_not_move_to_another_period() {
    let storage = MemoryStorage::new(true);
    let first = Made::on("2026-02-01".parse().unwrap());
    let to = Destination { period: Period::Monthly, links: Periods::of(Period::Daily) };
    first.publish(&storage, &tag("web", "1"), to).unwrap();
    let lease =
        Lease::take(&storage, &tag("db", "7"), Held::Keys(vec![first.key(Period::Monthly)]), noon()).unwrap();
    let before = storage.names();
    let rotate = || {
        let decisions = plan(&items(&storage), &one_day());
        rotation::apply(&storage, &tag("web", "2"), noon(), &scan(&storage).unwrap(), &decisions)
    };
    assert_eq!(rotate().leased, [first.key(Period::Monthly)]);
    assert_eq!(storage.names(), before);
    lease.finish().unwrap();
    assert_eq!(rotate().moved.len(), 1);
}

#[test]
fn a_reader_that_comes_between_the_plan_and_the_drop_gets_its_backup_back() {
    /// Takes a lease when the record is withdrawn.
    struct Late(MemoryStorage);
    impl Storage for Late {
        fn label(&self) -> &str {
            "late"
        }
        fn caps(&self) -> nxs_base::ports::storage::Caps {
            self.0.caps()
        }
        fn stage(
            &self,
            key: &ObjectKey,
            tag: &PartTag,
            data: &mut dyn std::io::Read,
        ) -> Result<Box<dyn nxs_base::ports::storage::Pending>> {
            self.0.stage(key, tag, data)
        }
        fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()> {
            self.0.put_replace(key, tag, data)
        }
        fn get(
            &self,
            key: &ObjectKey,
            range: Option<std::ops::Range<u64>>,
        ) -> Result<Box<dyn std::io::Read + Send>> {
            self.0.get(key, range)
        }
        fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
            self.0.list(dir, each)
        }
        fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
            self.0.stat(key)
        }
        fn delete(&self, key: &ObjectKey) -> Result<()> {
            self.0.delete(key)
        }
        fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
            self.0.rename(from, to)?;
            if is_partial(to) {
                std::mem::forget(Lease::take(&self.0, &tag("db", "7"), Held::All, noon())?);
            }
            Ok(())
        }
        fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
            self.0.link(key, target)
        }
        fn is_part_live(&self, key: &ObjectKey) -> bool {
            self.0.is_part_live(key)
        }
        fn free_bytes(&self) -> Result<Option<u64>> {
            self.0.free_bytes()
        }
    }
    let storage = three_nights(true);
    let before = storage.names();
    let decisions = plan(&items(&storage), &one_day());
    let late = Late(storage.clone());
    let applied = rotation::apply(&late, &tag("web", "2"), noon(), &scan(&storage).unwrap(), &decisions);
    assert!(applied.dropped.is_empty() && applied.problems.is_empty(), "{applied:?}");
    assert_eq!(applied.leased.len(), 2);
    storage.delete(&key(".nxs-leases/db.7")).unwrap();
    assert_eq!(storage.names(), before);
}

#[test]
fn nothing_is_dropped_where_leases_cannot_be_read() {
    let storage = three_nights(true);
    storage.put(".nxs-leases/db.7", b"whatever");
    let decisions = plan(&items(&storage), &one_day());
    let catalog = scan(&storage).unwrap();
    for (op, kind) in [(OpKind::List, ErrorKind::Denied), (OpKind::Get, ErrorKind::Timeout)] {
        let flaky = FlakyStorage::new(std::sync::Arc::new(storage.clone()));
        for _ in 0..4 {
            flaky.fail_next(op, kind);
        }
        let applied = rotation::apply(&flaky, &tag("web", "2"), noon(), &catalog, &decisions);
        assert!(applied.dropped.is_empty());
        assert_eq!(applied.problems.len(), 2);
        assert_eq!(scan(&storage).unwrap().entries.len(), 3);
    }
}

#[test]
fn work_is_done_under_a_lease_that_is_renewed_and_taken_back() {
    let storage = MemoryStorage::new(true);
    let clock = FakeClock::utc("2026-03-01T12:00");
    let warn = |error: &Error| panic!("{error}");
    let readings: Vec<(&dyn Storage, Held)> = vec![(&storage, Held::Keys(vec![key(X)]))];
    let soon = Duration::from_millis(1);
    let answer = hold_renewing(readings, &tag("web", "7"), &clock, &warn, soon, || {
        clock.advance(SignedDuration::from_mins(50));
        let later = clock.now().timestamp() + SignedDuration::from_mins(30);
        while !Leases::read(&storage, later).unwrap().cover(&key(X)) {
            std::thread::yield_now();
        }
        42
    });
    assert_eq!(answer, 42);
    assert_eq!(storage.names(), Vec::<String>::new());
}

#[test]
fn a_storage_that_takes_no_lease_is_read_without_one_and_that_is_said() {
    let storage = MemoryStorage::new(true);
    let flaky = FlakyStorage::new(std::sync::Arc::new(storage.clone()));
    flaky.fail_next(OpKind::PutReplace, ErrorKind::Denied);
    let said = Mutex::new(Vec::new());
    let warn = |error: &Error| said.lock().unwrap().push(error.to_string());
    let clock = FakeClock::utc("2026-03-01T12:00");
    let answer = hold(vec![(&flaky, Held::All)], &tag("web", "7"), &clock, &warn, || 42);
    assert_eq!(answer, 42);
    assert_eq!(said.into_inner().unwrap(), ["no lease can be had on storage `memory`"]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        hold(vec![(&storage, Held::All)], &tag("web", "7"), &clock, &|_| {}, || panic!("in the work"))
    }));
    assert!(panicked.is_err());
    assert_eq!(storage.names(), Vec::<String>::new(), "a panic takes the lease back as well");
}
