//! What is alike on the way of a target to its storages, whatever is saved: each storage has a slot or a problem, old
//! backups make room before or stay, and each copy that was committed is gone on with. What a slot is and which backups
//! may go is `target`'s and `increment`'s matter.

use nxs_base::error::{Error, Result};
use nxs_base::event::Event;
use nxs_base::ports::storage::ObjectKey;
use nxs_base::report::{CopyOutcome, DroppedBackup, Problem, TargetReport};

use super::store::Store;
use super::target::TargetJob;
use crate::rotation::order::{Order, decide_order};

/// Finds the slot of each storage, with the key that goes into the report; what keeps a storage from having one is its
/// problem there. None where the storage gets nothing today.
pub(super) fn find_slots<S>(
    stores: &mut [Store],
    report: &mut TargetReport,
    mut find: impl FnMut(usize, &mut Store, &mut Vec<DroppedBackup>) -> Option<Result<(ObjectKey, S)>>,
) -> Vec<S> {
    let mut slots = Vec::new();
    for (number, store) in stores.iter_mut().enumerate() {
        let mut dropped = Vec::new();
        let (key, problem) = match find(number, store, &mut dropped) {
            None => continue,
            Some(Ok((key, slot))) => {
                slots.push(slot);
                (key.to_string(), None)
            }
            Some(Err(error)) => (String::new(), Some(Problem::from(&error))),
        };
        report.copies.push(CopyOutcome { storage: store.spec().name.clone(), key, problem, dropped });
    }
    slots
}

/// Which goes first, the new backup or what may be dropped: how many bytes of that, or none. `sizes` are those of the
/// backups so far, newest first. Says so where there is hardly room and nothing would help.
pub(super) fn bytes_to_free(
    work: &TargetJob<'_>,
    store: &Store,
    sizes: &[u64],
    droppable_bytes: u64,
) -> Option<u64> {
    let free = store.free_bytes(work.ctx, work.job);
    match decide_order(work.job.rotation, free, sizes, droppable_bytes) {
        Order::NewFirst { room_is_short: false } => None,
        Order::NewFirst { room_is_short: true } => {
            let message = format!(
                "{}: there is hardly room for a new backup of `{}`, and dropping all that may go would not make it; \
                 nothing is dropped before the new one is complete",
                store.spec().name,
                work.target.name
            );
            work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
            None
        }
        Order::DropFirst { up_to_bytes } => Some(up_to_bytes),
    }
}

/// Goes on with each copy that was committed; what went wrong with another is its problem in the report, and what went
/// wrong afterwards is `late`. `slots` tell the storages by their places in `stores`.
pub(super) fn end_copies<S>(
    stores: &mut [Store],
    slots: impl Iterator<Item = (usize, S)>,
    committed: Vec<Result<()>>,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
    mut after: impl FnMut(&mut Store, &S, &mut Vec<DroppedBackup>) -> Vec<Error>,
) {
    for ((number, slot), committed) in slots.zip(committed) {
        let store = &mut stores[number];
        let Some(copy) = report.copies.iter_mut().find(|c| c.storage == store.spec().name) else { continue };
        match committed {
            Ok(()) => late.extend(after(store, &slot, &mut copy.dropped)),
            Err(error) => copy.problem = Some(Problem::from(&error)),
        }
    }
}
