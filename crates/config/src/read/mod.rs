//! Reads one mapping by the key table: unknown and doubled keys, required ones, and every value by its type.
//!
//! Knows types, not meanings; what keys say together is decided in [`crate::v2`]. Every problem becomes a
//! diagnostic at its place and reading goes on.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;

use nxs_base::secret::SecretRef;
use nxs_base::spec::{Compression, IoNice, Require};

use crate::Commands;
use crate::diagnostics::Diagnostics;
use crate::keys::{self, Applies, Key, Need, Section, What};
use crate::tree::{At, Entry, Node, Value};

mod value;

pub(crate) use value::flag;

/// What v3 calls the things of v2.
const V3_NAMES: &[(&str, &str)] = &[
    ("job_name", "job"),
    ("storages_options", "storages"),
    ("storage_name", "storage"),
    ("backup_path", "backup_dir"),
    ("retention", "store"),
    ("db_extra_keys", "extra_keys"),
    ("prepare_xtrabackup", "prepare"),
];

#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) diags: Diagnostics,
    commands: Commands,
    /// The user this process acts as; none if the kernel does not say.
    user: Option<u32>,
    /// Files about whose passwords the warning was given.
    exposed: HashSet<String>,
}

impl Reader {
    pub(crate) fn new(commands: Commands) -> Self {
        let user = std::fs::metadata("/proc/self").ok().map(|meta| meta.uid());
        Self { diags: Diagnostics::default(), commands, user, exposed: HashSet::new() }
    }
}

/// A value after reading; `Nested` is read by its own section.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    Text(String),
    List(Vec<String>),
    Flag(bool),
    Number(i64),
    Rate(NonZeroU64),
    Compression(Compression),
    IoNice(IoNice),
    Require(Require),
    Secret(SecretRef),
    Nested,
}

struct Field<'a> {
    key: &'static Key,
    node: &'a Node,
    /// None = unset, or wrong with a diagnostic.
    value: Option<Read>,
}

/// The keys of one mapping, read.
pub(crate) struct Fields<'a> {
    /// Of the mapping, as shown in messages.
    pub(crate) path: String,
    pub(crate) at: At,
    list: Vec<Field<'a>>,
}

/// How a mapping is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) section: Section,
    pub(crate) what: What,
    /// Missing keys are errors; else (something switched off) warnings.
    pub(crate) strict: bool,
}

impl<'a> Fields<'a> {
    /// None if `node` is no mapping; a diagnostic says so.
    pub(crate) fn open(reader: &mut Reader, node: &'a Node, path: String, form: Form) -> Option<Self> {
        let entries = mapping(reader, node, &path)?;
        let mut fields = Self { path, at: node.at.clone(), list: Vec::new() };
        for entry in entries {
            fields.entry(reader, entry, form);
        }
        for key in keys::section(form.section).filter(|k| required_by(k, form.what)) {
            fields.need(reader, key, form.strict);
        }
        Some(fields)
    }

    /// The path of a key of this mapping.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    fn entry(&mut self, reader: &mut Reader, entry: &'a Entry, form: Form) {
        let path = join(&self.path, &show(&entry.key));
        let named: Vec<_> = keys::section(form.section).filter(|k| k.is_named(&entry.key)).collect();
        let fits = |k: &&&'static Key| form.what == What::Any || k.applies_to(form.what);
        let Some(key) = named.iter().find(fits) else {
            if !named.is_empty() {
                reader
                    .diags
                    .warn(&entry.key_at, format!("{path}: has no effect for {}", what_words(form.what)));
            } else if !(form.section == Section::Top && entry.key.starts_with("x-")) {
                unknown(reader, entry, &path, form);
            }
            return;
        };
        if self.list.iter().any(|f| f.key.name == key.name) {
            reader.diags.error(&entry.key_at, format!("{path}: sets `{}` a second time", key.name));
            return;
        }
        let value = reader.value(key.kind, &entry.value, &path);
        self.list.push(Field { key, node: &entry.value, value });
    }

    fn need(&self, reader: &mut Reader, key: &Key, strict: bool) {
        let path = self.path_of(key.name);
        let Some(field) = self.field(key.name) else {
            let message = format!("{path}: this key is required");
            return if strict {
                reader.diags.error(&self.at, message)
            } else {
                reader.diags.warn(&self.at, message)
            };
        };
        let empty = match &field.value {
            None => field.node.is_unset(),
            Some(Read::List(items)) => items.is_empty(),
            Some(_) => false,
        };
        match key.need {
            Need::Filled if empty && strict => {
                reader.diags.error(&field.node.at, format!("{path}: needs a value"))
            }
            Need::Reach if empty && strict => {
                reader
                    .diags
                    .warn(&field.node.at, format!("{path}: is empty; nothing can be reached without it"));
            }
            _ => {}
        }
    }

    fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.list.iter().find(|f| f.key.name == name)
    }

    /// The key stands there, be it empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// Value node of a key, whatever it holds.
    pub(crate) fn node(&self, name: &str) -> Option<&'a Node> {
        self.field(name).map(|f| f.node)
    }

    /// Where the value of a key stands, or the mapping if it is missing.
    pub(crate) fn at_of(&self, name: &str) -> &At {
        self.field(name).map_or(&self.at, |f| &f.node.at)
    }

    /// Not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.field(name)?.value {
            Some(Read::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Where a secret is, as far as it is set.
    pub(crate) fn secret(&self, name: &str) -> Option<SecretRef> {
        match &self.field(name)?.value {
            Some(Read::Secret(secret)) => Some(secret.clone()),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.field(name).and_then(|f| f.value.as_ref()) {
            Some(Read::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.field(name)?.value {
            Some(Read::Flag(flag)) => Some(flag),
            _ => None,
        }
    }

    /// A number or port; within the limits of the table.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        match self.field(name)?.value {
            Some(Read::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// Bytes per second.
    pub(crate) fn rate(&self, name: &str) -> Option<NonZeroU64> {
        match self.field(name)?.value {
            Some(Read::Rate(rate)) => Some(rate),
            _ => None,
        }
    }

    pub(crate) fn compression(&self, name: &str) -> Option<Compression> {
        match self.field(name)?.value {
            Some(Read::Compression(compression)) => Some(compression),
            _ => None,
        }
    }

    pub(crate) fn io_nice(&self, name: &str) -> Option<IoNice> {
        match self.field(name)?.value {
            Some(Read::IoNice(nice)) => Some(nice),
            _ => None,
        }
    }

    pub(crate) fn require(&self, name: &str) -> Option<Require> {
        match self.field(name)?.value {
            Some(Read::Require(require)) => Some(require),
            _ => None,
        }
    }

    /// Whether a text or secret has a value, here or elsewhere.
    pub(crate) fn is_filled(&self, name: &str) -> bool {
        let elsewhere =
            |node: &Node| matches!(&node.value, Value::Scalar { text, .. } if text.starts_with("CMD:"));
        self.field(name).is_some_and(|f| f.value.is_some() || elsewhere(f.node))
    }
}

/// The entries of a mapping; a diagnostic if it is something else.
pub(crate) fn mapping<'a>(reader: &mut Reader, node: &'a Node, path: &str) -> Option<&'a [Entry]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        Value::Broken => None,
        _ => {
            reader.diags.error(&node.at, format!("{path}: needs a mapping, found {}", node.what()));
            None
        }
    }
}

/// The items of a list; nothing is an empty list; a diagnostic if it is something else.
pub(crate) fn items<'a>(reader: &mut Reader, node: &'a Node, path: &str) -> &'a [Node] {
    match &node.value {
        Value::Seq(items) => items,
        Value::Broken => &[],
        _ if node.is_unset() => &[],
        _ => {
            reader.diags.error(&node.at, format!("{path}: needs a list, found {}", node.what()));
            &[]
        }
    }
}

/// Says that a path depends on the directory in which the program is started.
pub(crate) fn relative(reader: &mut Reader, at: &At, path: &str, text: &str) {
    let message = format!(
        "{path}: `{}` is not an absolute path and depends on where the program is started",
        show(text)
    );
    reader.diags.warn(at, message);
}

/// Text for a message: short, without control characters.
pub(crate) fn show(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown = String::new();
    for c in text.chars().take(MOST) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().count() > MOST {
        shown.push('…');
    }
    shown
}

/// The closest of `words`, if it is close enough to be meant.
pub(crate) fn meant<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = text.chars().count();
    if length > 64 {
        return None;
    }
    let most = (length / 3).max(1);
    let text = text.to_lowercase();
    words
        .map(|word| (strsim::damerau_levenshtein(&text, word), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

pub(crate) fn backticked(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

fn unknown(reader: &mut Reader, entry: &Entry, path: &str, form: Form) {
    let fits = |k: &&Key| form.what == What::Any || k.applies_to(form.what);
    let names = || keys::section(form.section).filter(fits);
    let v3 = V3_NAMES.iter().find(|(name, _)| *name == entry.key).map(|(_, ours)| *ours);
    let with_db = format!("db_{}", entry.key);
    let guess = v3.filter(|ours| names().any(|k| k.name == *ours)).or_else(|| {
        let spelled = meant(&entry.key, names().flat_map(|k| k.aliases.iter().copied().chain([k.name])))?;
        names().find(|k| k.is_named(spelled)).map(|k| k.name)
    });
    let guess = guess.or_else(|| names().find(|k| k.is_named(&with_db)).map(|k| k.name));
    let message = format!("{path}: unknown key");
    let elsewhere = || keys::table().find(|k| k.section != form.section && k.is_named(&entry.key));
    let hint = match guess {
        Some(name) => Some(format!("Did you mean `{name}`?")),
        None => elsewhere().map(|k| format!("`{}` belongs into {}.", entry.key, k.section.words())),
    };
    match hint {
        Some(hint) => reader.diags.error_hint(&entry.key_at, message, hint),
        None => reader.diags.error(&entry.key_at, message),
    }
}

fn required_by(key: &Key, what: What) -> bool {
    let known = what != What::Any || key.applies == Applies::Everywhere;
    key.need != Need::Optional && known && key.applies_to(what)
}

fn what_words(what: What) -> String {
    match what {
        What::Any => "this type".to_owned(),
        What::Job(kind) => format!("jobs of type `{}`", kind.name()),
        What::Storage(kind) => format!("`{}` storages", kind.name()),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
