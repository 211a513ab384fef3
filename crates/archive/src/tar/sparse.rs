//! Holes of sparse files: maps of GNU's sparse formats, and the rules that the extents of a member keep.
//!
//! Versions: PAX 1.0 (written and read), PAX 0.0 and 0.1 and the old GNU type `S` (read). Source: GNU tar manual,
//! "Storing Sparse Files". Does not look for holes; the walk does.

use nxs_base::error::{Error, ErrorKind, Result};

use super::{BLOCK, block, pax};

/// Most extents of one file; their map stays under 64 MiB of memory.
pub const MAX_EXTENTS: usize = 4_000_000;

/// A stretch of data of a sparse file, in bytes; all around it reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extent {
    pub offset: u64,
    pub len: u64,
}

impl Extent {
    /// One past the last byte; `None` on overflow.
    pub fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// Widens ascending `extents` to whole blocks of 512 bytes (the end of the file, `size_bytes`, aside) and joins those
/// that touch, since GNU tar stores and reads each extent in whole blocks. Parts beyond `size_bytes` are cut off.
pub fn align_extents(extents: &mut Vec<Extent>, size_bytes: u64) {
    const UNIT: u64 = BLOCK as u64;
    let mut kept = 0;
    for i in 0..extents.len() {
        let extent = extents[i];
        let start = extent.offset / UNIT * UNIT;
        let end = extent.offset.saturating_add(extent.len).min(size_bytes);
        let end = end.checked_next_multiple_of(UNIT).unwrap_or(u64::MAX).min(size_bytes);
        if extent.len == 0 || start >= end {
            continue;
        }
        if let Some(last) = extents[..kept].last_mut() {
            let last_end = last.offset + last.len;
            if start <= last_end {
                last.len = end.max(last_end) - last.offset;
                continue;
            }
        }
        extents[kept] = Extent { offset: start, len: end - start };
        kept += 1;
    }
    extents.truncate(kept);
}

/// Checks that extents ascend, do not overlap and stay within the file; returns their bytes together.
pub(super) fn check(extents: &[Extent], size_bytes: u64) -> Result<u64> {
    let mut end = 0;
    let mut total = 0_u64;
    for extent in extents {
        let next =
            extent.end().filter(|next| extent.offset >= end && *next <= size_bytes).ok_or_else(|| {
                let text = format!(
                    "extent of {} bytes at {} does not fit in its sparse file",
                    extent.len, extent.offset
                );
                Error::new(ErrorKind::Corrupt, text)
            })?;
        end = next;
        // Cannot overflow: the sum is at most `end`.
        total += extent.len;
    }
    Ok(total)
}

/// The extents as a map lists them: without empty ones, save one at the end of a file that ends in a hole.
fn listed(extents: &[Extent], size_bytes: u64) -> impl Iterator<Item = Extent> + Clone {
    let filled = extents.iter().copied().filter(|e| e.len != 0);
    let ends_in_hole = filled.clone().next_back().and_then(Extent::end) != Some(size_bytes);
    filled.chain(ends_in_hole.then_some(Extent { offset: size_bytes, len: 0 }))
}

/// Bytes that [`put_map`] will append.
pub(super) fn map_bytes(extents: &[Extent], size_bytes: u64) -> u64 {
    let digits = |n: u64| u64::from(n.checked_ilog10().unwrap_or(0)) + 1;
    let (mut count, mut bytes) = (0, 0);
    for extent in listed(extents, size_bytes) {
        count += 1;
        bytes += digits(extent.offset) + digits(extent.len) + 2;
    }
    (bytes + digits(count) + 1).next_multiple_of(BLOCK as u64)
}

/// Appends the map of version 1.0, padded to a block.
pub(super) fn put_map(out: &mut Vec<u8>, extents: &[Extent], size_bytes: u64) {
    let start = out.len();
    let listed = listed(extents, size_bytes);
    pax::put_decimal(out, listed.clone().count() as u64);
    out.push(b'\n');
    for extent in listed {
        pax::put_decimal(out, extent.offset);
        out.push(b'\n');
        pax::put_decimal(out, extent.len);
        out.push(b'\n');
    }
    let map = out.len() - start;
    out.resize(start + map.next_multiple_of(BLOCK), 0);
}

/// The record `GNU.sparse.map` of version 0.1: `offset,length,offset,length…`.
pub(super) fn parse_map_record(value: &[u8]) -> Option<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut numbers = value.split(|b| *b == b',');
    while let Some(offset) = numbers.next() {
        let len = pax::number(numbers.next()?)?;
        extents.push(Extent { offset: pax::number(offset)?, len });
    }
    Some(extents)
}

/// Takes the map of version 1.0 block by block.
#[derive(Debug, Default)]
pub(super) struct MapParser {
    count: Option<u64>,
    digits: Option<u64>,
    offset: Option<u64>,
    extents: Vec<Extent>,
}

impl MapParser {
    /// Takes one block; `Some` once the map is whole.
    pub(super) fn feed(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Extent>>> {
        for &byte in block {
            if byte != b'\n' {
                let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0')).ok_or_else(bad_map)?;
                let value = self.digits.unwrap_or(0).checked_mul(10).and_then(|v| v.checked_add(digit));
                self.digits = Some(value.ok_or_else(bad_map)?);
                continue;
            }
            let number = self.digits.take().ok_or_else(bad_map)?;
            match (self.count, self.offset.take()) {
                (None, _) if number > MAX_EXTENTS as u64 => return Err(too_many()),
                (None, _) => self.count = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.extents.push(Extent { offset, len: number }),
            }
            if self.offset.is_none() && self.count == Some(self.extents.len() as u64) {
                return Ok(Some(std::mem::take(&mut self.extents)));
            }
        }
        Ok(None)
    }
}

fn bad_map() -> Error {
    Error::new(ErrorKind::Corrupt, "malformed map of a sparse file")
}

pub(super) fn too_many() -> Error {
    Error::new(ErrorKind::Unsupported, format!("sparse file has more than {MAX_EXTENTS} extents"))
}

/// Adds the extents of an old GNU header (4 from byte 386) or of its continuation (21 from byte 0).
pub(super) fn add_old_gnu(extents: &mut Vec<Extent>, slots: &[u8]) -> Result<()> {
    for slot in slots.chunks_exact(24) {
        if slot[12] == 0 {
            break;
        }
        let part = |field| block::number(field)?.and_then(|n| u64::try_from(n).ok()).ok_or_else(bad_map);
        extents.push(Extent { offset: part(&slot[..12])?, len: part(&slot[12..])? });
    }
    if extents.len() > MAX_EXTENTS {
        return Err(too_many());
    }
    Ok(())
}
