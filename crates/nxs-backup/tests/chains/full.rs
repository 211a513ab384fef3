//! A storage that is full at any page of what an increment needs, on a real file system, beside one that is not.

use crate::levels::{DAYS, Levels};
use crate::mounts::Mount;
use crate::shelf::{self, assert_kept};

const PAGE: u64 = 4096;

/// Runs of one of [`DAYS`] with a left storage that has from no room to enough, a page more each time; after each all
/// that is kept comes back, and the run of the next day, with room, is complete. Returns how many had no room.
fn sweep(rotation: &'static str, number: usize) -> u32 {
    let (level, day) = DAYS[number];
    let mut levels = Levels::new(rotation, level);
    let clean = levels.clean(level, day);
    std::fs::remove_dir_all(levels.world.dir(0)).unwrap();
    let used = {
        let mount = Mount::tmpfs(&levels.world.dir(0), "size=64m");
        levels.lay_out(0);
        mount.used_bytes()
    };
    let (mut failed, mut complete) = (0, 0);
    for n in 0.. {
        assert!(n < 100, "never enough room");
        let what = format!("{rotation}, {level}, {n} pages");
        let mount = Mount::tmpfs(&levels.world.dir(0), &format!("size={}", used + n * PAGE));
        levels.lay_out(0);
        levels.lay_out_anew(&[1]);
        levels.world.set_day(day);
        levels.touch();
        levels.world.name = what.clone();
        let log_before = levels.world.house.log().len();
        let answer = levels.world.attempt();
        let log = levels.world.house.log()[log_before..].to_owned();
        let now = levels.world.house.now;
        for storage in [0, 1] {
            let after = shelf::read(&levels.world.dir(storage), true, &what);
            assert_kept(&levels.before[storage], &clean[storage], &after, &what);
        }
        // The other one has its copy in any case.
        levels.world.check(1, now);
        if answer.code == 0 {
            complete += 1;
            assert!(levels.world.kept(0).contains(&now), "{what}");
        } else {
            (failed, complete) = (failed + 1, 0);
            assert_eq!(answer.code, 3, "{what}: {answer:?}");
            assert!(log.contains("No space left on device"), "{what}: {log}");
        }
        for at in levels.world.kept(0) {
            levels.world.check(0, at);
        }
        mount.remount("size=64m");
        levels.next_day(&clean, n % 4 == 0, &what);
        drop(mount);
        if complete == 2 {
            break;
        }
    }
    failed
}

#[test]
fn a_day_for_which_one_storage_is_full_costs_nothing_that_was_there() {
    assert!(sweep("after", 0) > 3, "too much room from the beginning");
}

#[test]
fn a_decade_for_which_one_storage_is_full_costs_nothing_that_was_there() {
    assert!(sweep("after", 1) > 3, "too much room from the beginning");
}

#[test]
fn a_month_for_which_one_storage_is_full_costs_nothing_that_was_there() {
    assert!(sweep("after", 2) > 3, "too much room from the beginning");
}

#[test]
fn a_year_for_which_one_storage_is_full_costs_nothing_that_the_policy_keeps() {
    assert!(sweep("after", 3) > 3, "too much room from the beginning");
}

#[test]
fn a_month_that_may_go_makes_room_for_the_year() {
    assert_eq!(sweep("auto", 3), 0);
}
