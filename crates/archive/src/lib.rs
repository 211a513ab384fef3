//! The bytes of the formats, over `Read` and `Write`: tar, compression frames, index, xbstream, the archive of mongodump.
//!
//! No paths of this host, no processes, no network: those are for `sys`, `sources` and `storages`. What the bytes
//! look like stands in `docs/format.md`, exact enough to write them anew.

pub mod frames;
pub mod index;
pub mod mongodump;
pub mod tar;
pub mod xbstream;
