//! The value tree of one YAML file: every node and every map key knows its file, line and column.
//!
//! Scalars keep their text and whether they were quoted; what `yes` or `3306` means is decided by the readers.
//! Aliases are copied in under a budget, merge keys are resolved, duplicate keys are errors. Files are opened in
//! [`crate::include`], never here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};
use nxs_base::diag::Place;

use crate::diagnostics::Diagnostics;

#[cfg(test)]
mod tests;

/// Nested lists and mappings of one file, aliases followed.
pub(crate) const MAX_DEPTH: usize = 64;

/// A file that was read: its name as shown, the directory its includes are relative to, its mode.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileInfo {
    pub(crate) shown: String,
    pub(crate) dir: PathBuf,
    /// Permission bits; others may read = 0o004.
    pub(crate) mode: u32,
    /// The user it belongs to.
    pub(crate) owner: u32,
}

/// A place in a file; line and column from 1, line 0 = the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) file: Arc<FileInfo>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl At {
    pub(crate) fn whole(file: &Arc<FileInfo>) -> Self {
        Self { file: Arc::clone(file), line: 0, column: 0 }
    }

    pub(crate) fn place(&self) -> Place {
        Place { file: self.file.shown.clone(), line: self.line, column: self.column }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
    /// Carries `!include` or `!import`, not yet expanded.
    pub(crate) include: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar {
        text: String,
        quoted: bool,
    },
    Seq(Vec<Node>),
    Map(Vec<Entry>),
    /// Could not be read; a diagnostic says why, so readers stay silent.
    Broken,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: At,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(at: At, value: Value) -> Self {
        Self { at, value, include: false }
    }

    /// Nothing, `~`, `null`, or an empty string: v2 has one meaning for all of them.
    pub(crate) fn is_unset(&self) -> bool {
        match &self.value {
            Value::Scalar { text, quoted } => {
                text.trim().is_empty() || (!quoted && matches!(&**text, "~" | "null" | "Null" | "NULL"))
            }
            _ => false,
        }
    }

    /// What it is, in words of a message.
    pub(crate) fn what(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_unset() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Broken => "something unreadable",
        }
    }

    /// Number of nodes and depth of the tree below and including this one.
    fn measure(&self) -> (usize, usize) {
        let (mut nodes, mut depth) = (1, 0);
        let mut add = |node: &Node| {
            let (n, d) = node.measure();
            nodes += n;
            depth = depth.max(d);
        };
        match &self.value {
            Value::Seq(items) => items.iter().for_each(&mut add),
            Value::Map(entries) => entries.iter().for_each(|e| add(&e.value)),
            Value::Scalar { .. } | Value::Broken => return (1, 0),
        }
        (nodes, depth + 1)
    }
}

/// Reads one file's text into a tree. `budget` is the number of nodes that may still be made; it is shared by all
/// files of a configuration. Errors become diagnostics and the result is [`Value::Broken`].
pub(crate) fn parse(file: &Arc<FileInfo>, text: &str, budget: &mut usize, diags: &mut Diagnostics) -> Node {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder { file, budget, diags, stack: Vec::new(), anchors: HashMap::new(), root: None };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                let mark = error.marker();
                let at = At { file: Arc::clone(file), line: mark.line().max(1), column: mark.col() + 1 };
                syntax_error(builder.diags, at, text, &error.info());
                Err(Stop)
            }
        };
        if step.is_err() {
            return Node::new(At { file: Arc::clone(file), line: 1, column: 1 }, Value::Broken);
        }
    }
    let null = || Value::Scalar { text: String::new(), quoted: false };
    builder.root.unwrap_or_else(|| Node::new(At { file: Arc::clone(file), line: 1, column: 1 }, null()))
}

/// Reading of this file ends; the diagnostic is already there.
struct Stop;

struct Anchored {
    node: Rc<Node>,
    nodes: usize,
    depth: usize,
}

enum Frame {
    Seq { at: At, items: Vec<Node>, anchor: usize, include: bool },
    Map(MapFrame),
}

struct MapFrame {
    at: At,
    entries: Vec<Entry>,
    seen: HashMap<String, usize>,
    merges: Vec<(At, Node)>,
    pending: Option<PendingKey>,
    anchor: usize,
    include: bool,
}

struct PendingKey {
    text: String,
    at: At,
    merge: bool,
    /// A duplicate: its value is read and dropped.
    skip: bool,
}

struct Builder<'a> {
    file: &'a Arc<FileInfo>,
    budget: &'a mut usize,
    diags: &'a mut Diagnostics,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let at = At { file: Arc::clone(self.file), line: span.start.line(), column: span.start.col() + 1 };
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.diags.error_hint(
                    &at,
                    "a second YAML document begins here",
                    "Put everything into one document; remove the `---` line.",
                );
                Err(Stop)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_ref().map(|t| t.original());
                let include = self.tag(tag.as_deref(), &at)?;
                let quoted = style != ScalarStyle::Plain || tag.as_deref() == Some("!!str");
                let mut node = Node::new(at, Value::Scalar { text: text.into_owned(), quoted });
                node.include = include;
                self.spend(1, &node.at)?;
                self.finish(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let include = self.tag(tag.map(|t| t.original()).as_deref(), &at)?;
                self.open(Frame::Seq { at, items: Vec::new(), anchor, include })
            }
            Event::MappingStart(_, anchor, tag) => {
                let include = self.tag(tag.map(|t| t.original()).as_deref(), &at)?;
                self.open(Frame::Map(MapFrame {
                    at,
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    merges: Vec::new(),
                    pending: None,
                    anchor,
                    include,
                }))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, &at),
            _ => Ok(()),
        }
    }

    fn tag(&mut self, tag: Option<&str>, at: &At) -> Result<bool, Stop> {
        match tag {
            Some("!include" | "!import") => Ok(true),
            None | Some("!" | "!!str" | "!!int" | "!!bool" | "!!null" | "!!seq" | "!!map" | "!!float") => {
                Ok(false)
            }
            Some(other) => {
                self.diags.error_hint(
                    at,
                    format!("unknown tag `{}`", other.escape_debug()),
                    "Known tags are `!include` and `!import`.",
                );
                Err(Stop)
            }
        }
    }

    fn spend(&mut self, nodes: usize, at: &At) -> Result<(), Stop> {
        match self.budget.checked_sub(nodes) {
            Some(rest) => {
                *self.budget = rest;
                Ok(())
            }
            None => {
                self.diags
                    .error(at, "the configuration is too large once all aliases and includes are followed");
                Err(Stop)
            }
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), Stop> {
        let at = match &frame {
            Frame::Seq { at, .. } => at,
            Frame::Map(map) => &map.at,
        };
        self.check_depth(1, &at.clone())?;
        self.spend(1, &at.clone())?;
        self.stack.push(frame);
        Ok(())
    }

    fn check_depth(&mut self, more: usize, at: &At) -> Result<(), Stop> {
        if self.stack.len() + more <= MAX_DEPTH {
            return Ok(());
        }
        self.diags.error(at, format!("lists and mappings are nested more than {MAX_DEPTH} deep"));
        Err(Stop)
    }

    fn close(&mut self) -> Result<(), Stop> {
        match self.stack.pop() {
            Some(Frame::Seq { at, items, anchor, include }) => {
                let node = Node { at, value: Value::Seq(items), include };
                self.finish(node, anchor)
            }
            Some(Frame::Map(map)) => {
                let (anchor, include, at) = (map.anchor, map.include, map.at.clone());
                let entries = self.merged(map)?;
                self.finish(Node { at, value: Value::Map(entries), include }, anchor)
            }
            None => Ok(()),
        }
    }

    fn alias(&mut self, id: usize, at: &At) -> Result<(), Stop> {
        let Some(found) = self.anchors.get(&id) else {
            self.diags.error(at, "this alias refers to a value that contains it");
            return Err(Stop);
        };
        let (nodes, depth, node) = (found.nodes, found.depth, Rc::clone(&found.node));
        self.check_depth(depth, at)?;
        self.spend(nodes, at)?;
        self.finish((*node).clone(), 0)
    }

    /// Hands a finished node to the frame that waits for it.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            let (nodes, depth) = node.measure();
            self.spend(nodes, &node.at)?;
            self.anchors.insert(anchor, Anchored { node: Rc::new(node.clone()), nodes, depth });
        }
        match self.stack.last_mut() {
            None => {
                self.root = Some(node);
                Ok(())
            }
            Some(Frame::Seq { items, .. }) => {
                items.push(node);
                Ok(())
            }
            Some(Frame::Map(map)) => match map.pending.take() {
                None => key(map, node, self.diags),
                Some(pending) if pending.skip => Ok(()),
                Some(pending) if pending.merge => {
                    map.merges.push((pending.at, node));
                    Ok(())
                }
                Some(pending) => {
                    map.seen.insert(pending.text.clone(), map.entries.len());
                    map.entries.push(Entry { key: pending.text, key_at: pending.at, value: node });
                    Ok(())
                }
            },
        }
    }

    /// The entries with what `<<` brings in: own keys win, then earlier merges.
    fn merged(&mut self, map: MapFrame) -> Result<Vec<Entry>, Stop> {
        let MapFrame { mut entries, mut seen, merges, .. } = map;
        for (at, node) in merges {
            let sources = match node.value {
                Value::Seq(items) if !node.include => items,
                _ => vec![node],
            };
            for source in sources {
                let Value::Map(list) = source.value else {
                    self.diags.error(&at, "`<<` needs a mapping or a list of mappings");
                    return Err(Stop);
                };
                for entry in list {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entries.len());
                        entries.push(entry);
                    }
                }
            }
        }
        Ok(entries)
    }
}

fn key(map: &mut MapFrame, node: Node, diags: &mut Diagnostics) -> Result<(), Stop> {
    let Value::Scalar { text, quoted } = node.value else {
        diags.error(&node.at, "a key must be a single word, not a list or a mapping");
        return Err(Stop);
    };
    let merge = !quoted && text == "<<";
    let first = if merge { None } else { map.seen.get(&text).map(|i| &map.entries[*i].key_at) };
    if let Some(first) = first {
        let message =
            format!("duplicate key `{}`; it is already set in line {}", text.escape_debug(), first.line);
        diags.error(&node.at, message);
    }
    let skip = first.is_some();
    map.pending = Some(PendingKey { text, at: node.at, merge, skip });
    Ok(())
}

/// Says what the parser said, or in plainer words what the text at that place lets one guess.
fn syntax_error(diags: &mut Diagnostics, at: At, text: &str, info: &str) {
    // The parser complains about a tab only behind the line before it.
    let tab = text.lines().enumerate().skip(at.line - 1).take(2).find_map(|(i, line)| {
        let rest = line.trim_start();
        let indent = &line[..line.len() - rest.len()];
        let counts = !rest.is_empty() && !rest.starts_with('#');
        indent.find('\t').filter(|_| counts).map(|column| (i + 1, column + 1))
    });
    if let Some((line, column)) = tab {
        let at = At { line, column, ..at };
        let message = "not valid YAML: this line is indented with a tab";
        return diags.error_hint(&at, message, "Indent with blanks only.");
    }
    let message = format!("not valid YAML: {}", lower_first(info));
    let found = text.lines().nth(at.line - 1).and_then(|line| line.chars().nth(at.column - 1));
    match found {
        Some(c @ ('*' | '&' | '@' | '%' | '`' | '!')) => {
            diags.error_hint(&at, message, format!("Put quotes around a value that begins with `{c}`."));
        }
        Some(':') => {
            let hint = "Check the indentation, and put quotes around a value that holds a colon and a blank.";
            diags.error_hint(&at, message, hint);
        }
        _ => diags.error(&at, message),
    }
}

fn lower_first(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default().trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "cannot be parsed".to_owned(),
    }
}
