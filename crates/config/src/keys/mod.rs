//! The one table of every key that can stand in a configuration: name, type, default, since, where it applies,
//! documentation and example.
//!
//! Readers check and convert values by this table, `generate` takes its commented lines from it, and
//! `docs/config.md` is printed from it. What keys mean together is decided in [`crate::v2`].

use nxs_base::spec::{JobKind, StorageKind};

mod connect;
mod job;
mod main;
mod markdown;
mod source;
mod storage;

pub use markdown::markdown;

/// The mapping a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    Top,
    Main,
    Job,
    Source,
    Connect,
    Incremental,
    Storage,
    Store,
}

impl Section {
    pub const ALL: [Self; 8] = [
        Self::Top,
        Self::Main,
        Self::Job,
        Self::Source,
        Self::Connect,
        Self::Incremental,
        Self::Storage,
        Self::Store,
    ];

    /// Where it stands, in words of a message.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Top => "the top level",
            Self::Main => "`main`",
            Self::Job => "an entry of `jobs`",
            Self::Source => "an entry of `sources`",
            Self::Connect => "`connect` of a source",
            Self::Incremental => "`incremental` of a source",
            Self::Storage => "an entry of `storages`",
            Self::Store => "`store` of a storage",
        }
    }
}

/// What values a key takes. Every plain value may also be `ENV:NAME`, `FILE:/path` or
/// `CMD:command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Text,
    /// A file or directory of this host.
    Path,
    /// Kept as a reference; may be `ENV:`, `FILE:` or `CMD:`.
    Secret,
    Flag,
    /// A whole number, smallest and largest allowed; `unit` is for people.
    Number {
        min: i64,
        max: i64,
        unit: &'static str,
    },
    Port,
    /// A list of texts; a single text is a list of one.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these words; another one is only a warning and acts as the default.
    LooseChoice(&'static [&'static str]),
    Compression,
    IoNice,
    Require,
    /// Bytes per second: a number, with `K`, `M` or `G` for powers of 1024.
    Rate,
    /// A shell command line.
    Command,
    /// A mapping of its own section.
    Mapping,
    /// A list of mappings of their own section.
    Mappings,
}

/// What a missing or empty value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Optional,
    /// The key must be there; an empty value is fine.
    Present,
    /// The key must be there; an empty value is a warning, since nothing can be reached with it.
    Reach,
    /// The key must be there with a value.
    Filled,
}

/// Where a key applies within its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    Everywhere,
    Jobs(&'static [JobKind]),
    Storages(&'static [StorageKind]),
}

/// One row of the table. A name may have several rows in a section if what they apply to is disjoint.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub section: Section,
    pub name: &'static str,
    /// Other spellings that are read.
    pub aliases: &'static [&'static str],
    pub kind: KeyType,
    pub need: Need,
    pub applies: Applies,
    /// As it would be written; empty = none.
    pub default: &'static str,
    /// First version that knows it.
    pub since: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// A value as it would be written.
    pub example: &'static str,
}

/// The version that brought the keys v2 did not know.
pub const NEW: &str = "4.0";

impl Key {
    pub fn applies_to(&self, what: What) -> bool {
        match (self.applies, what) {
            (Applies::Everywhere, _) => true,
            (Applies::Jobs(kinds), What::Job(kind)) => kinds.contains(&kind),
            (Applies::Storages(kinds), What::Storage(kind)) => kinds.contains(&kind),
            _ => false,
        }
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// What a mapping belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Any,
    Job(JobKind),
    Storage(StorageKind),
}

/// All rows, section by section, in the order of the documentation.
pub fn table() -> impl Iterator<Item = &'static Key> {
    [TOP, main::KEYS, job::KEYS, source::KEYS, connect::KEYS, storage::KEYS, storage::STORE]
        .into_iter()
        .flatten()
}

/// The rows of one section.
pub fn section(section: Section) -> impl Iterator<Item = &'static Key> {
    table().filter(move |k| k.section == section)
}

const TOP: &[Key] = &[
    key(Section::Top, "main", KeyType::Mapping, "Settings of the whole program.")
        .filled()
        .example("{server_name: web-01, admin_mail: ops@example.org}"),
    key(Section::Top, "jobs", KeyType::Mappings, "The jobs, usually included from other files.")
        .aliases(&["backup"])
        .present()
        .example("!include [conf.d/*.conf]"),
];

const fn key(section: Section, name: &'static str, kind: KeyType, doc: &'static str) -> Key {
    Key {
        section,
        name,
        aliases: &[],
        kind,
        need: Need::Optional,
        applies: Applies::Everywhere,
        default: "",
        since: "2.0.8",
        doc,
        example: "",
    }
}

const fn number(min: i64, max: i64, unit: &'static str) -> KeyType {
    KeyType::Number { min, max, unit }
}

impl Key {
    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn since(mut self, since: &'static str) -> Self {
        self.since = since;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn jobs(mut self, kinds: &'static [JobKind]) -> Self {
        self.applies = Applies::Jobs(kinds);
        self
    }

    const fn storages(mut self, kinds: &'static [StorageKind]) -> Self {
        self.applies = Applies::Storages(kinds);
        self
    }

    const fn present(mut self) -> Self {
        self.need = Need::Present;
        self
    }

    const fn reach(mut self) -> Self {
        self.need = Need::Reach;
        self
    }

    const fn filled(mut self) -> Self {
        self.need = Need::Filled;
        self
    }
}
