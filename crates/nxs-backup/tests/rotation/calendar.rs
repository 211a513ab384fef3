//! Days that are unlike others: changes of summer time, the turn of the year, leap days, clocks that jump, runs that
//! were missed.

use jiff::tz::TimeZone;
use nxs_base::spec::Rotation;

use crate::house::{Disk, House, Night, keep, keys, nights};
use crate::v2;

fn rows(house: &mut House, first: &str, last: &str) -> Vec<String> {
    let nights = nights(first, last);
    let row = |night: &String| {
        house.good_night(night);
        house.check();
        format!("{} {}", &night[5..10], house.table())
    };
    nights.iter().map(row).collect()
}

#[test]
fn the_turn_of_the_year_is_a_night_like_any_other() {
    let disk = Disk::new();
    let mut house = disk.house(keep(2, 2, 2));
    // 2023-01-01 is a Sunday and a first.
    assert_eq!(
        rows(&mut house, "2022-12-30", "2023-01-03"),
        [
            "12-30 daily: 30f",
            "12-31 daily: 30f 31f",
            "01-01 daily: 31f 01l | weekly: 01l | monthly: 01f",
            "01-02 daily: 01l 02f | weekly: 01l | monthly: 01f",
            "01-03 daily: 02f 03f | weekly: 01l | monthly: 01f",
        ]
    );
}

#[test]
fn only_months_and_only_weeks_keep_their_numbers_over_a_year() {
    for (retention, row) in [
        (keep(0, 0, 3), "monthly: 01f 01f 01f"),
        (keep(0, 3, 0), "weekly: 10f 17f 24f"),
        (keep(0, 1, 1), "weekly: 24f | monthly: 01f"),
    ] {
        let (mut house, _) = House::in_memory(retention);
        let mut made = 0;
        for night in nights("2023-01-01", "2023-12-30") {
            made += usize::from(!house.good_night(&night).report.no_backup_day);
        }
        assert_eq!(house.table(), row, "{retention:?}");
        assert!(made >= 12);
        house.check();
    }
}

#[test]
fn the_days_on_which_summer_time_begins_and_ends_are_one_night_each() {
    let disk = Disk::new();
    let mut house = disk.house(keep(3, 1, 1));
    house.zone = TimeZone::get("Europe/Berlin").unwrap();
    // 2026-03-29 is a Sunday; half past two does not exist.
    for night in ["2026-03-28T02:30", "2026-03-29T02:30", "2026-03-30T02:30"] {
        house.good_night(night);
    }
    assert_eq!(house.table(), "daily: 28f 29l 30f | weekly: 29f");
    let (mut house, storage) = House::in_memory(keep(2, 1, 1));
    house.zone = TimeZone::get("Europe/Berlin").unwrap();
    house.good_night("2026-10-24T02:30");
    house.good_night("2026-10-25T02:30+02:00");
    // The same wall time again, an hour later: seconds are told, nothing is replaced, and it is the newer one.
    house.good_night("2026-10-25T02:30+01:00");
    assert!(storage.tree().contains("site1/daily/site1_2026-10-25_02-30.tar\n"), "{}", storage.tree());
    assert!(storage.tree().contains("site1/weekly/site1_2026-10-25_02-30-01.tar\n"), "{}", storage.tree());
    assert_eq!(house.catalog().entries.len(), 2);
}

#[test]
fn two_runs_in_a_minute_are_two_backups() {
    let disk = Disk::new();
    let mut house = disk.house(keep(9, 9, 9));
    for time in ["03:00:10", "03:00:10", "03:00:11", "03:00:50", "03:01:00"] {
        house.good_night(&format!("2026-02-03T{time}"));
    }
    let archives: Vec<String> = keys(&*house.storage).into_iter().filter(|k| k.ends_with(".tar")).collect();
    assert_eq!(
        archives,
        [
            "site1/daily/site1_2026-02-03_03-00-10.tar",
            "site1/daily/site1_2026-02-03_03-00-11.tar",
            "site1/daily/site1_2026-02-03_03-00-50.tar",
            "site1/daily/site1_2026-02-03_03-00.tar",
            "site1/daily/site1_2026-02-03_03-01.tar",
        ]
    );
}

#[test]
fn a_clock_that_jumped_back_never_costs_the_backup_that_was_just_made() {
    for rotation in [Rotation::Auto, Rotation::Before, Rotation::After] {
        let (mut house, storage) = House::in_memory(keep(2, 1, 1));
        house.rotation = rotation;
        for night in nights("2036-05-01", "2036-05-05") {
            house.good_night(&night);
        }
        // Back by ten years: the night that is made is kept, the future ones go as the oldest.
        house.good_night("2026-02-03T03:00");
        assert!(storage.tree().contains("site1_2026-02-03"), "{rotation:?}: {}", storage.tree());
        house.good_night("2026-02-04T03:00");
        assert!(storage.tree().contains("daily/site1_2026-02-03"), "{rotation:?}: {}", storage.tree());
        assert!(storage.tree().contains("daily/site1_2026-02-04"), "{rotation:?}");
        assert!(!storage.tree().contains("daily/site1_2036"), "{rotation:?}: {}", storage.tree());
        assert!(storage.tree().contains("monthly/site1_2036-05-01"), "the only one of its period stays");
        house.good_night("2026-03-01T03:00");
        assert!(!storage.tree().contains("2036"), "{}", storage.tree());
        house.check();
    }
}

#[test]
fn a_clock_that_jumped_ahead_and_back_by_an_hour_keeps_both_sides() {
    let (mut house, _) = House::in_memory(keep(1, 0, 0));
    house.good_night("2026-02-03T03:30");
    house.good_night("2026-02-03T02:45");
    assert_eq!(house.catalog().entries.len(), 1);
    assert!(house.catalog().entries[0].key.as_str().contains("02-45"), "the later one by making");
}

#[test]
fn missed_nights_cost_nothing_that_is_kept_by_count() {
    let disk = Disk::new();
    let mut house = disk.house(keep(3, 2, 2));
    for night in ["2026-02-01T03:00", "2026-02-02T03:00", "2026-04-20T03:00", "2026-09-03T03:00"] {
        house.good_night(night);
    }
    assert_eq!(house.table(), "daily: 02f 20f 03f | weekly: 01l | monthly: 01f");
    house.check();
}

#[test]
fn nights_with_gaps_count_and_the_last_complete_one_is_kept_besides() {
    let disk = Disk::new();
    let mut house = disk.house(keep(2, 0, 0));
    house.good_night("2026-02-03T03:00");
    for night in nights("2026-02-04", "2026-02-09") {
        let told = house.night_of(&night, Night { has_gaps: true, ..Night::default() });
        assert!(!told.is_complete(), "gaps make no complete run");
    }
    assert_eq!(house.table(), "daily: 03f 08f 09f");
    house.good_night("2026-02-10T03:00");
    assert_eq!(house.table(), "daily: 09f 10f");
}

#[test]
fn failed_nights_drop_nothing() {
    for rotation in [Rotation::Auto, Rotation::After] {
        let disk = Disk::new();
        let mut house = disk.house(keep(2, 2, 2));
        house.rotation = rotation;
        rows(&mut house, "2018-07-27", "2018-08-02");
        let before = house.table();
        let bad =
            [Night { fails: true, ..Night::default() }, Night { probe_fails: true, ..Night::default() }];
        for (night, how) in nights("2018-08-03", "2018-08-12").iter().zip(bad.iter().cycle()) {
            assert!(!house.night_of(night, how.clone()).is_complete());
            assert_eq!(house.table(), before, "{rotation:?} {night}");
            house.check();
        }
    }
}

#[test]
fn a_rehearsal_that_fails_drops_nothing_even_in_v2s_order() {
    let disk = Disk::new();
    let mut house = disk.house(keep(1, 0, 0));
    house.rotation = Rotation::Before;
    house.good_night("2026-02-03T03:00");
    house.night_of("2026-02-04T03:00", Night { probe_fails: true, ..Night::default() });
    assert_eq!(house.table(), "daily: 03f");
    let told = house.night_of("2026-02-05T03:00", Night { fails: true, ..Night::default() });
    assert_eq!(house.table(), "", "v2's order: the last one went first");
    assert!(told.says("no complete copy exists"), "{:?}", told.said);
}

#[test]
fn v2s_order_drops_before_and_settles_links_after() {
    let disk = Disk::new();
    let mut house = disk.house(keep(2, 2, 2));
    house.rotation = Rotation::Before;
    rows(&mut house, "2018-07-27", "2018-07-30");
    assert_eq!(house.table(), "daily: 29l 30f | weekly: 29f");
    house.night_of("2018-07-31T03:00", Night { fails: true, ..Night::default() });
    assert_eq!(house.table(), "daily: 29l 30f | weekly: 29f", "links that are still wanted stay");
    let told = house.good_night("2018-08-01T03:00");
    assert_eq!((house.table().as_str(), told.dropped()), ("daily: 30f 01l | weekly: 29f | monthly: 01f", 0));
    house.check();
}

#[test]
fn counts_that_are_raised_lowered_and_set_to_nothing_take_effect_the_same_night() {
    let disk = Disk::new();
    v2::tree(&disk, "site1", "site1", "2018-07", "daily: 29l 30f 31f | weekly: 22f 29f");
    let mut house = disk.house(keep(9, 9, 9));
    let mut row = |night: &str, retention| {
        house.retention = retention;
        house.good_night(&format!("2018-08-{night}T03:00"));
        house.check();
        house.table()
    };
    assert_eq!(row("01", keep(9, 9, 9)), "daily: 29l 30f 31f 01l | weekly: 22f 29f | monthly: 01f");
    assert_eq!(row("02", keep(2, 1, 1)), "daily: 01l 02f | weekly: 29f | monthly: 01f");
    assert_eq!(row("03", keep(4, 1, 1)), "daily: 01l 02f 03f | weekly: 29f | monthly: 01f");
    assert_eq!(row("04", keep(3, 0, 0)), "daily: 02f 03f 04f");
    assert_eq!(row("05", keep(3, 2, 0)), "daily: 03f 04f 05l | weekly: 05f");
}
