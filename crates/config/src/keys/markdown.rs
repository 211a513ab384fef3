//! Prints the key table as `docs/config.md`. Decides nothing; the words stand in the table.

use std::fmt::Write as _;

use super::{Applies, Key, KeyType, Need, Section};

const HEAD: &str = "\
# Configuration

This file is printed from the key table of `crates/config/src/keys`; do not edit it.

The main file is `/etc/nxs-backup/nxs-backup.conf`: YAML with the mapping `main` and the list `jobs`, usually
`jobs: !include [conf.d/*.conf]`. Each included file holds a list of jobs.

- `!include` (or `!import`) takes one file name, whose content replaces the value, or a list of globs, whose files must
  hold lists, which are joined. Paths are relative to the file they stand in. Matches are sorted; hidden files
  match only patterns that begin with a dot; no match and an empty file are an empty list.
- An empty value, `''`, `~` and `null` all mean that a key is not set.
- Flags are `yes`, `no`, `on`, `off`, `true`, `false`, quoted or not. Numbers may be quoted; an unquoted one with a leading
  zero is octal, as in v2, with a warning.
- Every single value may be `ENV:NAME`, `FILE:/path` or `CMD:command` (for `/bin/sh`, without input or terminal, for 30
  seconds at most; the last line end is cut off), but not `type`, `storage` and `dump_cmd`. Secrets are read when they are
  needed, other values while the configuration is read; `test` runs no commands. A file with `CMD:` or `dump_cmd` must belong to root or to the
  user who runs the program, and must not be writable by its group or by others.
- Unknown keys are errors, in the top level too; names that begin with `x-` are free there, for anchors. A key that does
  not apply to a type is a warning.
- Types are `desc_files`, `inc_files`, `mysql`, `mysql_xtrabackup`, `mariadb_backup`, `postgresql`,
  `postgresql_basebackup`, `mongodb`, `redis` and `external`; `files`, `incr_files`, `mysql_xtradb` and `postgresql_hot` are
  read as older names.

`required` means that the key must be there with a value; `present` that it must be there, but may be empty.
";

/// The whole of `docs/config.md`.
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for section in Section::ALL {
        out.push_str(title(section));
        out.push_str("| key | type | default | since | applies to | meaning | example |\n|---|---|---|---|---|---|---|\n");
        super::section(section).for_each(|key| row(&mut out, key));
    }
    out
}

fn title(section: Section) -> &'static str {
    match section {
        Section::Top => "\n## Top level\n\n",
        Section::Main => "\n## `main`\n\n",
        Section::Job => "\n## Each entry of `jobs`\n\n",
        Section::Source => "\n## Each entry of `sources`\n\n",
        Section::Connect => "\n## `connect` of a source\n\n",
        Section::Incremental => "\n## `incremental` of a source\n\n",
        Section::Storage => "\n## Each entry of `storages`\n\n",
        Section::Store => "\n## `store` of a storage\n\n",
    }
}

fn row(out: &mut String, key: &Key) {
    let aliases = match key.aliases {
        [] => String::new(),
        list => format!(" (also {})", join(list.iter().map(|a| format!("`{a}`")))),
    };
    let applies = match key.applies {
        Applies::Everywhere => "all".to_owned(),
        Applies::Jobs(kinds) => join(kinds.iter().map(|k| k.name().to_owned())),
        Applies::Storages(kinds) => join(kinds.iter().map(|k| k.name().to_owned())),
    };
    let default = match key.need {
        Need::Filled => "required".to_owned(),
        Need::Present | Need::Reach => "present".to_owned(),
        Need::Optional if key.default.is_empty() => "–".to_owned(),
        Need::Optional => format!("`{}`", key.default),
    };
    writeln!(
        out,
        "| `{}`{aliases} | {} | {default} | {} | {applies} | {} | `{}` |",
        key.name,
        kind(key.kind),
        key.since,
        key.doc,
        key.example.replace('|', "\\|"),
    )
    .expect("writing to a string cannot fail");
}

fn kind(kind: KeyType) -> String {
    match kind {
        KeyType::Text => "text".to_owned(),
        KeyType::Path => "path".to_owned(),
        KeyType::Secret => "secret".to_owned(),
        KeyType::Flag => "flag".to_owned(),
        KeyType::Number { min, max, unit } => format!("{min} to {max} {unit}").trim_end().to_owned(),
        KeyType::Port => "port".to_owned(),
        KeyType::List => "list".to_owned(),
        KeyType::Choice(words) | KeyType::LooseChoice(words) => join(words.iter().map(|w| format!("`{w}`"))),
        KeyType::Compression => "compression".to_owned(),
        KeyType::IoNice => "disk priority".to_owned(),
        KeyType::Require => "`all`, `any`, number".to_owned(),
        KeyType::Rate => "bytes per second".to_owned(),
        KeyType::Command => "command".to_owned(),
        KeyType::Mapping => "mapping".to_owned(),
        KeyType::Mappings => "list of mappings".to_owned(),
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
