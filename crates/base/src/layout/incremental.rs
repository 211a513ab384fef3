//! The layout of incremental backups, v2's bit for bit:
//!
//! ```text
//! <part>/<YYYY>/year/<name>                       fulls            year.inc (v2's state)
//! <part>/<YYYY>/month_MM/monthly/<name>           months           month.inc
//! <part>/<YYYY>/month_MM/daily/day_01|11|21/<name> decades, days   daily.inc
//! ```
//!
//! [`build`] and [`parse`] are inverse to each other. Which level goes where is decided by the engine; file names are
//! those of [`super::discrete`].

use jiff::civil::{Date, DateTime};

use super::discrete::{self, Suffix};
use super::{RECORD_SUFFIX, Role, role_of};
use crate::error::{Error, ErrorKind, Result};
use crate::ports::storage::{MAX_COMPONENT_BYTES, ObjectKey};

/// A third of a month: days 1 to 10, 11 to 20, 21 and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decade {
    First,
    Second,
    Third,
}

impl Decade {
    /// The decade of a day.
    pub fn of(date: Date) -> Self {
        match date.day() {
            ..=10 => Self::First,
            11..=20 => Self::Second,
            _ => Self::Third,
        }
    }

    /// Its first day: 1, 11, 21.
    pub fn first_day(self) -> i8 {
        match self {
            Self::First => 1,
            Self::Second => 11,
            Self::Third => 21,
        }
    }

    fn from_dir(dir: &str) -> Option<Self> {
        [Self::First, Self::Second, Self::Third].into_iter().find(|d| d.dir() == dir)
    }

    fn dir(self) -> &'static str {
        match self {
            Self::First => "day_01",
            Self::Second => "day_11",
            Self::Third => "day_21",
        }
    }
}

/// A directory in the tree of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `<YYYY>/year`
    Year { year: i16 },
    /// `<YYYY>/month_MM/monthly`
    Month { year: i16, month: i8 },
    /// `<YYYY>/month_MM/daily/day_DD`
    Decade { year: i16, month: i8, decade: Decade },
}

impl Place {
    pub fn year_of(date: Date) -> Self {
        Self::Year { year: date.year() }
    }

    pub fn month_of(date: Date) -> Self {
        Self::Month { year: date.year(), month: date.month() }
    }

    pub fn decade_of(date: Date) -> Self {
        Self::Decade { year: date.year(), month: date.month(), decade: Decade::of(date) }
    }

    pub fn year(self) -> i16 {
        match self {
            Self::Year { year } | Self::Month { year, .. } | Self::Decade { year, .. } => year,
        }
    }

    /// None for the place of a year.
    pub fn month(self) -> Option<i8> {
        match self {
            Self::Year { .. } => None,
            Self::Month { month, .. } | Self::Decade { month, .. } => Some(month),
        }
    }

    /// The directory below the part.
    pub fn dir(self) -> String {
        match self {
            Self::Year { year } => format!("{year:04}/year"),
            Self::Month { year, month } => format!("{year:04}/month_{month:02}/monthly"),
            Self::Decade { year, month, decade } => {
                format!("{year:04}/month_{month:02}/daily/{}", decade.dir())
            }
        }
    }

    /// Name of v2's state file in it.
    pub fn state_file(self) -> &'static str {
        match self {
            Self::Year { .. } => "year.inc",
            Self::Month { .. } => "month.inc",
            Self::Decade { .. } => "daily.inc",
        }
    }

    /// What the log calls it, as v2's sentences do for periods.
    pub fn name(self) -> &'static str {
        match self {
            Self::Year { .. } => "year",
            Self::Month { .. } => "monthly",
            Self::Decade { .. } => "daily",
        }
    }

    /// Splits a directory into part and place.
    fn split(dir: &str) -> Option<(&str, Self)> {
        let mut from_end = dir.rsplit('/');
        let mut cut = dir.len();
        let mut next = || {
            let component = from_end.next()?;
            cut = cut.saturating_sub(component.len() + 1);
            Some((component, cut))
        };
        let (last, _) = next()?;
        let place = match last {
            "year" => Self::Year { year: digits(next()?.0, "", 4)? },
            "monthly" => {
                let month = month(next()?.0)?;
                Self::Month { month, year: digits(next()?.0, "", 4)? }
            }
            day => {
                let decade = Decade::from_dir(day)?;
                (next()?.0 == "daily").then_some(())?;
                let month = month(next()?.0)?;
                Self::Decade { decade, month, year: digits(next()?.0, "", 4)? }
            }
        };
        Some((&dir[..cut], place))
    }
}

fn month(component: &str) -> Option<i8> {
    let month = digits(component, "month_", 2)?;
    (1..=12).contains(&month).then_some(month as i8)
}

fn digits(component: &str, prefix: &str, count: usize) -> Option<i16> {
    let digits = component.strip_prefix(prefix)?;
    let fits = digits.len() == count && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten()
}

/// Everything that the key of an archive says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchiveName {
    /// Directory below `backup_dir`; may be empty.
    pub part: String,
    pub place: Place,
    pub stem: String,
    /// Local time, whole seconds; whole minutes unless `with_seconds`.
    pub at: DateTime,
    /// Whether the name tells seconds (done on a collision).
    pub with_seconds: bool,
    pub suffix: Suffix,
}

/// Incremental backups are archives of files.
pub const EXTENSION: &str = "tar";

impl ArchiveName {
    /// The last component.
    pub fn file_name(&self) -> String {
        discrete::file_name(&self.stem, self.at, self.with_seconds, EXTENSION, self.suffix)
    }

    /// The same name in another place.
    pub fn at_place(&self, place: Place) -> Self {
        Self { place, ..self.clone() }
    }
}

/// A key, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub name: ArchiveName,
    pub role: Role,
}

/// The key of an archive. Fails with [`ErrorKind::Invalid`] where the parts make no key or one that reads as another.
pub fn build(name: &ArchiveName) -> Result<ObjectKey> {
    let slash = if name.part.is_empty() { "" } else { "/" };
    let key = ObjectKey::new(format!("{}{slash}{}/{}", name.part, name.place.dir(), name.file_name()))?;
    if key.file_name().len() + RECORD_SUFFIX.len() > MAX_COMPONENT_BYTES {
        let error = Error::new(ErrorKind::Invalid, format!("`{key}` is too long for the name of an archive"));
        return Err(error.with_hint("With `.nxs.json` the file name may have 255 bytes."));
    }
    match parse(&key) {
        Some(Parsed { name: read, role: Role::Archive }) if read == *name => Ok(key),
        _ => Err(Error::new(ErrorKind::Invalid, format!("`{key}` cannot name an archive"))),
    }
}

/// Takes a key apart; none if it is no incremental archive, record or index.
pub fn parse(key: &ObjectKey) -> Option<Parsed> {
    let (role, file) = role_of(key.file_name());
    let (part, place) = Place::split(key.dir())?;
    let discrete::FileName { stem, at, with_seconds, extension, suffix } = discrete::split_file_name(file)?;
    (extension == EXTENSION).then_some(())?;
    let name = ArchiveName { part: part.into(), place, stem: stem.into(), at, with_seconds, suffix };
    Some(Parsed { name, role })
}

/// Part and place of one of v2's state files; none for all other keys.
pub fn parse_state(key: &ObjectKey) -> Option<(String, Place)> {
    let (part, place) = Place::split(key.dir())?;
    (key.file_name() == place.state_file()).then(|| (part.to_owned(), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let key = ObjectKey::new(text).unwrap();
        let Some(Parsed { name, role }) = parse(&key) else {
            return parse_state(&key)
                .map_or("-".into(), |(part, place)| format!("state|{part}|{}", place.dir()));
        };
        if role == Role::Archive {
            assert_eq!(build(&name).unwrap(), key);
        }
        format!("{role:?}|{}|{}|{}|{}", name.part, name.place.dir(), name.stem, name.at)
    }

    #[test]
    fn v2s_tree_is_recognised_and_nothing_else() {
        let table = [
            ("data/2018/year/data_2018-07-28_03-00.tar", "Archive|data|2018/year|data|2018-07-28T03:00:00"),
            (
                "a/b/2018/month_07/monthly/a___b_2018-07-28_03-00.tar.gz",
                "Archive|a/b|2018/month_07/monthly|a___b|2018-07-28T03:00:00",
            ),
            (
                "2018/month_08/daily/day_11/x_2018-08-12_03-00-09.tar.zst.nxs.json",
                "Record||2018/month_08/daily/day_11|x|2018-08-12T03:00:09",
            ),
            ("data/2018/year/year.inc", "state|data|2018/year"),
            ("data/2018/month_08/monthly/month.inc", "state|data|2018/month_08/monthly"),
            ("data/2018/month_08/daily/day_21/daily.inc", "state|data|2018/month_08/daily/day_21"),
            ("data/2018/month_08/daily/day_31/daily.inc", "-"),
            ("data/2018/month_13/monthly/data_2018-07-28_03-00.tar", "-"),
            ("data/2018/month_08/day_01/data_2018-08-02_03-00.tar", "-"),
            ("data/18/year/data_2018-07-28_03-00.tar", "-"),
            ("data/2018/year/data_2018-07-28_03-00.sql", "-"),
            ("data/daily/data_2018-07-28_03-00.tar", "-"),
            ("year/data_2018-07-28_03-00.tar", "-"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn decades_begin_on_1_11_and_21() {
        let place = |day| Place::decade_of(jiff::civil::date(2024, 2, day)).dir();
        for (day, dir) in [(1, "01"), (10, "01"), (11, "11"), (20, "11"), (21, "21"), (29, "21")] {
            assert_eq!(place(day), format!("2024/month_02/daily/day_{dir}"));
        }
    }
}
