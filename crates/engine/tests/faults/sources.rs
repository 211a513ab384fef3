//! A source that breaks off at byte n: nothing of it is published, nothing goes for it.

use nxs_base::ErrorKind;
use nxs_base::report::RunOutcome;
use nxs_base::spec::Rotation;

use crate::scene::Scene;
use crate::scripted::{BLOCK, BYTES, Scripted};
use crate::shelf::{self, Order};

#[test]
fn a_source_that_breaks_off_at_any_byte_publishes_nothing_and_drops_nothing_of_its_target() {
    let scene = Scene::<Scripted>::with_history();
    let before = [0, 1].map(|n| shelf::read(&scene.memory[n], Order::Settled));
    let cuts = (0..=BYTES).filter(|n| n % 97 == 0 || n % BLOCK <= 1 || n % BLOCK == BLOCK - 1);
    for rotation in [Rotation::Auto, Rotation::After] {
        for at in cuts.clone() {
            let mut run = scene.fork();
            run.job.rotation = rotation;
            run.source.cut_at = Some((at, ErrorKind::Tool));
            let said = run.run();
            assert_eq!(said.outcome(), RunOutcome::Partial, "the other target is saved");
            let problem = said.report.targets[0].problem.as_ref().expect("it is told");
            assert!(problem.message.contains(&format!("breaks off at byte {at}")), "{problem:?}");
            assert_eq!(said.report.targets[0].copies_made(), 0, "{:#?}", said.report.targets[0]);
            for n in [0, 1] {
                let after = shelf::read(&run.memory[n], Order::Settled);
                let of_one = |shelf: &shelf::Shelf| {
                    shelf
                        .iter()
                        .filter(|(k, _)| k.starts_with("one/"))
                        .map(|(k, b)| (k.clone(), b.clone()))
                        .collect()
                };
                let (is, was): (shelf::Shelf, shelf::Shelf) = (of_one(&after), of_one(&before[n]));
                assert_eq!(is, was, "cut at {at}");
                assert_eq!(after.keys().filter(|k| k.contains("two_2026-11-08")).count(), 1);
            }
        }
    }
}
