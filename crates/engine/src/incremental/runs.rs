//! Sorts entries that come in any order: pieces are sorted in memory and kept as compressed runs, which are merged while
//! they are read. Entries in order make one run. Of several with one path the last one counts.

use std::cmp::Ordering;

use nxs_archive::frames::{Codec, FrameTotals};
use nxs_archive::index::{Entries, IndexReader, IndexStart, IndexWriter};
use nxs_base::Result;
use nxs_base::entry::{IndexEntry, path_order};

use super::state::State;

/// Entries and bytes of names that are sorted at once.
const CHUNK_ENTRIES: usize = 1 << 16;
const CHUNK_BYTES: usize = 16 << 20;

/// Entries on their way into order.
#[derive(Default)]
pub(super) struct Runs {
    chunk: Vec<IndexEntry>,
    chunk_bytes: usize,
    /// The run under way, and its last path.
    open: Option<(IndexWriter, Vec<u8>)>,
    done: Vec<IndexReader<Vec<u8>>>,
}

impl Runs {
    pub(super) fn push(&mut self, entry: IndexEntry) -> Result<()> {
        self.chunk_bytes += entry.path.len() + entry.link.len();
        self.chunk.push(entry);
        if self.chunk.len() < CHUNK_ENTRIES && self.chunk_bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Ends the input; [`Runs::entries`] then has all.
    pub(super) fn close(mut self) -> Result<Self> {
        self.flush()?;
        self.end_run()?;
        Ok(self)
    }

    /// In path order. Only what was closed.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<IndexEntry>> + '_ {
        let newest_first =
            self.done.iter().rev().map(|run: &IndexReader<Vec<u8>>| -> Entries<'_, _> { run.entries() });
        State::new(newest_first).map(|sited| sited.map(|s| s.entry))
    }

    fn flush(&mut self) -> Result<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        chunk.sort_by(|a, b| path_order(&a.path, &b.path));
        let Some(first) = chunk.first() else { return Ok(()) };
        let goes_on = |last: &[u8]| path_order(last, &first.path) == Ordering::Less;
        if self.open.as_ref().is_some_and(|(_, last)| !goes_on(last)) {
            self.end_run()?;
        }
        let (writer, last) = match &mut self.open {
            Some(open) => open,
            none => {
                let start = IndexStart { archive_id: [0; 16], codec: Codec::None, root: Vec::new() };
                none.insert((IndexWriter::new(start)?, Vec::new()))
            }
        };
        let mut entries = chunk.iter().peekable();
        while let Some(entry) = entries.next() {
            if entries.peek().is_none_or(|next| next.path != entry.path) {
                writer.push(entry)?;
                last.clone_from(&entry.path);
            }
        }
        Ok(())
    }

    fn end_run(&mut self) -> Result<()> {
        if let Some((writer, _)) = self.open.take() {
            let run = writer.finish(&[], FrameTotals::default())?;
            self.done.push(IndexReader::open(run.into_vec())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_in_order_and_the_last_of_a_path_counts() {
        let count = CHUNK_ENTRIES as u64 * 2 + 17;
        let mut runs = Runs::default();
        // Falling numbers, then some of them once more.
        for number in (0..count).rev().chain((0..count).step_by(1000)) {
            let mut entry =
                IndexEntry { path: format!("d/{number:07}").into(), offset: number, ..IndexEntry::default() };
            if runs.done.len() + usize::from(runs.open.is_some()) > 0 && number.is_multiple_of(1000) {
                entry.offset += 1 << 40;
            }
            runs.push(entry).unwrap();
        }
        let found: Vec<IndexEntry> = runs.close().unwrap().entries().collect::<Result<_>>().unwrap();
        assert_eq!(found.len() as u64, count);
        for (number, entry) in found.iter().enumerate() {
            let number = number as u64;
            assert_eq!(entry.path, format!("d/{number:07}").into_bytes());
            assert_eq!(entry.offset, if number.is_multiple_of(1000) { number + (1 << 40) } else { number });
        }
    }
}
