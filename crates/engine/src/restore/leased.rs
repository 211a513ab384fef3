//! Reading under leases: word is left on every storage that holds a copy of what was chosen, so that no rotation takes
//! it away meanwhile. What a lease is, and how it is renewed, is [`crate::lease`]'s.

use std::collections::BTreeMap;

use nxs_base::Error;
use nxs_base::event::Event;
use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::spec::JobSpec;

use super::select::Candidate;
use crate::job::RunContext;
use crate::lease::{self, Held};

/// Does `work` while leases cover all copies of the chosen backups. A storage that takes none is warned of.
pub(crate) fn leased<T>(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    chosen: &[Candidate],
    work: impl FnOnce() -> T,
) -> T {
    let mut readings: BTreeMap<&str, (&dyn Storage, Vec<ObjectKey>)> = BTreeMap::new();
    for copy in chosen.iter().flat_map(|candidate| &candidate.copies) {
        let reading =
            readings.entry(&copy.storage_name).or_insert_with(|| (copy.storage.as_ref(), Vec::new()));
        reading.1.push(copy.entry.key.clone());
        for parent in copy.parents.iter().flatten() {
            if !reading.1.contains(&parent.key) {
                reading.1.push(parent.key.clone());
            }
        }
    }
    let readings = readings.into_values().map(|(storage, keys)| (storage, Held::Keys(keys))).collect();
    let warn = |error: &Error| {
        ctx.events.emit(&Event::Warned { job: &job.name, message: &error.chain() });
    };
    lease::hold(readings, &ctx.tag(), ctx.clock, &warn, work)
}
