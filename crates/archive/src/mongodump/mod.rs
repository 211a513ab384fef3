//! The archive of `mongodump --archive`: several collections in one stream, as the stock `mongorestore --archive` reads it.
//!
//! Written down from the public sources of the MongoDB Database Tools (`common/archive/spec.md`, `archive.go`,
//! `multiplexer.go`, `demultiplexer.go`, `prelude.go` and `parser.go` of `github.com/mongodb/mongo-tools`, commit
//! 8fa3cfc82). All numbers are little endian; a document is a BSON document of 5 bytes to [`MAX_DOCUMENT_BYTES`].
//!
//! ```text
//! archive    = magic header *collection ffffffff *(segment | end)
//! magic      = 6d e2 99 81
//! header     = {concurrent_collections: int32, version: "0.1", server_version: string, tool_version: string}
//! collection = {db: string, collection: string, metadata: string, size: int32, type: string}
//! segment    = {db, collection, EOF: false, CRC: int64 0} 1*document ffffffff
//! end        = {db, collection, EOF: true, CRC: int64} ffffffff
//! ```
//!
//! `metadata` is canonical extended JSON, version 2: `{options, indexes, uuid, collectionName, type}`; `type` is
//! `collection`, `view` or `timeseries`. `CRC` is CRC-64 (ECMA 182, reflected) over all documents of the namespace. Every
//! namespace of the prelude has an end, also a view, which has no documents; until 8.3 the documents of a time series
//! `x` stand under `system.buckets.x`. An archive is whole if all ends are there.
//!
//! [`write`] makes it and [`parse`] takes it apart, a piece at a time; neither knows a server.

mod crc;
mod doc;
pub mod parse;
pub mod write;

#[cfg(test)]
mod tests;

pub use crc::Crc64;
pub use parse::{Event, Parser, RawParser};
pub use write::Writer;

/// What opens an archive.
pub const MAGIC: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
/// What the stock tools take for one document.
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

const TERMINATOR: [u8; 4] = [0xff; 4];
const MIN_DOCUMENT_BYTES: usize = 5;
const FORMAT_VERSION: &str = "0.1";
const BUCKETS: &str = "system.buckets.";

/// What stands before the documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prelude {
    /// How many collections the reader is advised to restore at once.
    pub concurrent_collections: i32,
    pub server_version: String,
    pub tool_version: String,
    pub collections: Vec<Collection>,
}

/// One collection, view or time series of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collection {
    pub db: String,
    pub name: String,
    /// Extended JSON; empty for what has none.
    pub metadata: String,
    /// `collection`, `view`, `timeseries`; empty in archives of old tools.
    pub kind: String,
}

impl Prelude {
    /// The name under which the documents of a collection stand.
    pub fn data_name(&self, collection: &Collection) -> String {
        match collection.kind.as_str() {
            "timeseries" if !keeps_series_as_they_are(&self.server_version) => {
                format!("{BUCKETS}{}", collection.name)
            }
            _ => collection.name.clone(),
        }
    }
}

/// Whether a server of this version (8.3 and later) gives and takes the raw documents of a time series by its own name.
pub fn keeps_series_as_they_are(server_version: &str) -> bool {
    let mut numbers = server_version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (8, 3)
}
