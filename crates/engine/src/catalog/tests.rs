//! What a scan makes of a storage, the adoption list, and what the sweep removes and leaves.

use jiff::Timestamp;
use nxs_base::calendar::{Destination, Period, Periods, periods_of};
use nxs_base::layout::discrete::{self, ArchiveName, CompressionSuffix, Suffix};
use nxs_base::layout::{index_key, record_key};
use nxs_base::ports::storage::Storage;
use nxs_base::record::{BackupId, Completeness, IndexDigest, StoredDigest};

use super::memory::{MemoryStorage, key};
use super::*;

pub(crate) fn tag(host: &str, run_id: &str) -> PartTag {
    PartTag { host: host.into(), run_id: run_id.into() }
}

/// One run's backup of one target, as the tests of this crate make them.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) job: String,
    pub(crate) stem: String,
    pub(crate) at: jiff::civil::DateTime,
    pub(crate) size: usize,
    pub(crate) is_complete: bool,
    /// Days of what it needs, nearest first.
    pub(crate) parents: Vec<jiff::civil::Date>,
}

impl Made {
    pub(crate) fn on(date: jiff::civil::Date) -> Self {
        Self {
            job: "j".into(),
            stem: "site1".into(),
            at: date.at(3, 0, 0, 0),
            size: 100,
            is_complete: true,
            parents: Vec::new(),
        }
    }

    pub(crate) fn group(&self) -> GroupId {
        let root = format!("/{}", self.stem);
        GroupId { server_name: "web".into(), job: self.job.clone(), source: 0, root, part: self.stem.clone() }
    }

    pub(crate) fn key(&self, period: Period) -> ObjectKey {
        let name = ArchiveName {
            part: self.stem.clone(),
            period,
            stem: self.stem.clone(),
            at: self.at,
            with_seconds: false,
            extension: "tar".into(),
            suffix: Suffix { compression: CompressionSuffix::Gzip, encrypted: false },
        };
        discrete::build(&name).unwrap()
    }

    pub(crate) fn record(&self) -> Record {
        let digest = |bytes| StoredDigest { blake3: "ab".repeat(32), sha256: "cd".repeat(32), bytes };
        let started = TimeZone::UTC.to_timestamp(self.at).unwrap();
        Record {
            id: BackupId(started.as_second() as u128),
            program: "nxs-backup 4".into(),
            server_name: "web".into(),
            host: "web".into(),
            job: self.job.clone(),
            source: 0,
            target: self.stem.clone(),
            part: self.stem.clone(),
            root: format!("/{}", self.stem),
            kind: "desc_files".into(),
            level: "full".into(),
            parents: self.parents.iter().map(|day| Self::on(*day).record().id).collect(),
            started,
            finished: started,
            local: self.at,
            plain_bytes: 1000,
            compressed_bytes: self.size as u64,
            stored_bytes: self.size as u64,
            archive: digest(self.size as u64),
            index: Some(IndexDigest { stored: digest(5), plain_bytes: 50 }),
            compression: "gzip-6".into(),
            recipients: vec![],
            tools: vec![],
            completeness: if self.is_complete { Completeness::Complete } else { Completeness::Gaps },
            counts: Default::default(),
            periods: periods_of(self.at.date()),
            files: 1,
            dirs: 1,
            end_marker: None,
            log: None,
        }
    }

    /// Publishes as a run does: all staged, then committed, the record last, then the links.
    pub(crate) fn publish(
        &self,
        storage: &dyn Storage,
        tag: &PartTag,
        to: Destination,
    ) -> nxs_base::Result<()> {
        let archive = self.key(to.period);
        let staged = [
            storage.stage(&archive, tag, &mut &vec![7; self.size][..])?,
            storage.stage(&index_key(&archive), tag, &mut &b"index"[..])?,
            storage.stage(&record_key(&archive), tag, &mut self.record().to_line().as_bytes())?,
        ];
        for pending in staged {
            pending.commit()?;
        }
        if storage.caps().links {
            for period in to.links.iter() {
                storage.link(&self.key(period), &archive)?;
            }
        }
        Ok(())
    }
}

fn date(text: &str) -> jiff::civil::Date {
    text.parse().unwrap()
}

fn only(period: Period) -> Destination {
    Destination { period, links: Periods::NONE }
}

/// Entries with periods, then orphans, damage, dangling links.
fn shown(catalog: &Catalog) -> String {
    let mut lines: Vec<String> = Vec::new();
    for e in &catalog.entries {
        let kind = if e.record().is_some() { "recorded" } else { "adopted" };
        lines.push(format!("{kind} {} {:?}", e.key, e.periods_present()));
    }
    lines.extend(catalog.orphans.iter().map(|o| format!("orphan {}", o.key)));
    lines.extend(catalog.damaged.iter().map(|d| format!("damaged {} {:?}", d.key, d.problem.kind())));
    lines.extend(catalog.partials.iter().map(|p| format!("partial {}", p.final_key)));
    lines.extend(catalog.dangling.iter().map(|k| format!("dangling {k}")));
    lines.join("\n")
}

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

const X: &str = "site1/daily/site1_2026-02-03_03-00.tar.gz";

#[test]
fn a_recorded_backup_is_listed_with_its_links_and_index() {
    let storage = MemoryStorage::new(true);
    let made = Made::on(date("2026-02-01"));
    let to =
        Destination { period: Period::Monthly, links: [Period::Daily, Period::Weekly].into_iter().collect() };
    made.publish(&storage, &tag("web", "1"), to).unwrap();
    let catalog = scan(&storage).unwrap();
    assert_eq!(
        shown(&catalog),
        "recorded site1/monthly/site1_2026-02-01_03-00.tar.gz {Daily, Weekly, Monthly}"
    );
    let entry = &catalog.entries[0];
    assert_eq!(entry.group(&[]), Some(made.group()));
    assert_eq!(entry.total_bytes(), 105);
    assert!(entry.is_complete() && entry.links.iter().all(|l| l.leads_to_archive));
}

#[test]
fn v2_backups_are_adopted_once_and_later_strangers_are_orphans() {
    let storage = MemoryStorage::new(true);
    storage.put("site1/weekly/site1_2018-07-29_03-00.tar", b"v2");
    storage.put_link("site1/daily/site1_2018-07-29_03-00.tar", "site1/weekly/site1_2018-07-29_03-00.tar");
    storage.put("daily/redis_2018-07-28_03-00.rdb.gz", b"v2");
    storage.put("site1/daily/notes.txt", b"mine");
    storage.put("daily/etcd_2018-07-28_03-00.zip", b"v2, never rotated");
    storage.put("data/2018/month_07/monthly/data_2018-07-28_03-00.tar", b"v2 increment");
    assert!(!scan(&storage).unwrap().has_adoption_list);
    assert_eq!(ensure_adoption_list(&storage, &tag("web", "1")).unwrap(), Some(3));
    storage.put(X, b"late");
    assert_eq!(ensure_adoption_list(&storage, &tag("web", "2")).unwrap(), None);
    let catalog = scan(&storage).unwrap();
    assert!(catalog.has_adoption_list);
    assert_eq!(
        shown(&catalog),
        "adopted daily/redis_2018-07-28_03-00.rdb.gz {Daily}\n\
         adopted data/2018/month_07/monthly/data_2018-07-28_03-00.tar {}\n\
         adopted site1/weekly/site1_2018-07-29_03-00.tar {Daily, Weekly}\n\
         orphan daily/etcd_2018-07-28_03-00.zip\n\
         orphan site1/daily/site1_2026-02-03_03-00.tar.gz"
    );
}

#[test]
fn an_adopted_archive_that_was_exchanged_is_an_orphan() {
    let storage = MemoryStorage::new(true);
    storage.put(X, b"v2");
    ensure_adoption_list(&storage, &tag("web", "1")).unwrap();
    storage.put(X, b"other");
    assert_eq!(shown(&scan(&storage).unwrap()), format!("orphan {X}"));
    storage.set_now(26 * 3600);
    storage.put(X, b"v3");
    assert_eq!(shown(&scan(&storage).unwrap()), format!("orphan {X}"));
}

#[test]
fn a_lost_adoption_list_adopts_only_what_is_older_than_every_record() {
    let storage = MemoryStorage::new(true);
    storage.put("site1/daily/site1_2018-07-28_03-00.tar", b"v2");
    Made::on(date("2026-02-03")).publish(&storage, &tag("web", "1"), only(Period::Daily)).unwrap();
    storage.put("site1/daily/site1_2026-02-04_03-00.tar", b"torn");
    assert_eq!(ensure_adoption_list(&storage, &tag("web", "2")).unwrap(), Some(1));
    assert!(shown(&scan(&storage).unwrap()).contains("orphan site1/daily/site1_2026-02-04_03-00.tar"));
}

#[test]
fn a_damaged_adoption_list_is_reported_and_never_replaced() {
    for (text, kind) in [("{", "Corrupt"), ("{\"format\":2}", "Unsupported"), ("", "Corrupt")] {
        let storage = MemoryStorage::new(true);
        storage.put(X, b"v2");
        storage.put(".nxs-adopted.json", text.as_bytes());
        let shown = shown(&scan(&storage).unwrap());
        assert_eq!(shown, format!("orphan {X}\ndamaged .nxs-adopted.json {kind}"));
        let before = storage.objects();
        assert!(ensure_adoption_list(&storage, &tag("web", "1")).is_err());
        assert_eq!(storage.objects(), before);
    }
}

#[test]
fn damage_is_reported_and_is_no_backup() {
    let storage = MemoryStorage::new(true);
    let made = Made::on(date("2026-02-03"));
    made.publish(&storage, &tag("web", "1"), only(Period::Daily)).unwrap();
    let sound = storage.snapshot();
    let check = |change: &dyn Fn(&MemoryStorage), expected: &str| {
        let storage = sound.snapshot();
        change(&storage);
        assert_eq!(shown(&scan(&storage).unwrap()), expected);
    };
    let record = format!("{X}.nxs.json");
    let index = format!("{X}.nxs.idx");
    check(&|s| s.put(X, b"short"), &format!("damaged {record} Corrupt"));
    check(&|s| s.put(&record, b"{}\n"), &format!("damaged {record} Corrupt"));
    check(&|s| s.put(&record, &vec![b' '; 1 << 20]), &format!("damaged {record} Corrupt"));
    check(&|s| s.put(&record, b"{\"format\":9}\n"), &format!("damaged {record} Unsupported"));
    check(&|s| s.delete(&key(X)).unwrap(), &format!("damaged {record} NotFound"));
    check(&|s| s.delete(&key(&index)).unwrap(), &format!("recorded {X} {{Daily}}\ndamaged {index} Corrupt"));
}

#[test]
fn a_record_that_has_not_followed_its_archive_is_found() {
    let storage = MemoryStorage::new(true);
    let made = Made::on(date("2026-02-01"));
    made.publish(
        &storage,
        &tag("web", "1"),
        Destination { period: Period::Monthly, links: Periods::of(Period::Daily) },
    )
    .unwrap();
    storage.rename(&made.key(Period::Monthly), &made.key(Period::Weekly)).unwrap();
    let catalog = scan(&storage).unwrap();
    assert_eq!(shown(&catalog), "recorded site1/weekly/site1_2026-02-01_03-00.tar.gz {Daily, Weekly}");
    assert!(!catalog.entries[0].links[0].leads_to_archive);
}

#[test]
fn a_recordless_backup_belongs_to_the_only_group_that_would_name_it_so() {
    let storage = MemoryStorage::new(true);
    storage.put(X, b"v2");
    ensure_adoption_list(&storage, &tag("web", "1")).unwrap();
    let catalog = scan(&storage).unwrap();
    let group = |job: &str, stem: &str| {
        let id = Made { job: job.into(), stem: stem.into(), ..Made::on(date("2026-02-03")) }.group();
        ConfiguredGroup { id, part: "site1".into(), stem: stem.into() }
    };
    let (a, b, other) = (group("a", "site1"), group("b", "site1"), group("c", "site10"));
    let owned = |id: &GroupId, configured: &[ConfiguredGroup]| catalog.of_group(id, configured).len();
    assert_eq!(owned(&a.id, &[a.clone(), other.clone()]), 1);
    assert_eq!(owned(&other.id, &[a.clone(), other.clone()]), 0);
    assert_eq!(owned(&a.id, &[a.clone(), b.clone()]), 0);
    assert_eq!(owned(&b.id, &[a, b.clone()]), 0);
}

#[test]
fn the_sweep_takes_dead_partials_of_this_host_at_once_and_foreign_ones_after_a_week() {
    let storage = MemoryStorage::new(true);
    let part =
        |host: &str, run: &str| format!("s/daily/{}", tag(host, run).part_name("s_2026-02-03_03-00.tar"));
    let day = 24 * 3600;
    let put = |host: &str, run: &str, age_days: i64| {
        storage.set_now(now().as_second() - age_days * day);
        storage.put(&part(host, run), b"half");
    };
    put("web", "own", 0);
    put("web", "dead", 0);
    put("web", "live", 0);
    put("db", "young", 7);
    put("db", "old", 8);
    put("db", "live", 9);
    put("db", "future", -9);
    storage.set_live(key(&part("web", "live")));
    storage.set_live(key(&part("db", "live")));
    storage.put("s/daily/notes.txt", b"mine");
    let swept = sweep(&storage, &tag("web", "own"), now()).unwrap();
    assert_eq!(swept.partials, [key(&part("db", "old")), key(&part("web", "dead"))]);
    assert_eq!(swept.rolled_back, []);
    assert_eq!(storage.names().len(), 6);
    assert_eq!(sweep(&storage, &tag("web", "own"), now()).unwrap().objects(), 0);
}

#[test]
fn a_run_that_died_at_any_step_leaves_nothing_that_counts_and_is_swept_away() {
    let sunday_the_first = date("2026-02-01");
    let to =
        Destination { period: Period::Monthly, links: [Period::Daily, Period::Weekly].into_iter().collect() };
    let mut steps = 0;
    for k in 0.. {
        let storage = MemoryStorage::new(true);
        Made::on(date("2026-01-31")).publish(&storage, &tag("web", "1"), only(Period::Daily)).unwrap();
        storage.put("site1/weekly/site1_2018-07-29_03-00.tar", b"v2");
        ensure_adoption_list(&storage, &tag("web", "1")).unwrap();
        let before = storage.objects();
        storage.set_fuse(Some(k));
        let outcome = Made::on(sunday_the_first).publish(&storage, &tag("web", "2"), to);
        let is_done = !storage.is_blown();
        storage.set_fuse(None);
        let is_recorded = scan(&storage).unwrap().entries.len() == 3;
        for cut in 0.. {
            storage.set_fuse(Some(cut));
            let swept = sweep(&storage, &tag("web", "3"), now());
            let is_blown = storage.is_blown();
            storage.set_fuse(None);
            assert_eq!(scan(&storage).unwrap().entries.len(), if is_recorded { 3 } else { 2 }, "{k} {cut}");
            if !is_blown {
                swept.unwrap();
                break;
            }
        }
        if !is_recorded {
            assert!(outcome.is_err());
            assert_eq!(storage.objects(), before, "cut at {k}");
        }
        assert_eq!(scan(&storage).unwrap().partials, []);
        steps = k;
        if is_done {
            break;
        }
    }
    assert_eq!(steps, 9, "three staged, three committed, two links, and one to see that it ends");
}

#[test]
fn the_sweep_never_takes_an_archive_that_is_somebody_elses() {
    let dead =
        format!("site1/daily/{}", tag("web", "dead").part_name("site1_2026-02-03_03-00.tar.gz.nxs.json"));
    let made = Made::on(date("2026-02-03"));
    let archive = vec![7; made.size];
    let survives = |prepare: &dyn Fn(&MemoryStorage)| {
        let storage = MemoryStorage::new(true);
        prepare(&storage);
        sweep(&storage, &tag("web", "own"), now()).unwrap();
        storage.names().iter().any(|n| n == X)
    };
    assert!(!survives(&|s| {
        s.put(X, &archive);
        s.put(&dead, b"torn");
    }));
    assert!(survives(&|s| {
        s.put(X, &archive);
        ensure_adoption_list(s, &tag("web", "1")).unwrap();
        s.put(&dead, b"torn");
    }));
    assert!(survives(&|s| {
        s.put(X, b"another size");
        s.put(&dead, made.record().to_line().as_bytes());
    }));
    assert!(survives(&|s| {
        made.publish(s, &tag("web", "1"), only(Period::Daily)).unwrap();
        s.put(&dead, b"torn");
    }));
    assert!(survives(&|s| {
        s.put(X, &archive);
        s.put(&dead, b"torn");
        let living = dead.replace(".dead.", ".living.");
        s.put(&living, b"torn");
        s.set_live(key(&living));
    }));
    assert!(survives(&|s| {
        s.put(X, &archive);
        s.put(&dead, b"torn");
        s.put(".nxs-adopted.json", b"damaged");
    }));
}

#[test]
fn links_of_vanished_archives_are_dangling_and_foreign_links_are_nobodys() {
    let storage = MemoryStorage::new(true);
    storage.put_link(X, "site1/weekly/site1_2026-02-03_03-00.tar.gz");
    storage.put_link("site1/latest", "site1/daily/gone.tar");
    storage.put_link("site1/daily/latest.tar", "site1/daily/gone.tar");
    assert_eq!(shown(&scan(&storage).unwrap()), format!("dangling {X}"));
}
