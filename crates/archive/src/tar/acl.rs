//! POSIX ACLs: the kernel's extended attribute to the text that tar carries, and back.
//!
//! Raw form: `system.posix_acl_access` and `_default`, version 2, little endian (Linux `posix_acl_xattr.h`). Text
//! form: one entry a line, `user:1000:r-x`, as `getfacl -n` prints it and GNU tar reads it. Looks up no names itself.

use nxs_base::error::{Error, ErrorKind, Result};

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Whose name an ACL entry bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    User,
    Group,
}

/// Turns the raw attribute into text with numeric ids, entries in the order in which they stand, each with `\n`.
/// Fails with `Corrupt` on any form that the kernel does not use.
pub fn decode(raw: &[u8]) -> Result<Vec<u8>> {
    let malformed = || Error::new(ErrorKind::Corrupt, "malformed ACL attribute");
    let entries = raw.strip_prefix(&VERSION.to_le_bytes()).ok_or_else(malformed)?;
    let mut text = Vec::with_capacity(entries.len() * 2);
    let chunks = entries.chunks_exact(8);
    if !chunks.remainder().is_empty() {
        return Err(malformed());
    }
    for entry in chunks {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let perm = u16::from_le_bytes([entry[2], entry[3]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let (word, named) = match tag {
            USER_OBJ => ("user", false),
            USER => ("user", true),
            GROUP_OBJ => ("group", false),
            GROUP => ("group", true),
            MASK => ("mask", false),
            OTHER => ("other", false),
            _ => return Err(malformed()),
        };
        if perm > 7 {
            return Err(malformed());
        }
        text.extend_from_slice(word.as_bytes());
        text.push(b':');
        if named {
            super::pax::put_decimal(&mut text, u64::from(id));
        }
        text.push(b':');
        text.extend_from_slice(&[
            if perm & 4 != 0 { b'r' } else { b'-' },
            if perm & 2 != 0 { b'w' } else { b'-' },
            if perm & 1 != 0 { b'x' } else { b'-' },
            b'\n',
        ]);
    }
    Ok(text)
}

/// Turns text into the raw attribute, entries in the order that the kernel wants.
/// Takes what GNU tar and star write: lines or commas, short tags, `#` comments, and a numeric id as a fourth field.
/// `lookup` is asked for each name that is not a number; a name that it does not know is `NotFound`. Fails with
/// `Corrupt` on malformed text and on sets of entries that the kernel refuses.
pub fn encode(text: &[u8], mut lookup: impl FnMut(Qualifier, &[u8]) -> Option<u32>) -> Result<Vec<u8>> {
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        let line = line.split(|b| *b == b'#').next().unwrap_or(line);
        for word in line.split(|b| *b == b',') {
            let word = word.trim_ascii();
            if !word.is_empty() {
                entries.push(parse_entry(word, &mut lookup)?);
            }
        }
    }
    entries.sort_unstable();
    check_set(&entries)?;
    let mut raw = Vec::with_capacity(4 + entries.len() * 8);
    raw.extend_from_slice(&VERSION.to_le_bytes());
    for (tag, id, perm) in entries {
        raw.extend_from_slice(&tag.to_le_bytes());
        raw.extend_from_slice(&perm.to_le_bytes());
        raw.extend_from_slice(&id.to_le_bytes());
    }
    Ok(raw)
}

fn parse_entry(
    word: &[u8],
    lookup: &mut impl FnMut(Qualifier, &[u8]) -> Option<u32>,
) -> Result<(u16, u32, u16)> {
    let malformed =
        || Error::new(ErrorKind::Corrupt, format!("malformed ACL entry `{}`", word.escape_ascii()));
    let mut fields = word.split(|b| *b == b':').map(<[u8]>::trim_ascii);
    let (Some(tag), Some(second)) = (fields.next(), fields.next()) else { return Err(malformed()) };
    // `mask` and `other` may leave out the empty name.
    let (name, perm) = match fields.next() {
        Some(perm) => (second, perm),
        None if matches!(tag, b"mask" | b"m" | b"other" | b"o") => (&b""[..], second),
        None => return Err(malformed()),
    };
    let stated_id = fields.next();
    if fields.next().is_some() {
        return Err(malformed());
    }
    let (tag, qualifier) = match (tag, name.is_empty()) {
        (b"user" | b"u", true) => (USER_OBJ, None),
        (b"user" | b"u", false) => (USER, Some(Qualifier::User)),
        (b"group" | b"g", true) => (GROUP_OBJ, None),
        (b"group" | b"g", false) => (GROUP, Some(Qualifier::Group)),
        (b"mask" | b"m", true) => (MASK, None),
        (b"other" | b"o", true) => (OTHER, None),
        _ => return Err(malformed()),
    };
    let number =
        |text| super::pax::number(text).and_then(|n| u32::try_from(n).ok()).filter(|id| *id != NO_ID);
    let id = match qualifier {
        None if stated_id.is_some() => return Err(malformed()),
        None => NO_ID,
        Some(_) if name.iter().all(u8::is_ascii_digit) => number(name).ok_or_else(malformed)?,
        // A name of this host wins over the number that was written beside it elsewhere.
        Some(qualifier) => match (lookup(qualifier, name), stated_id) {
            (Some(id), _) => id,
            (None, Some(id)) => number(id).ok_or_else(malformed)?,
            (None, None) => {
                let text = format!("no user or group `{}` for an ACL", name.escape_ascii());
                return Err(Error::new(ErrorKind::NotFound, text));
            }
        },
    };
    Ok((tag, id, permissions(perm).ok_or_else(malformed)?))
}

fn permissions(text: &[u8]) -> Option<u16> {
    if let [digit @ b'0'..=b'7'] = text {
        return Some(u16::from(digit - b'0'));
    }
    text.iter().try_fold(0, |perm, letter| match letter {
        b'r' => Some(perm | 4),
        b'w' => Some(perm | 2),
        b'x' => Some(perm | 1),
        b'-' => Some(perm),
        _ => None,
    })
}

/// The three basic entries once each, no id twice, a mask if there are named entries.
fn check_set(entries: &[(u16, u32, u16)]) -> Result<()> {
    let count = |tag| entries.iter().filter(|e| e.0 == tag).count();
    let named = count(USER) + count(GROUP) > 0;
    let basic = [USER_OBJ, GROUP_OBJ, OTHER].iter().all(|tag| count(*tag) == 1);
    let mask = if named { count(MASK) == 1 } else { count(MASK) <= 1 };
    let unique = entries.windows(2).all(|pair| (pair[0].0, pair[0].1) != (pair[1].0, pair[1].1));
    if basic && mask && unique {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "ACL lacks an entry or has one twice"))
}
