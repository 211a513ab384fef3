//! The bytes of an RDB on their way: the head, the end and its checksum are looked at, and what the client puts after
//! them does not pass. Format: `REDIS` and four digits, opcodes, 0xFF, a CRC-64 (Jones) of all before it, or eight zeros
//! where the server makes none.

use nxs_base::entry::IndexEntry;
use nxs_base::ports::source::{Artefact, Sink};
use nxs_base::{Error, ErrorKind, Result};

const EOF: u8 = 0xFF;
const SUM_BYTES: usize = 8;
/// The mark that ends a transfer of unknown length: the client passes it on where it cannot cut its output.
const MARK_BYTES: usize = 40;
/// What may belong to the end, and is held back.
const HELD_BYTES: usize = 1 + SUM_BYTES + MARK_BYTES;
/// Jones' polynomial, its bits reversed.
const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

fn crc(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| TABLE[((sum ^ u64::from(*byte)) & 0xFF) as usize] ^ (sum >> 8))
}

/// Passes an RDB on, but for its last bytes, which [`Checked::finish`] judges.
pub(super) struct Checked<'a> {
    sink: &'a mut dyn Sink,
    held: Vec<u8>,
    sum: u64,
    passed_bytes: u64,
}

impl<'a> Checked<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink, held: Vec::new(), sum: 0, passed_bytes: 0 }
    }

    /// Passes the end on. [`ErrorKind::Corrupt`] unless it is that of a whole RDB. Says whether there was a checksum.
    pub(super) fn finish(mut self) -> Result<bool> {
        let marked = self.held.len().checked_sub(MARK_BYTES);
        let marked = marked.filter(|at| self.held[*at..].iter().all(u8::is_ascii_hexdigit));
        for end in [Some(self.held.len()), marked].into_iter().flatten() {
            let Some(at) = end.checked_sub(SUM_BYTES) else { continue };
            let (before, stored) = self.held[..end].split_at(at);
            let stored = stored.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
            let has_sum = stored != 0;
            if before.last() == Some(&EOF) && (!has_sum || stored == crc(self.sum, before)) {
                self.held.truncate(end);
                self.sink.write(&self.held)?;
                return Ok(has_sum);
            }
        }
        let bytes = self.passed_bytes + self.held.len() as u64;
        let text = format!("what `redis-cli` printed is no whole RDB: no checksum fits after {bytes} bytes");
        Err(Error::new(ErrorKind::Corrupt, text))
    }
}

impl Sink for Checked<'_> {
    fn begin(&mut self, artefact: Artefact) -> Result<()> {
        self.sink.begin(artefact)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.held.extend_from_slice(bytes);
        if self.held.len() <= HELD_BYTES {
            return Ok(());
        }
        if self.passed_bytes == 0 && !self.held.starts_with(b"REDIS") && !self.held.starts_with(b"VALKEY") {
            let shown: String = String::from_utf8_lossy(&self.held).chars().take(80).collect();
            let text = format!("what `redis-cli` printed is no RDB: `{}`", shown.escape_debug());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let n = self.held.len() - HELD_BYTES;
        self.sum = crc(self.sum, &self.held[..n]);
        self.passed_bytes += n as u64;
        self.sink.write(&self.held[..n])?;
        self.held.drain(..n);
        Ok(())
    }

    fn cut_here(&mut self) -> Result<()> {
        self.sink.cut_here()
    }

    fn entry(&mut self, entry: &IndexEntry) -> Result<()> {
        self.sink.entry(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl Sink for Kept {
        fn begin(&mut self, _: Artefact) -> Result<()> {
            Ok(())
        }
        fn write(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn cut_here(&mut self) -> Result<()> {
            Ok(())
        }
        fn entry(&mut self, _: &IndexEntry) -> Result<()> {
            Ok(())
        }
    }

    /// What passes of these bytes, given in pieces.
    fn passed(bytes: &[u8], piece: usize) -> Result<Vec<u8>> {
        let mut kept = Kept::default();
        let mut checked = Checked::new(&mut kept);
        bytes.chunks(piece).try_for_each(|piece| checked.write(piece))?;
        checked.finish()?;
        Ok(kept.0)
    }

    fn rdb() -> Vec<u8> {
        let mut bytes = b"REDIS0010".to_vec();
        bytes.extend((0..1000_u32).flat_map(|n| n.to_le_bytes()));
        bytes.push(EOF);
        let sum = crc(0, &bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    #[test]
    fn the_checksum_is_that_of_the_format() {
        assert_eq!(crc(0, b"123456789"), 0xE9C6_D914_C4B8_D9CA);
    }

    #[test]
    fn a_whole_rdb_passes_as_it_is_and_the_mark_after_it_does_not() {
        let whole = rdb();
        for piece in [1, 7, 100_000] {
            assert_eq!(passed(&whole, piece).unwrap(), whole);
            let mut marked = whole.clone();
            marked.extend_from_slice(&[b'a'; MARK_BYTES]);
            assert_eq!(passed(&marked, piece).unwrap(), whole);
        }
        let mut unsummed = whole.clone();
        let at = unsummed.len() - SUM_BYTES;
        unsummed[at..].fill(0);
        assert_eq!(passed(&unsummed, 100).unwrap(), unsummed);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_seen() {
        let whole = rdb();
        for cut in [0, 1, 8, 9, 40, 48, 49, 50, whole.len() - 9, whole.len() - 1] {
            assert_eq!(passed(&whole[..cut], 64).unwrap_err().kind(), ErrorKind::Corrupt, "{cut}");
        }
        for at in [0, 20, whole.len() - 9, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(passed(&changed, 64).unwrap_err().kind(), ErrorKind::Corrupt, "{at}");
        }
        let mut marked = whole;
        marked.extend_from_slice(&[b'a'; MARK_BYTES - 1]);
        assert_eq!(passed(&marked, 64).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
