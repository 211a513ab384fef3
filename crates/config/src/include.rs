//! Opens configuration files and expands `!include` / `!import`.
//!
//! A scalar names one file that replaces the node; a list names files by globs, each must hold a list, and the
//! lists are joined. Paths are relative to the including file; matches are sorted by name. Globs follow Python's
//! `glob`: not recursive, hidden names only when the pattern begins with a dot.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nxs_base::diag::{Place, Severity};

use crate::diagnostics::Diagnostics;
use crate::glob;
use crate::tree::{self, At, Entry, FileInfo, Node, Value};

const MAX_FILE_BYTES: u64 = 4 << 20;
const MAX_FILES: usize = 10_000;
const MAX_INCLUDE_DEPTH: usize = 16;
const MAX_NODES: usize = 200_000;

/// Reads `path` with everything it includes. Unreadable parts are [`Value::Broken`] and have a diagnostic.
pub(crate) fn load(path: &Path, diags: &mut Diagnostics) -> Node {
    let mut loader = Loader { diags, nodes_left: MAX_NODES, files_left: MAX_FILES, open: Vec::new() };
    loader.file(path, None)
}

struct Loader<'a> {
    diags: &'a mut Diagnostics,
    nodes_left: usize,
    files_left: usize,
    /// Real paths of the files being read, outermost first.
    open: Vec<PathBuf>,
}

impl Loader<'_> {
    /// `from` is the place of the include, none for the file the user named.
    fn file(&mut self, path: &Path, from: Option<&At>) -> Node {
        let shown = path.display().to_string();
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let (text, mode, owner) = match self.read(path, &real) {
            Ok(found) => found,
            Err((line, column, message)) => {
                let place = match from {
                    Some(at) if line == 0 => at.place(),
                    _ => Place { file: shown.clone(), line, column },
                };
                self.diags.add(Severity::Error, place, message, None);
                let file = Arc::new(FileInfo { shown, dir: PathBuf::new(), mode: 0, owner: 0 });
                return Node::new(At::whole(&file), Value::Broken);
            }
        };
        let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let file = Arc::new(FileInfo { shown, dir, mode, owner });
        let root = tree::parse(&file, &text, &mut self.nodes_left, self.diags);
        self.open.push(real);
        let root = self.expand(root);
        self.open.pop();
        root
    }

    /// Text, mode and owner, or line, column and message; line 0 means that the file as a whole is at fault.
    fn read(&mut self, path: &Path, real: &Path) -> Result<(String, u32, u32), (usize, usize, String)> {
        let shown = path.display();
        let whole = |message: String| (0, 0, message);
        if self.open.iter().any(|p| p == real) {
            return Err(whole(format!("`{shown}` includes itself, directly or through others")));
        }
        if self.open.len() >= MAX_INCLUDE_DEPTH {
            return Err(whole(format!(
                "cannot include `{shown}`: includes are nested more than {MAX_INCLUDE_DEPTH} deep"
            )));
        }
        if self.files_left == 0 {
            return Err(whole(format!("cannot include `{shown}`: more than {MAX_FILES} files")));
        }
        self.files_left -= 1;
        let cannot = |e: std::io::Error| whole(format!("cannot read `{shown}`: {}", io_words(&e)));
        // Asked before opening: a FIFO would block.
        if !std::fs::metadata(path).map_err(cannot)?.is_file() {
            return Err(whole(format!("cannot read `{shown}`: not a regular file")));
        }
        let mut file = std::fs::File::open(path).map_err(cannot)?;
        let meta = file.metadata().map_err(cannot)?;
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(whole(format!("cannot read `{shown}`: larger than {} MiB", MAX_FILE_BYTES >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|b| **b == b'\n').count();
            let start = good.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
            let column = 1 + String::from_utf8_lossy(&good[start..]).chars().count();
            (line, column, "not UTF-8 text".to_owned())
        })?;
        Ok((text, meta.mode(), meta.uid()))
    }

    fn expand(&mut self, node: Node) -> Node {
        let Node { at, value, include } = node;
        match value {
            Value::Scalar { text, .. } if include => {
                if text.trim().is_empty() {
                    self.diags.error(&at, "`!include` needs the name of a file");
                    return Node::new(at, Value::Broken);
                }
                self.file(&at.file.dir.join(&text), Some(&at))
            }
            Value::Seq(items) if include => self.include_all(at, items),
            Value::Map(_) if include => {
                self.diags.error(&at, "`!include` needs a file name or a list of globs, not a mapping");
                Node::new(at, Value::Broken)
            }
            Value::Seq(items) => {
                let items = items.into_iter().map(|n| self.expand(n)).collect();
                Node::new(at, Value::Seq(items))
            }
            Value::Map(entries) => {
                let entries =
                    entries.into_iter().map(|e| Entry { value: self.expand(e.value), ..e }).collect();
                Node::new(at, Value::Map(entries))
            }
            value => Node::new(at, value),
        }
    }

    fn include_all(&mut self, at: At, patterns: Vec<Node>) -> Node {
        let mut joined = Vec::new();
        for pattern in patterns {
            let Value::Scalar { text, .. } = &pattern.value else {
                self.diags.error(&pattern.at, format!("`!include` needs globs, found {}", pattern.what()));
                continue;
            };
            if pattern.is_unset() {
                continue;
            }
            let mut unreadable = Vec::new();
            let found = glob::expand(&pattern.at.file.dir.join(text), &mut unreadable);
            for (dir, error) in &unreadable {
                // What cannot be looked at may hold jobs: not the same as no match.
                let message = format!("cannot read the directory `{}`: {}", dir.display(), io_words(error));
                self.diags.error(&pattern.at, message);
            }
            if found.is_empty() && unreadable.is_empty() {
                let what = if glob::is_magic(text) { "no file matches" } else { "there is no file" };
                self.diags.warn(&pattern.at, format!("{what} `{}`", text.escape_debug()));
            }
            for path in found {
                let root = self.file(&path, Some(&pattern.at));
                match root.value {
                    Value::Seq(items) => joined.extend(items),
                    Value::Broken => {}
                    _ if root.is_unset() => {}
                    _ => self.diags.error_hint(
                        &root.at,
                        format!("an included file must hold a list, found {}", root.what()),
                        "Begin each job with `- job: NAME`.",
                    ),
                }
            }
        }
        Node::new(at, Value::Seq(joined))
    }
}

/// The system's words for an error, lower case, without its number.
pub(crate) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::NotFound => "no such file".to_owned(),
        K::PermissionDenied => "permission denied".to_owned(),
        K::InvalidInput => "not a valid file name".to_owned(),
        _ => {
            let text = error.to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text[..end].to_lowercase()
        }
    }
}
