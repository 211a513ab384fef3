//! Directories of an extraction: those that are open on the way to where it is, and the metadata that all get at the
//! end. What single entries get is `super::place`'s.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use nxs_base::error::{Error, Result};
use nxs_sys::safe::Root;

use super::is_below;
use super::place::{Dir, Facts, Writer};

/// Directories that are kept open, of those on the way to where the extraction is.
const MAX_OPEN: usize = 32;
/// Threads that give directories their metadata, and directories for which one is worth starting.
const THREADS: usize = 2;
const MIN_PART: usize = 1000;

/// The directory that was opened last, below those above it that were worked in.
#[derive(Default)]
pub(super) struct Trail {
    open: Vec<(Vec<u8>, Arc<Dir>)>,
}

impl Trail {
    /// Opens a directory from the nearest one above it that is open; with `create` missing ones are made.
    pub(super) fn opened(
        &mut self,
        root: &Root,
        writer: &Writer,
        dir: &[u8],
        create: bool,
    ) -> Result<Arc<Dir>> {
        self.leave(|open| open != dir && !is_below(dir, open));
        let fd = match self.open.last() {
            Some((path, fd)) if path == dir => return Ok(Arc::clone(fd)),
            Some((path, fd)) => root.dir_from(fd.as_fd(), path, dir, create)?,
            None => root.dir(dir, create)?,
        };
        if self.open.len() == MAX_OPEN {
            self.open.remove(0);
        }
        let fd = Arc::new(Dir::new(fd, writer.is_fresh));
        self.open.push((dir.to_vec(), Arc::clone(&fd)));
        Ok(fd)
    }

    /// Closes the open directories, the last one first, as long as this is true of their paths.
    pub(super) fn leave(&mut self, is_over: impl Fn(&[u8]) -> bool) {
        while self.open.pop_if(|(path, _)| is_over(path)).is_some() {}
    }

    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}

type Known = (Vec<u8>, Facts);

/// Gives directories their metadata, each after all that are below it: it may forbid to enter. `dirs` are in path
/// order, each once. Problems are told by path.
pub(super) fn finish(root: &Root, writer: &Writer, dirs: &[Known], tell: impl Fn(&[u8], Error) + Sync) {
    let finish = |part: &mut dyn Iterator<Item = &Known>| {
        let mut trail = Trail::default();
        for (at, facts) in part {
            // The one above is open from now on until it is its own turn.
            let above = at.iter().rposition(|b| *b == b'/').map_or(&at[..0], |slash| &at[..slash]);
            let above = trail.opened(root, writer, above, false);
            match above.and_then(|_| trail.opened(root, writer, at, false)) {
                Ok(fd) => {
                    for trouble in writer.finish_dir(&fd, facts) {
                        tell(at, trouble);
                    }
                }
                Err(error) => tell(at, error),
            }
        }
    };
    let (parts, shared) = parted(dirs, dirs.len().div_ceil(THREADS).max(MIN_PART));
    thread::scope(|scope| {
        for (number, part) in parts.iter().enumerate() {
            let run = || finish(&mut part.iter().rev().copied());
            let is_last = number + 1 == parts.len();
            if is_last || thread::Builder::new().name("restore".into()).spawn_scoped(scope, run).is_err() {
                run();
            }
        }
    });
    finish(&mut shared.into_iter().rev());
}

/// Parts that share no way, and the directories on the ways to several of them.
fn parted(dirs: &[Known], size: usize) -> (Vec<Vec<&Known>>, Vec<&Known>) {
    let mut parts = Vec::new();
    let mut shared = Vec::new();
    for (number, part) in dirs.chunks(size).enumerate() {
        // What is below a directory follows it without a gap: if it goes on behind this part, then with the next one.
        let next = dirs.get((number + 1) * size);
        let (on_the_way, own): (Vec<&Known>, Vec<&Known>) =
            part.iter().partition(|(at, _)| next.is_some_and(|(next, _)| is_below(next, at)));
        shared.extend(on_the_way);
        parts.push(own);
    }
    (parts, shared)
}

#[cfg(test)]
mod tests {
    use nxs_archive::tar::EntryHeader;
    use nxs_base::entry::path_order;

    use super::*;

    #[test]
    fn what_lies_on_the_way_to_several_parts_comes_after_all_of_them() {
        let paths: Vec<&[u8]> = vec![b"", b"a", b"a/b", b"a/b/c", b"a/b/d", b"a-", b"e", b"e/f"];
        assert!(paths.is_sorted_by(|a, b| path_order(a, b).is_lt()));
        let dirs: Vec<Known> =
            paths.iter().map(|p| (p.to_vec(), Facts::from(EntryHeader::default()))).collect();
        let names = |list: &[&Known]| {
            list.iter().map(|(p, _)| String::from_utf8_lossy(p).into_owned()).collect::<Vec<_>>()
        };
        for size in 1..=dirs.len() {
            let (parts, shared) = parted(&dirs, size);
            let shared = names(&shared);
            for (number, part) in parts.iter().enumerate() {
                for other in parts.iter().enumerate().filter(|(n, _)| *n != number).flat_map(|(_, p)| p) {
                    for (own, _) in part.iter().copied() {
                        assert!(!is_below(&other.0, own), "{own:?} is above {:?} ({size})", other.0);
                    }
                }
            }
            let count = parts.iter().map(Vec::len).sum::<usize>() + shared.len();
            assert_eq!(count, dirs.len());
            assert!(shared.is_sorted());
        }
    }
}
