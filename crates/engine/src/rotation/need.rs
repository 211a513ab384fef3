//! What has to stay because others need it: increments that lie among full copies are of no use without those that they
//! follow. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use nxs_base::calendar::Periods;
use nxs_base::ports::storage::ObjectKey;
use nxs_base::record::BackupId;

use super::plan::{Action, Decision, Reason, RotationItem};
use crate::catalog::CatalogEntry;
use crate::incremental::by_log::Copies;

/// What rotation needs to know of the backups of one group on one storage. An increment that lacks what it needs passes for
/// incomplete: it protects nobody.
pub fn items(entries: &[&CatalogEntry], zone: &TimeZone) -> Vec<RotationItem> {
    let copies = Copies::new(entries.iter().copied());
    let items = entries.iter().map(|entry| {
        let item = RotationItem::from_entry(entry, zone);
        RotationItem { complete: item.complete && copies.ancestry(entry).is_ok(), ..item }
    });
    items.collect()
}

/// Takes back the drops of what kept increments need, and one that is about to be made after `upcoming` and its parents.
pub fn needed_stay(items: &[RotationItem], upcoming: &[BackupId], decisions: Vec<Decision>) -> Vec<Decision> {
    if upcoming.is_empty() && items.iter().all(|item| item.needs.is_empty()) {
        return decisions;
    }
    let by_key: BTreeMap<&ObjectKey, &RotationItem> = items.iter().map(|item| (&item.key, item)).collect();
    let kept = decisions.iter().filter(|d| d.action == Action::Keep).filter_map(|d| by_key.get(&d.key));
    let mut needed: BTreeSet<BackupId> = kept.flat_map(|item| item.needs.iter().copied()).collect();
    needed.extend(upcoming);
    let stay = |decision: Decision| {
        let item = by_key.get(&decision.key);
        let is_needed = item.and_then(|item| item.id).is_some_and(|id| needed.contains(&id));
        if decision.action == Action::Keep || !is_needed {
            return decision;
        }
        let here = item.and_then(|item| item.real_period).map_or(Periods::NONE, Periods::of);
        Decision { keep: here, action: Action::Keep, reason: Reason::Needed, key: decision.key }
    };
    decisions.into_iter().map(stay).collect()
}
