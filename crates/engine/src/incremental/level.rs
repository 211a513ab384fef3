//! Which level a run makes, and against which parent: v2's calendar, mended where v2 failed.
//!
//! Every level is the difference to its parent level: year ← month ← decade ← day. The highest level that is missing
//! is made, whatever the date; the levels below are then the same archive, as with v2's first run. A day is never a
//! parent.

use jiff::civil::{Date, DateTime};
use nxs_base::layout::incremental::{Decade, Place};
use nxs_base::record::BackupId;

/// Rank of an archive in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A full.
    Year,
    Month,
    Decade,
    Day,
}

impl Level {
    /// As records have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Decade => "decade",
            Self::Day => "day",
        }
    }

    /// The inverse of [`Level::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Year, Self::Month, Self::Decade, Self::Day].into_iter().find(|l| l.name() == name)
    }
}

/// One archive of a group, as far as the calendar cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub id: BackupId,
    /// The backup that it is the difference to; none for a year.
    pub parent: Option<BackupId>,
    pub level: Level,
    /// Where it lies.
    pub place: Place,
    /// Local start.
    pub at: DateTime,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub level: Level,
    pub place: Place,
    /// Places of lower levels that it stands for too.
    pub links: Vec<Place>,
    /// None for a full.
    pub parent: Option<BackupId>,
}

/// Decides for one group on one storage. `chain` is in the order of time, oldest first; `is_usable` says whether an
/// archive can be a parent (record sound, index to be had), and is asked only where it matters, newest first.
pub fn next_step(date: Date, chain: &[Link], is_usable: &mut dyn FnMut(&Link) -> bool) -> Step {
    let mut newest = |fits: &dyn Fn(&Link) -> bool| -> Option<Link> {
        chain.iter().rev().filter(|link| fits(link)).find(|link| is_usable(link)).cloned()
    };
    let (month_place, decade_place) = (Place::month_of(date), Place::decade_of(date));
    let is_in = |at: DateTime, place: Place| match place {
        Place::Year { year } => at.year() == year,
        Place::Month { year, month } => (at.year(), at.month()) == (year, month),
        Place::Decade { year, month, decade } => {
            (at.year(), at.month()) == (year, month) && Decade::of(at.date()) == decade
        }
    };
    let Some(year) = newest(&|l| l.level == Level::Year && l.place == Place::year_of(date)) else {
        return Step {
            level: Level::Year,
            place: Place::year_of(date),
            links: vec![month_place, decade_place],
            parent: None,
        };
    };
    let month = if is_in(year.at, month_place) {
        Some(year.clone())
    } else {
        newest(&|l| l.level == Level::Month && l.place == month_place && l.parent == Some(year.id))
    };
    let Some(month) = month else {
        // On the first itself v2 leaves the decade's directory without an archive.
        let links = if date.day() == 1 { Vec::new() } else { vec![decade_place] };
        return Step { level: Level::Month, place: month_place, links, parent: Some(year.id) };
    };
    let decade = if Decade::of(date) == Decade::First || is_in(month.at, decade_place) {
        Some(month.clone())
    } else {
        newest(&|l| l.level == Level::Decade && l.place == decade_place && l.parent == Some(month.id))
    };
    match decade {
        Some(decade) => {
            Step { level: Level::Day, place: decade_place, links: Vec::new(), parent: Some(decade.id) }
        }
        None => Step { level: Level::Decade, place: decade_place, links: Vec::new(), parent: Some(month.id) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;
    use jiff::civil::date;

    /// Runs on the given days, all successful; what was made.
    fn history(days: &[Date]) -> (Vec<Link>, Vec<Step>) {
        let (mut chain, mut steps) = (Vec::new(), Vec::new());
        for day in days {
            let step = next_step(*day, &chain, &mut |_| true);
            let id = BackupId(chain.len() as u128 + 1);
            let at = day.at(3, 0, 0, 0);
            chain.push(Link { id, parent: step.parent, level: step.level, place: step.place, at });
            steps.push(step);
        }
        (chain, steps)
    }

    fn shown(step: &Step) -> String {
        let links: Vec<String> = step.links.iter().map(|l| format!(" +{}", l.dir())).collect();
        let parent = step.parent.map_or("-".into(), |p| p.0.to_string());
        format!("{} {}{} <{parent}", step.level.name(), step.place.dir(), links.concat())
    }

    fn check(days: &[Date], expected: &[&str]) {
        let (_, steps) = history(days);
        assert_eq!(steps.iter().map(shown).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_golden_example_of_v2() {
        let first = date(2018, 7, 28);
        let days: Vec<Date> = (0..16).map(|n| first + n.days()).collect();
        check(
            &days,
            &[
                "year 2018/year +2018/month_07/monthly +2018/month_07/daily/day_21 <-",
                "day 2018/month_07/daily/day_21 <1",
                "day 2018/month_07/daily/day_21 <1",
                "day 2018/month_07/daily/day_21 <1",
                "month 2018/month_08/monthly <1",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "day 2018/month_08/daily/day_01 <5",
                "decade 2018/month_08/daily/day_11 <5",
                "day 2018/month_08/daily/day_11 <15",
            ],
        );
    }

    #[test]
    fn missed_days_make_the_highest_level_that_is_missing() {
        check(
            &[
                date(2024, 2, 28),
                date(2024, 2, 29),
                date(2024, 3, 13),
                date(2024, 3, 14),
                date(2024, 3, 25),
                date(2024, 3, 26),
                date(2024, 5, 1),
                date(2024, 5, 1),
                date(2024, 5, 11),
                date(2025, 1, 2),
                date(2025, 1, 11),
            ],
            &[
                "year 2024/year +2024/month_02/monthly +2024/month_02/daily/day_21 <-",
                "day 2024/month_02/daily/day_21 <1",
                "month 2024/month_03/monthly +2024/month_03/daily/day_11 <1",
                "day 2024/month_03/daily/day_11 <3",
                "decade 2024/month_03/daily/day_21 <3",
                "day 2024/month_03/daily/day_21 <5",
                "month 2024/month_05/monthly <1",
                "day 2024/month_05/daily/day_01 <7",
                "decade 2024/month_05/daily/day_11 <7",
                "year 2025/year +2025/month_01/monthly +2025/month_01/daily/day_01 <-",
                "decade 2025/month_01/daily/day_11 <10",
            ],
        );
    }

    #[test]
    fn what_cannot_be_a_parent_is_passed_over() {
        let (chain, _) = history(&[date(2026, 3, 5), date(2026, 4, 1), date(2026, 4, 11), date(2026, 4, 12)]);
        let step_without =
            |lost: &[u128]| shown(&next_step(date(2026, 4, 13), &chain, &mut |l| !lost.contains(&l.id.0)));
        assert_eq!(step_without(&[]), "day 2026/month_04/daily/day_11 <3");
        assert_eq!(step_without(&[3]), "decade 2026/month_04/daily/day_11 <2");
        assert_eq!(step_without(&[2]), "month 2026/month_04/monthly +2026/month_04/daily/day_11 <1");
        assert_eq!(
            step_without(&[1]),
            "year 2026/year +2026/month_04/monthly +2026/month_04/daily/day_11 <-"
        );
    }

    #[test]
    fn a_second_full_of_a_year_begins_a_chain_of_its_own() {
        let (mut chain, _) = history(&[date(2026, 3, 5), date(2026, 4, 1), date(2026, 4, 2)]);
        let at = date(2026, 4, 5).at(3, 0, 0, 0);
        let id = BackupId(9);
        chain.push(Link { id, parent: None, level: Level::Year, place: Place::Year { year: 2026 }, at });
        assert_eq!(
            shown(&next_step(date(2026, 4, 6), &chain, &mut |_| true)),
            "day 2026/month_04/daily/day_01 <9"
        );
        assert_eq!(
            shown(&next_step(date(2026, 4, 12), &chain, &mut |_| true)),
            "decade 2026/month_04/daily/day_11 <9"
        );
    }

    #[test]
    fn a_clock_that_went_back_still_finds_its_parents() {
        let (chain, _) = history(&[date(2026, 3, 5), date(2026, 4, 1), date(2026, 4, 21)]);
        assert_eq!(
            shown(&next_step(date(2026, 4, 12), &chain, &mut |_| true)),
            "decade 2026/month_04/daily/day_11 <2"
        );
        assert_eq!(
            shown(&next_step(date(2025, 12, 31), &chain, &mut |_| true)),
            "year 2025/year +2025/month_12/monthly +2025/month_12/daily/day_21 <-"
        );
    }
}
