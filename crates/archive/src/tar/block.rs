//! The 512 bytes of a ustar header: where the fields are, how numbers are written, the checksum.
//!
//! Knows nothing of extended headers (`pax`) nor of what a member means (`read`, `write`).

use nxs_base::error::{Error, ErrorKind, Result};

use super::BLOCK;

/// Place of a field in the header block.
pub(super) type Field = std::ops::Range<usize>;

pub(super) const NAME: Field = 0..100;
pub(super) const MODE: Field = 100..108;
pub(super) const UID: Field = 108..116;
pub(super) const GID: Field = 116..124;
pub(super) const SIZE: Field = 124..136;
pub(super) const MTIME: Field = 136..148;
pub(super) const CHECKSUM: Field = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK: Field = 157..257;
pub(super) const MAGIC: Field = 257..265;
pub(super) const UNAME: Field = 265..297;
pub(super) const GNAME: Field = 297..329;
pub(super) const DEV_MAJOR: Field = 329..337;
pub(super) const DEV_MINOR: Field = 337..345;
pub(super) const PREFIX: Field = 345..500;

pub(super) const MAGIC_POSIX: &[u8; 8] = b"ustar\x0000";

/// Greatest value of an octal field of 8 bytes.
pub(super) const MAX_OCTAL_8: u64 = 0o7_777_777;
/// Greatest value of an octal field of 12 bytes.
pub(super) const MAX_OCTAL_12: u64 = 0o77_777_777_777;

/// Writes `value` as zero-filled octal digits with a closing NUL; digits that do not fit are lost.
pub(super) fn put_octal(field: &mut [u8], value: u64) {
    let Some((last, digits)) = field.split_last_mut() else { return };
    *last = 0;
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
}

/// Copies as much of `text` as the field takes; the rest of the field stays as it is.
pub(super) fn put_text(field: &mut [u8], text: &[u8]) {
    let n = text.len().min(field.len());
    field[..n].copy_from_slice(&text[..n]);
}

/// Computes the checksum over the block and writes it in the customary form (six digits, NUL, space).
pub(super) fn seal(block: &mut [u8]) {
    block[CHECKSUM].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    put_octal(&mut block[CHECKSUM.start..CHECKSUM.end - 1], u64::from(sum));
}

/// Whether the checksum fits; sums over signed bytes, as some old tars made them, are accepted too.
pub(super) fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Ok(Some(stated)) = number(&block[CHECKSUM]) else { return false };
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let negative = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte >> 7)).sum::<u32>();
    let field = &block[CHECKSUM];
    let blanks = u32::from(b' ') * field.len() as u32;
    let unsigned = i64::from(sum(block) - sum(field) + blanks);
    let signed = unsigned - 256 * i64::from(negative(block) - negative(field));
    stated == unsigned || stated == signed
}

/// Reads a numeric field: octal digits between blanks, or GNU's base-256. `None` for a field of blanks.
pub(super) fn number(field: &[u8]) -> Result<Option<i64>> {
    let malformed = || {
        Error::new(ErrorKind::Corrupt, format!("`{}` is not a number of a tar header", field.escape_ascii()))
    };
    let Some(&first) = field.first() else { return Ok(None) };
    if first & 0x80 != 0 {
        let mut value = if first & 0x40 != 0 { -1_i128 } else { 0 };
        value = (value << 6) | i128::from(first & 0x3f);
        for &byte in &field[1..] {
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map(Some).map_err(|_| malformed());
    }
    let is_blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| *b != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let (digits, tail) = digits.split_at(end);
    if !tail.iter().all(is_blank) || !digits.iter().all(|b| (b'0'..=b'7').contains(b)) {
        return Err(malformed());
    }
    if digits.is_empty() {
        return Ok(None);
    }
    // At most 12 octal digits: 36 bits.
    Ok(Some(digits.iter().fold(0, |value, b| (value << 3) | i64::from(b - b'0'))))
}

/// The text of a field, up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}
