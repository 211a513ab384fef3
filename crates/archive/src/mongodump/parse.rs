//! Takes an archive apart as its bytes come, in pieces of any size. See [`super`] for the format.
//!
//! Believes no length: memory grows with the bytes that came, up to one document and the prelude.

use std::collections::BTreeMap;

use nxs_base::{Error, ErrorKind, Result};

use super::doc::{Fields, decode};
use super::{
    Collection, Crc64, FORMAT_VERSION, MAGIC, MAX_DOCUMENT_BYTES, MIN_DOCUMENT_BYTES, Prelude, TERMINATOR,
};

/// What the names and metadata of all collections may take together.
const MAX_PRELUDE_BYTES: usize = 256 << 20;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Once, before all others.
    Prelude(&'a Prelude),
    /// A document of the collection at this place of the prelude.
    Document(usize, &'a [u8]),
    /// All documents of the collection came, and their sum is right.
    End(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    Header,
    Collections,
    /// A segment or an end comes, or nothing.
    Between,
    /// Inside a segment; with whether a document came.
    Segment(usize, bool),
    /// After the head of an end.
    End(usize),
}

#[derive(Debug)]
struct Namespace {
    crc: Crc64,
    is_over: bool,
}

/// Push all bytes, then ask [`Parser::finish`].
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// The beginning of a unit that has not come whole.
    partial: Vec<u8>,
    prelude: Prelude,
    prelude_bytes: usize,
    /// By database and the name of the data.
    places: BTreeMap<(String, String), usize>,
    namespaces: Vec<Namespace>,
    /// Bytes that were understood.
    at: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            state: State::Magic,
            partial: Vec::new(),
            prelude: Prelude::default(),
            prelude_bytes: 0,
            places: BTreeMap::new(),
            namespaces: Vec::new(),
            at: 0,
        }
    }
}

impl Parser {
    /// Takes the next bytes, and tells of what is whole. [`ErrorKind::Corrupt`] for what is no archive, or with what
    /// `each` fails; neither can be gone on from.
    pub fn push(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Event<'_>) -> Result<()>) -> Result<()> {
        // What is left of the last piece is completed first, and no more than that is copied.
        while !self.partial.is_empty() && !bytes.is_empty() {
            let wanted = self.unit_bytes(&self.partial)?;
            let taken = (wanted - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.partial.len() == wanted && self.unit_bytes(&self.partial)? == wanted {
                let unit = std::mem::take(&mut self.partial);
                self.take(&unit, each)?;
            }
        }
        while !bytes.is_empty() {
            let wanted = self.unit_bytes(bytes)?;
            if bytes.len() < wanted {
                self.partial.extend_from_slice(bytes);
                break;
            }
            let (unit, rest) = bytes.split_at(wanted);
            self.take(unit, each)?;
            bytes = rest;
        }
        Ok(())
    }

    /// [`ErrorKind::Corrupt`] unless the archive is whole.
    pub fn finish(&self) -> Result<()> {
        if self.state != State::Between || !self.partial.is_empty() {
            return Err(self.broken("it is cut"));
        }
        match self.namespaces.iter().position(|namespace| !namespace.is_over) {
            None => Ok(()),
            Some(place) => Err(self.broken(&format!("the end of {} is missing", self.shown(place)))),
        }
    }

    pub fn prelude(&self) -> &Prelude {
        &self.prelude
    }

    /// How long the unit is that begins so, as far as its first bytes tell: a number that is larger than what is there,
    /// or exact.
    fn unit_bytes(&self, bytes: &[u8]) -> Result<usize> {
        let Some(first) = bytes.first_chunk::<4>() else { return Ok(4) };
        if self.state == State::Magic || *first == TERMINATOR {
            return Ok(4);
        }
        document_bytes(*first).ok_or_else(|| {
            let length = u32::from_le_bytes(*first);
            self.broken(&format!("{length} is neither the length of a document nor an end"))
        })
    }

    fn take(&mut self, unit: &[u8], each: &mut dyn FnMut(Event<'_>) -> Result<()>) -> Result<()> {
        let is_terminator = unit == TERMINATOR;
        if !is_terminator && self.state != State::Magic && unit.last() != Some(&0) {
            return Err(self.broken("a document does not end with a zero"));
        }
        match self.state {
            State::Magic if unit == MAGIC => self.state = State::Header,
            State::Magic => return Err(self.broken("it does not begin as one")),
            State::Header if !is_terminator => {
                self.header(unit)?;
                self.state = State::Collections;
            }
            State::Collections if is_terminator => {
                self.state = State::Between;
                each(Event::Prelude(&self.prelude))?;
            }
            State::Collections => self.collection(unit)?,
            State::Between if !is_terminator => self.state = self.head(unit)?,
            State::Segment(place, has_document) if is_terminator => {
                if !has_document {
                    return Err(self.broken(&format!("a segment of {} is empty", self.shown(place))));
                }
                self.state = State::Between;
            }
            State::Segment(place, _) => {
                self.namespaces[place].crc.push(unit);
                self.state = State::Segment(place, true);
                each(Event::Document(place, unit))?;
            }
            State::End(place) if is_terminator => {
                self.namespaces[place].is_over = true;
                self.state = State::Between;
                each(Event::End(place))?;
            }
            State::Header | State::Between | State::End(_) => {
                return Err(self.broken("a document or an end stands where there can be none"));
            }
        }
        self.at += unit.len() as u64;
        Ok(())
    }

    fn header(&mut self, unit: &[u8]) -> Result<()> {
        let fields = Fields(decode(unit)?);
        let version = fields.text("version").unwrap_or_default();
        if version != FORMAT_VERSION {
            let text = format!("archives of version `{}` are not known", version.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        self.prelude.concurrent_collections = fields.int32("concurrent_collections").unwrap_or(0);
        self.prelude.server_version = fields.text("server_version").unwrap_or_default().to_owned();
        self.prelude.tool_version = fields.text("tool_version").unwrap_or_default().to_owned();
        Ok(())
    }

    fn collection(&mut self, unit: &[u8]) -> Result<()> {
        self.prelude_bytes += unit.len();
        if self.prelude_bytes > MAX_PRELUDE_BYTES {
            return Err(self.broken("its list of collections is too long"));
        }
        let fields = Fields(decode(unit)?);
        let text = |key: &str| fields.text(key).unwrap_or_default().to_owned();
        let collection = Collection {
            db: text("db"),
            name: text("collection"),
            metadata: text("metadata"),
            kind: text("type"),
        };
        if collection.name.is_empty() {
            return Err(self.broken("a collection has no name"));
        }
        let name = (collection.db.clone(), self.prelude.data_name(&collection));
        if self.places.insert(name, self.prelude.collections.len()).is_some() {
            let shown = format!("{}.{}", collection.db, collection.name);
            return Err(self.broken(&format!("it has two collections `{}`", shown.escape_debug())));
        }
        self.prelude.collections.push(collection);
        self.namespaces.push(Namespace { crc: Crc64::default(), is_over: false });
        Ok(())
    }

    fn head(&mut self, unit: &[u8]) -> Result<State> {
        let fields = Fields(decode(unit)?);
        let (db, name) =
            (fields.text("db").unwrap_or_default(), fields.text("collection").unwrap_or_default());
        let Some(place) = self.places.get(&(db.to_owned(), name.to_owned())).copied() else {
            let shown = format!("{db}.{name}");
            return Err(self.broken(&format!("it did not announce `{}`", shown.escape_debug())));
        };
        if self.namespaces[place].is_over {
            return Err(self.broken(&format!("something comes after the end of {}", self.shown(place))));
        }
        if !fields.flag("EOF").unwrap_or(false) {
            return Ok(State::Segment(place, false));
        }
        let (sum, said) = (self.namespaces[place].crc.sum(), fields.int64("CRC").map(|crc| crc as u64));
        if said != Some(sum) {
            return Err(self.broken(&format!("the sum over the documents of {} is wrong", self.shown(place))));
        }
        Ok(State::End(place))
    }

    fn shown(&self, place: usize) -> String {
        let collection = &self.prelude.collections[place];
        format!("`{}.{}`", collection.db.escape_debug(), collection.name.escape_debug())
    }

    fn broken(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("this is no whole archive of `mongodump`, at byte {}: {why}", self.at),
        )
    }
}

/// None if no document is of that length.
fn document_bytes(first: [u8; 4]) -> Option<usize> {
    let length = u32::from_le_bytes(first) as usize;
    (MIN_DOCUMENT_BYTES..=MAX_DOCUMENT_BYTES).contains(&length).then_some(length)
}

/// A bare stream of documents, as `mongodump --out -` writes one collection: what version 2 stored.
#[derive(Debug, Default)]
pub struct RawParser {
    partial: Vec<u8>,
}

impl RawParser {
    /// As [`Parser::push`].
    pub fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        while let Some(first) = rest.first_chunk::<4>() {
            let Some(length) = document_bytes(*first) else { return Err(no_stream("a length is wrong")) };
            let Some((unit, after)) = rest.split_at_checked(length) else { break };
            if unit.last() != Some(&0) {
                return Err(no_stream("a document does not end with a zero"));
            }
            each(unit)?;
            rest = after;
        }
        let done = self.partial.len() - rest.len();
        self.partial.drain(..done);
        Ok(())
    }

    /// [`ErrorKind::Corrupt`] if the last document is cut.
    pub fn finish(&self) -> Result<()> {
        if self.partial.is_empty() { Ok(()) } else { Err(no_stream("it is cut")) }
    }
}

fn no_stream(why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("this is neither an archive of `mongodump` nor a stream of documents: {why}"),
    )
}
