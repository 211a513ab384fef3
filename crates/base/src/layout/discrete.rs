//! The layout of discrete backups, v2's bit for bit:
//! `<part>/{daily,weekly,monthly}/<stem>_<YYYY-MM-DD_HH-MM[-SS]>.<ext>[.gz|.zst][.age]`.
//!
//! [`build`] and [`parse`] are inverse to each other. Parts and stems come safe from [`crate::naming`]; the
//! incremental tree is not known here.

use jiff::civil::DateTime;

use super::{INDEX_SUFFIX, RECORD_SUFFIX, Role, role_of};
use crate::calendar::Period;
use crate::error::{Error, ErrorKind, Result};
use crate::ports::storage::{MAX_COMPONENT_BYTES, ObjectKey, PART_SUFFIX};

/// Extensions that v2 rotates, hence those of archives without a record that may be adopted.
pub const V2_EXTENSIONS: [&str; 6] = ["sql", "tar", "pgdump", "pgdump.sql", "mongodump", "rdb"];

/// Everything that the key of an archive says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchiveName {
    /// Directory below `backup_dir`; may be empty.
    pub part: String,
    /// The directory it lies in.
    pub period: Period,
    pub stem: String,
    /// Local time, whole seconds; whole minutes unless `with_seconds`.
    pub at: DateTime,
    /// Whether the name tells seconds (done on a collision).
    pub with_seconds: bool,
    /// Without compression suffix: `tar`, `pgdump.sql`.
    pub extension: String,
    pub suffix: Suffix,
}

/// What the stages after the source left in the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Suffix {
    pub compression: CompressionSuffix,
    /// `.age`.
    pub encrypted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum CompressionSuffix {
    #[default]
    None,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

impl CompressionSuffix {
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

impl From<crate::spec::Compression> for CompressionSuffix {
    fn from(compression: crate::spec::Compression) -> Self {
        use crate::spec::Compression as C;
        match compression {
            C::None => Self::None,
            C::Gzip(_) => Self::Gzip,
            C::Zstd(_) => Self::Zstd,
        }
    }
}

impl ArchiveName {
    /// The last component: `site1_2026-08-23_03-00.tar.gz`.
    pub fn file_name(&self) -> String {
        file_name(&self.stem, self.at, self.with_seconds, &self.extension, self.suffix)
    }

    /// Whether an archive of this name without a record can be a v2 backup. The months of v2's incremental trees
    /// (`…/2018/month_07/monthly`) look alike and are not discrete backups.
    pub fn is_adoptable(&self) -> bool {
        V2_EXTENSIONS.contains(&self.extension.as_str()) && !is_incremental_month(&self.part)
    }

    /// The same backup in another period directory.
    pub fn in_period(&self, period: Period) -> Self {
        Self { period, ..self.clone() }
    }
}

/// The last component of a key.
pub(super) fn file_name(
    stem: &str,
    at: DateTime,
    with_seconds: bool,
    extension: &str,
    suffix: Suffix,
) -> String {
    let age = if suffix.encrypted { ".age" } else { "" };
    let compression = suffix.compression.text();
    format!("{stem}_{}.{extension}{compression}{age}", stamp(at, with_seconds))
}

/// The last component of a key, taken apart.
pub(super) struct FileName<'a> {
    pub(super) stem: &'a str,
    pub(super) at: DateTime,
    pub(super) with_seconds: bool,
    pub(super) extension: &'a str,
    pub(super) suffix: Suffix,
}

/// The inverse of [`file_name`]; none if it is no archive's name.
pub(super) fn split_file_name(file: &str) -> Option<FileName<'_>> {
    let (stem, at, with_seconds, extensions) = split_stamp(file)?;
    let (extension, suffix) = split_extension(extensions);
    let reserved = [RECORD_SUFFIX, INDEX_SUFFIX, PART_SUFFIX];
    if stem.is_empty() || extension.is_empty() || reserved.iter().any(|s| file.ends_with(s)) {
        return None;
    }
    Some(FileName { stem, at, with_seconds, extension, suffix })
}

/// A key, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub name: ArchiveName,
    pub role: Role,
}

/// The key of an archive.
///
/// Fails with [`ErrorKind::Invalid`] where the parts make no key, a file name that is too long for its record to stand
/// beside it, or one that reads as another name: an extension that holds a compression suffix (see
/// [`split_extension`]) or a time stamp, seconds that are not told.
pub fn build(name: &ArchiveName) -> Result<ObjectKey> {
    let slash = if name.part.is_empty() { "" } else { "/" };
    let key = ObjectKey::new(format!("{}{slash}{}/{}", name.part, name.period, name.file_name()))?;
    if key.file_name().len() + RECORD_SUFFIX.len() > MAX_COMPONENT_BYTES {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("`{key}` is too long for the name of an archive"),
        )
        .with_hint("With `.nxs.json` the file name may have 255 bytes."));
    }
    match parse(&key) {
        Some(Parsed { name: read, role: Role::Archive }) if read == *name => Ok(key),
        _ => Err(Error::new(ErrorKind::Invalid, format!("`{key}` cannot name an archive"))
            .with_hint("The extension may hold neither a time stamp nor a compression suffix.")),
    }
}

/// Takes a key apart; none if it is no discrete archive, record or index. Any extension is recognised.
pub fn parse(key: &ObjectKey) -> Option<Parsed> {
    let (role, file) = role_of(key.file_name());
    let (part, period) = match key.dir().rsplit_once('/') {
        Some((part, period)) => (part, period),
        None => ("", key.dir()),
    };
    let period = Period::from_name(period)?;
    let FileName { stem, at, with_seconds, extension, suffix } = split_file_name(file)?;
    let name = ArchiveName {
        part: part.into(),
        period,
        stem: stem.into(),
        at,
        with_seconds,
        extension: extension.into(),
        suffix,
    };
    Some(Parsed { name, role })
}

/// The keys that the object would have in each period directory, lowest first; none if [`parse`] knows no such key.
pub fn siblings(key: &ObjectKey) -> Option<[(Period, ObjectKey); 3]> {
    let Parsed { name, .. } = parse(key)?;
    let slash = if name.part.is_empty() { "" } else { "/" };
    Some(Period::ALL.map(|period| {
        let sibling = format!("{}{slash}{period}/{}", name.part, key.file_name());
        (period, ObjectKey::new(sibling).expect("only a valid component was exchanged"))
    }))
}

/// Splits `tar.gz.age` into `tar` and what the stages added. A bare `gz` is an extension.
pub fn split_extension(extensions: &str) -> (&str, Suffix) {
    let (rest, encrypted) = match extensions.strip_suffix(".age") {
        Some(rest) if !rest.is_empty() => (rest, true),
        _ => (extensions, false),
    };
    for compression in [CompressionSuffix::Gzip, CompressionSuffix::Zstd] {
        match rest.strip_suffix(compression.text()) {
            Some(extension) if !extension.is_empty() => {
                return (extension, Suffix { compression, encrypted });
            }
            _ => {}
        }
    }
    (rest, Suffix { compression: CompressionSuffix::None, encrypted })
}

/// `2026-08-23_03-00`, or with seconds `2026-08-23_03-00-07`.
pub fn stamp(at: DateTime, with_seconds: bool) -> String {
    let minutes =
        format!("{:04}-{:02}-{:02}_{:02}-{:02}", at.year(), at.month(), at.day(), at.hour(), at.minute());
    if with_seconds { format!("{minutes}-{:02}", at.second()) } else { minutes }
}

/// Finds the last time stamp: stem, time, whether seconds are told, and what follows its dot.
fn split_stamp(file: &str) -> Option<(&str, DateTime, bool, &str)> {
    file.rmatch_indices('_').find_map(|(i, _)| {
        let (at, with_seconds, len) = parse_stamp(&file.as_bytes()[i + 1..])?;
        Some((&file[..i], at, with_seconds, &file[i + 1 + len + 1..]))
    })
}

/// Reads a stamp that a dot follows; the length is without the dot.
fn parse_stamp(text: &[u8]) -> Option<(DateTime, bool, usize)> {
    const MINUTES: &[u8] = b"dddd-dd-dd_dd-dd";
    const SECONDS: &[u8] = b"dddd-dd-dd_dd-dd-dd";
    let fits = |shape: &[u8]| {
        text.get(shape.len()) == Some(&b'.')
            && shape.iter().zip(text).all(|(s, t)| if *s == b'd' { t.is_ascii_digit() } else { s == t })
    };
    let with_seconds = match (fits(SECONDS), fits(MINUTES)) {
        (true, _) => true,
        (_, true) => false,
        _ => return None,
    };
    let number =
        |from: usize, len: usize| text[from..from + len].iter().fold(0, |n, d| n * 10 + i16::from(d - b'0'));
    let small = |from: usize| number(from, 2) as i8;
    let second = if with_seconds { small(17) } else { 0 };
    let at = DateTime::new(number(0, 4), small(5), small(8), small(11), small(14), second, 0).ok()?;
    Some((at, with_seconds, if with_seconds { SECONDS.len() } else { MINUTES.len() }))
}

fn is_incremental_month(part: &str) -> bool {
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    let mut from_end = part.rsplit('/');
    let month = from_end.next().and_then(|c| c.strip_prefix("month_")).is_some_and(|m| digits(m, 2));
    month && from_end.next().is_some_and(|year| digits(year, 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{index_key, record_key};
    use proptest::prelude::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    fn shown(text: &str) -> String {
        let Some(Parsed { name: n, role }) = parse(&key(text)) else { return "-".into() };
        let age = if n.suffix.encrypted { ".age" } else { "" };
        let suffix = format!("{}{age}", n.suffix.compression.text());
        let at = stamp(n.at, n.with_seconds);
        format!("{role:?}|{}|{}|{}|{at}|{}|{suffix}", n.part, n.period, n.stem, n.extension)
    }

    #[test]
    fn names_of_v2_and_ours_are_recognised_and_nothing_else() {
        let table = [
            ("site1/daily/site1_2018-07-28_03-00.tar", "Archive|site1|daily|site1|2018-07-28_03-00|tar|"),
            ("x/y/weekly/x___y_2018-07-29_03-00.tar.gz", "Archive|x/y|weekly|x___y|2018-07-29_03-00|tar|.gz"),
            ("monthly/redis_2018-08-01_03-00.rdb", "Archive||monthly|redis|2018-08-01_03-00|rdb|"),
            (
                "db/daily/1-db_2022-01-02_03-04.pgdump.sql.gz",
                "Archive|db|daily|1-db|2022-01-02_03-04|pgdump.sql|.gz",
            ),
            (
                "s/daily/s_2026-01-02_03-04-05.tar.zst.age",
                "Archive|s|daily|s|2026-01-02_03-04-05|tar|.zst.age",
            ),
            ("s/daily/s_2026-01-02_03-04.tar.nxs.json", "Record|s|daily|s|2026-01-02_03-04|tar|"),
            ("s/daily/s_2026-01-02_03-04.tar.nxs.idx", "Index|s|daily|s|2026-01-02_03-04|tar|"),
            ("daily/daily/daily_2026-01-02_03-04.tar", "Archive|daily|daily|daily|2026-01-02_03-04|tar|"),
            (
                "s/daily/a_2020-01-01_00-00.tar_2026-01-02_03-04.tar",
                "Archive|s|daily|a_2020-01-01_00-00.tar|2026-01-02_03-04|tar|",
            ),
            ("s/daily/s_2026-01-02_03-04.gz", "Archive|s|daily|s|2026-01-02_03-04|gz|"),
            ("s/hourly/s_2026-01-02_03-04.tar", "-"),
            ("s_2026-01-02_03-04.tar", "-"),
            ("s/daily/s_2026-02-29_03-04.tar", "-"),
            ("s/daily/s_2026-01-02_24-04.tar", "-"),
            ("s/daily/s_2026-01-02_03-04", "-"),
            ("s/daily/s_2026-01-02_03-04.", "-"),
            ("s/daily/_2026-01-02_03-04.tar", "-"),
            ("s/daily/s_2026-1-02_03-04.tar", "-"),
            ("s/daily/notes.txt", "-"),
            ("s/daily/s_2026-01-02_03-04.tar.nxs.idx.nxs.json", "-"),
            ("s/daily/.s_2026-01-02_03-04.tar.web.0f.nxs-part", "-"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn only_extensions_that_v2_rotates_can_be_adopted() {
        let adoptable = |text: &str| parse(&key(text)).unwrap().name.is_adoptable();
        for ext in V2_EXTENSIONS {
            assert!(adoptable(&format!("s/daily/s_2026-01-02_03-04.{ext}")));
            assert!(adoptable(&format!("s/daily/s_2026-01-02_03-04.{ext}.gz")));
        }
        assert!(!adoptable("s/daily/s_2026-01-02_03-04.zip"));
        assert!(!adoptable("data/2018/month_07/monthly/data_2018-07-28_03-00.tar"));
        assert!(adoptable("data/2018/monthly/data_2018-07-28_03-00.tar"));
    }

    #[test]
    fn a_name_that_would_read_as_another_is_refused() {
        let good = parse(&key("s/daily/s_2026-01-02_03-04.tar")).unwrap().name;
        assert!(build(&good).is_ok());
        for extension in
            ["tar.gz", "tar.age", "x_2020-01-01_00-00.tar", "", "tar.nxs.json", "nxs-part", "a/b"]
        {
            let bad = ArchiveName { extension: extension.into(), ..good.clone() };
            let kind = build(&bad).map_err(|e| e.kind());
            // A lone `nxs-part` is refused because it ends like a partial object's name.
            assert_eq!(kind, Err(ErrorKind::Invalid), "{extension}");
        }
        let untold = ArchiveName { at: good.at.with().second(7).build().unwrap(), ..good };
        assert!(build(&untold).is_err());
    }

    #[test]
    fn a_name_that_leaves_no_room_for_its_record_is_refused_and_every_cut_stem_fits() {
        let good = parse(&key("s/daily/s_2026-01-02_03-04-05.pgdump.sql.zst.age")).unwrap().name;
        let longest = ArchiveName { stem: "n".repeat(crate::naming::MAX_STEM_BYTES), ..good };
        let built = build(&longest).unwrap();
        assert!(record_key(&built).file_name().len() <= MAX_COMPONENT_BYTES);
        let longer = ArchiveName { stem: "n".repeat(230), ..longest };
        assert_eq!(build(&longer).map_err(|e| e.kind()), Err(ErrorKind::Invalid));
        let v2s = format!("s/daily/{}_2026-01-02_03-04.tar.gz", "n".repeat(230));
        assert!(parse(&key(&v2s)).is_some_and(|p| p.name.is_adoptable()), "v2 went up to 255 bytes");
    }

    #[test]
    fn record_and_index_stand_beside_their_archive() {
        let archive = key("s/daily/s_2026-01-02_03-04.tar.gz");
        assert_eq!(record_key(&archive).as_str(), "s/daily/s_2026-01-02_03-04.tar.gz.nxs.json");
        assert_eq!(index_key(&archive).as_str(), "s/daily/s_2026-01-02_03-04.tar.gz.nxs.idx");
    }

    fn safe_component() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 1..10).prop_map(|b| crate::naming::escape_component(&b)),
            "[a-z_.0-9-]{1,12}".prop_map(|s| crate::naming::escape_component(s.as_bytes())),
            "[a-z]_2020-01-0[1-9]_00-0[0-9](-0[0-9])?",
        ]
    }

    prop_compose! {
        fn any_name()(
            part in proptest::collection::vec(safe_component(), 0..3),
            stem in safe_component(),
            period in proptest::sample::select(&Period::ALL[..]),
            (year, month, day) in (0i16..=9999, 1i8..=12, 1i8..=28),
            (hour, minute, second) in (0i8..24, 0i8..60, 0i8..60),
            with_seconds in any::<bool>(),
            extension in "[a-z]{1,5}(\\.sql)?",
            compression in proptest::sample::select(vec![CompressionSuffix::None, CompressionSuffix::Gzip, CompressionSuffix::Zstd]),
            encrypted in any::<bool>(),
        ) -> ArchiveName {
            let second = if with_seconds { second } else { 0 };
            ArchiveName {
                part: part.join("/"),
                period,
                stem,
                at: DateTime::new(year, month, day, hour, minute, second, 0).unwrap(),
                with_seconds,
                extension,
                suffix: Suffix { compression, encrypted },
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_built_parses_back(name in any_name()) {
            let key = build(&name).unwrap();
            prop_assert_eq!(parse(&key), Some(Parsed { name: name.clone(), role: Role::Archive }));
            prop_assert_eq!(parse(&record_key(&key)), Some(Parsed { name: name.clone(), role: Role::Record }));
            for (period, sibling) in siblings(&record_key(&key)).unwrap() {
                prop_assert_eq!(sibling, record_key(&build(&name.in_period(period)).unwrap()));
            }
            prop_assert_eq!(parse(&index_key(&key)), Some(Parsed { name, role: Role::Index }));
        }

        #[test]
        fn any_key_parses_without_panic_and_builds_back(text in "([a-z]/)?(daily|weekly|x)/[ -~é]{0,6}_?[0-9_-]{0,20}\\.?[a-z.]{0,9}") {
            if let Some(Parsed { name, role: Role::Archive }) = ObjectKey::new(text.clone()).ok().as_ref().and_then(parse) {
                let key = build(&name).unwrap();
                prop_assert_eq!(key.as_str(), text);
            }
        }
    }
}
