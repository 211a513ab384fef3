//! Compression frames: random access inside stock formats.
//!
//! A stored stream is a sequence of gzip members or zstd frames (or plain pieces), each of a few MiB of plain bytes,
//! so that `gzip -d` and `zstd -d` read the whole and we read one frame by a range. [`FrameWriter`] makes it on
//! several threads, [`FrameReader`] reads any such stream without a table, [`ParallelReader`] and [`decode_frame`]
//! read it by the table of [`FrameRecord`]s that stands in the index, which [`FrameScanner`] makes anew. Not here: encryption (above the stored
//! stream), tar (below the plain one). Format: `docs/format.md`, "Frames".

mod codec;
mod parallel;
mod read;
mod scan;
mod write;

#[cfg(test)]
mod tests;

use nxs_base::spec::Compression;
use nxs_base::{Error, ErrorKind, Result};

pub use codec::decode_frame;
pub use parallel::ParallelReader;
pub use read::FrameReader;
pub use scan::FrameScanner;
pub use write::FrameWriter;

/// Most plain bytes of one frame that a reader accepts. A writer makes at most 4 MiB.
pub const MAX_PLAIN_BYTES: u32 = 16 << 20;
/// Most stored bytes of one frame that a reader accepts.
pub const MAX_STORED_BYTES: u32 = 17 << 20;

/// How the bytes of a frame are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As they are.
    None,
    /// Level 1 to 12 of libdeflate; one gzip member per frame.
    Gzip(u8),
    /// Level 1 to 19; one zstd frame per frame, with content size and checksum.
    Zstd(u8),
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip(level) => Self::Gzip(level),
            Compression::Zstd(level) => Self::Zstd(level),
        }
    }
}

impl Codec {
    /// Most plain bytes of a frame that a writer makes: 2 MiB where that costs less than 1 % of ratio, else 4 MiB.
    ///
    /// Measured on `/usr/share` and on trees of small files: deflate sees 32 KiB, so gzip loses nothing; zstd loses
    /// with the window of its level (level 1: 0.1 %; level 3: 2.4 % with 2 MiB, 1.1 % with 4).
    pub fn frame_bytes(self) -> usize {
        match self {
            Self::Gzip(0..=9) | Self::Zstd(0..=1) => 2 << 20,
            _ => 4 << 20,
        }
    }

    /// Refuses levels that the codec does not have.
    pub fn check_level(self) -> Result<()> {
        match self {
            Self::None | Self::Gzip(1..=12) | Self::Zstd(1..=19) => Ok(()),
            Self::Gzip(level) => Err(invalid(format!("gzip has no level `{level}`; levels are 1 to 12"))),
            Self::Zstd(level) => Err(invalid(format!("zstd has no level `{level}`; levels are 1 to 19"))),
        }
    }
}

/// Where one frame is, in the stored stream and in the plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FrameRecord {
    /// In the stored stream, before encryption.
    pub stored_offset: u64,
    pub stored_bytes: u32,
    pub plain_offset: u64,
    pub plain_bytes: u32,
    /// The first 16 bytes of the BLAKE3 of the plain bytes.
    pub hash: [u8; 16],
}

impl FrameRecord {
    /// First stored byte after the frame.
    pub fn stored_end(&self) -> u64 {
        self.stored_offset.saturating_add(u64::from(self.stored_bytes))
    }

    /// First plain byte after the frame.
    pub fn plain_end(&self) -> u64 {
        self.plain_offset.saturating_add(u64::from(self.plain_bytes))
    }

    fn check_bounds(&self) -> Result<()> {
        if self.plain_bytes > MAX_PLAIN_BYTES || self.stored_bytes > MAX_STORED_BYTES {
            return Err(self.corrupt("it is larger than a frame may be"));
        }
        Ok(())
    }

    /// An error that names this frame.
    fn corrupt(&self, why: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "cannot read the frame at stored byte {} (plain bytes {} to {}): {why}",
                self.stored_offset,
                self.plain_offset,
                self.plain_end()
            ),
        )
    }
}

/// Sums over all frames of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameTotals {
    pub plain_bytes: u64,
    /// Before encryption.
    pub stored_bytes: u64,
    pub frames: u64,
}

/// The first 16 bytes of the BLAKE3 of `plain`.
pub fn plain_hash(plain: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(plain).as_bytes()[..16]);
    short
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
