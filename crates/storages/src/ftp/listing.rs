//! Listings of FTP servers: `MLSD` (RFC 3659), and what `LIST` prints on Unix and Windows.
//!
//! `LIST` tells the time of old files to the day alone, and in the zone of the server; so every time of a `LIST` is
//! cut to its day, which stays the same as long as the file does.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use nxs_base::entry::FileTime;

use crate::tree::{Entry, EntryKind};

/// One line of `MLSD`, or the facts of `MLST`; none for `.` and `..`, and for what cannot be read.
pub(super) fn machine(line: &str) -> Option<Entry> {
    let (facts, name) = line.split_once(' ')?;
    let (mut kind, mut size_bytes, mut mtime) = (EntryKind::Other, 0, FileTime::default());
    for fact in facts.split(';') {
        let Some((fact, value)) = fact.split_once('=') else { continue };
        match fact.to_ascii_lowercase().as_str() {
            "type" => match value.to_ascii_lowercase().as_str() {
                "file" => kind = EntryKind::File,
                "dir" => kind = EntryKind::Dir,
                "cdir" | "pdir" => return None,
                link if link.starts_with("os.unix=s") => {
                    kind = EntryKind::Link(value.split_once(':').map_or("", |(_, text)| text).to_owned());
                }
                _ => {}
            },
            "size" => size_bytes = value.parse().ok()?,
            "modify" => mtime = stamp(value)?,
            _ => {}
        }
    }
    let name = name.rsplit('/').next().unwrap_or(name);
    is_name(name).then(|| Entry { name: name.to_owned(), kind, size_bytes, mtime })
}

/// `20261123160500` or `20261123160500.123`, in UTC.
fn stamp(text: &str) -> Option<FileTime> {
    let digits = text.get(..14)?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let small = |from: usize, to: usize| part(from, to).and_then(|n| i8::try_from(n).ok());
    // A leap second is the last one of its minute.
    let second = small(12, 14)?.min(59);
    let at = DateTime::new(part(0, 4)?, small(4, 6)?, small(6, 8)?, small(8, 10)?, small(10, 12)?, second, 0);
    seconds(at.ok()?)
}

fn seconds(at: DateTime) -> Option<FileTime> {
    Some(FileTime { sec: at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second(), nsec: 0 })
}

/// One line of `LIST`; `Ok(None)` for `.`, `..`, totals and empty lines; `Err` for what cannot be read. `today` finds
/// the year of recent files.
pub(super) fn human(line: &str, today: Date) -> Result<Option<Entry>, ()> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.starts_with("total ") {
        return Ok(None);
    }
    let entry = match line.as_bytes()[0] {
        b'0'..=b'9' => windows(line),
        _ => unix(line, today),
    }
    .ok_or(())?;
    Ok(Some(entry).filter(|entry| is_name(&entry.name)))
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
}

/// `-rw-r--r--    1 1000     1000         1234 Nov 23 15:56 name`.
fn unix(line: &str, today: Date) -> Option<Entry> {
    let kind = *line.as_bytes().first()?;
    let mut rest = line;
    let mut fields = Vec::new();
    // Mode, links, user, group, size, month, day, time or year. Some servers leave the group out.
    while fields.len() < 8 {
        let (field, after) = word(rest)?;
        fields.push(field);
        rest = after;
        if fields.len() == 7 && is_month(fields[4]) {
            break;
        }
    }
    let at = fields.len() - 3;
    if !is_month(fields.get(at).copied()?) {
        return None;
    }
    let size_bytes = fields[at - 1].parse().ok();
    let mtime = day(fields[at], fields[at + 1], fields[at + 2], today)?;
    // Exactly one blank stands before the name, which may begin with more.
    let name = rest.strip_prefix(' ')?;
    let (name, kind) = match kind {
        b'-' => (name, EntryKind::File),
        b'd' => (name, EntryKind::Dir),
        b'l' => {
            let (name, text) = name.split_once(" -> ").unwrap_or((name, ""));
            (name, EntryKind::Link(text.to_owned()))
        }
        b'b' | b'c' | b'p' | b's' => return Some(other(name, mtime)),
        _ => return None,
    };
    let size_bytes = if kind == EntryKind::File { size_bytes? } else { size_bytes.unwrap_or(0) };
    Some(Entry { name: name.to_owned(), kind, size_bytes, mtime })
}

fn other(name: &str, mtime: FileTime) -> Entry {
    Entry { name: name.to_owned(), kind: EntryKind::Other, size_bytes: 0, mtime }
}

/// The next word, and what comes right behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    let end = text.find(' ')?;
    Some(text.split_at(end))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn is_month(word: &str) -> bool {
    MONTHS.contains(&word)
}

fn day(month: &str, day: &str, year_or_time: &str, today: Date) -> Option<FileTime> {
    let month = i8::try_from(MONTHS.iter().position(|m| *m == month)? + 1).ok()?;
    let day: i8 = day.parse().ok()?;
    let date = if year_or_time.contains(':') {
        // Without a year it is the last such day; the clock of the server may be a day ahead.
        let latest = today.tomorrow().ok()?;
        (0..=4).filter_map(|back| Date::new(latest.year() - back, month, day).ok()).find(|d| *d <= latest)?
    } else {
        Date::new(year_or_time.parse().ok()?, month, day).ok()?
    };
    seconds(date.at(0, 0, 0, 0))
}

/// `11-23-26  03:56PM       <DIR>          name`, `11-23-2026 15:56 1234 name`.
fn windows(line: &str) -> Option<Entry> {
    let (date, rest) = word(line)?;
    let (_time, rest) = word(rest)?;
    let (size, rest) = word(rest)?;
    let mut numbers = date.split(['-', '/']).map(str::parse::<i16>);
    let (month, day, year) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    let year = if year < 70 {
        year + 2000
    } else if year < 100 {
        year + 1900
    } else {
        year
    };
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let (kind, size_bytes) = match size {
        "<DIR>" => (EntryKind::Dir, 0),
        "<SYMLINK>" | "<SYMLINKD>" | "<JUNCTION>" => (EntryKind::Link(String::new()), 0),
        size => (EntryKind::File, size.replace(',', "").parse().ok()?),
    };
    // Directories are indented further than files.
    let name = if kind == EntryKind::File { rest.strip_prefix(' ')? } else { rest.trim_start() };
    Some(Entry { name: name.to_owned(), kind, size_bytes, mtime: seconds(date.at(0, 0, 0, 0))? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn list(line: &str) -> Entry {
        human(line, date(2026, 3, 1)).unwrap().unwrap()
    }

    fn at(y: i16, m: i8, d: i8) -> FileTime {
        seconds(date(y, m, d).at(0, 0, 0, 0)).unwrap()
    }

    #[test]
    fn lines_of_unix_servers_are_read_with_odd_names() {
        let entry = list("-rw-r--r--    1 1000     1000         1234 Feb 23 15:56  two  blanks ");
        assert_eq!((entry.name.as_str(), entry.size_bytes), (" two  blanks ", 1234));
        assert_eq!((entry.kind, entry.mtime), (EntryKind::File, at(2026, 2, 23)));
        assert_eq!(list("-rw------- 1 a b 0 Nov  1 15:56 x").mtime, at(2025, 11, 1), "the last November");
        assert_eq!(list("-rw------- 1 a b 0 Mar  2 00:10 x").mtime, at(2026, 3, 2), "a day ahead");
        assert_eq!(list("-rw------- 1 a b 0 Feb 29 10:10 x").mtime, at(2024, 2, 29));
        assert_eq!(list("-rw------- 1 a b 0 Nov  1  2019 x").mtime, at(2019, 11, 1));
        assert_eq!(list("drwxr-xr-x 2 0 0 4096 Jan 01 00:00 dir").kind, EntryKind::Dir);
        assert_eq!(list("-rw-r--r-- 1 user 7 Jan 01 00:00 no group").name, "no group");
        let link = list("lrwxrwxrwx 1 0 0 4 Jan 01 00:00 l -> a/b");
        assert_eq!((link.name.as_str(), link.kind), ("l", EntryKind::Link("a/b".into())));
        assert_eq!(list("prw-r--r-- 1 0 0 0 Jan 01 00:00 pipe").kind, EntryKind::Other);
        assert_eq!(human("total 12", date(2026, 1, 1)), Ok(None));
        assert_eq!(human("drwxr-xr-x 2 0 0 4096 Jan 01 00:00 ..", date(2026, 1, 1)), Ok(None));
        for bad in
            ["hello", "-rw-r--r-- 1 a b big Jan 01 00:00 x", "-rw-r--r-- 1 a b 1 Foo 01 00:00 x", "ls: x"]
        {
            assert_eq!(human(bad, date(2026, 1, 1)), Err(()), "{bad}");
        }
    }

    #[test]
    fn lines_of_windows_servers_are_read() {
        let entry = list("11-23-26  03:56PM                 1234 a b.tar");
        assert_eq!((entry.name.as_str(), entry.size_bytes, entry.mtime), ("a b.tar", 1234, at(2026, 11, 23)));
        let dir = list("11-23-2026  15:56       <DIR>          site 1");
        assert_eq!((dir.name.as_str(), dir.kind), ("site 1", EntryKind::Dir));
    }

    #[test]
    fn machine_readable_lines_are_read_with_odd_names() {
        let entry = machine("Type=file;Size=42;Modify=20260223155601.5;Perm=r;  a;b=c d").unwrap();
        assert_eq!((entry.name.as_str(), entry.size_bytes), (" a;b=c d", 42));
        assert_eq!(entry.mtime.sec - at(2026, 2, 23).sec, 15 * 3600 + 56 * 60 + 1);
        assert_eq!(machine("type=cdir;modify=20260101000000; ."), None);
        assert_eq!(machine("type=pdir; .."), None);
        let link = machine("type=OS.unix=slink:/a/b;modify=20260101000000; l").unwrap();
        assert_eq!(link.kind, EntryKind::Link("/a/b".into()));
        assert_eq!(machine("type=file;size=x; y"), None);
        assert_eq!(machine("nonsense"), None);
    }
}
