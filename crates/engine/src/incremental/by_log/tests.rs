//! What follows what, when a full copy is due, and chains that rotation leaves whole over months.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::date;
use jiff::tz::TimeZone;
use nxs_base::calendar::{Period, destination, kept_count, periods_of};
use nxs_base::entry::FileTime;
use nxs_base::layout::record_key;
use nxs_base::record::{LogOrigin, StoredDigest};
use nxs_base::spec::Retention;
use proptest::prelude::*;

use super::*;
use crate::catalog::Origin;
use crate::catalog::tests::Made;
use crate::rotation::{Action, Decision, Policy, drop_first, items, needed_stay, plan};

fn origin() -> LogOrigin {
    LogOrigin { server: "ab".repeat(16), up_since: 1000, tool: "mariadb-backup 10.11".into() }
}

fn state(at: u64) -> LogState {
    LogState { origin: origin(), at: Some(at) }
}

fn rule(today: Date, full_every: u32, log: &LogState) -> Rule<'_> {
    Rule { today, full_every, is_kept_longer: false, log: Some(log) }
}

/// Copy number `n`, of this day, up to `to`, full or after another one.
fn copy(n: usize, day: Date, to: u64, base: Option<&Base>) -> CatalogEntry {
    let at = day.at(3, 0, 0, 0) + (n as i64 % 600).minutes();
    let made = Made { size: 1 << 10, at, ..Made::on(day) };
    let period = destination(day, Retention { days: 1, weeks: 1, months: 1 }).unwrap().period;
    let key = made.key(if base.is_some() { Period::Daily } else { period });
    let mut record = made.record();
    record.id = BackupId(n as u128 + 1);
    record.level = if base.is_some() { Record::INCREMENT } else { Record::FULL }.to_owned();
    record.archive = StoredDigest { blake3: format!("{to:064x}"), ..record.archive };
    record.parents = base.map_or_else(Vec::new, |base| base.parents.clone());
    record.log = Some(LogSpan {
        origin: origin(),
        from: base.map_or(0, |base| base.position),
        to,
        parent: base.map(|base| base.archive.clone()),
    });
    CatalogEntry {
        name: nxs_base::layout::discrete::parse(&key).map(|parsed| parsed.name),
        size_bytes: record.stored_bytes,
        mtime: FileTime::default(),
        increment: None,
        index: None,
        links: Vec::new(),
        stand_ins: Vec::new(),
        origin: Origin::Recorded { record_key: record_key(&key), record: Box::new(record) },
        key,
    }
}

/// One more day at this position of the log.
fn day(all: &mut Vec<CatalogEntry>, today: Date, to: u64, full_every: u32) -> Next {
    let next = next(&[Copies::new(all.iter())], &rule(today, full_every, &state(to)));
    let made = match &next {
        Next::Full(_) => copy(all.len(), today, to, None),
        Next::After(base) => copy(all.len(), today, to, Some(base)),
    };
    all.push(made);
    next
}

fn reason(next: Next) -> String {
    match next {
        Next::Full(reason) => reason,
        Next::After(base) => panic!("after {}", base.archive.name),
    }
}

fn position(next: &Next) -> u64 {
    match next {
        Next::Full(_) => 0,
        Next::After(base) => base.position,
    }
}

const FIRST: Date = date(2026, 3, 2);

#[test]
fn a_full_copy_is_made_when_the_last_one_is_so_many_days_old() {
    let mut all = Vec::new();
    let made: Vec<u64> =
        (0..8).map(|n| position(&day(&mut all, FIRST + n.days(), 10 * (n as u64 + 1), 3))).collect();
    assert_eq!(made, [0, 10, 20, 0, 40, 50, 0, 70]);
    // Another run of the same day, and one after days without any.
    assert_eq!(position(&day(&mut all, FIRST + 7.days(), 85, 3)), 80);
    assert!(reason(day(&mut all, FIRST + 20.days(), 90, 3)).contains("14 days old"));
    assert!(reason(day(&mut all, FIRST, 95, 3)).contains("after today"));
    // Nothing happened since: that is an increment, too.
    assert_eq!(position(&day(&mut all, FIRST, 95, 3)), 95);
}

#[test]
fn what_is_kept_for_weeks_or_months_is_a_full_copy() {
    let mut all = Vec::new();
    day(&mut all, FIRST, 10, 7);
    let log = state(20);
    let longer = Rule { is_kept_longer: true, ..rule(FIRST, 7, &log) };
    assert!(reason(next(&[Copies::new(all.iter())], &longer)).contains("weeks or months"));
    let unknown = Rule { log: None, ..rule(FIRST, 7, &log) };
    assert!(reason(next(&[Copies::new(all.iter())], &unknown)).contains("nothing is known"));
}

#[test]
fn a_log_that_is_not_the_one_of_the_last_copy_begins_a_new_chain() {
    let mut all = Vec::new();
    day(&mut all, FIRST, 10, 7);
    day(&mut all, FIRST, 20, 7);
    let of = |log: LogState| next(&[Copies::new(all.iter())], &rule(FIRST, 7, &log));
    assert_eq!(position(&of(state(20))), 20);
    assert_eq!(position(&of(LogState { at: None, ..state(0) })), 20);
    // Behind the last copy, but not behind the one before: how should it be, within one life of a server?
    assert_eq!(position(&of(state(15))), 10);
    assert!(reason(of(state(5))).contains("behind the last copy"));
    let with = |origin: LogOrigin| of(LogState { origin, at: Some(30) });
    assert!(reason(with(LogOrigin { up_since: 1010, ..origin() })).contains("started anew"));
    assert!(reason(with(LogOrigin { tool: "mariadb-backup 11.4".into(), ..origin() })).contains("version"));
    assert!(reason(with(LogOrigin { server: "cd".repeat(16), ..origin() })).contains("data directory"));
}

#[test]
fn an_increment_follows_the_newest_point_that_is_whole_on_every_storage() {
    let mut all = Vec::new();
    for n in 0..4 {
        day(&mut all, FIRST + n.days(), 10 * (n as u64 + 1), 7);
    }
    let without = |lost: &[usize]| {
        let kept = all.iter().enumerate().filter(|(n, _)| !lost.contains(n));
        Copies::new(kept.map(|(_, entry)| entry))
    };
    let log = state(50);
    let after = |storages: &[Copies<'_>]| next(storages, &rule(FIRST + 4.days(), 7, &log));
    let at = |storages: &[Copies<'_>]| position(&after(storages));
    assert_eq!(at(&[without(&[])]), 40);
    // One was down, once or since.
    assert_eq!(at(&[without(&[]), without(&[3])]), 30);
    assert_eq!(at(&[without(&[]), without(&[2, 3])]), 20);
    // What is there is of no use without what it follows.
    assert_eq!(at(&[without(&[2])]), 20);
    assert_eq!(at(&[without(&[2]), without(&[1])]), 10);
    assert!(reason(after(&[without(&[]), without(&[0])])).contains("whole on every storage"));
    assert!(reason(after(&[without(&[0])])).contains("none before it that is whole"));
    assert!(reason(after(&[without(&[]), without(&[0, 1, 2, 3])])).contains("on every storage"));
    // The name of what is missing is told.
    let (newest, lacks) = without(&[1]).broken_end().map(|(e, lacks)| (e.key.to_string(), lacks)).unwrap();
    assert_eq!(newest, all[3].key.as_str());
    assert_eq!(lacks, all[1].key.file_name());
    assert!(without(&[]).broken_end().is_none());
}

#[test]
fn an_archive_of_the_same_name_with_other_bytes_is_no_parent() {
    let mut all = Vec::new();
    day(&mut all, FIRST, 10, 7);
    day(&mut all, FIRST + 1.days(), 20, 7);
    let Origin::Recorded { record, .. } = &mut all[0].origin else { panic!("it has a record") };
    record.archive.blake3 = "00".repeat(32);
    let copies = Copies::new(all.iter());
    assert_eq!(copies.ancestry(&all[1]).unwrap_err(), all[0].key.file_name());
    assert_eq!(copies.ancestry(&all[0]).unwrap().len(), 1);
}

/// Runs every day for so long, rotates before or after each, and looks at what is there.
fn simulate(days: i32, retention: Retention, full_every: u32, is_short: impl Fn(i32) -> bool) {
    let mut all: Vec<CatalogEntry> = Vec::new();
    let mut runs = 0_usize;
    for n in 0..days {
        let today = date(2026, 1, 1) + n.days();
        let Some(to) = destination(today, retention) else { continue };
        let log = state(10 * (n as u64 + 1));
        let rule = Rule { is_kept_longer: to.period > Period::Daily, ..rule(today, full_every, &log) };
        let next = next(&[Copies::new(all.iter())], &rule);
        let base = match &next {
            Next::Full(_) => None,
            Next::After(base) => Some(base),
        };
        let policy = |upcoming| Policy { retention, now: jiff::Timestamp::MAX, upcoming, allow_last: true };
        let rotate = |all: &mut Vec<CatalogEntry>, policy: &Policy, needs: &[BackupId], most: Option<u64>| {
            let found = items(&all.iter().collect::<Vec<_>>(), &TimeZone::UTC);
            let decisions = needed_stay(&found, needs, plan(&found, policy));
            let decisions = match most {
                Some(most) => drop_first(&decisions, &found, most),
                None => decisions,
            };
            let is_dropped = |entry: &CatalogEntry| {
                decisions.iter().any(|d: &Decision| d.key == entry.key && d.action == Action::Drop)
            };
            all.retain(|entry| !is_dropped(entry));
            let copies = Copies::new(all.iter());
            for entry in all.iter() {
                let whole = copies.ancestry(entry);
                assert!(whole.is_ok(), "{today}: `{}` lost `{}`", entry.key, whole.unwrap_err());
            }
        };
        if is_short(n) {
            let needs = base.map_or(&[][..], |base| base.parents.as_slice());
            rotate(&mut all, &policy(Some(periods_of(today))), needs, Some(3 << 10));
        }
        all.push(copy(runs, today, 10 * (n as u64 + 1), base));
        runs += 1;
        rotate(&mut all, &Policy { upcoming: None, allow_last: false, ..policy(None) }, &[], None);
        let of_days: BTreeSet<Date> = all.iter().filter_map(|e| Some(e.record()?.local.date())).collect();
        let daily = (kept_count(retention, Period::Daily) as usize).min(runs);
        let last: Vec<Date> = (0..daily as i32).map(|back| today - back.days()).collect();
        assert!(last.iter().all(|d| of_days.contains(d)), "{today}: {of_days:?}");
        // Beside the counts there is at most one chain that only others need.
        let most = retention.days + retention.weeks + retention.months + full_every;
        assert!(all.len() <= most as usize, "{today}: {} of {most}", all.len());
        let of_period = |period| all.iter().filter(move |e| e.real_period() == Some(period));
        let longer = of_period(Period::Weekly).chain(of_period(Period::Monthly));
        assert!(longer.clone().all(|entry| entry.parents().is_empty()));
    }
}

#[test]
fn rotation_never_takes_what_a_kept_increment_needs() {
    simulate(40, Retention { days: 3, weeks: 0, months: 0 }, 7, |_| false);
    simulate(400, Retention { days: 6, weeks: 4, months: 6 }, 7, |_| false);
    simulate(120, Retention { days: 1, weeks: 0, months: 0 }, 30, |_| false);
}

proptest! {
    #[test]
    fn chains_stay_whole_whatever_is_kept_and_where_room_is_short(
        days in 1..9_u32, weeks in 0..3_u32, months in 0..3_u32, full_every in 1..12_u32, short in any::<u64>(),
    ) {
        simulate(64, Retention { days, weeks, months }, full_every, |n| short >> n & 1 == 1);
    }
}
