//! The end of what `pg_basebackup` writes: a tar that is whole to its two empty blocks, with the manifest of the backup as
//! its last member. Headers are followed and nothing is kept.

use nxs_base::{Error, ErrorKind, Result};

const BLOCK: usize = 512;
const MANIFEST: &str = "backup_manifest";

/// Follows a stream.
#[derive(Debug, Default)]
pub(super) struct Tarball {
    header: Vec<u8>,
    /// Bytes of a member, with what fills its last block.
    skip: u64,
    members: u64,
    last: String,
    empty_blocks: u64,
}

fn corrupt(text: String) -> Error {
    Error::new(ErrorKind::Corrupt, text)
}

impl Tarball {
    /// Looks at the next bytes. [`ErrorKind::Corrupt`] for what is no tar.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() as u64);
                self.skip -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            let n = (BLOCK - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.header.len() == BLOCK {
                let header = std::mem::take(&mut self.header);
                self.member(&header)?;
            }
        }
        Ok(())
    }

    fn member(&mut self, header: &[u8]) -> Result<()> {
        if header.iter().all(|byte| *byte == 0) {
            self.empty_blocks += 1;
            return Ok(());
        }
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        if self.empty_blocks > 0 || number(&header[148..156]) != Some(sum) {
            return Err(corrupt("what `pg_basebackup` wrote is no tar archive".to_owned()));
        }
        let size = number(&header[124..136]).ok_or_else(|| corrupt("a member without a size".to_owned()))?;
        let name = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
        self.last = String::from_utf8_lossy(name).into_owned();
        self.members += 1;
        self.skip = size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The stream is over. [`ErrorKind::Corrupt`] unless the archive is, too.
    pub(super) fn finish(&self, with_manifest: bool) -> Result<()> {
        if self.skip > 0 || !self.header.is_empty() || self.empty_blocks < 2 || self.members == 0 {
            return Err(corrupt(format!(
                "the output of `pg_basebackup` was cut in or after `{}`, its member {}",
                self.last.escape_debug(),
                self.members
            )));
        }
        if with_manifest && self.last != MANIFEST {
            return Err(corrupt(format!(
                "the output of `pg_basebackup` ends with `{}`, and not with `{MANIFEST}`",
                self.last.escape_debug()
            )));
        }
        Ok(())
    }
}

/// Octal digits, or big-endian with the first bit set.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let first = u64::from(field[0] & 0x7f);
        return field[1..]
            .iter()
            .try_fold(first, |n, byte| n.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits =
        field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| (b'0'..=b'7').contains(*byte));
    digits.copied().try_fold(0_u64, |n, digit| n.checked_mul(8)?.checked_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(members: &[(&str, usize)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, size) in members {
            let mut header = vec![0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
            header[148..156].fill(b' ');
            let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            out.extend(header);
            out.extend(vec![b'x'; *size]);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.resize(out.len() + 2 * BLOCK, 0);
        out
    }

    fn judged(bytes: &[u8], piece: usize, with_manifest: bool) -> Result<()> {
        let mut tarball = Tarball::default();
        bytes.chunks(piece).try_for_each(|piece| tarball.push(piece))?;
        tarball.finish(with_manifest)
    }

    #[test]
    fn an_archive_is_whole_to_its_last_byte_however_it_comes() {
        let whole = tar(&[("PG_VERSION", 3), ("base/1/2", 8192), (MANIFEST, 700)]);
        for piece in [1, 511, 512, 513, 1 << 20] {
            judged(&whole, piece, true).unwrap();
        }
        for cut in [1, 512, 1024, 1025, 1700, whole.len() - 512, whole.len()] {
            let error = judged(&whole[..whole.len() - cut], 4096, true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{cut}");
        }
        let bare = tar(&[("PG_VERSION", 3)]);
        judged(&bare, 512, false).unwrap();
        judged(&bare, 512, true).unwrap_err();
        judged(b"pg_basebackup: no tar", 512, false).unwrap_err();
        let mut odd = whole;
        odd[0] = b'Q';
        judged(&odd, 512, false).unwrap_err();
    }

    #[test]
    fn sizes_beyond_octal_digits_are_read() {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[7] = 3;
        assert_eq!(number(&field), Some(3 << 32));
        assert_eq!(number(b"00000000017\0"), Some(15));
    }
}
