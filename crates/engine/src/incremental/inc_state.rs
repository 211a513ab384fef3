//! Reads version 2's state files (`year.inc`, `month.inc`, `daily.inc`): JSON with the modification time of every file
//! that the state knows.
//!
//! Two shapes: `{"/path": 1532746800.25, …}`, and before that `{"files": ["/path", …], "index": {"/path": 1532746800.25,
//! …}}`. Read as a stream in memory of one path, without trust: what is neither shape is [`ErrorKind::Corrupt`]. What the
//! times are good for is [`super::rebuild`]'s matter.

use std::io::{BufRead, BufReader, Read};

use nxs_base::entry::FileTime;
use nxs_base::error::{Error, ErrorKind, Result};

/// Longest path in bytes.
const MAX_PATH_BYTES: usize = 0xffff;
const MAX_NUMBER_BYTES: usize = 64;

/// Hands every file and its time to `each`, in the order of the state. Paths come as bytes without the leading `/`; a time
/// is as exact as a double (some hundred nanoseconds).
///
/// [`ErrorKind::Corrupt`] for what is no state file, or cut; errors of `source` and of `each` as they are.
pub fn read_state(source: impl Read, each: &mut dyn FnMut(Vec<u8>, FileTime) -> Result<()>) -> Result<()> {
    let mut json = Json { source: BufReader::with_capacity(64 << 10, source), at: 0 };
    json.expect(b'{')?;
    json.items(b'}', |json| {
        let key = json.string()?;
        json.expect(b':')?;
        match key.as_slice() {
            b"files" => {
                json.expect(b'[')?;
                // All names of the tree, also of what is no file.
                json.items(b']', |json| json.string().map(drop))
            }
            b"index" => {
                json.expect(b'{')?;
                json.items(b'}', |json| {
                    let path = json.string()?;
                    json.expect(b':')?;
                    json.time(path, each)
                })
            }
            _ => json.time(key, each),
        }
    })?;
    match json.token()? {
        None => Ok(()),
        Some(_) => Err(json.corrupt("something follows its end")),
    }
}

/// A reader of as much JSON as such a file has.
struct Json<R> {
    source: R,
    at: u64,
}

impl<R: BufRead> Json<R> {
    fn corrupt(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("cannot read the state file at byte {}: {what}", self.at))
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.source.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io("cannot read the state file", error)),
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = self.peek()?.ok_or_else(|| self.corrupt("it breaks off"))?;
        self.source.consume(1);
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is no blank, which stays.
    fn token(&mut self) -> Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => drop(self.byte()?),
                other => return Ok(other),
            }
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        let found = self.token()?;
        let byte = self.byte()?;
        if found == Some(wanted) && byte == wanted {
            return Ok(());
        }
        Err(self.corrupt(&format!("`{}` belongs here", char::from(wanted))))
    }

    /// Items with commas between them, up to and with `end`.
    fn items(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if self.token()? == Some(end) {
            return self.expect(end);
        }
        loop {
            item(self)?;
            if self.token()? == Some(end) {
                return self.expect(end);
            }
            self.expect(b',')?;
        }
    }

    fn time(&mut self, path: Vec<u8>, each: &mut dyn FnMut(Vec<u8>, FileTime) -> Result<()>) -> Result<()> {
        let Some(relative) = path.strip_prefix(b"/").filter(|p| !p.is_empty()) else {
            return Err(self.corrupt("a path is not absolute"));
        };
        let mtime = self.number()?;
        each(relative.to_vec(), mtime)
    }

    fn number(&mut self) -> Result<FileTime> {
        self.token()?;
        let mut text = String::new();
        while let Some(byte @ (b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) = self.peek()? {
            if text.len() == MAX_NUMBER_BYTES {
                return Err(self.corrupt("a number is too long"));
            }
            text.push(char::from(byte));
            self.byte()?;
        }
        let seconds: f64 = text.parse().map_err(|_| self.corrupt("a time is no number"))?;
        // Far beyond what any file system keeps.
        if !seconds.is_finite() || seconds.abs() >= 1e15 {
            return Err(self.corrupt("a time is out of range"));
        }
        let whole = seconds.floor();
        let nsec = ((seconds - whole) * 1e9).round() as u32;
        let (sec, nsec) = if nsec > 999_999_999 { (whole as i64 + 1, 0) } else { (whole as i64, nsec) };
        Ok(FileTime { sec, nsec })
    }

    /// A string as the bytes of the path that Python took it from.
    fn string(&mut self) -> Result<Vec<u8>> {
        self.expect(b'"')?;
        let mut bytes = Vec::new();
        loop {
            let at_most = |json: &Self, bytes: &[u8]| {
                if bytes.len() > MAX_PATH_BYTES { Err(json.corrupt("a path is too long")) } else { Ok(()) }
            };
            at_most(self, &bytes)?;
            match self.byte()? {
                b'"' => return Ok(bytes),
                b'\\' => self.escape(&mut bytes)?,
                0..=0x1f => return Err(self.corrupt("a string has a control character")),
                byte => bytes.push(byte),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let plain = match self.byte()? {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'u' => return self.unicode(bytes),
            _ => return Err(self.corrupt("a string has an unknown escape")),
        };
        bytes.push(plain);
        Ok(())
    }

    fn unicode(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let unit = self.hex()?;
        let scalar = match unit {
            // Python's way to write a byte that is not UTF-8.
            0xdc80..=0xdcff => {
                bytes.push((unit & 0xff) as u8);
                return Ok(());
            }
            0xd800..=0xdbff => {
                let (backslash, u) = (self.byte()?, self.byte()?);
                let low = self.hex()?;
                if (backslash, u) != (b'\\', b'u') || !(0xdc00..=0xdfff).contains(&low) {
                    return Err(self.corrupt("half a character"));
                }
                0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            other => other,
        };
        let character = char::from_u32(scalar).filter(|c| *c != '\0');
        let character = character.ok_or_else(|| self.corrupt("a string has no character there"))?;
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex(&mut self) -> Result<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16);
            value = value * 16 + digit.ok_or_else(|| self.corrupt("an escape has no four digits"))?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<(Vec<u8>, FileTime)>> {
        let mut found = Vec::new();
        read_state(text, &mut |path, time| {
            found.push((path, time));
            Ok(())
        })?;
        Ok(found)
    }

    fn at(sec: i64, nsec: u32) -> FileTime {
        FileTime { sec, nsec }
    }

    #[test]
    fn both_shapes_are_read() {
        type Found<'a> = Vec<(&'a [u8], FileTime)>;
        let table: [(&str, Found<'_>); 6] = [
            ("{}", vec![]),
            (
                r#" { "/a/b": 1532746800.25, "/a/c" : 7 } "#,
                vec![(b"a/b", at(1_532_746_800, 250_000_000)), (b"a/c", at(7, 0))],
            ),
            (
                r#"{"files": ["/a/link", "/a/b"], "index": {"/a/b": -0.5}}"#,
                vec![(b"a/b", at(-1, 500_000_000))],
            ),
            (r#"{"index": {}, "files": []}"#, vec![]),
            (
                r#"{"/gr\u00f6\u00dfe \ud83d\ude00 \"\\\/\n": 1e3}"#,
                vec![("größe 😀 \"\\/\n".as_bytes(), at(1000, 0))],
            ),
            (r#"{"/caf\udce9": 0.0}"#, vec![(b"caf\xe9", at(0, 0))]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected.into_iter().map(|(p, t)| (p.to_vec(), t)).collect();
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_state_file_is_corrupt() {
        let long = format!("{{\"/{}\": 1}}", "x".repeat(70_000));
        let table = [
            "",
            "{",
            "[]",
            "{\"/a\"}",
            "{\"/a\": }",
            "{\"/a\": 1,}",
            "{\"/a\": 1} x",
            "{\"/a\": \"1\"}",
            "{\"/a\": NaN}",
            "{\"/a\": 1e300}",
            "{\"a\": 1}",
            "{\"/\": 1}",
            "{\"/a\": 1",
            "{\"/\\ud83d\": 1}",
            "{\"/\\u0000\": 1}",
            "{\"/\\x\": 1}",
            "{\"files\": {}}",
            "{\"files\": [1]}",
            "{\"index\": []}",
            "{\"files\": [\"/a\"",
            &long,
        ];
        for text in table {
            let kind = read(text.as_bytes()).map_err(|e| e.kind());
            assert_eq!(kind, Err(ErrorKind::Corrupt), "{:.60}", text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_ok() || read(&bytes).is_err_and(|e| e.kind() == ErrorKind::Corrupt));
        }

        #[test]
        fn what_is_nearly_json_is_read_or_refused(text in r#"(\{|"/a"|: ?|,|\[|"files"|"index"|[0-9.e-]{1,4}|\\u[0-9a-d]{4}|\}|\]){0,30}"#) {
            prop_assert!(read(text.as_bytes()).is_ok() || read(text.as_bytes()).is_err_and(|e| e.kind() == ErrorKind::Corrupt));
        }

        #[test]
        fn a_time_is_off_by_less_than_a_microsecond(sec in -2_000_000_000i64..4_000_000_000, nsec in 0u32..1_000_000_000) {
            let double = sec as f64 + f64::from(nsec) / 1e9;
            let found = read(format!("{{\"/a\": {double:?}}}").as_bytes()).unwrap()[0].1;
            let nanos = |t: FileTime| i128::from(t.sec) * 1_000_000_000 + i128::from(t.nsec);
            prop_assert!((nanos(found) - nanos(at(sec, nsec))).abs() < 1000);
        }
    }
}
