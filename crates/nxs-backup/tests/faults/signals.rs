//! SIGTERM, SIGINT and SIGHUP: the run ends in order, with 130, and cleans up itself.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::time::Instant;

use jiff::civil::date;
use nxs_testkit::Rng;

use crate::house::{House, Said};
use crate::judge::{Case, judge};
use crate::shelf::{self, Order};
use crate::wait;

fn has_partial(house: &House) -> bool {
    let dirs = std::fs::read_dir(house.storages[0].join("shop/daily"));
    dirs.is_ok_and(|d| {
        d.filter_map(Result::ok).any(|e| e.file_name().to_string_lossy().ends_with(".tar.gz.nxs-part"))
            || std::fs::read_dir(house.storages[0].join("shop/daily")).is_ok_and(|mut d| {
                d.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with(".shop_")))
            })
    })
}

/// Stops the run as soon as it writes its archive, lets `meddle` do its worst, and lets it go on.
fn disturbed(house: &House, meddle: impl FnOnce(&Child)) -> Said {
    // Whatever these tests run under: `nohup` would be passed on.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_nxs-backup")]);
    house.arguments(&mut command);
    house.watch(&mut command, |child| {
        assert!(wait::while_alive(child, || has_partial(house)).is_none(), "it ended too early");
        wait::signal(child, "STOP");
        meddle(child);
        wait::signal(child, "CONT");
        None
    })
}

#[test]
fn a_run_that_is_asked_to_end_leaves_no_partial_and_no_lock_and_says_cancelled() {
    for name in ["TERM", "INT", "HUP"] {
        let house = House::new(24 << 20);
        assert_eq!(house.start_at(date(2020, 11, 9).at(3, 0, 0, 0)).code, Some(0));
        let before = shelf::read(&house.storages[0], Order::Settled);
        let said = disturbed(&house, |child| wait::signal(child, name));
        assert_eq!(said.code, Some(130), "{name}: {said:?}");
        assert!(said.log.contains("The run was cancelled by a signal"), "{}", said.log);
        let (house, none) = (&house, BTreeSet::new());
        let dir = &house.storages[0];
        let case = Case { house, dir, before: &before, tree: None, may_go: &none, order: Order::Settled };
        judge(&case, Some(&said));
        let tree = house.tree();
        let next = house.start();
        assert_eq!(next.code, Some(0), "{next:?}");
        assert_eq!(judge(&Case { tree: Some(&tree), ..case }, Some(&next)).len(), 2);
    }
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let house = House::new(24 << 20);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_nxs-backup")]);
    house.arguments(&mut command);
    let said = house.watch(&mut command, |child| {
        assert!(wait::while_alive(child, || has_partial(&house)).is_none(), "it ended too early");
        wait::signal(child, "HUP");
        None
    });
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_second_interrupt_ends_at_once_and_the_next_run_clears_up() {
    let house = House::new(24 << 20);
    let said = disturbed(&house, |child| {
        wait::signal(child, "TERM");
        wait::signal(child, "INT");
    });
    assert_eq!(said.code, Some(130), "{said:?}");
    let (house, none) = (&house, BTreeSet::new());
    let dir = &house.storages[0];
    let before = shelf::read(dir, Order::CutOff);
    assert_eq!(before.len(), 0);
    let tree = house.tree();
    let next = house.start();
    assert_eq!(next.code, Some(0), "{next:?}");
    let case = Case { house, dir, before: &before, tree: Some(&tree), may_go: &none, order: Order::Settled };
    assert_eq!(judge(&case, Some(&next)).len(), 1);
}

#[test]
fn a_request_to_end_at_any_moment_is_followed_in_order() {
    let mut house = House::new(2 << 20);
    house.store = "{days: 2, weeks: 0, month: 0}";
    let begin = Instant::now();
    assert_eq!(house.start().code, Some(0));
    let takes = begin.elapsed();
    let mut shelf = shelf::read(&house.storages[0], Order::Settled);
    let mut rng = Rng::new(7);
    for n in 0..25 {
        house.touch(&n.to_string());
        let tree = house.tree();
        let after = takes.mul_f64(rng.unit());
        let said = house.watch(&mut house.command(), |child| {
            let begin = Instant::now();
            let ended = wait::while_alive(child, || begin.elapsed() >= after);
            if ended.is_none() {
                wait::signal(child, "TERM");
            }
            ended
        });
        println!("after {after:?}: {:?}", said.code);
        let may_go: BTreeSet<String> = match said.code {
            Some(0 | 130) => {
                let newest =
                    shelf.iter().max_by_key(|(_, b)| b.record["started"].to_string()).map(|(k, _)| k);
                shelf.keys().filter(|k| Some(*k) != newest).cloned().collect()
            }
            // The signal came before there was anybody to take it.
            None => BTreeSet::new(),
            code => panic!("{code:?}: {said:?}"),
        };
        let dir = &house.storages[0];
        let case = Case {
            house: &house,
            dir,
            before: &shelf,
            tree: Some(&tree),
            may_go: &may_go,
            order: Order::Settled,
        };
        shelf = judge(&case, said.code.map(|_| &said));
    }
}
