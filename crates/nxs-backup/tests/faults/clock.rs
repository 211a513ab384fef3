//! Clocks that jump, and runs that meet in one minute.

use std::collections::BTreeSet;
use std::sync::Mutex;

use jiff::Zoned;
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use nxs_base::ports::clock::Clock;

use crate::house::{House, Said};
use crate::judge::{Case, judge};
use crate::shelf::{Order, Shelf};

/// Runs at that moment (none: the real program, now) and judges; `may_go` are the only ones that may go.
#[track_caller]
fn run(house: &House, at: Option<DateTime>, before: &Shelf, may_go: &BTreeSet<String>) -> (Said, Shelf) {
    house.touch(&format!("{at:?} {}", before.len()));
    let tree = house.tree();
    let said = at.map_or_else(|| house.start(), |at| house.start_at(at));
    let dir = &house.storages[0];
    let case = Case { house, dir, before, tree: Some(&tree), may_go, order: Order::Settled };
    let after = judge(&case, Some(&said));
    assert_eq!(said.code, Some(0), "{said:?}");
    let new = after.keys().filter(|k| !before.contains_key(*k)).count();
    assert_eq!(new, 1, "the run at {at:?} is green and its copy is not there: {:?}", after.keys());
    (said, after)
}

fn all(shelf: &Shelf) -> BTreeSet<String> {
    shelf.keys().cloned().collect()
}

#[test]
fn runs_in_one_minute_lie_side_by_side() {
    let mut house = House::new(64 << 10);
    house.store = "{days: 5, weeks: 0, month: 0}";
    let mut shelf = Shelf::new();
    for n in 1..=4 {
        shelf = run(&house, None, &shelf, &BTreeSet::new()).1;
        assert_eq!(shelf.len(), n);
    }
    let at = date(2099, 11, 9).at(3, 0, 0, 0);
    shelf = run(&house, Some(at), &shelf, &BTreeSet::new()).1;
    let oldest = all(&shelf);
    let (_, shelf) = run(&house, Some(at), &shelf, &oldest);
    assert!(shelf.contains_key("shop/shop_2099-11-09_03-00-01.tar.gz"), "{:?}", shelf.keys());
    assert_eq!(shelf.len(), 5);
}

#[test]
fn a_clock_that_jumps_back_loses_nothing_that_the_policy_keeps() {
    let mut house = House::new(64 << 10);
    house.store = "{days: 3, weeks: 0, month: 0}";
    let mut shelf = Shelf::new();
    for day in [10, 11] {
        shelf = run(&house, Some(date(2020, 11, day).at(3, 0, 0, 0)), &shelf, &BTreeSet::new()).1;
    }
    shelf = run(&house, Some(date(2020, 11, 5).at(3, 0, 0, 0)), &shelf, &BTreeSet::new()).1;
    assert_eq!(shelf.len(), 3);
    // A fourth and a fifth, still before the others: they are there after their own run, whatever goes for them.
    for day in [4, 6] {
        let may_go = all(&shelf);
        shelf = run(&house, Some(date(2020, 11, day).at(3, 0, 0, 0)), &shelf, &may_go).1;
        assert_eq!(shelf.len(), 3, "{:?}", shelf.keys());
    }
}

#[test]
fn a_backup_of_a_night_in_the_future_does_not_push_out_the_ones_that_are_made_now() {
    for store in ["{days: 1, weeks: 0, month: 0}", "{days: 2, weeks: 0, month: 0}"] {
        let mut house = House::new(64 << 10);
        house.store = store;
        let mut shelf =
            run(&house, Some(date(2037, 12, 31).at(23, 59, 0, 0)), &Shelf::new(), &BTreeSet::new()).1;
        for day in [10, 11, 12] {
            let may_go = all(&shelf);
            shelf = run(&house, Some(date(2020, 11, day).at(3, 0, 0, 0)), &shelf, &may_go).1;
        }
    }
}

#[test]
fn an_hour_that_comes_twice_makes_two_backups() {
    let mut house = House::new(64 << 10);
    house.store = "{days: 4, weeks: 0, month: 0}";
    let mut shelf = Shelf::new();
    for (hour, minute) in [(2, 30), (3, 0), (2, 30), (2, 30)] {
        shelf = run(&house, Some(date(2026, 10, 25).at(hour, minute, 0, 0)), &shelf, &BTreeSet::new()).1;
    }
    assert_eq!(shelf.len(), 4);
}

/// Each look at it is an hour earlier than the one before.
struct Backwards(Mutex<Zoned>);

impl Clock for Backwards {
    fn now(&self) -> Zoned {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
        now.clone()
    }
}

#[test]
fn a_clock_that_runs_backwards_during_the_run_makes_a_sound_backup() {
    let house = House::new(64 << 10);
    let (_, before) = run(&house, Some(date(2020, 11, 9).at(3, 0, 0, 0)), &Shelf::new(), &BTreeSet::new());
    let tree = house.tree();
    let begin = date(2020, 11, 12).at(3, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    let said = house.start_with(Box::new(Backwards(Mutex::new(begin))));
    assert_eq!(said.code, Some(0), "{said:?}");
    let (house, none) = (&house, BTreeSet::new());
    let dir = &house.storages[0];
    let case = Case { house, dir, before: &before, tree: Some(&tree), may_go: &none, order: Order::Settled };
    let shelf = judge(&case, Some(&said));
    assert_eq!(shelf.len(), 2);
    run(house, Some(date(2020, 11, 13).at(3, 0, 0, 0)), &shelf, &all(&shelf));
}
