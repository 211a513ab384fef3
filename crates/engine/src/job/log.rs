//! Whether a copy of a database is a full one or an increment, told to whoever reads the log. The rule stands in
//! [`crate::incremental::by_log`].

use nxs_base::calendar::{self, Period};
use nxs_base::error::Result;
use nxs_base::event::Event;

use super::store::Store;
use super::target::{TargetJob, group_of};
use crate::incremental::by_log::{self, Base, Copies, Next, Rule};

/// What the copy of today follows on all the storages that get one; none if it is a full one.
pub(super) fn base(work: &TargetJob<'_>, stores: &[Store], now: &jiff::Zoned) -> Result<Option<Base>> {
    let Some(full_every) = work.entry.full_every else { return Ok(None) };
    let group = group_of(work);
    let due = |store: &Store| calendar::destination(now.date(), store.spec().retention);
    let taking: Vec<(&Store, Period)> =
        stores.iter().filter_map(|store| Some((store, due(store)?.period))).collect();
    let storages: Vec<Copies<'_>> =
        taking.iter().map(|(store, _)| Copies::new(store.entries(&group))).collect();
    for ((store, _), copies) in taking.iter().zip(&storages) {
        if let Some((newest, lacks)) = copies.broken_end() {
            let message = format!(
                "{}: `{}` needs `{lacks}`, which is missing: it cannot be restored, nor gone on with",
                store.spec().name,
                newest.key
            );
            work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
        }
    }
    let log = work.source.log(work.target)?;
    let rule = Rule {
        today: now.date(),
        full_every,
        is_kept_longer: taking.iter().any(|(_, period)| *period > Period::Daily),
        log: log.as_ref(),
    };
    let (message, base) = match by_log::next(&storages, &rule) {
        Next::Full(reason) => (format!("`{}`: a full copy, since {reason}", work.target.name), None),
        Next::After(base) => {
            let text = format!("`{}`: an increment that follows `{}`", work.target.name, base.archive.name);
            (text, Some(base))
        }
    };
    work.ctx.events.emit(&Event::Info { job: &work.job.name, message: &message });
    Ok(base)
}
