//! Reads a stored stream from its beginning, without a frame table: our own, and those of stock tools.
//!
//! Streaming: memory does not grow with what the stream claims. Ranged and parallel reading is in `parallel`.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use nxs_base::{Error, ErrorKind, Result};

use super::Codec;

const BUFFER_BYTES: usize = 256 << 10;
/// Largest window of a foreign zstd stream: 128 MiB, as `zstd -d` has it.
pub(super) const MAX_WINDOW_LOG: u32 = 27;

/// Decodes a whole stored stream, member by member.
///
/// Damaged, cut or empty input (of gzip and zstd), and bytes behind the last member, fail with
/// [`ErrorKind::Corrupt`] inside the `io::Error` (see [`Error::from_io`]). Errors of `R` pass unchanged.
pub struct FrameReader<R: Read> {
    inner: Inner<BufReader<Noted<R>>>,
    has_started: bool,
}

enum Inner<B: BufRead> {
    None(B),
    Gzip(Box<MultiGzDecoder<B>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, B>>),
}

/// Remembers that it was the source, not the decoder, that ended with an error.
struct Noted<R> {
    source: R,
    has_failed: bool,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.source.read(buffer);
        self.has_failed = outcome.is_err();
        outcome
    }
}

impl<R: Read> FrameReader<R> {
    /// `source` stands at the first stored byte. The level of `codec` does not matter.
    pub fn new(codec: Codec, source: R) -> Result<Self> {
        let buffered = BufReader::with_capacity(BUFFER_BYTES, Noted { source, has_failed: false });
        let inner = match codec {
            Codec::None => Inner::None(buffered),
            Codec::Gzip(_) => Inner::Gzip(Box::new(MultiGzDecoder::new(buffered))),
            Codec::Zstd(_) => {
                let decoder = zstd::stream::read::Decoder::with_buffer(buffered)
                    .and_then(|mut decoder| decoder.window_log_max(MAX_WINDOW_LOG).map(|()| decoder))
                    .map_err(|e| Error::io("cannot set up zstd", e))?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { inner, has_started: false })
    }

    /// An empty file is no gzip and no zstd stream, though some decoders pass it over.
    fn check_start(&mut self) -> io::Result<()> {
        let start = match &mut self.inner {
            Inner::None(_) => return Ok(()),
            Inner::Gzip(decoder) => decoder.get_mut().fill_buf()?,
            Inner::Zstd(decoder) => decoder.get_mut().fill_buf()?,
        };
        if start.is_empty() {
            return Err(Error::new(ErrorKind::Corrupt, "cannot decompress: the stream is empty").into_io());
        }
        Ok(())
    }

    fn source_failed(&self) -> bool {
        match &self.inner {
            Inner::None(buffered) => buffered.get_ref().has_failed,
            Inner::Gzip(decoder) => decoder.get_ref().get_ref().has_failed,
            Inner::Zstd(decoder) => decoder.get_ref().get_ref().has_failed,
        }
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if !self.has_started {
            self.check_start()?;
            self.has_started = true;
        }
        let (name, outcome) = match &mut self.inner {
            Inner::None(buffered) => return buffered.read(buffer),
            Inner::Gzip(decoder) => ("gzip", decoder.read(buffer)),
            Inner::Zstd(decoder) => ("zstd", decoder.read(buffer)),
        };
        outcome.map_err(|e| {
            if self.source_failed() {
                return e;
            }
            Error::new(ErrorKind::Corrupt, format!("cannot decompress the {name} stream"))
                .with_source(e)
                .into_io()
        })
    }
}
