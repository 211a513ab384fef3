//! Which incremental backups go: v2's window of months, by chain.
//!
//! A month directory goes when it is older than `inc_months_to_store` months, at the latest when the same month comes
//! round again; a full goes when its year is over, its own month is out of the window and nothing needs it. A parent
//! of a kept backup always stays. To be asked once the new archive is complete, or before it where room must be made.
//! A clock that leaps takes no more than one month at once: time counts as passed where backups were made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;
use nxs_base::record::BackupId;

use super::level::{Level, Link};

/// v2's default, and its upper bound.
pub const MAX_MONTHS: u32 = 12;

/// What becomes of a backup, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its month is in the window.
    InWindow,
    /// The full of a year that is not over.
    FullOfTheYear,
    /// A kept backup is a difference to it, or to one that is.
    Needed,
    /// So many months old.
    TooOld(i32),
}

impl Fate {
    pub fn is_kept(self) -> bool {
        !matches!(self, Self::TooOld(_))
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InWindow => f.write_str("in the window"),
            Self::FullOfTheYear => f.write_str("full of the current year"),
            Self::Needed => f.write_str("needed by a kept one"),
            Self::TooOld(1) => f.write_str("1 month old"),
            Self::TooOld(months) => write!(f, "{months} months old"),
        }
    }
}

/// The backups that go, in the order of `chain`. `months` is `inc_months_to_store`.
pub fn to_drop(today: Date, chain: &[Link], months: u32) -> Vec<BackupId> {
    let fates = fates(today, chain, months);
    chain.iter().zip(fates).filter(|(_, fate)| !fate.is_kept()).map(|(link, _)| link.id).collect()
}

/// What becomes of each, in the order of `chain`.
pub fn fates(today: Date, chain: &[Link], months: u32) -> Vec<Fate> {
    let by_id: BTreeMap<BackupId, &Link> = chain.iter().map(|l| (l.id, l)).collect();
    let today = plausible(today, chain);
    let own = |link: &Link| {
        let age = age_in_months(today, link);
        let out = age >= i32::try_from(MAX_MONTHS).unwrap_or(i32::MAX)
            || age > i32::try_from(months).unwrap_or(i32::MAX);
        match (out, link.level == Level::Year && link.place.year() >= today.year()) {
            (false, _) => Fate::InWindow,
            (true, true) => Fate::FullOfTheYear,
            (true, false) => Fate::TooOld(age),
        }
    };
    let mut kept = BTreeSet::new();
    for link in chain.iter().filter(|l| own(l).is_kept()) {
        let mut next = Some(link.id);
        while let Some(id) = next
            && kept.insert(id)
        {
            next = by_id.get(&id).and_then(|l| l.parent);
        }
    }
    let fate = |link: &Link| match own(link) {
        Fate::TooOld(_) if kept.contains(&link.id) => Fate::Needed,
        fate => fate,
    };
    chain.iter().map(fate).collect()
}

/// Today, but at most a month after the newest backup of an earlier day.
fn plausible(today: Date, chain: &[Link]) -> Date {
    let earlier = chain.iter().map(|l| l.at.date()).filter(|d| *d < today).max();
    earlier.map_or(today, |date| today.min(date.saturating_add(1.month())))
}

/// Months between the month that an archive belongs to and today's; negative for archives of the future.
fn age_in_months(today: Date, link: &Link) -> i32 {
    let number = |year: i16, month: i8| i32::from(year) * 12 + i32::from(month);
    let month = link.place.month().unwrap_or(link.at.month());
    number(today.year(), today.month()) - number(link.place.year(), month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incremental::level::next_step;
    use jiff::civil::date;
    use nxs_base::layout::incremental::Place;

    /// Runs every day, drops after each.
    fn simulate(first: Date, days: i32, months: u32) -> Vec<Link> {
        let mut chain: Vec<Link> = Vec::new();
        for n in 0..days {
            let day = first + n.days();
            let step = next_step(day, &chain, &mut |_| true);
            let id = BackupId(n as u128 + 1);
            let at = day.at(3, 0, 0, 0);
            chain.push(Link { id, parent: step.parent, level: step.level, place: step.place, at });
            let drops = to_drop(day, &chain, months);
            assert!(!drops.contains(&id), "the newest never goes");
            chain.retain(|l| !drops.contains(&l.id));
            for link in &chain {
                let has_parent = link.parent.is_none_or(|p| chain.iter().any(|l| l.id == p));
                assert!(has_parent, "{day}: {link:?} lost its parent");
            }
        }
        chain
    }

    fn months_of(chain: &[Link]) -> Vec<String> {
        let months: BTreeSet<_> =
            chain.iter().filter_map(|l| l.place.month().map(|m| (l.place.year(), m))).collect();
        months.into_iter().map(|(y, m)| format!("{y}-{m:02}")).collect()
    }

    #[test]
    fn the_same_month_of_last_year_goes_and_then_the_year() {
        let chain = simulate(date(2018, 7, 28), 5, 12);
        assert_eq!(chain.len(), 5);
        let chain = simulate(date(2018, 7, 28), 369, 12);
        assert_eq!(months_of(&chain).first().map(String::as_str), Some("2018-08"), "2019-07-31");
        assert!(chain.iter().any(|l| l.level == Level::Year && l.place.year() == 2018));
        let chain = simulate(date(2018, 7, 28), 530, 12);
        assert_eq!(months_of(&chain).first().map(String::as_str), Some("2019-02"), "2020-01-08");
        assert!(!chain.iter().any(|l| l.place.year() == 2018));
    }

    #[test]
    fn a_smaller_window_keeps_the_months_before_and_the_current_one() {
        let chain = simulate(date(2019, 1, 1), 200, 2);
        assert_eq!(months_of(&chain), ["2019-05", "2019-06", "2019-07"], "2019-07-19");
        assert!(chain.iter().any(|l| l.level == Level::Year), "the full of the year stays");
        let chain = simulate(date(2019, 1, 1), 200, 0);
        assert_eq!(months_of(&chain), ["2019-07"]);
    }

    #[test]
    fn last_years_full_stays_while_a_kept_month_needs_it() {
        let chain = simulate(date(2019, 11, 1), 92, 3);
        assert_eq!(months_of(&chain), ["2019-11", "2019-12", "2020-01"], "2020-01-31");
        assert_eq!(chain.iter().filter(|l| l.level == Level::Year).count(), 2);
    }

    #[test]
    fn a_clock_that_leaps_for_one_run_takes_no_more_than_a_month() {
        let mut chain = simulate(date(2025, 2, 1), 400, 12);
        assert_eq!(months_of(&chain).first().map(String::as_str), Some("2025-04"), "2026-03-07");
        for leap in [date(2026, 12, 31), date(2028, 1, 1), date(2038, 1, 19)] {
            let step = next_step(leap, &chain, &mut |_| true);
            let at = leap.at(3, 0, 0, 0);
            let new =
                Link { id: BackupId(900), parent: step.parent, level: step.level, place: step.place, at };
            chain.push(new);
            let drops = to_drop(leap, &chain, 12);
            assert!(drops.iter().all(|id| chain.iter().any(|l| l.id == *id && l.place.month() == Some(4))));
            // The clock is right again: what it made in the future stays, and so does the rest.
            assert!(to_drop(date(2026, 3, 8), &chain, 12).is_empty());
            chain.pop();
        }
        // A server that was off for a year: the first run takes one month, the second all that is old.
        let back = date(2027, 6, 1);
        chain.push(Link {
            id: BackupId(901),
            parent: None,
            level: Level::Year,
            place: Place::year_of(back),
            at: back.at(3, 0, 0, 0),
        });
        let kept: Vec<_> = chain.clone();
        let drops = to_drop(back.saturating_add(1.day()), &kept, 12);
        assert_eq!(kept.len() - drops.len(), 1);
    }
}
