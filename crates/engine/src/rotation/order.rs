//! New copy first or drop first? Pure. The article's problem is a storage with room for exactly one copy.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use nxs_base::record::BackupId;
use nxs_base::spec::Rotation;

use super::plan::{Action, Decision, RotationItem};

/// How many of the last backups the estimate looks at.
const LAST: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    NewFirst {
        /// Room is short, and all that may be dropped would not make enough: worth a warning.
        room_is_short: bool,
    },
    /// The old ones go first, oldest first, until this many bytes are freed.
    DropFirst { up_to_bytes: u64 },
}

/// Decides the order for one group on one storage.
///
/// `free` is what the storage says it can still take, none if it cannot tell. `last_sizes` are the stored bytes of
/// the backups so far, newest first; `droppable_bytes` is what the plan with the upcoming backup would free.
/// The estimate is the largest of the last three and 20 %; a first run makes new first.
pub fn decide_order(mode: Rotation, free: Option<u64>, last_sizes: &[u64], droppable_bytes: u64) -> Order {
    let new_first = Order::NewFirst { room_is_short: false };
    let largest = match mode {
        Rotation::After => return new_first,
        Rotation::Before => return Order::DropFirst { up_to_bytes: u64::MAX },
        Rotation::Auto => last_sizes.iter().take(LAST).max(),
    };
    let (Some(free), Some(largest)) = (free, largest.copied()) else { return new_first };
    let estimate = largest.saturating_add(largest.div_ceil(5));
    if free >= estimate {
        new_first
    } else if free.saturating_add(droppable_bytes) < largest {
        Order::NewFirst { room_is_short: true }
    } else {
        Order::DropFirst { up_to_bytes: estimate - free }
    }
}

/// Cuts a plan down to the drops that free `up_to_bytes`: oldest first, the newest complete one last of all, with what it
/// needs; an increment before what it follows, so that what is left over of a chain can be restored. Returns the drops
/// alone, in that order.
pub fn drop_first(decisions: &[Decision], items: &[RotationItem], up_to_bytes: u64) -> Vec<Decision> {
    let item_of = |d: &Decision| items.iter().find(|i| i.key == d.key);
    let newest_complete = decisions.iter().find(|d| item_of(d).is_some_and(|i| i.complete));
    let newest = newest_complete.and_then(item_of);
    let age: BTreeMap<BackupId, usize> =
        decisions.iter().rev().enumerate().filter_map(|(n, d)| Some((item_of(d)?.id?, n))).collect();
    let rank = |(n, d): &(usize, &Decision)| {
        let item = item_of(d);
        let is_last = newest.is_some_and(|newest| {
            newest.key == d.key || item.and_then(|i| i.id).is_some_and(|id| newest.needs.contains(&id))
        });
        // By the full copy that its chain begins with.
        let first = item.and_then(|item| item.needs.last()).and_then(|id| age.get(id));
        (is_last, first.copied().unwrap_or(*n), Reverse(item.map_or(0, |item| item.needs.len())))
    };
    let mut ranked: Vec<(usize, &Decision)> = decisions.iter().rev().enumerate().collect();
    ranked.retain(|(_, d)| d.action == Action::Drop);
    ranked.sort_by_key(rank);
    let drops = ranked.into_iter().map(|(_, decision)| decision);
    let mut freed = 0u64;
    drops
        .take_while(|d| {
            let is_needed = freed < up_to_bytes;
            freed = freed.saturating_add(item_of(d).map_or(0, |i| i.bytes));
            is_needed
        })
        .cloned()
        .collect()
}
