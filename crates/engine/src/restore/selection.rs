//! Which paths of an archive a request means: `--path` with its globs.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use nxs_archive::index::{IndexReader, ReadAt};
use nxs_base::entry::{EntryKind, IndexEntry, path_order};
use nxs_base::error::{Error, ErrorKind, Result};

/// The globs of a request.
pub(super) struct Selection {
    globs: GlobSet,
    /// Without a leading or trailing `/`; none if one of them is a pattern.
    plain: Option<Vec<Vec<u8>>>,
    is_empty: bool,
}

impl Selection {
    pub(super) fn new(paths: &[String]) -> Result<Self> {
        let mut builder = GlobSetBuilder::new();
        let mut plain = Some(Vec::new());
        for path in paths {
            let path = path.trim_start_matches("./").trim_matches('/');
            let bad = |e: globset::Error| {
                Error::new(ErrorKind::Invalid, format!("`{path}` is not a pattern: {}", e.kind()))
            };
            for pattern in [path.to_owned(), format!("{path}/**")] {
                builder.add(GlobBuilder::new(&pattern).literal_separator(true).build().map_err(bad)?);
            }
            if path.contains(['*', '?', '[', ']', '{', '}', '\\']) {
                plain = None;
            } else if let Some(plain) = &mut plain {
                plain.push(path.as_bytes().to_vec());
            }
        }
        let globs =
            builder.build().map_err(|e| Error::new(ErrorKind::Invalid, format!("bad pattern: {e}")))?;
        Ok(Self { globs, plain, is_empty: paths.is_empty() })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.is_empty
    }

    pub(super) fn is_match(&self, path: &[u8], root: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let fits = |p: &[u8]| self.globs.is_match(std::path::Path::new(std::ffi::OsStr::from_bytes(p)));
        self.is_empty || fits(path) || below(path, root).is_some_and(fits)
    }

    /// Whether paths are named, none of them a pattern.
    pub(super) fn has_literals(&self) -> bool {
        self.plain.is_some() && !self.is_empty
    }

    /// The paths themselves, each as written and below the target, where none is a pattern.
    pub(super) fn literals(&self, root: &[u8]) -> Option<Vec<Vec<u8>>> {
        let plain = self.plain.as_ref().filter(|_| !self.is_empty)?;
        Some(plain.iter().flat_map(|p| [p.clone(), [root, b"/", p].concat()]).collect())
    }
}

/// The path below `root`, if it lies there; below the empty one lies everything but itself.
pub(super) fn below<'p>(path: &'p [u8], root: &[u8]) -> Option<&'p [u8]> {
    if root.is_empty() {
        return (!path.is_empty()).then_some(path);
    }
    path.strip_prefix(root)?.strip_prefix(b"/")
}

/// The wanted entries, in the order of the archive.
pub(super) fn choose<R: ReadAt>(
    index: &IndexReader<R>,
    globs: &Selection,
    root: &[u8],
) -> Result<Vec<IndexEntry>> {
    let mut chosen = Vec::new();
    if let Some(literals) = globs.literals(root) {
        for literal in literals {
            for entry in index.entries_under(&literal) {
                chosen.push(entry?);
            }
            chosen.retain(IndexEntry::is_member);
        }
        chosen.sort_by(|a, b| path_order(&a.path, &b.path));
        chosen.dedup_by(|a, b| a.path == b.path);
    } else {
        for entry in index.entries() {
            let entry = entry?;
            if entry.is_member() && globs.is_match(&entry.path, root) {
                chosen.push(entry);
            }
        }
    }
    Ok(chosen)
}

/// Directories above the chosen entries that the index knows and that are not chosen themselves.
pub(super) fn ancestors<R: ReadAt>(index: &IndexReader<R>, chosen: &[IndexEntry]) -> Result<Vec<IndexEntry>> {
    let have: BTreeSet<&[u8]> = chosen.iter().map(|e| e.path.as_slice()).collect();
    let mut wanted: BTreeSet<&[u8]> = BTreeSet::new();
    for entry in chosen {
        let mut path = entry.path.as_slice();
        while let Some(i) = path.iter().rposition(|b| *b == b'/') {
            path = &path[..i];
            if have.contains(path) || !wanted.insert(path) {
                break;
            }
        }
    }
    let mut found = Vec::new();
    for path in wanted {
        if let Some(entry) = index.find(path)?.filter(|e| e.is_member() && e.meta.kind == EntryKind::Dir) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Of the chosen directories those that are in no other chosen one.
pub(super) fn topmost_dirs(chosen: &[IndexEntry]) -> Vec<Vec<u8>> {
    let mut tops: Vec<Vec<u8>> = Vec::new();
    for entry in chosen.iter().filter(|e| e.meta.kind == EntryKind::Dir) {
        if !tops.last().is_some_and(|top| entry.path == *top || below(&entry.path, top).is_some()) {
            tops.push(entry.path.clone());
        }
    }
    tops
}
