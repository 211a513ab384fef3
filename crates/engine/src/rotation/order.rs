//! New copy first or drop first? Pure. The article's problem is a storage with room for exactly one copy.

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

/// Cuts a plan down to the drops that free `up_to_bytes`: oldest first, the newest complete one last of all.
/// Returns the drops alone, in that order.
pub fn drop_first(decisions: &[Decision], items: &[RotationItem], up_to_bytes: u64) -> Vec<Decision> {
    let item_of = |d: &Decision| items.iter().find(|i| i.key == d.key);
    let newest_complete = decisions.iter().find(|d| item_of(d).is_some_and(|i| i.complete));
    let mut drops: Vec<&Decision> = decisions.iter().filter(|d| d.action == Action::Drop).rev().collect();
    drops.sort_by_key(|d| newest_complete.is_some_and(|n| n.key == d.key));
    let mut freed = 0u64;
    drops
        .into_iter()
        .take_while(|d| {
            let is_needed = freed < up_to_bytes;
            freed = freed.saturating_add(item_of(d).map_or(0, |i| i.bytes));
            is_needed
        })
        .cloned()
        .collect()
}
