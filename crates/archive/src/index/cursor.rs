//! Varints and a bounded walk over bytes that may be wrong.
//!
//! A varint is LEB128: seven bits a byte, lowest first, the top bit says that another follows; at most ten bytes. A
//! signed number is zigzagged first.

use nxs_base::Result;

use super::corrupt;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `new - old` in wrapping arithmetic, zigzagged: small differences of either sign are short.
pub(super) fn put_difference(out: &mut Vec<u8>, old: u64, new: u64) {
    let difference = new.wrapping_sub(old).cast_signed();
    put_varint(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
}

/// Bytes with a position; every read beyond the end is an error.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor<'a> {
    left: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (now, later) =
            self.left.split_at_checked(length).ok_or_else(|| corrupt("a block ends too early"))?;
        self.left = later;
        Ok(now)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (now, later) =
            self.left.split_first_chunk::<N>().ok_or_else(|| corrupt("a block ends too early"))?;
        self.left = later;
        Ok(*now)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for place in 0..10 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if place == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(corrupt("a number is longer than 64 bits"))
    }

    pub(super) fn varint_u32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| corrupt("a number is longer than 32 bits"))
    }

    /// A length of at most `limit`.
    pub(super) fn length(&mut self, limit: usize) -> Result<usize> {
        let length = self.varint()?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= limit)
            .ok_or_else(|| corrupt(format_args!("a length of {length} where at most {limit} is allowed")))
    }

    /// The number that [`put_difference`] wrote against `old`.
    pub(super) fn difference(&mut self, old: u64) -> Result<u64> {
        let zigzag = self.varint()?;
        let difference = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        Ok(old.wrapping_add(difference))
    }
}

/// Replaces `path` by its first `shared` bytes and the next `length` bytes of `from`.
pub(super) fn front_decode(path: &mut Vec<u8>, shared: usize, suffix: &[u8]) -> Result<()> {
    if shared > path.len() {
        return Err(corrupt("a path shares more than the path before it has"));
    }
    path.truncate(shared);
    path.extend_from_slice(suffix);
    if path.len() > super::MAX_PATH_BYTES {
        return Err(corrupt("a path is too long"));
    }
    Ok(())
}
