//! Plans which backups of one group on one storage are kept and for which periods. Pure: no I/O, no clock.
//!
//! v2 counts the files of each period directory; so do we, by the periods a backup was born into, of which a
//! directory shows only those that are kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nxs_base::calendar::{Period, Periods, kept_count};
use nxs_base::ports::storage::ObjectKey;
use nxs_base::record::BackupId;
use nxs_base::spec::Retention;

use super::need::needed_stay;
use crate::catalog::CatalogEntry;

/// What rotation needs to know of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationItem {
    /// The archive.
    pub key: ObjectKey,
    /// Start of its run.
    pub started: Timestamp,
    pub counts_for: Periods,
    /// The period directory of the archive itself.
    pub real_period: Option<Period>,
    /// False if it has gaps.
    pub complete: bool,
    /// What dropping it frees.
    pub bytes: u64,
    /// None where no record tells it.
    pub id: Option<BackupId>,
    /// What a restore needs before it, nearest first.
    pub needs: Vec<BackupId>,
}

impl RotationItem {
    /// `zone` reads the local time in the names of adopted backups.
    pub fn from_entry(entry: &CatalogEntry, zone: &TimeZone) -> Self {
        Self {
            key: entry.key.clone(),
            started: entry.started(zone),
            counts_for: entry.counts_for(),
            real_period: entry.real_period(),
            complete: entry.is_complete(),
            bytes: entry.total_bytes(),
            id: entry.record().map(|record| record.id),
            needs: entry.parents().to_vec(),
        }
    }
}

/// What is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    pub retention: Retention,
    /// The moment of the run. What claims to have started later was made under a clock that was wrong, so before
    /// everything that is made now: it counts as older than the rest.
    pub now: Timestamp,
    /// The calendar periods of a backup that is about to be made; it takes the first place in each.
    pub upcoming: Option<Periods>,
    /// Lets the last copy go for the upcoming one, if that is the newest and complete. Only for `rotation: before`,
    /// or `auto` without room, and only after the source's probe passed. No effect without `upcoming`.
    pub allow_last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Keep,
    Drop,
}

/// Why a backup stays or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Among the newest of these periods.
    Among(Periods),
    /// Beyond all counts, but there is no newer complete one.
    NewestComplete,
    /// It names no period, so no count covers it.
    NoPeriod,
    /// Beyond all counts, but a kept increment cannot be restored without it.
    Needed,
    /// Older than the newest that are kept, in all its periods.
    Beyond(Periods),
    /// An increment of a month out of the window, or a full that no kept increment needs.
    OutOfWindow,
    /// To be dropped, but a restore or a verification reads it.
    Leased,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |periods: &Periods| periods.iter().map(Period::name).collect::<Vec<_>>().join(", ");
        match self {
            Self::Among(periods) => write!(f, "among the newest of {}", list(periods)),
            Self::NewestComplete => f.write_str("the newest complete backup is never dropped"),
            Self::Needed => f.write_str("needed by a kept increment"),
            Self::NoPeriod => f.write_str("belongs to no period"),
            Self::OutOfWindow => f.write_str("its month is out of the window"),
            Self::Leased => f.write_str("leased: a restore or a verification reads it"),
            Self::Beyond(periods) => write!(f, "older than what is kept of {}", list(periods)),
        }
    }
}

/// What happens to one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub key: ObjectKey,
    /// The periods it is kept for; empty exactly if it is dropped or names no place.
    pub keep: Periods,
    pub action: Action,
    pub reason: Reason,
}

/// Splits the backups of one group into kept and dropped, newest first.
///
/// Takes them in any order and returns every one exactly once. A backup is kept for a period if it is among the
/// newest N of those that count for it, the upcoming one included; one that is kept for no period is dropped. The
/// newest complete one is kept in any case (in the directory where it lies), save under [`Policy::allow_last`] when
/// nothing newer with gaps stands before it; and so is what a kept one needs. A tighter policy never keeps what a looser
/// one drops.
pub fn plan(items: &[RotationItem], policy: &Policy) -> Vec<Decision> {
    let mut newest_first: Vec<&RotationItem> = items.iter().collect();
    let age = |item: &RotationItem| (item.started <= policy.now, item.started);
    newest_first.sort_by(|a, b| (age(b), &b.key).cmp(&(age(a), &a.key)));
    let upcoming = policy.upcoming.unwrap_or_default();
    let mut taken: BTreeMap<Period, u32> = upcoming.iter().map(|p| (p, 1)).collect();
    let newest_complete = newest_first.iter().position(|item| item.complete);
    let may_go = policy.allow_last && policy.upcoming.is_some() && newest_complete == Some(0);
    let decisions = newest_first
        .iter()
        .enumerate()
        .map(|(i, item)| {
            let keep: Periods = item
                .counts_for
                .iter()
                .filter(|period| {
                    let rank = taken.entry(*period).or_default();
                    *rank = rank.saturating_add(1);
                    *rank <= kept_count(policy.retention, *period)
                })
                .collect();
            decide(item, keep, newest_complete == Some(i) && !may_go)
        })
        .collect();
    needed_stay(items, &[], decisions)
}

fn decide(item: &RotationItem, keep: Periods, is_protected: bool) -> Decision {
    let here = item.real_period.map_or(item.counts_for, Periods::of);
    let (keep, action, reason) = if !keep.is_empty() {
        (keep, Action::Keep, Reason::Among(keep))
    } else if item.counts_for.is_empty() {
        (here, Action::Keep, Reason::NoPeriod)
    } else if is_protected {
        (here, Action::Keep, Reason::NewestComplete)
    } else {
        (Periods::NONE, Action::Drop, Reason::Beyond(item.counts_for))
    };
    Decision { key: item.key.clone(), keep, action, reason }
}
