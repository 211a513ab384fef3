//! Places and names through the year, as v2 has them, and clocks that jump.

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use nxs_testkit::snapshot::Snapshot;

use crate::scene::{At, Setup, World};

/// The tree changes before every run.
fn run_on(world: &mut World, day: Date) {
    world.set_day(day);
    std::fs::write(world.tree().join("f"), day.to_string()).unwrap();
    world.backup();
}

fn keys(lines: &[&str]) -> Vec<String> {
    let mut keys: Vec<String> = lines
        .iter()
        .map(|line| {
            let (dir, rest) = line.split_once('@').unwrap();
            let (stamp, link) = rest.split_once(' ').map_or((rest, ""), |(stamp, _)| (stamp, " l"));
            format!("shop/{dir}/shop_{stamp}_03-00.tar.gz{link}")
        })
        .collect();
    keys.sort();
    keys
}

#[test]
fn the_first_month_lies_as_with_v2() {
    let mut world = World::new(Setup::default(), date(2018, 7, 28));
    std::fs::write(world.tree().join("f"), "x").unwrap();
    for _ in 0..16 {
        world.backup();
        world.pass(1);
    }
    let mut expected = keys(&[
        "2018/month_07/daily/day_21@2018-07-28 l",
        "2018/month_07/daily/day_21@2018-07-29",
        "2018/month_07/daily/day_21@2018-07-30",
        "2018/month_07/daily/day_21@2018-07-31",
        "2018/month_07/monthly@2018-07-28 l",
        "2018/month_08/daily/day_11@2018-08-11",
        "2018/month_08/daily/day_11@2018-08-12",
        "2018/month_08/monthly@2018-08-01",
        "2018/year@2018-07-28",
    ]);
    expected.extend(
        (2..=10).map(|d| format!("shop/2018/month_08/daily/day_01/shop_2018-08-{d:02}_03-00.tar.gz")),
    );
    expected.sort();
    assert_eq!(world.listing(0), expected);
    let log = world.house.log();
    assert_eq!(log.matches("Successfully created full-backup '~/backup/shop/2018/year/").count(), 1);
    assert_eq!(log.matches("Successfully created incremental '~/backup/shop/2018/month_0").count(), 15);
}

#[test]
fn missed_firsts_elevenths_and_twenty_firsts_leap_days_and_new_year_make_the_highest_missing_level() {
    let mut world = World::new(Setup::default(), date(2024, 2, 28));
    let days = [
        date(2024, 2, 28),
        date(2024, 2, 29),
        date(2024, 3, 13),
        date(2024, 3, 25),
        date(2024, 3, 26),
        date(2024, 5, 1),
        date(2024, 5, 11),
        date(2024, 12, 31),
        date(2025, 1, 1),
        date(2025, 1, 2),
        date(2025, 1, 31),
        date(2025, 2, 28),
        date(2025, 3, 1),
    ];
    days.into_iter().for_each(|day| run_on(&mut world, day));
    let expected = keys(&[
        "2024/year@2024-02-28",
        "2024/month_02/daily/day_21@2024-02-28 l",
        "2024/month_02/daily/day_21@2024-02-29",
        "2024/month_02/monthly@2024-02-28 l",
        "2024/month_03/monthly@2024-03-13",
        "2024/month_03/daily/day_11@2024-03-13 l",
        "2024/month_03/daily/day_21@2024-03-25",
        "2024/month_03/daily/day_21@2024-03-26",
        "2024/month_05/monthly@2024-05-01",
        "2024/month_05/daily/day_11@2024-05-11",
        "2024/month_12/monthly@2024-12-31",
        "2024/month_12/daily/day_21@2024-12-31 l",
        "2025/year@2025-01-01",
        "2025/month_01/monthly@2025-01-01 l",
        "2025/month_01/daily/day_01@2025-01-01 l",
        "2025/month_01/daily/day_01@2025-01-02",
        "2025/month_01/daily/day_21@2025-01-31",
        "2025/month_02/monthly@2025-02-28",
        "2025/month_02/daily/day_21@2025-02-28 l",
        "2025/month_03/monthly@2025-03-01",
    ]);
    // The same month of last year goes with the new one.
    let gone = ["2024/month_02/daily/day_21/shop_2024-02-29", "2024/month_03/"];
    let expected: Vec<String> =
        expected.into_iter().filter(|k| !gone.iter().any(|g| k.starts_with(&format!("shop/{g}")))).collect();
    assert_eq!(world.listing(0), expected);
    let newest = *world.kept(0).last().unwrap();
    world.check(0, newest);
    world.check_all(0);
}

#[test]
fn two_runs_on_one_day_and_two_in_one_minute_are_points_of_their_own() {
    let mut world = World::new(Setup::default(), date(2026, 4, 11));
    let mut seconds = [(3, 0, 0), (3, 0, 1), (3, 0, 20), (15, 30, 0), (23, 59, 59)].into_iter();
    for n in 0..9 {
        let (hour, minute, second) = seconds.next().unwrap_or((0, n, 0));
        let day = if n < 5 { date(2026, 4, 11) } else { date(2026, 4, 12) };
        world.house.now = day.at(hour, minute, second, 0);
        std::fs::write(world.tree().join("f"), n.to_string()).unwrap();
        world.backup();
    }
    assert_eq!(world.records(0).len(), 9);
    let names = world.listing(0).join("\n");
    assert!(names.contains("year/shop_2026-04-11_03-00.tar.gz"), "{names}");
    assert!(names.contains("day_11/shop_2026-04-11_03-00-01.tar.gz"), "{names}");
    assert!(names.contains("day_11/shop_2026-04-11_03-00-20.tar.gz"), "{names}");
    world.check_all(0);
    // Even within one second: nothing is overwritten.
    let before = world.records(0);
    world.backup();
    let after = world.records(0);
    assert!(before.iter().all(|(id, old)| after.get(id) == Some(old)) && after.len() == 10);
    world.verify(0);
}

#[test]
fn a_clock_that_goes_back_and_forth_loses_nothing() {
    let mut world = World::new(Setup::default(), date(2026, 3, 5));
    let days = [
        date(2026, 3, 5),
        date(2026, 4, 1),
        date(2026, 4, 21),
        // Back within the month, into the month before, into last year, to the epoch of a dead battery.
        date(2026, 4, 12),
        date(2026, 3, 2),
        date(2025, 12, 31),
        date(1970, 1, 1),
        // Ahead, once.
        date(2038, 1, 19),
        // And right again.
        date(2026, 4, 22),
        date(2026, 5, 1),
        date(2026, 5, 2),
    ];
    for day in days {
        run_on(&mut world, day);
    }
    let kept = world.kept(0);
    let lost: Vec<String> =
        world.points.keys().filter(|at| !kept.contains(at)).map(|at| at.date().to_string()).collect();
    // What a wrong clock made long ago is old; nothing that a right one made may go.
    assert!(lost.iter().all(|day| day == "1970-01-01"), "{lost:?}");
    world.listing(0);
    for at in kept {
        world.check(0, at);
    }
    world.verify(0);
}

#[test]
fn the_hour_that_comes_twice_and_the_one_that_never_comes_are_no_trouble() {
    let mut world = World::new(Setup::default(), date(2026, 10, 24));
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let mut trees = Vec::new();
    let moments = [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-31T23:30:00+01:00",
        // Midnight is not the same everywhere: a first in Berlin, a 31st in UTC.
        "2026-11-01T00:30:00+01:00",
    ];
    for moment in moments {
        std::fs::write(world.tree().join("f"), moment).unwrap();
        let now: Timestamp = moment.parse().unwrap();
        let answer = world.start_by(Some(At(now.to_zoned(berlin.clone()))));
        assert_eq!(answer.code, 0, "{moment}: {}", answer.err);
        trees.push((moment, Snapshot::take(&world.tree())));
    }
    let names = world.listing(0);
    for name in [
        "shop/2026/year/shop_2026-03-28_02-30.tar.gz",
        "shop/2026/month_03/daily/day_21/shop_2026-03-29_03-30.tar.gz",
        "shop/2026/month_10/monthly/shop_2026-10-25_02-30.tar.gz",
        "shop/2026/month_10/daily/day_21/shop_2026-10-25_02-30-00.tar.gz",
        "shop/2026/month_10/daily/day_21/shop_2026-10-31_23-30.tar.gz",
        "shop/2026/month_11/monthly/shop_2026-11-01_00-30.tar.gz",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:#?}");
    }
    let root = world.tree();
    for (moment, tree) in trees {
        tree.assert_same(&world.restored_of(0, &root, moment), moment);
    }
    world.verify(0);
}

#[test]
fn months_go_by_the_setting_in_either_order_and_every_kept_point_comes_back() {
    for (rotation, months) in [("before", 2), ("after", 2), ("auto", 0), ("after", 12)] {
        let mut world = World::new(Setup { rotation, months, ..Setup::default() }, date(2025, 10, 30));
        for month in 0..14 {
            let (year, month) = (2025 + (9 + month) / 12, (9 + month) % 12 + 1);
            for day in [5, 12, 28] {
                run_on(&mut world, date(year as i16, month as i8, day));
            }
        }
        // The last run was in November 2026.
        let months_kept: std::collections::BTreeSet<(i16, i8)> =
            world.kept(0).iter().map(|at| (at.year(), at.month())).collect();
        let is_old = |m: &&(i16, i8)| (2026 - i32::from(m.0)) * 12 + 11 - i32::from(m.1) > months as i32;
        // The full of this year stays.
        let old: Vec<_> = months_kept.iter().filter(is_old).filter(|m| **m != (2026, 1)).collect();
        assert!(months_kept.contains(&(2026, 11)) && months_kept.contains(&(2026, 1)), "{months_kept:?}");
        match months {
            12 => assert!(months_kept.len() >= 12 && old.iter().all(|m| m.0 == 2025), "{months_kept:?}"),
            _ => assert!(old.is_empty(), "{rotation} {months}: {months_kept:?}"),
        }
        world.listing(0);
        world.check_all(0);
        let newest = *world.kept(0).last().unwrap();
        world.check(0, newest);
    }
}
