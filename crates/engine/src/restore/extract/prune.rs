//! `--delete`: removes what stands below restored directories and is not in the backup.
//!
//! Nothing here follows a link, crosses a mount, or removes a socket; what the configuration excludes stays, with the
//! directories above it. Whether a backup may be used for this at all is decided by the caller.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use nxs_base::entry::{EntryKind, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::source::Cancel;
use nxs_sys::fsx;
use nxs_sys::safe::{self, Root};

use super::place::Place;

/// Paths that are kept word by word.
const MAX_LISTED: usize = 100_000;

/// Tells which paths (absolute, without the leading `/`; and whether it is a directory) a backup leaves out.
#[derive(Clone)]
pub struct Excluded(Arc<IsExcluded>);

type IsExcluded = dyn Fn(&[u8], bool) -> bool + Send + Sync;

impl Excluded {
    pub fn new(is_excluded: impl Fn(&[u8], bool) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_excluded))
    }
}

impl Default for Excluded {
    fn default() -> Self {
        Self::new(|_, _| false)
    }
}

impl fmt::Debug for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Excluded")
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The first removed paths (those to be removed, in a rehearsal), as the archive spells paths, escaped.
    pub paths: Vec<String>,
    pub count: u64,
    /// What could not be removed.
    pub problems: Vec<(Vec<u8>, String)>,
}

impl Pruned {
    fn removed(&mut self, path: &[u8]) {
        self.count += 1;
        if self.paths.len() < MAX_LISTED {
            self.paths.push(fsx::show(path));
        }
    }
}

/// Decides what must stay, and removes the rest.
pub(super) struct Guard {
    pub(super) root: Root,
    /// What stands before paths of the root, for asking whether they are excluded.
    pub(super) prefix: Vec<u8>,
    pub(super) excluded: Excluded,
    pub(super) rehearse: bool,
}

impl Guard {
    /// Removes what is below the directory `scope` (relative to the root) and not in `known`: paths relative to the
    /// root, in the order of [`path_order`]. `Err` only if `known` or the cancel says so.
    pub(super) fn prune(
        &self,
        scope: &[u8],
        known: impl Iterator<Item = Result<Vec<u8>>>,
        cancel: &Cancel,
        pruned: &mut Pruned,
    ) -> Result<()> {
        let mut known = known.peekable();
        // Names still to be looked at, the next one last; each with the directory it stands in.
        let mut waiting: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::new();
        self.open(scope, &mut waiting, pruned);
        while let Some((dir, names)) = waiting.last_mut() {
            cancel.check()?;
            let Some(name) = names.pop() else {
                waiting.pop();
                continue;
            };
            let dir = dir.clone();
            let path = join(&dir, &name);
            let is_known = loop {
                match known.peek() {
                    Some(Ok(next)) => match path_order(next, &path) {
                        Ordering::Less => known.next().transpose()?,
                        Ordering::Equal => break true,
                        Ordering::Greater => break false,
                    },
                    Some(Err(_)) => known.next().transpose()?,
                    None => break false,
                };
            };
            let looked = self.root.dir(&dir, false).and_then(|fd| Ok((safe::stat(&fd, &name)?, fd)));
            let (meta, fd) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    failed(pruned, &path, error);
                    continue;
                }
            };
            let is_dir = meta.kind == EntryKind::Dir;
            if !is_known {
                let mut emptied = Vec::new();
                if let Err(error) = self.remove(&fd, &name, &path, is_dir, &mut emptied) {
                    failed(pruned, &path, error);
                }
                emptied.iter().for_each(|path| pruned.removed(&join(&self.prefix, path)));
            } else if is_dir {
                self.open(&path, &mut waiting, pruned);
            }
        }
        Ok(())
    }

    fn open(&self, dir: &[u8], waiting: &mut Vec<(Vec<u8>, Vec<Vec<u8>>)>, pruned: &mut Pruned) {
        match self.root.dir_on_same_mount(dir).and_then(safe::list) {
            Ok(mut names) => {
                names.reverse();
                waiting.push((dir.to_vec(), names));
            }
            // Another mount: what is there is nobody's to remove.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => failed(pruned, dir, error),
        }
    }

    /// Removes the whole directory at `place`; an error if something in it stays.
    pub(super) fn remove_tree(&self, place: &Place, emptied: &mut Vec<Vec<u8>>) -> Result<()> {
        self.remove(&place.dir, &place.name, &place.path, true, emptied)?;
        match safe::stat(&place.dir, &place.name) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Exists,
                "a directory with things that must stay stands in its place",
            )),
        }
    }

    /// Removes one name with all that is below it, deepest first; `removed` gets the paths.
    fn remove(
        &self,
        dir: impl std::os::fd::AsFd,
        name: &[u8],
        path: &[u8],
        is_dir: bool,
        removed: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        if self.stays(path, is_dir) || safe::is_socket(&dir, name)? {
            return Ok(());
        }
        if is_dir {
            if !self.empty(path, removed)? {
                return Ok(());
            }
            if !self.rehearse {
                safe::remove_dir(&dir, name)?;
            }
        } else if !self.rehearse {
            safe::remove_file(&dir, name)?;
        }
        removed.push(path.to_vec());
        Ok(())
    }

    /// Removes what is in a directory; false if something stays. One directory is open at a time, however deep.
    fn empty(&self, top: &[u8], removed: &mut Vec<Vec<u8>>) -> Result<bool> {
        struct Level {
            dir: Vec<u8>,
            names: Vec<Vec<u8>>,
            stays: bool,
        }
        let list = |dir: &[u8]| match self.root.dir_on_same_mount(dir) {
            Ok(fd) => safe::list(&fd).map(Some),
            Err(e) if e.kind() == ErrorKind::Unsupported => Ok(None),
            Err(e) => Err(e),
        };
        let Some(names) = list(top)? else { return Ok(false) };
        let mut levels = vec![Level { dir: top.to_vec(), names, stays: false }];
        loop {
            let Some(level) = levels.last_mut() else { return Ok(true) };
            if let Some(name) = level.names.pop() {
                let path = join(&level.dir, &name);
                let fd = self.root.dir(&level.dir, false)?;
                let is_dir = safe::stat(&fd, &name)?.kind == EntryKind::Dir;
                if self.stays(&path, is_dir) || safe::is_socket(&fd, &name)? {
                    level.stays = true;
                } else if is_dir {
                    match list(&path)? {
                        Some(names) => levels.push(Level { dir: path, names, stays: false }),
                        None => level.stays = true,
                    }
                } else {
                    if !self.rehearse {
                        safe::remove_file(&fd, &name)?;
                    }
                    removed.push(path);
                }
                continue;
            }
            let done = levels.pop().map(|l| (l.dir, l.stays)).unwrap_or_default();
            let Some(above) = levels.last_mut() else { return Ok(!done.1) };
            if done.1 {
                above.stays = true;
                continue;
            }
            if !self.rehearse {
                let name = done.0.rsplit(|b| *b == b'/').next().unwrap_or(&done.0);
                safe::remove_dir(&self.root.dir(&above.dir, false)?, name)?;
            }
            removed.push(done.0);
        }
    }

    fn stays(&self, path: &[u8], is_dir: bool) -> bool {
        (self.excluded.0)(&join(&self.prefix, path), is_dir)
    }
}

fn failed(pruned: &mut Pruned, path: &[u8], error: Error) {
    pruned
        .problems
        .push((path.to_vec(), format!("cannot remove what the backup does not have: {}", error.chain())));
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
