//! Writes an archive: heads and ends around documents that the caller has as bytes. See [`super`] for the format.

use nxs_base::{Error, ErrorKind, Result};

use super::doc::{Value, encode};
use super::{Crc64, FORMAT_VERSION, MAGIC, MAX_DOCUMENT_BYTES, Prelude, TERMINATOR};

/// Knows which namespace is open and what of each was written. Collections are meant by their place in the prelude.
#[derive(Debug)]
pub struct Writer {
    collections: Vec<Namespace>,
    current: Option<usize>,
}

#[derive(Debug)]
struct Namespace {
    db: String,
    /// Under which the documents stand.
    name: String,
    crc: Crc64,
    is_over: bool,
}

impl Writer {
    /// The writer, and the bytes that open the archive. [`ErrorKind::Unsupported`] if a collection's metadata is too
    /// large for a document.
    pub fn new(prelude: &Prelude) -> Result<(Self, Vec<u8>)> {
        let mut head = MAGIC.to_vec();
        head.extend(encode(&[
            ("concurrent_collections", Value::Int32(prelude.concurrent_collections)),
            ("version", Value::Text(FORMAT_VERSION)),
            ("server_version", Value::Text(&prelude.server_version)),
            ("tool_version", Value::Text(&prelude.tool_version)),
        ]));
        let mut collections = Vec::new();
        for collection in &prelude.collections {
            let document = encode(&[
                ("db", Value::Text(&collection.db)),
                ("collection", Value::Text(&collection.name)),
                ("metadata", Value::Text(&collection.metadata)),
                ("size", Value::Int32(0)),
                ("type", Value::Text(&collection.kind)),
            ]);
            if document.len() > MAX_DOCUMENT_BYTES {
                let text = format!("the metadata of `{}.{}` is too large", collection.db, collection.name);
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            head.extend(document);
            collections.push(Namespace {
                db: collection.db.clone(),
                name: prelude.data_name(collection),
                crc: Crc64::default(),
                is_over: false,
            });
        }
        head.extend(TERMINATOR);
        Ok((Self { collections, current: None }, head))
    }

    /// What has to be written before these documents (whole ones, at least one) of a collection; then they follow.
    pub fn documents(&mut self, place: usize, documents: &[u8]) -> Vec<u8> {
        let mut before = Vec::new();
        if self.current != Some(place) {
            if self.current.is_some() {
                before.extend(TERMINATOR);
            }
            before.extend(self.head(place, false, 0));
            self.current = Some(place);
        }
        self.collections[place].crc.push(documents);
        before
    }

    /// What ends a collection.
    pub fn end(&mut self, place: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.current.take().is_some() {
            bytes.extend(TERMINATOR);
        }
        bytes.extend(self.head(place, true, self.collections[place].crc.sum()));
        bytes.extend(TERMINATOR);
        self.collections[place].is_over = true;
        bytes
    }

    /// [`ErrorKind::Corrupt`] unless every collection was ended.
    pub fn finish(self) -> Result<()> {
        match self.collections.iter().find(|namespace| !namespace.is_over) {
            None => Ok(()),
            Some(open) => {
                let text = format!("the archive stops before the end of `{}.{}`", open.db, open.name);
                Err(Error::new(ErrorKind::Corrupt, text))
            }
        }
    }

    fn head(&self, place: usize, is_end: bool, crc: u64) -> Vec<u8> {
        let namespace = &self.collections[place];
        encode(&[
            ("db", Value::Text(&namespace.db)),
            ("collection", Value::Text(&namespace.name)),
            ("EOF", Value::Bool(is_end)),
            ("CRC", Value::Int64(crc as i64)),
        ])
    }
}
