//! The backup calendar: which periods a date belongs to, whether it is a backup day, where its backup goes.
//!
//! Pure rules over civil dates (local time of the run's start, which the caller provides); no clock, no time zone.
//! Daily is every day, weekly is Sunday, monthly is the first. Which backups stay is decided by the engine's
//! rotation; where a backup lies is named by [`crate::layout`].

use jiff::civil::{Date, Weekday};

use crate::spec::Retention;

/// A retention period, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    Daily,
    Weekly,
    Monthly,
}

impl Period {
    /// Lowest first.
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    /// Name in messages and records, and of the directory: `daily`, `weekly`, `monthly`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// The inverse of [`Period::name`]; exact, lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of periods.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Periods(u8);

impl Periods {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(0b111);

    pub fn of(period: Period) -> Self {
        Self(1 << period as u8)
    }

    pub fn contains(self, period: Period) -> bool {
        self.0 & Self::of(period).0 != 0
    }

    pub fn insert(&mut self, period: Period) {
        self.0 |= Self::of(period).0;
    }

    pub fn remove(&mut self, period: Period) {
        self.0 &= !Self::of(period).0;
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Lowest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Period> {
        Period::ALL.into_iter().filter(move |p| self.contains(*p))
    }

    pub fn highest(self) -> Option<Period> {
        self.iter().next_back()
    }
}

impl FromIterator<Period> for Periods {
    fn from_iter<I: IntoIterator<Item = Period>>(periods: I) -> Self {
        let mut set = Self::NONE;
        periods.into_iter().for_each(|p| set.insert(p));
        set
    }
}

impl std::fmt::Debug for Periods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Where the backup of a day goes on one storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The period directory of the file itself: the highest one that is due and kept.
    pub period: Period,
    /// The lower ones that are due and kept; they get links where the storage can make them.
    pub links: Periods,
}

/// The periods that a backup made on `date` belongs to, whatever a storage keeps of them.
pub fn periods_of(date: Date) -> Periods {
    let mut periods = Periods::of(Period::Daily);
    if date.weekday() == Weekday::Sunday {
        periods.insert(Period::Weekly);
    }
    if date.day() == 1 {
        periods.insert(Period::Monthly);
    }
    periods
}

/// How many backups `retention` keeps for `period`.
pub fn kept_count(retention: Retention, period: Period) -> u32 {
    match period {
        Period::Daily => retention.days,
        Period::Weekly => retention.weeks,
        Period::Monthly => retention.months,
    }
}

/// Whether any of the storages (enabled ones, given by what they keep) takes a backup on `date`.
pub fn is_backup_day(date: Date, retentions: &[Retention]) -> bool {
    retentions.iter().any(|r| destination(date, *r).is_some())
}

/// Where the backup of `date` goes on a storage with this retention; none if it takes no backup that day.
pub fn destination(date: Date, retention: Retention) -> Option<Destination> {
    let due: Periods = periods_of(date).iter().filter(|p| kept_count(retention, *p) > 0).collect();
    let period = due.highest()?;
    let mut links = due;
    links.remove(period);
    Some(Destination { period, links })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn keep(days: u32, weeks: u32, months: u32) -> Retention {
        Retention { days, weeks, months }
    }

    fn shown(date: Date, retention: Retention) -> String {
        match destination(date, retention) {
            None => "-".into(),
            Some(d) => format!("{} {:?}", d.period, d.links),
        }
    }

    #[test]
    fn monthly_beats_weekly_beats_daily_and_the_lower_ones_get_links() {
        let sunday_the_first = date(2026, 2, 1);
        let table = [
            (date(2018, 7, 28), keep(2, 2, 2), "daily {}"),
            (date(2018, 7, 29), keep(2, 2, 2), "weekly {Daily}"),
            (date(2018, 8, 1), keep(2, 2, 2), "monthly {Daily}"),
            (sunday_the_first, keep(2, 2, 2), "monthly {Daily, Weekly}"),
            (sunday_the_first, keep(0, 2, 2), "monthly {Weekly}"),
            (sunday_the_first, keep(2, 2, 0), "weekly {Daily}"),
            (sunday_the_first, keep(2, 0, 0), "daily {}"),
            (sunday_the_first, keep(0, 0, 0), "-"),
            (date(2018, 7, 28), keep(0, 2, 2), "-"),
            (date(2018, 7, 29), keep(0, 0, 2), "-"),
        ];
        for (day, retention, expected) in table {
            assert_eq!(shown(day, retention), expected, "{day} {retention:?}");
        }
    }

    #[test]
    fn a_day_is_a_backup_day_as_soon_as_one_storage_wants_it() {
        let saturday = date(2018, 7, 28);
        assert!(!is_backup_day(saturday, &[keep(0, 4, 6)]));
        assert!(is_backup_day(saturday, &[keep(0, 4, 6), keep(1, 0, 0)]));
        assert!(!is_backup_day(saturday, &[]));
        assert!(is_backup_day(date(2018, 7, 29), &[keep(0, 4, 6)]));
        assert!(is_backup_day(date(2018, 8, 1), &[keep(0, 0, 6)]));
    }

    #[test]
    fn leap_days_and_new_years_are_ordinary_days() {
        assert_eq!(format!("{:?}", periods_of(date(2024, 2, 29))), "{Daily}");
        assert_eq!(format!("{:?}", periods_of(date(2024, 3, 1))), "{Daily, Monthly}");
        assert_eq!(format!("{:?}", periods_of(date(2023, 1, 1))), "{Daily, Weekly, Monthly}");
        assert_eq!(format!("{:?}", periods_of(date(2023, 12, 31))), "{Daily, Weekly}");
    }

    #[test]
    fn a_period_has_one_name_and_back() {
        for period in Period::ALL {
            assert_eq!(Period::from_name(period.name()), Some(period));
        }
        assert_eq!(Period::from_name("Daily"), None);
        assert_eq!(Period::from_name(""), None);
    }
}
