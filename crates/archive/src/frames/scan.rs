//! Finds the frames of a stored stream again, while it is read from its beginning: for archives that lost their index,
//! and for those of other programs.
//!
//! One pass, constant memory beside the table. The frames of an uncompressed archive are a matter of the writer's rule
//! alone (see `write`), for which the caller tells where members lie.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;
use nxs_base::{Error, ErrorKind};

use super::read::MAX_WINDOW_LOG;
use super::{Codec, FrameRecord, FrameTotals, MAX_PLAIN_BYTES, MAX_STORED_BYTES};

const BUFFER_BYTES: usize = 256 << 10;

/// A table with more lines is not kept: no writer makes frames that small.
const MAX_FRAMES: usize = 1 << 22;

/// Reads a stored stream as plain bytes and takes down its frames. Clones share the stream, so that one can be read
/// through a buffer while the other is told where members lie.
pub struct FrameScanner<R: BufRead>(Rc<RefCell<Scan<R>>>);

impl<R: BufRead> Clone for FrameScanner<R> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// Counts what the decoder takes; remembers that it was the source that ended with an error.
struct Counted<R> {
    inner: R,
    taken: u64,
    has_failed: bool,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let filled = self.inner.fill_buf();
        self.has_failed = filled.is_err();
        filled
    }

    fn consume(&mut self, count: usize) {
        self.taken += count as u64;
        self.inner.consume(count);
    }
}

enum Stage<R: BufRead> {
    /// Between two frames.
    Between(Counted<R>),
    Gzip(Box<GzDecoder<Counted<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Counted<R>>>),
    /// After an error.
    Broken,
}

struct Scan<R: BufRead> {
    codec: Codec,
    stage: Stage<R>,
    /// The frame under way.
    hasher: blake3::Hasher,
    frame_plain: u64,
    frame_start: u64,
    frames: Option<Vec<FrameRecord>>,
    plain_bytes: u64,
    stored_bytes: u64,
    /// Without compression: the bytes since the last frame, and how far the members are known.
    pending: Vec<u8>,
    known: u64,
}

impl<R: Read> FrameScanner<BufReader<R>> {
    /// `source` stands at the first stored byte. The level of `codec` does not matter.
    pub fn new(codec: Codec, source: R) -> Self {
        let inner = BufReader::with_capacity(BUFFER_BYTES, source);
        let stage = Stage::Between(Counted { inner, taken: 0, has_failed: false });
        Self(Rc::new(RefCell::new(Scan {
            codec,
            stage,
            hasher: blake3::Hasher::new(),
            frame_plain: 0,
            frame_start: 0,
            frames: Some(Vec::new()),
            plain_bytes: 0,
            stored_bytes: 0,
            pending: Vec::new(),
            known: 0,
        })))
    }
}

impl<R: BufRead> FrameScanner<R> {
    /// Tells of a member of the plain archive: where it begins and where it ends. In the order of the archive; members
    /// that are not told of can only make the table of an uncompressed archive another than its writer's.
    pub fn member(&self, offset: u64, end: u64) {
        self.0.borrow_mut().member(offset, end);
    }

    /// The table and the sums, once all was read. No table if the stream is made of other frames than ours: too large
    /// to be read alone, or absurdly many.
    pub fn finish(self) -> (Option<Vec<FrameRecord>>, FrameTotals) {
        let mut scan = self.0.borrow_mut();
        if scan.codec == Codec::None {
            scan.known = u64::MAX;
            scan.cut_full();
            let rest = scan.pending.len();
            if rest > 0 {
                scan.cut(rest);
            }
            scan.stored_bytes = scan.plain_bytes;
        }
        let frames = scan.frames.take();
        let count = frames.as_ref().map_or(0, Vec::len) as u64;
        let totals =
            FrameTotals { plain_bytes: scan.plain_bytes, stored_bytes: scan.stored_bytes, frames: count };
        (frames, totals)
    }
}

impl<R: BufRead> Read for FrameScanner<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.0.borrow_mut().read(buffer)
    }
}

impl<R: BufRead> Scan<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let (name, outcome, has_failed) = match &mut self.stage {
                Stage::Broken => return Err(corrupt("cannot read on: an earlier read ended with an error")),
                Stage::Between(source) => {
                    if source.fill_buf()?.is_empty() {
                        if self.plain_bytes == 0 && source.taken == 0 && self.codec != Codec::None {
                            return Err(corrupt("cannot decompress: the stream is empty"));
                        }
                        return Ok(0);
                    }
                    if self.codec == Codec::None {
                        let count = source.read(buffer)?;
                        self.pending.extend_from_slice(&buffer[..count]);
                        self.plain_bytes += count as u64;
                        self.cut_full();
                        return Ok(count);
                    }
                    self.open()?;
                    continue;
                }
                Stage::Gzip(decoder) => {
                    let outcome = decoder.read(buffer);
                    ("gzip", outcome, decoder.get_ref().has_failed)
                }
                Stage::Zstd(decoder) => {
                    let outcome = decoder.read(buffer);
                    ("zstd", outcome, decoder.get_ref().has_failed)
                }
            };
            match outcome {
                Ok(0) => self.close(),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.frame_plain += count as u64;
                    self.plain_bytes += count as u64;
                    return Ok(count);
                }
                Err(error) if has_failed || error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    self.stage = Stage::Broken;
                    let text = format!("cannot decompress the {name} stream");
                    return Err(Error::new(ErrorKind::Corrupt, text).with_source(error).into_io());
                }
            }
        }
    }

    /// Begins a frame.
    fn open(&mut self) -> io::Result<()> {
        let Stage::Between(source) = std::mem::replace(&mut self.stage, Stage::Broken) else {
            return Ok(());
        };
        self.frame_start = source.taken;
        self.frame_plain = 0;
        self.hasher.reset();
        self.stage = if matches!(self.codec, Codec::Gzip(_)) {
            Stage::Gzip(Box::new(GzDecoder::new(source)))
        } else {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?.single_frame();
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Stage::Zstd(Box::new(decoder))
        };
        Ok(())
    }

    /// The frame has come to its end.
    fn close(&mut self) {
        let source = match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Gzip(decoder) => decoder.into_inner(),
            Stage::Zstd(decoder) => decoder.finish(),
            other => {
                self.stage = other;
                return;
            }
        };
        self.stored_bytes = source.taken;
        let (stored, plain) = (source.taken - self.frame_start, self.frame_plain);
        self.stage = Stage::Between(source);
        let hash = short(&self.hasher);
        self.add(stored, plain, hash);
    }

    fn add(&mut self, stored: u64, plain: u64, hash: [u8; 16]) {
        let Some(frames) = &mut self.frames else { return };
        let fits = |bytes: u64, most: u32| u32::try_from(bytes).ok().filter(|b| *b <= most);
        let (stored, plain) = (fits(stored, MAX_STORED_BYTES), fits(plain, MAX_PLAIN_BYTES));
        // Only the one frame of an empty archive is empty.
        let has_empty =
            (plain == Some(0) && !frames.is_empty()) || frames.first().is_some_and(|f| f.plain_bytes == 0);
        match (stored, plain) {
            (Some(stored_bytes), Some(plain_bytes)) if !has_empty && frames.len() < MAX_FRAMES => {
                let (stored_offset, plain_offset) =
                    frames.last().map_or((0, 0), |last| (last.stored_end(), last.plain_end()));
                frames.push(FrameRecord { stored_offset, stored_bytes, plain_offset, plain_bytes, hash });
            }
            _ => self.frames = None,
        }
    }

    fn member(&mut self, offset: u64, end: u64) {
        if self.codec != Codec::None {
            return;
        }
        self.known = self.known.max(offset);
        self.cut_full();
        let filled = offset.saturating_sub(self.pending_start());
        if filled >= (self.codec.frame_bytes() / 16 * 15) as u64 {
            self.cut(usize::try_from(filled).unwrap_or(usize::MAX).min(self.pending.len()));
        }
        self.known = self.known.max(end);
        self.cut_full();
    }

    fn pending_start(&self) -> u64 {
        self.plain_bytes - self.pending.len() as u64
    }

    /// Cuts full frames as far as no member is to come in them.
    fn cut_full(&mut self) {
        let full = self.codec.frame_bytes();
        while self.pending.len() >= full && self.pending_start() + full as u64 <= self.known {
            self.cut(full);
        }
    }

    fn cut(&mut self, length: usize) {
        let hash = super::plain_hash(&self.pending[..length]);
        self.pending.drain(..length);
        self.add(length as u64, length as u64, hash);
    }
}

fn short(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

fn corrupt(text: &str) -> io::Error {
    Error::new(ErrorKind::Corrupt, text).into_io()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameWriter;

    /// What the writer makes of members of these sizes, stored and as a table.
    fn written(codec: Codec, sizes: &[usize]) -> (Vec<u8>, Vec<FrameRecord>, FrameTotals) {
        let mut stored = Vec::new();
        let mut writer = FrameWriter::new(codec, 2, |frame: &mut Vec<u8>| {
            stored.extend_from_slice(frame);
            Ok(())
        })
        .unwrap();
        for (number, size) in sizes.iter().enumerate() {
            writer.cut_here().unwrap();
            let bytes: Vec<u8> = (0..*size).map(|i| (i * (number + 3) / 7) as u8).collect();
            writer.write(&bytes).unwrap();
        }
        writer.write(&[0; 1024]).unwrap();
        let (records, _, totals) = writer.finish().unwrap();
        (stored, records, totals)
    }

    fn scanned(codec: Codec, stored: &[u8], sizes: &[usize]) -> (Option<Vec<FrameRecord>>, FrameTotals) {
        let scanner = FrameScanner::new(codec, stored);
        let mut plain = BufReader::with_capacity(100_000, scanner.clone());
        let mut offset = 0;
        for size in sizes {
            // A reader knows of a member once it has read some of it.
            let mut bytes = vec![0; *size];
            let head = (*size).min(512);
            plain.read_exact(&mut bytes[..head]).unwrap();
            scanner.member(offset, offset + *size as u64);
            plain.read_exact(&mut bytes[head..]).unwrap();
            offset += *size as u64;
        }
        io::copy(&mut plain, &mut io::sink()).unwrap();
        drop(plain);
        scanner.finish()
    }

    #[test]
    fn the_frames_of_the_writer_are_found_again() {
        let mib = 1 << 20;
        let shapes: [&[usize]; 6] = [
            &[],
            &[512],
            &[3 * mib + 900 * 1024, 512, 5 * mib],
            &[4 * mib, 4 * mib, 1024],
            &[13 * mib, 700 * 1024, 700 * 1024, 700 * 1024, 700 * 1024, 700 * 1024, 700 * 1024, 700 * 1024],
            &[mib; 17],
        ];
        for codec in [Codec::None, Codec::Gzip(6), Codec::Zstd(3)] {
            for sizes in shapes {
                let (stored, records, totals) = written(codec, sizes);
                assert_eq!(scanned(codec, &stored, sizes), (Some(records), totals), "{codec:?} {sizes:?}");
            }
        }
    }

    #[test]
    fn a_member_of_gzip_that_is_too_large_leaves_no_table() {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..17 {
            gzip.write_all(&vec![7; 1 << 20]).unwrap();
        }
        let stored = gzip.finish().unwrap();
        let totals = FrameTotals { plain_bytes: 17 << 20, stored_bytes: stored.len() as u64, frames: 0 };
        assert_eq!(scanned(Codec::Gzip(6), &stored, &[]), (None, totals));
    }

    #[test]
    fn what_is_cut_or_damaged_is_no_stream() {
        for codec in [Codec::Gzip(6), Codec::Zstd(3)] {
            let (stored, ..) = written(codec, &[300_000]);
            let mut bad = stored.clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 0xff;
            for bytes in
                [&stored[..stored.len() - 1], &stored[..5], &[], &bad, &[&stored[..], b"more"].concat()]
            {
                let mut scanner = FrameScanner::new(codec, bytes);
                let error = io::copy(&mut scanner, &mut io::sink()).unwrap_err();
                assert_eq!(
                    Error::from_io("x", error).kind(),
                    ErrorKind::Corrupt,
                    "{codec:?} {}",
                    bytes.len()
                );
                drop(scanner.finish());
            }
        }
    }
}
