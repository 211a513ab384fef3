//! The golden tables of v2, the rules of the plan, the order, and drops and moves cut short at every step.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use nxs_base::calendar::{self, Destination, Period, Periods, periods_of};
use nxs_base::layout::discrete;
use nxs_base::ports::storage::ObjectKey;
use nxs_base::spec::{Retention, Rotation};
use proptest::prelude::*;

use super::*;
use crate::catalog::memory::{MemoryStorage, Object, key};
use crate::catalog::tests::{Made, tag};
use crate::catalog::{Catalog, ConfiguredGroup, ensure_adoption_list, scan, sweep};

fn keep(days: u32, weeks: u32, months: u32) -> Retention {
    Retention { days, weeks, months }
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn items_of(catalog: &Catalog) -> Vec<RotationItem> {
    catalog.entries.iter().map(|e| RotationItem::from_entry(e, &TimeZone::UTC)).collect()
}

fn rotate(storage: &MemoryStorage, run: &str, policy: &Policy) -> Applied {
    let catalog = scan(storage).unwrap();
    apply(storage, &tag("web", run), Timestamp::UNIX_EPOCH, &catalog, &plan(&items_of(&catalog), policy))
}

/// One night: sweep, first contact, backup and rotation in the given order.
fn night(storage: &MemoryStorage, made: &Made, retention: Retention, mode: Rotation) {
    let run = made.at.to_string().replace([':', '-'], "");
    let today = made.at.date();
    let Some(to) = calendar::destination(today, retention) else { return };
    sweep(storage, &tag("web", &run), Timestamp::UNIX_EPOCH).unwrap();
    ensure_adoption_list(storage, &tag("web", &run)).unwrap();
    if mode == Rotation::Before {
        let policy =
            Policy { retention, upcoming: Some(periods_of(today)), allow_last: true, ..Policy::default() };
        assert!(rotate(storage, &run, &policy).problems.is_empty());
    }
    made.publish(storage, &tag("web", &run), to).unwrap();
    assert!(rotate(storage, &run, &Policy { retention, ..Policy::default() }).problems.is_empty());
}

/// The archives by day, `f` for files and `l` for links, as v2's golden table shows them.
fn table(storage: &MemoryStorage) -> String {
    let objects = storage.objects();
    let show = |period: Period| {
        let in_period = objects.iter().filter_map(|(k, object)| {
            let parsed = discrete::parse(k)?;
            let is_archive = parsed.role == nxs_base::layout::Role::Archive && parsed.name.period == period;
            let letter = if matches!(object, Object::File { .. }) { 'f' } else { 'l' };
            is_archive.then(|| (parsed.name.at, format!("{:02}{letter}", parsed.name.at.day())))
        });
        let days: BTreeSet<_> = in_period.collect();
        let days: Vec<String> = days.into_iter().map(|(_, text)| text).collect();
        if days.is_empty() { None } else { Some(format!("{period}: {}", days.join(" "))) }
    };
    Period::ALL.into_iter().filter_map(show).collect::<Vec<_>>().join(" | ")
}

/// The table after each night from `first` to `last`.
fn simulate(links: bool, retention: Retention, mode: Rotation, first: &str, last: &str) -> Vec<String> {
    let storage = MemoryStorage::new(links);
    let mut day = date(first);
    let mut rows = Vec::new();
    while day <= date(last) {
        night(&storage, &Made::on(day), retention, mode);
        rows.push(format!("{:02}-{:02} {}", day.month(), day.day(), table(&storage)));
        assert_eq!(scan(&storage).unwrap().dangling, [], "{day}");
        day = day.tomorrow().unwrap();
    }
    rows
}

fn last_row(links: bool, retention: Retention, first: &str, last: &str) -> String {
    simulate(links, retention, Rotation::Auto, first, last).pop().unwrap()
}

#[test]
fn the_golden_table_of_v2_comes_out_in_either_order() {
    for mode in [Rotation::Before, Rotation::After] {
        assert_eq!(
            simulate(true, keep(2, 2, 2), mode, "2018-07-27", "2018-08-02"),
            [
                "07-27 daily: 27f",
                "07-28 daily: 27f 28f",
                "07-29 daily: 28f 29l | weekly: 29f",
                "07-30 daily: 29l 30f | weekly: 29f",
                "07-31 daily: 30f 31f | weekly: 29f",
                "08-01 daily: 31f 01l | weekly: 29f | monthly: 01f",
                "08-02 daily: 01l 02f | weekly: 29f | monthly: 01f",
            ],
            "{mode:?}"
        );
    }
}

#[test]
fn a_remote_object_counts_for_every_period_it_was_born_into() {
    assert_eq!(
        simulate(false, keep(2, 2, 2), Rotation::Before, "2018-07-27", "2018-08-02"),
        [
            "07-27 daily: 27f",
            "07-28 daily: 27f 28f",
            "07-29 daily: 28f | weekly: 29f",
            "07-30 daily: 30f | weekly: 29f",
            "07-31 daily: 30f 31f | weekly: 29f",
            "08-01 daily: 31f | weekly: 29f | monthly: 01f",
            "08-02 daily: 02f | weekly: 29f | monthly: 01f",
        ]
    );
}

#[test]
fn a_sunday_the_first_is_one_file_with_two_links_and_moves_down_as_its_periods_end() {
    let rows = |retention| simulate(true, retention, Rotation::After, "2026-02-01", "2026-03-01");
    let first = rows(keep(2, 2, 2));
    assert_eq!(first[0], "02-01 daily: 01l | weekly: 01l | monthly: 01f");
    assert_eq!(first[2], "02-03 daily: 02f 03f | weekly: 01l | monthly: 01f");
    // Both 02-01 and 03-01 are Sundays.
    assert_eq!(first[28], "03-01 daily: 28f 01l | weekly: 22f 01l | monthly: 01f 01f");
    assert_eq!(rows(keep(2, 9, 1))[28], "03-01 daily: 28f 01l | weekly: 01f 08f 15f 22f 01l | monthly: 01f");
    let none_of_weeks = rows(keep(30, 0, 1));
    assert_eq!(none_of_weeks[0], "02-01 daily: 01l | monthly: 01f");
    assert!(
        none_of_weeks[28].starts_with("03-01 daily: 01f 02f")
            && none_of_weeks[28].ends_with("| monthly: 01f")
    );
}

#[test]
fn leap_days_year_changes_and_missing_periods_keep_the_counts() {
    assert_eq!(
        last_row(true, keep(2, 1, 2), "2024-02-01", "2024-03-01"),
        "03-01 daily: 29f 01l | weekly: 25f | monthly: 01f 01f"
    );
    assert_eq!(
        last_row(true, keep(3, 2, 2), "2023-11-30", "2024-01-02"),
        "01-02 daily: 31l 01l 02f | weekly: 24f 31f | monthly: 01f 01f"
    );
    assert_eq!(last_row(true, keep(0, 2, 0), "2018-07-01", "2018-07-31"), "07-31 weekly: 22f 29f");
    assert_eq!(last_row(true, keep(0, 0, 1), "2018-07-01", "2018-09-30"), "09-30 monthly: 01f");
    assert_eq!(last_row(true, keep(1, 0, 0), "2018-07-28", "2018-08-02"), "08-02 daily: 02f");
}

#[test]
fn counts_that_were_lowered_or_set_to_nothing_take_effect_at_once() {
    let storage = MemoryStorage::new(true);
    for day in ["2018-07-27", "2018-07-28", "2018-07-29", "2018-07-30", "2018-07-31", "2018-08-01"] {
        night(&storage, &Made::on(date(day)), keep(9, 9, 9), Rotation::After);
    }
    assert_eq!(table(&storage), "daily: 27f 28f 29l 30f 31f 01l | weekly: 29f | monthly: 01f");
    let lower = |retention| Policy { retention, ..Policy::default() };
    rotate(&storage, "a", &lower(keep(2, 0, 2)));
    assert_eq!(table(&storage), "daily: 31f 01l | monthly: 01f");
    rotate(&storage, "b", &lower(keep(2, 0, 0)));
    assert_eq!(table(&storage), "daily: 31f 01f");
    rotate(&storage, "c", &lower(keep(0, 2, 0)));
    assert_eq!(table(&storage), "daily: 01f", "the newest complete one stays where it lies");
}

fn item(day: &str, complete: bool) -> RotationItem {
    let made = Made { is_complete: complete, ..Made::on(date(day)) };
    RotationItem {
        key: made.key(Period::Daily),
        started: made.record().started,
        counts_for: periods_of(made.at.date()),
        real_period: Some(Period::Daily),
        complete,
        bytes: 100,
        id: None,
        needs: Vec::new(),
    }
}

/// `+` kept, `-` dropped, newest first, by day.
fn shown(decisions: &[Decision]) -> String {
    let mark = |d: &Decision| if d.action == Action::Keep { '+' } else { '-' };
    let day = |k: &ObjectKey| discrete::parse(k).unwrap().name.at.day();
    decisions.iter().map(|d| format!("{}{}", mark(d), day(&d.key))).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_newest_complete_backup_is_kept_besides_newer_ones_with_gaps() {
    // 2018-07-23 to 27 are Monday to Friday.
    let items: Vec<_> = [("23", true), ("24", true), ("25", false), ("26", false), ("27", false)]
        .iter()
        .map(|(day, complete)| item(&format!("2018-07-{day}"), *complete))
        .collect();
    let policy = Policy { retention: keep(2, 0, 0), ..Policy::default() };
    let decisions = plan(&items, &policy);
    assert_eq!(shown(&decisions), "+27 +26 -25 +24 -23");
    assert_eq!(decisions[3].reason, Reason::NewestComplete);
    assert_eq!(decisions[3].reason.to_string(), "the newest complete backup is never dropped");
    assert_eq!(decisions[4].reason.to_string(), "older than what is kept of daily");
    let before = Policy { upcoming: Some(Periods::of(Period::Daily)), allow_last: true, ..policy };
    assert_eq!(shown(&plan(&items, &before)), "+27 -26 -25 +24 -23");
}

#[test]
fn the_last_copy_goes_only_when_that_is_allowed_and_a_new_one_is_coming() {
    let items = [item("2018-07-27", true)];
    let policy = Policy { retention: keep(1, 0, 0), ..Policy::default() };
    let upcoming = Some(Periods::of(Period::Daily));
    assert_eq!(shown(&plan(&items, &policy)), "+27");
    assert_eq!(shown(&plan(&items, &Policy { upcoming, ..policy })), "+27");
    assert_eq!(shown(&plan(&items, &Policy { allow_last: true, ..policy })), "+27");
    assert_eq!(shown(&plan(&items, &Policy { upcoming, allow_last: true, ..policy })), "-27");
    let none = Policy { retention: keep(0, 0, 0), allow_last: true, ..policy };
    assert_eq!(shown(&plan(&items, &none)), "+27");
}

#[test]
fn a_backup_of_no_period_is_never_dropped() {
    let odd = RotationItem { counts_for: Periods::NONE, ..item("2018-07-23", true) };
    let items = [odd, item("2018-07-26", true), item("2018-07-27", true)];
    let policy = Policy { retention: keep(1, 0, 0), ..Policy::default() };
    assert_eq!(shown(&plan(&items, &policy)), "+27 -26 +23");
}

#[test]
fn the_order_follows_room_and_mode() {
    let auto = |free, sizes: &[u64], droppable| decide_order(Rotation::Auto, free, sizes, droppable);
    let new_first = Order::NewFirst { room_is_short: false };
    assert_eq!(auto(Some(120), &[100, 90], 0), new_first);
    assert_eq!(auto(Some(119), &[100, 90], 100), Order::DropFirst { up_to_bytes: 1 });
    assert_eq!(auto(Some(0), &[100], 100), Order::DropFirst { up_to_bytes: 120 });
    assert_eq!(auto(Some(0), &[100], 99), Order::NewFirst { room_is_short: true });
    assert_eq!(auto(Some(119), &[1, 1, 100, 999], 50), Order::DropFirst { up_to_bytes: 1 });
    assert_eq!(auto(Some(0), &[], 100), new_first, "a first run");
    assert_eq!(auto(None, &[100], 100), new_first, "a storage that cannot tell");
    assert_eq!(auto(Some(5), &[u64::MAX], u64::MAX), Order::DropFirst { up_to_bytes: u64::MAX - 5 });
    assert_eq!(decide_order(Rotation::After, Some(0), &[100], 100), new_first);
    assert_eq!(decide_order(Rotation::Before, None, &[], 0), Order::DropFirst { up_to_bytes: u64::MAX });
}

#[test]
fn dropping_first_takes_the_oldest_and_stops_when_there_is_room() {
    let items: Vec<_> = [("23", false), ("24", true), ("25", false)]
        .iter()
        .map(|(d, c)| item(&format!("2018-07-{d}"), *c))
        .collect();
    let all: Vec<Decision> = plan(&items, &Policy::default())
        .into_iter()
        .map(|d| Decision { action: Action::Drop, ..d })
        .collect();
    let drops = |bytes| shown(&drop_first(&all, &items, bytes));
    assert_eq!(drops(0), "");
    assert_eq!(drops(1), "-23");
    assert_eq!(drops(100), "-23");
    assert_eq!(drops(101), "-23 -25");
    assert_eq!(drops(u64::MAX), "-23 -25 -24", "the newest complete one is the last to go");
}

#[test]
fn an_old_tree_of_v2_goes_on_and_foreign_files_stay() {
    let storage = MemoryStorage::new(true);
    for day in ["27", "28", "30", "31"] {
        storage.put(&format!("site1/daily/site1_2018-07-{day}_03-00.tar"), b"v2");
    }
    storage.put("site1/weekly/site1_2018-07-29_03-00.tar", b"v2");
    storage.put_link("site1/daily/site1_2018-07-29_03-00.tar", "site1/weekly/site1_2018-07-29_03-00.tar");
    storage.put_link("site1/daily/site1_2018-07-01_03-00.tar", "site1/weekly/site1_2018-07-01_03-00.tar");
    let foreign = ["site1/daily/notes.txt", "site1/daily/site1_2018-07-01_03-00.zip", "README"];
    foreign.iter().for_each(|f| storage.put(f, b"mine"));
    night(&storage, &Made::on(date("2018-08-01")), keep(4, 1, 1), Rotation::After);
    let catalog = scan(&storage).unwrap();
    assert_eq!(catalog.dangling.len(), 1);
    assert_eq!(remove_dangling(&storage, &catalog, "site2", "site1").unwrap(), []);
    assert_eq!(remove_dangling(&storage, &catalog, "site1", "site1").unwrap(), catalog.dangling);
    assert_eq!(
        table(&storage),
        "daily: 01f 29l 30f 31f 01l | weekly: 29f | monthly: 01f",
        "the first 01f is the zip"
    );
    night(&storage, &Made::on(date("2018-08-05")), keep(4, 1, 1), Rotation::After);
    assert_eq!(table(&storage), "daily: 01f 30f 31f 01l 05l | weekly: 05f | monthly: 01f");
    for file in foreign {
        assert!(storage.names().contains(&file.to_owned()), "{file}");
    }
}

#[test]
fn an_adopted_file_moves_down_and_stays_adopted() {
    let storage = MemoryStorage::new(true);
    storage.put("s/monthly/s_2018-07-01_03-00.tar", b"v2");
    storage.put_link("s/daily/s_2018-07-01_03-00.tar", "s/monthly/s_2018-07-01_03-00.tar");
    ensure_adoption_list(&storage, &tag("web", "1")).unwrap();
    let applied = rotate(&storage, "1", &Policy { retention: keep(3, 0, 0), ..Policy::default() });
    assert_eq!(
        applied.moved,
        [(key("s/monthly/s_2018-07-01_03-00.tar"), key("s/daily/s_2018-07-01_03-00.tar"))]
    );
    assert_eq!(table(&storage), "daily: 01f");
    assert_eq!(scan(&storage).unwrap().entries.len(), 1);
}

#[test]
fn groups_in_one_directory_never_touch_each_other() {
    let storage = MemoryStorage::new(true);
    let day = date("2018-07-27");
    let to = Destination { period: Period::Daily, links: Periods::NONE };
    let mut made = Vec::new();
    for (i, job) in ["a", "b", "a", "b", "a"].into_iter().enumerate() {
        let at = day.at(3, i as i8, 0, 0);
        made.push(Made { job: job.into(), at, ..Made::on(day) });
        made[i].publish(&storage, &tag("web", "1"), to).unwrap();
    }
    let catalog = scan(&storage).unwrap();
    let configured: Vec<ConfiguredGroup> = ["a", "b"]
        .map(|job| Made { job: job.into(), ..Made::on(day) }.group())
        .map(|id| ConfiguredGroup { id, part: "site1".into(), stem: "site1".into() })
        .into();
    let of_a: Vec<RotationItem> = catalog
        .of_group(&configured[0].id, &configured)
        .into_iter()
        .map(|e| RotationItem::from_entry(e, &TimeZone::UTC))
        .collect();
    let decisions = plan(&of_a, &Policy { retention: keep(1, 0, 0), ..Policy::default() });
    let applied = apply(&storage, &tag("web", "1"), Timestamp::UNIX_EPOCH, &catalog, &decisions);
    let dropped: Vec<ObjectKey> = applied.dropped.into_iter().map(|d| d.key).collect();
    assert_eq!(dropped, [made[2].key(Period::Daily), made[0].key(Period::Daily)]);
    let left: Vec<String> =
        scan(&storage).unwrap().entries.iter().map(|e| e.record().unwrap().job.clone()).collect();
    assert_eq!(left, ["b", "b", "a"]);
}

#[test]
fn applying_twice_changes_nothing_more() {
    let storage = MemoryStorage::new(true);
    for day in ["2018-07-29", "2018-07-30", "2018-08-01"] {
        night(&storage, &Made::on(date(day)), keep(9, 9, 9), Rotation::After);
    }
    let catalog = scan(&storage).unwrap();
    let decisions = plan(&items_of(&catalog), &Policy { retention: keep(2, 0, 0), ..Policy::default() });
    assert!(
        apply(&storage, &tag("web", "x"), Timestamp::UNIX_EPOCH, &catalog, &decisions).problems.is_empty()
    );
    let once = storage.objects();
    assert!(
        apply(&storage, &tag("web", "x"), Timestamp::UNIX_EPOCH, &catalog, &decisions).problems.is_empty()
    );
    assert_eq!(storage.objects(), once);
    assert_eq!(table(&storage), "daily: 30f 01f");
}

/// Runs a rotation cut short after every number of changes, each followed by a second night that is cut short
/// likewise, and by one that is not. The end must be the same as without any cut.
fn check_every_cut(start: &MemoryStorage, policy: &Policy) {
    let whole = start.snapshot();
    assert!(rotate(&whole, "a", policy).problems.is_empty());
    let newest = |storage: &MemoryStorage| items_of(&scan(storage).unwrap()).iter().map(|i| i.started).max();
    for first in 0.. {
        let is_blown = [0, 1, 2, usize::MAX].map(|second| {
            let storage = start.snapshot();
            storage.set_fuse(Some(first));
            rotate(&storage, "a", policy);
            let is_blown = storage.is_blown();
            storage.set_fuse(Some(second));
            // Errors are the point here: the power is out.
            if sweep(&storage, &tag("web", "b"), Timestamp::UNIX_EPOCH).is_ok() {
                rotate(&storage, "b", policy);
            }
            storage.set_fuse(None);
            let between = scan(&storage).unwrap();
            assert!(between.damaged.is_empty(), "{first} {second}: {:?}", between.damaged);
            assert_eq!(newest(&storage), newest(start), "{first} {second}");
            sweep(&storage, &tag("web", "c"), Timestamp::UNIX_EPOCH).unwrap();
            assert!(rotate(&storage, "c", policy).problems.is_empty());
            assert_eq!(storage.objects(), whole.objects(), "{first} {second}");
            is_blown
        });
        if !is_blown.contains(&true) {
            assert!(first > 3, "the rotation of the test must do something");
            break;
        }
    }
}

#[test]
fn a_rotation_cut_short_at_any_step_is_finished_by_the_next() {
    let storage = MemoryStorage::new(true);
    let mut day = date("2026-01-30");
    while day <= date("2026-02-09") {
        night(&storage, &Made::on(day), keep(30, 30, 30), Rotation::After);
        day = day.tomorrow().unwrap();
    }
    for retention in [keep(2, 1, 0), keep(9, 0, 0), keep(9, 9, 0), keep(0, 2, 0), keep(1, 0, 1)] {
        check_every_cut(&storage, &Policy { retention, ..Policy::default() });
    }
}

#[test]
fn a_rotation_of_adopted_backups_cut_short_at_any_step_is_finished_by_the_next() {
    let storage = MemoryStorage::new(true);
    storage.put("s/monthly/s_2026-02-01_03-00.tar", b"v2");
    for period in ["daily", "weekly"] {
        storage.put_link(&format!("s/{period}/s_2026-02-01_03-00.tar"), "s/monthly/s_2026-02-01_03-00.tar");
    }
    storage.put("s/weekly/s_2026-01-25_03-00.tar", b"v2");
    storage.put_link("s/daily/s_2026-01-25_03-00.tar", "s/weekly/s_2026-01-25_03-00.tar");
    storage.put("s/daily/s_2026-02-02_03-00.tar", b"v2");
    ensure_adoption_list(&storage, &tag("web", "1")).unwrap();
    for retention in [keep(2, 1, 0), keep(3, 0, 0)] {
        check_every_cut(&storage, &Policy { retention, ..Policy::default() });
    }
}

prop_compose! {
    fn any_items()(specs in proptest::collection::vec((1i64..60, any::<bool>(), 0u8..8), 0..20)) -> Vec<RotationItem> {
        let of = |(i, (day, complete, periods)): (usize, (i64, bool, u8))| RotationItem {
            key: key(&format!("s/daily/{i}")),
            started: Timestamp::from_second(day * 86_400).unwrap(),
            counts_for: Period::ALL.into_iter().filter(|p| periods & (1 << *p as u8) != 0).collect(),
            real_period: Some(Period::Daily),
            complete,
            bytes: 1,
            id: None,
            needs: Vec::new(),
        };
        specs.into_iter().enumerate().map(of).collect()
    }
}

prop_compose! {
    fn any_retention()(days in 0u32..8, weeks in 0u32..4, months in 0u32..4) -> Retention {
        keep(days, weeks, months)
    }
}

fn dropped(items: &[RotationItem], policy: &Policy) -> BTreeSet<ObjectKey> {
    plan(items, policy).into_iter().filter(|d| d.action == Action::Drop).map(|d| d.key).collect()
}

proptest! {
    #[test]
    fn every_backup_is_returned_once_newest_first(items in any_items(), retention in any_retention()) {
        let decisions = plan(&items, &Policy { retention, ..Policy::default() });
        let keys: BTreeSet<_> = decisions.iter().map(|d| d.key.clone()).collect();
        prop_assert_eq!(decisions.len(), items.len());
        prop_assert_eq!(keys, items.iter().map(|i| i.key.clone()).collect());
        let started = |d: &Decision| items.iter().find(|i| i.key == d.key).unwrap().started;
        prop_assert!(decisions.is_sorted_by(|a, b| started(a) >= started(b)));
    }

    #[test]
    fn the_newest_complete_backup_is_never_dropped(
        items in any_items(), retention in any_retention(), up in proptest::option::of(0u8..8),
    ) {
        let upcoming = up.map(|bits| Period::ALL.into_iter().filter(|p| bits & (1 << *p as u8) != 0).collect());
        let gone = dropped(&items, &Policy { retention, upcoming, ..Policy::default() });
        let newest = items.iter().filter(|i| i.complete).map(|i| i.started).max();
        if let Some(newest) = newest {
            prop_assert!(items.iter().any(|i| i.complete && i.started == newest && !gone.contains(&i.key)));
        }
    }

    #[test]
    fn a_tighter_policy_drops_no_less(
        items in any_items(), loose in any_retention(), less in any_retention(), upcoming in any::<bool>(), allow_last in any::<bool>(),
    ) {
        let tight = keep(
            loose.days.saturating_sub(less.days),
            loose.weeks.saturating_sub(less.weeks),
            loose.months.saturating_sub(less.months),
        );
        let policy = |retention| Policy {
            retention,
            upcoming: upcoming.then_some(Periods::ALL),
            allow_last,
            ..Policy::default()
        };
        prop_assert!(dropped(&items, &policy(loose)).is_subset(&dropped(&items, &policy(tight))));
    }

    #[test]
    fn a_history_with_power_cuts_ends_like_its_policy_says(
        start in 0i32..400,
        nights in proptest::collection::vec((1usize..40, any::<bool>(), proptest::option::weighted(0.3, 0usize..12)), 1..25),
        retention in any_retention(),
        links in any::<bool>(),
    ) {
        let storage = MemoryStorage::new(links);
        let mut day = date("2023-12-01").checked_add(jiff::Span::new().days(start)).unwrap();
        for (size, is_complete, cut) in nights {
            let made = Made { size, is_complete, ..Made::on(day) };
            let run = day.to_string().replace('-', "");
            let policy = Policy { retention, ..Policy::default() };
            sweep(&storage, &tag("web", &run), Timestamp::UNIX_EPOCH).unwrap();
            if let Some(to) = calendar::destination(day, retention) {
                let before = scan(&storage).unwrap().entries.iter().filter(|e| e.is_complete()).count();
                storage.set_fuse(cut);
                if made.publish(&storage, &tag("web", &run), to).is_ok() {
                    rotate(&storage, &run, &policy);
                }
                storage.set_fuse(None);
                let after = scan(&storage).unwrap();
                prop_assert!(after.damaged.is_empty(), "{:?}", after.damaged);
                prop_assert!(before == 0 || after.entries.iter().any(|e| e.is_complete()));
            }
            day = day.tomorrow().unwrap();
        }
        sweep(&storage, &tag("web", "end"), Timestamp::UNIX_EPOCH).unwrap();
        let policy = Policy { retention, ..Policy::default() };
        prop_assert!(rotate(&storage, "end", &policy).problems.is_empty());
        let catalog = scan(&storage).unwrap();
        prop_assert!(catalog.orphans.is_empty() && catalog.partials.is_empty() && catalog.dangling.is_empty());
        let left = plan(&items_of(&catalog), &policy);
        prop_assert!(left.iter().all(|d| d.action == Action::Keep));
        if links {
            for entry in &catalog.entries {
                let decision = left.iter().find(|d| d.key == entry.key).unwrap();
                let hidden = decision.keep.iter().filter(|p| !entry.periods_present().contains(*p));
                prop_assert!(hidden.into_iter().all(|p| Some(p) > entry.real_period()), "{entry:?} {decision:?}");
                prop_assert!(entry.periods_present().iter().all(|p| decision.keep.contains(p)));
            }
        }
        let known = storage.names().len();
        let expected: usize = catalog.entries.iter().map(|e| 3 + e.links.len()).sum();
        prop_assert_eq!(known, expected, "{:?}", storage.names());
    }
}
