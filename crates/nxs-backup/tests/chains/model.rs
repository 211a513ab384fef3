//! Random histories over simulated months, with runs that are missed.

use jiff::civil::date;
use nxs_testkit::history::History;
use nxs_testkit::rng::Rng;

use crate::world::{JOB, World};

/// Days and changes of one history.
fn live(seed: u64, runs: u32) {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut world = World::new(JOB, date(2025, 11, 3 + (seed % 20) as i8));
    let mut history = History::new(&world.tree(), seed);
    history.change(50).unwrap();
    for _ in 0..runs {
        world.backup();
        let now = world.house.now;
        world.check(now);
        let kept = world.kept();
        world.check(kept[rng.below(kept.len() as u64) as usize]);
        history.change(rng.below(8)).unwrap();
        world.pass(1 + if rng.percent(25) { rng.below(9) as i32 } else { 0 });
    }
    for at in world.kept() {
        world.check(at);
    }
    let answer = world.run(&["verify"]);
    assert_eq!(answer.code, 0, "seed {seed}: {}{}", answer.out, answer.err);
}

#[test]
fn every_kept_point_of_a_random_history_comes_back() {
    for seed in 1..=4 {
        live(seed, 25);
    }
}
