//! The state of a tree at a restore point: the indexes of a chain merged into one stream in path order, the newest
//! level that knows a path winning.

use std::cmp::Ordering;

use nxs_archive::index::{Entries, ReadAt};
use nxs_base::Result;
use nxs_base::entry::{EntryState, IndexEntry, path_order};

/// One path as it was, and which archive of the chain has its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sited {
    pub entry: IndexEntry,
    /// Place in the chain: 0 is the newest level.
    pub level: usize,
}

/// Merges sorted streams; ends after the first error.
pub struct State<I> {
    /// Newest level first, each with its next entry.
    streams: Vec<(Option<IndexEntry>, I)>,
    has_begun: bool,
    has_failed: bool,
}

impl<I: Iterator<Item = Result<IndexEntry>>> State<I> {
    /// `streams` are the entries of the chain's indexes, the newest level first, each in path order.
    pub fn new(streams: impl IntoIterator<Item = I>) -> Self {
        let streams = streams.into_iter().map(|stream| (None, stream)).collect();
        Self { streams, has_begun: false, has_failed: false }
    }

    fn advance(stream: &mut (Option<IndexEntry>, I)) -> Result<()> {
        // What could not be read stays as the levels before have it.
        loop {
            stream.0 = stream.1.next().transpose()?;
            if stream.0.as_ref().is_none_or(|entry| entry.state != EntryState::Missing) {
                return Ok(());
            }
        }
    }

    fn next_sited(&mut self) -> Result<Option<Sited>> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.streams.iter_mut().try_for_each(Self::advance)?;
        }
        loop {
            let mut first: Option<usize> = None;
            for (level, (head, _)) in self.streams.iter().enumerate() {
                let Some(head) = head else { continue };
                let is_first = first
                    .and_then(|f| self.streams[f].0.as_ref())
                    .is_none_or(|known| path_order(&head.path, &known.path) == Ordering::Less);
                if is_first {
                    first = Some(level);
                }
            }
            let Some(level) = first else { return Ok(None) };
            let Some(entry) = self.streams[level].0.take() else { return Ok(None) };
            // Older levels that know the path too are passed over.
            for older in &mut self.streams[level + 1..] {
                if older.0.as_ref().is_some_and(|head| head.path == entry.path) {
                    Self::advance(older)?;
                }
            }
            Self::advance(&mut self.streams[level])?;
            if entry.state != EntryState::Removed {
                return Ok(Some(Sited { entry, level }));
            }
        }
    }
}

impl<R: ReadAt> State<Entries<'_, R>> {
    /// Passes over all that is before `path`, reading as little of it as can be; and of what comes no more at once than
    /// is needed.
    pub fn skip_to(&mut self, path: &[u8]) -> Result<()> {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        for (head, stream) in &mut self.streams {
            let is_before = |head: &IndexEntry| path_order(&head.path, path) == Ordering::Less;
            if !has_begun || head.as_ref().is_some_and(is_before) {
                stream.skip_to(path);
            }
            if !has_begun {
                *head = stream.next().transpose()?;
            }
            let is_passed = |head: &IndexEntry| is_before(head) || head.state == EntryState::Missing;
            while head.as_ref().is_some_and(is_passed) {
                *head = stream.next().transpose()?;
            }
        }
        Ok(())
    }
}

impl<I: Iterator<Item = Result<IndexEntry>>> Iterator for State<I> {
    type Item = Result<Sited>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = self.next_sited().transpose();
        self.has_failed = matches!(next, Some(Err(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nxs_archive::frames::{Codec, FrameTotals};
    use nxs_archive::index::{IndexReader, IndexStart, IndexWriter};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(path: &str, size: u64) -> IndexEntry {
        let mut entry = IndexEntry { path: path.into(), ..IndexEntry::default() };
        match size {
            0 => entry.state = EntryState::Removed,
            _ => entry.meta.size_bytes = size,
        }
        entry
    }

    proptest! {
        #[test]
        fn a_merge_is_what_applying_the_levels_one_after_the_other_gives(
            levels in proptest::collection::vec(proptest::collection::btree_map("[ab](/[ab-]){0,2}", 0..4u64, 0..12), 1..5)
        ) {
            // Oldest first.
            let mut expected: BTreeMap<String, (u64, usize)> = BTreeMap::new();
            for (n, level) in levels.iter().enumerate() {
                for (path, size) in level {
                    expected.remove(path);
                    if *size > 0 {
                        expected.insert(path.clone(), (*size, levels.len() - 1 - n));
                    }
                }
            }
            let streams = levels.iter().rev().map(|level| {
                let mut entries: Vec<IndexEntry> = level.iter().map(|(p, s)| entry(p, *s)).collect();
                entries.sort_by(|a, b| path_order(&a.path, &b.path));
                entries.into_iter().map(Ok)
            });
            let merged: Vec<Sited> = State::new(streams).collect::<Result<_>>().unwrap();
            prop_assert!(merged.windows(2).all(|w| path_order(&w[0].entry.path, &w[1].entry.path) == Ordering::Less));
            let found: BTreeMap<String, (u64, usize)> = merged
                .into_iter()
                .map(|s| (String::from_utf8(s.entry.path).unwrap(), (s.entry.meta.size_bytes, s.level)))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    fn packed(paths: &[String]) -> IndexReader<Vec<u8>> {
        let start = IndexStart { archive_id: [0; 16], codec: Codec::None, root: b"/".to_vec() };
        let mut writer = IndexWriter::new(start).unwrap();
        paths.iter().for_each(|path| writer.push(&entry(path, 1)).unwrap());
        IndexReader::open(writer.finish(&[], FrameTotals::default()).unwrap().into_vec()).unwrap()
    }

    #[test]
    fn a_leap_gives_what_passing_over_gives() {
        let of = |step: usize| -> Vec<String> {
            let paths = (0..40).flat_map(|dir| (0..400).map(move |file| (dir, file)));
            let paths =
                paths.step_by(step).map(|(dir, file)| format!("d{dir:02}/{file:03}-{:x}", file * 7919));
            let mut paths: Vec<String> = paths.collect();
            paths.sort();
            paths
        };
        let levels = [packed(&of(7)), packed(&of(1))];
        let all: Vec<Vec<u8>> = State::new(levels.iter().map(IndexReader::entries))
            .map(|sited| sited.unwrap().entry.path)
            .collect();
        assert_eq!(all.len(), 16_000);
        for begun in [0, 1, 5000] {
            let mut state = State::new(levels.iter().map(IndexReader::entries));
            state.by_ref().take(begun).for_each(drop);
            let mut at = begun;
            for target in ["d00/07", "d00/1", "d03", "d03\0", "d11/20", "d11/2", "d39/399", "d40", "d00"] {
                state.skip_to(target.as_bytes()).unwrap();
                let passed = all[at..].iter().take_while(|p| path_order(p, target.as_bytes()).is_lt());
                at += passed.count();
                let next = state.next().map(|sited| sited.unwrap().entry.path);
                assert_eq!(next.as_ref(), all.get(at), "{begun} {target:?}");
                at = all.len().min(at + 1);
            }
        }
    }
}
