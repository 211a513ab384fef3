//! Two processes at once, and what a killed one leaves of its lock.

use std::collections::BTreeSet;

use crate::house::House;
use crate::judge::{Case, judge, judge_words};
use crate::shelf::{Order, Shelf};
use crate::wait;

/// Whether the lock file names this process.
fn holds_lock(house: &House, pid: u32) -> bool {
    let text = std::fs::read_to_string(house.path("lock")).unwrap_or_default();
    text.starts_with(&format!("{pid} "))
}

#[test]
fn of_two_runs_at_once_the_second_ends_with_11_and_names_the_first_which_is_complete() {
    let house = House::new(1 << 20);
    let tree = house.tree();
    let mut second = None;
    let first = house.watch(&mut house.command(), |child| {
        let pid = child.id();
        assert!(wait::while_alive(child, || holds_lock(&house, pid)).is_none(), "the first ended too early");
        wait::signal(child, "STOP");
        second = Some((pid, house.start()));
        wait::signal(child, "CONT");
        None
    });
    let (pid, second) = second.unwrap();
    assert_eq!(second.code, Some(11), "{second:?}");
    assert!(second.err.contains(&format!("process {pid} ")), "{}", second.err);
    judge_words(&second);
    assert_eq!(first.code, Some(0), "{first:?}");
    // Both wrote to the log meanwhile; the first has only its own part of it to answer for.
    let mut first = first;
    first.log = first.log.replace(&second.log, "");
    let (house, none) = (&house, BTreeSet::new());
    let dir = &house.storages[0];
    let case =
        Case { house, dir, before: &Shelf::new(), tree: Some(&tree), may_go: &none, order: Order::Settled };
    assert_eq!(judge(&case, Some(&first)).len(), 1);
}

#[test]
fn the_lock_of_a_killed_run_is_no_obstacle() {
    let house = House::new(1 << 20);
    let said = house.watch(&mut house.command(), |child| {
        let pid = child.id();
        assert!(wait::while_alive(child, || holds_lock(&house, pid)).is_none(), "it ended too early");
        child.kill().unwrap();
        None
    });
    assert_eq!(said.code, None);
    assert!(house.path("lock").exists());
    let tree = house.tree();
    let next = house.start();
    assert_eq!(next.code, Some(0), "{next:?}");
    let (house, none) = (&house, BTreeSet::new());
    let dir = &house.storages[0];
    let case =
        Case { house, dir, before: &Shelf::new(), tree: Some(&tree), may_go: &none, order: Order::Settled };
    assert_eq!(judge(&case, Some(&next)).len(), 1);
}
