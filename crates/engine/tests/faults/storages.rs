//! The k-th operation of one of two storages goes wrong, for every k of the run.

use std::collections::BTreeSet;

use nxs_base::ErrorKind;
use nxs_base::report::RunOutcome;
use nxs_base::spec::Rotation;
use nxs_testkit::FlakyStorage;
use nxs_testkit::flaky::OpKind;

use crate::scene::{Said, Scene};
use crate::scripted::Scripted;
use crate::shelf::{self, Order, Shelf};

/// What the run does when nothing goes wrong.
struct Clean {
    before: [Shelf; 2],
    after: [Shelf; 2],
    /// After one more run.
    next: [Shelf; 2],
    ops: u64,
}

const NEXT_RUN: &str = "2026-11-09T03:00";

impl Clean {
    fn of(scene: &Scene<Scripted>) -> Self {
        let mut run = scene.fork();
        let said = run.run();
        assert!(said.report.is_complete(), "{:#?}", said.report);
        let ops = run.flaky[0].op_count();
        let both = |scene: &Scene<Scripted>| [0, 1].map(|n| shelf::read(&scene.memory[n], Order::Settled));
        let after = both(&run);
        run.clock.set(NEXT_RUN);
        assert!(run.run().report.is_complete());
        Self { before: both(scene), after, next: both(&run), ops }
    }

    /// What the policy keeps of what was there, in this run.
    fn kept(&self, n: usize) -> impl Iterator<Item = &String> {
        self.before[n].keys().filter(move |k| self.after[n].contains_key(*k))
    }

    /// The same in the next run.
    fn kept_next(&self, n: usize) -> impl Iterator<Item = &String> {
        self.before[n].keys().filter(move |k| self.next[n].contains_key(*k))
    }
}

/// Judges storage `n` after a run: (a) sound, (b) all older ones that are kept, unchanged, (d) told. Returns it.
#[track_caller]
fn judge(scene: &Scene<Scripted>, clean: &Clean, n: usize, order: Order, said: &Said, what: &str) -> Shelf {
    let shelf = shelf::read(&scene.memory[n], order);
    for key in clean.kept(n) {
        assert_eq!(shelf.get(key), clean.before[n].get(key), "{what}: `{key}` is to be kept");
    }
    let told: BTreeSet<String> = said.made(n).into_iter().collect();
    for (key, backup) in &shelf {
        match clean.before[n].get(key) {
            Some(old) => assert_eq!(backup, old, "{what}: `{key}` was changed"),
            None => {
                let target = key.split('/').next().unwrap();
                assert_eq!(
                    backup.archive,
                    scene.source.plain(target),
                    "{what}: `{key}` is not what was there"
                );
            }
        }
    }
    for key in &told {
        assert!(shelf.contains_key(key), "{what}: `{key}` is told and not there");
    }
    shelf
}

/// What went without a word, if the process lives to tell it.
#[track_caller]
fn judge_dropped(clean: &Clean, n: usize, shelf: &Shelf, said: &Said, what: &str) {
    let dropped: Vec<String> = said.dropped(n).iter().map(|key| shelf::family(key)).collect();
    for key in clean.before[n].keys().filter(|k| !shelf.contains_key(*k)) {
        assert!(dropped.contains(key), "{what}: `{key}` went and the report does not say so: {dropped:?}");
    }
}

/// The left storage goes wrong at each operation as `plan` says; the right one must be as if nothing had happened.
#[track_caller]
fn at_every_operation(rotation: Rotation, what: &str, order: Order, plan: impl Fn(&FlakyStorage, u64)) {
    let mut scene = Scene::<Scripted>::with_history();
    scene.job.rotation = rotation;
    let clean = Clean::of(&scene);
    assert!(clean.ops > 30, "the run is to be long: {}", clean.ops);
    for k in 1..=clean.ops {
        let mut run = scene.fork();
        plan(&run.flaky[0], k);
        let said = run.run();
        let op = run.flaky[0].ops().get(k as usize - 1).cloned();
        let what = format!("{rotation:?}, {what} at operation {k} ({op:?})");
        if said.report.is_complete() && said.warnings.is_empty() {
            let settled = shelf::read(&run.memory[0], Order::Settled);
            let is_as_if_nothing_had_been = settled.keys().eq(clean.after[0].keys());
            assert!(is_as_if_nothing_had_been, "{what}: the run says nothing of it: {:#?}", said.report);
        }
        assert_ne!(said.outcome(), RunOutcome::Failed, "{what}: the other storage has its copies");

        let right = judge(&run, &clean, 1, Order::Settled, &said, &what);
        assert_eq!(right.keys().collect::<Vec<_>>(), clean.after[1].keys().collect::<Vec<_>>(), "{what}");
        judge_dropped(&clean, 1, &right, &said, &what);
        let left = judge(&run, &clean, 0, order, &said, &what);
        if order != Order::CutOff {
            judge_dropped(&clean, 0, &left, &said, &what);
            let new = left.keys().filter(|k| !clean.before[0].contains_key(*k));
            let told = said.made(0);
            if said.report.is_complete() {
                assert_eq!(new.cloned().collect::<Vec<_>>(), told, "{what}");
            }
        }

        run.flaky[0].revive();
        run.clock.set(NEXT_RUN);
        let source = run.source.clone();
        let next = run.run();
        assert!(next.report.is_complete(), "{what}: the next run: {:#?}", next.report);
        assert_eq!(next.warnings, Vec::<String>::new(), "{what}: the next run");
        for n in [0, 1] {
            let settled = shelf::read(&run.memory[n], Order::Settled);
            for key in clean.kept_next(n) {
                assert_eq!(settled.get(key), clean.before[n].get(key), "{what}: `{key}` after the next run");
            }
            for target in ["one", "two"] {
                let is_new = |b: &&shelf::Backup| b.archive == run.source.plain(target);
                assert_eq!(settled.values().filter(is_new).count(), 1, "{what}: {target} after the next run");
                let is_of_fault = |b: &&shelf::Backup| b.archive == source.plain(target);
                assert!(settled.values().filter(is_of_fault).count() <= 1, "{what}");
            }
        }
    }
}

const ROTATIONS: [Rotation; 3] = [Rotation::Auto, Rotation::Before, Rotation::After];

#[test]
fn a_storage_that_fails_at_any_operation_hurts_neither_itself_nor_the_other() {
    for rotation in ROTATIONS {
        for kind in [ErrorKind::Full, ErrorKind::Denied, ErrorKind::Timeout, ErrorKind::Other] {
            at_every_operation(rotation, &format!("{kind:?}"), Order::Failed, |flaky, k| {
                flaky.fail_op(k, kind)
            });
        }
    }
}

#[test]
fn an_operation_that_took_effect_and_says_it_failed_leaves_nothing_half() {
    for rotation in ROTATIONS {
        for kind in [ErrorKind::Timeout, ErrorKind::Other] {
            let what = format!("done and told as {kind:?}");
            at_every_operation(rotation, &what, Order::Failed, |flaky, k| flaky.fail_after(k, kind));
        }
    }
}

#[test]
fn a_storage_that_is_gone_from_any_operation_on_hurts_neither_itself_nor_the_other() {
    for rotation in ROTATIONS {
        at_every_operation(rotation, "gone", Order::CutOff, |flaky, k| flaky.kill_before(k));
    }
}

#[test]
fn an_operation_that_took_effect_before_all_went_dead_is_gone_on_from() {
    for rotation in ROTATIONS {
        at_every_operation(rotation, "dead after", Order::CutOff, |flaky, k| flaky.kill_after(k));
    }
}

#[test]
fn a_stream_that_dies_in_its_middle_leaves_a_partial_that_is_swept() {
    for bytes in [0, 1, 100, 4999] {
        let what = format!("dead after {bytes} bytes");
        at_every_operation(Rotation::After, &what, Order::CutOff, |flaky, k| flaky.kill_in_stream(k, bytes));
    }
}

#[test]
fn both_storages_dead_fail_the_run() {
    let scene = Scene::<Scripted>::with_history();
    let clean = Clean::of(&scene);
    for k in 1..=3 {
        let mut run = scene.fork();
        run.flaky.iter().for_each(|f| f.kill_before(k));
        let said = run.run();
        assert_eq!(said.outcome(), RunOutcome::Failed, "{:#?}", said.report);
        for n in [0, 1] {
            let shelf = judge(&run, &clean, n, Order::CutOff, &said, "both dead");
            assert_eq!(shelf, clean.before[n]);
        }
    }
}

#[test]
fn an_old_backup_that_cannot_be_dropped_is_an_error_and_the_next_run_drops_it() {
    for op in [OpKind::Rename, OpKind::Delete] {
        let mut scene = Scene::<Scripted>::with_history();
        let clean = Clean::of(&scene);
        scene.flaky[0].fail_next(op, ErrorKind::Denied);
        let said = scene.run();
        assert_eq!(said.outcome(), RunOutcome::Partial, "{op:?}: {:#?}", said.report);
        let [problem] = &said.report.problems[..] else { panic!("{op:?}: {:?}", said.report.problems) };
        assert!(problem.message.starts_with("cannot rotate `"), "{}", problem.message);
        assert_eq!((problem.kind, problem.hint.is_some()), (ErrorKind::Denied, true));
        // The copies are there and told.
        assert_eq!(said.made(0).len(), 2, "{op:?}");
        judge(&scene, &clean, 0, Order::CutOff, &said, &format!("{op:?}"));
        scene.clock.set(NEXT_RUN);
        assert!(scene.run().report.is_complete(), "{op:?}");
        let keys = |shelf: &Shelf| shelf.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&shelf::read(&scene.memory[0], Order::Settled)), keys(&clean.next[0]), "{op:?}");
    }
}
