//! A sink that reads along: what passes is taken apart by the parser of the format, so that nothing counts as dumped that
//! could not be restored.

use nxs_archive::mongodump::{Event, Parser};
use nxs_base::entry::IndexEntry;
use nxs_base::ports::source::{Artefact, Sink};
use nxs_base::{Error, ErrorKind, Result};

pub(super) struct Judged<'a> {
    sink: &'a mut dyn Sink,
    parser: Parser,
    pub(super) documents: u64,
    /// Collections, views and time series that were ended.
    pub(super) collections: u64,
}

impl<'a> Judged<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink, parser: Parser::default(), documents: 0, collections: 0 }
    }

    /// [`ErrorKind::Corrupt`] unless a whole archive passed, [`ErrorKind::NotFound`] if it holds no collection.
    pub(super) fn finish(&self) -> Result<()> {
        self.parser.finish()?;
        if self.collections == 0 {
            return Err(Error::new(ErrorKind::NotFound, "the archive holds no collection at all"));
        }
        Ok(())
    }
}

impl Sink for Judged<'_> {
    fn begin(&mut self, artefact: Artefact) -> Result<()> {
        self.sink.begin(artefact)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let (documents, collections) = (&mut self.documents, &mut self.collections);
        self.parser.push(bytes, &mut |event| {
            match event {
                Event::Prelude(_) => {}
                Event::Document(..) => *documents += 1,
                Event::End(_) => *collections += 1,
            }
            Ok(())
        })?;
        self.sink.write(bytes)
    }

    fn cut_here(&mut self) -> Result<()> {
        self.sink.cut_here()
    }

    fn entry(&mut self, entry: &IndexEntry) -> Result<()> {
        self.sink.entry(entry)
    }
}
