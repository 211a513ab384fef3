//! Every row of the key table, in every job type and storage that it applies to: its example loads, its other
//! spellings too, a wrong value is named at its place, a misspelled key gets its name, references work.

use nxs_base::spec::StorageKind;

use super::*;
use crate::keys::{self, Applies, Key, KeyType, Need, Section, What};

/// A configuration with all required keys, built from the table's own examples.
struct Config {
    job: JobKind,
    entries: Vec<(Section, String, String)>,
}

impl Config {
    fn new(job: JobKind, storage: StorageKind) -> Self {
        let mut config = Self { job, entries: Vec::new() };
        for key in keys::table() {
            let fits = key.applies == Applies::Everywhere
                || key.applies_to(What::Job(job))
                || key.applies_to(What::Storage(storage));
            let nested = matches!(key.kind, KeyType::Mapping | KeyType::Mappings);
            if fits && !nested && key.need != Need::Optional {
                config.set(key.section, key.name, key.example);
            }
        }
        config.set(Section::Job, "type", job.name());
        config.set(Section::Storage, "storage", storage.name());
        config.set(Section::Store, "days", "1");
        if job != JobKind::External {
            config.set(Section::Source, "gzip", "yes");
        }
        match job {
            JobKind::Redis => config.set(Section::Connect, "db_host", "h"),
            JobKind::Mysql
            | JobKind::MysqlXtrabackup
            | JobKind::MariadbBackup
            | JobKind::Postgresql
            | JobKind::PostgresqlBasebackup => {
                config.set(Section::Connect, "db_user", "u");
            }
            JobKind::Mongodb => {
                config.set(Section::Connect, "db_user", "u");
                config.set(Section::Connect, "db_password", "ENV:P");
            }
            _ => {}
        }
        if storage == StorageKind::Scp {
            config.set(Section::Storage, "password", "ENV:P");
        }
        config
    }

    fn set(&mut self, section: Section, name: &str, value: &str) {
        self.entries.retain(|(s, n, _)| (*s, n.as_str()) != (section, name));
        self.entries.push((section, name.to_owned(), value.to_owned()));
    }

    /// Sets `key` under `name`, and what has to go with it.
    fn with(mut self, key: &Key, name: &str, value: &str) -> Self {
        match (key.section, key.name) {
            (Section::Source, "compression") => self.entries.retain(|(_, n, _)| n != "gzip"),
            (Section::Storage, "remote_mount_point") => {
                self.set(Section::Storage, "backup_dir", "/srv/backup/web")
            }
            _ => {}
        }
        self.entries.retain(|(s, n, _)| (*s, n.as_str()) != (key.section, key.name));
        self.set(key.section, name, value);
        self
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let block = |out: &mut String, section: Section, first: &str, rest: &str| {
            let mut lead = first;
            for (_, name, value) in self.entries.iter().filter(|(s, ..)| *s == section) {
                writeln!(out, "{lead}{name}: {value}").unwrap();
                lead = rest;
            }
        };
        out.push_str("main:\n");
        block(&mut out, Section::Main, "  ", "  ");
        out.push_str("jobs:\n");
        block(&mut out, Section::Job, "- ", "  ");
        if self.job != JobKind::External {
            out.push_str("  sources:\n");
            let source = if keys::section(Section::Source)
                .any(|k| k.name == "connect" && k.applies_to(What::Job(self.job)))
            {
                out.push_str("  - connect:\n");
                block(&mut out, Section::Connect, "      ", "      ");
                "    "
            } else {
                "  - "
            };
            block(&mut out, Section::Source, source, "    ");
            if keys::section(Section::Incremental).any(|k| k.applies_to(What::Job(self.job))) {
                // Without an entry the mapping itself has to stay.
                let has_any = self.entries.iter().any(|(section, ..)| *section == Section::Incremental);
                out.push_str(if has_any { "    incremental:\n" } else { "    incremental: {}\n" });
                block(&mut out, Section::Incremental, "      ", "      ");
            }
        }
        out.push_str("  storages:\n");
        block(&mut out, Section::Storage, "  - ", "    ");
        out.push_str("    store:\n");
        block(&mut out, Section::Store, "      ", "      ");
        out
    }

    /// What loading says, and `line:column` of the last `name: `.
    fn load(&self, name: &str) -> (bool, String, (usize, usize)) {
        let text = self.text();
        let files = Files::new(&[("main.conf", &text)]);
        let loaded = files.load();
        let at = text.lines().enumerate().collect::<Vec<_>>().into_iter().rev().find_map(|(i, line)| {
            let bare = line.trim_start_matches([' ', '-']);
            bare.starts_with(&format!("{name}: ")).then(|| (i + 1, line.len() - bare.len() + 1))
        });
        let at = at.unwrap_or_else(|| panic!("{name} in\n{text}"));
        (loaded.spec.is_some(), files.said(&loaded), at)
    }
}

/// Every key that stands on its own, with a configuration of every kind that it applies to.
fn each(mut f: impl FnMut(&'static Key, &dyn Fn() -> Config)) {
    let mut rows = 0;
    for key in keys::table() {
        if key.section == Section::Top || matches!(key.kind, KeyType::Mapping | KeyType::Mappings) {
            continue;
        }
        rows += 1;
        match key.applies {
            Applies::Everywhere => f(key, &|| Config::new(JobKind::DescFiles, StorageKind::Local)),
            Applies::Jobs(jobs) => {
                jobs.iter().for_each(|job| f(key, &|| Config::new(*job, StorageKind::Local)));
            }
            Applies::Storages(storages) => {
                storages.iter().for_each(|storage| f(key, &|| Config::new(JobKind::Mysql, *storage)));
            }
        }
    }
    assert!(rows > 70, "{rows} rows");
}

/// `type` and `storage` decide about all the others.
fn decides(key: &Key) -> bool {
    matches!((key.section, key.name), (Section::Job, "type") | (Section::Storage, "storage"))
}

#[test]
fn the_example_of_every_key_loads_without_a_word_in_every_spelling() {
    each(|key, config| {
        for name in [key.name].iter().chain(key.aliases) {
            let config = if decides(key) { config() } else { config().with(key, name, key.example) };
            let (good, said, _) = config.load(name);
            assert!(good && said.is_empty(), "{name}: {said}\n{}", config.text());
        }
    });
}

#[test]
fn every_combination_of_type_and_storage_with_only_the_required_keys_loads() {
    for job in JobKind::ALL {
        for storage in StorageKind::ALL {
            let config = Config::new(job, storage);
            let (good, said, _) = config.load("type");
            assert!(good && said.is_empty(), "{said}\n{}", config.text());
        }
    }
}

#[test]
fn a_wrong_value_of_every_key_is_named_at_its_place() {
    each(|key, config| {
        let (wrong, severity, words) = match key.kind {
            KeyType::Text | KeyType::Path | KeyType::Secret | KeyType::Command => {
                ("[x]", "error", "needs a single value, found a list")
            }
            KeyType::Flag => ("maybe", "error", "`maybe` is neither yes nor no"),
            KeyType::Number { .. } => ("many", "error", "`many` is not a whole number"),
            KeyType::Port => ("smb_port", "error", "`smb_port` is not a port number"),
            KeyType::List => ("{a: b}", "error", "needs a list, found a mapping"),
            KeyType::Choice(_) => ("sometimes", "error", "`sometimes` is not known here"),
            KeyType::LooseChoice(_) => ("sometimes", "warning", "`sometimes` is not known here and acts as"),
            KeyType::Compression => ("lzma", "error", "`lzma` is not a compression"),
            KeyType::IoNice => ("idel", "error", "`idel` is not a disk priority"),
            KeyType::Require => ("some", "error", "`some` is neither `all`, `any` nor a number"),
            KeyType::Rate => ("fast", "error", "`fast` is not a rate"),
            KeyType::Mapping | KeyType::Mappings => return,
        };
        let config = config().with(key, key.name, wrong);
        let (good, said, (line, column)) = config.load(key.name);
        let place = format!("main.conf:{line}:{}: {severity}: ", column + key.name.len() + 2);
        let found =
            said.lines().any(|l| l.starts_with(&place) && l.contains(&format!("{}: {words}", key.name)));
        assert!(found, "{place}{words}\n{said}\n{}", config.text());
        assert_eq!(good, severity == "warning");
    });
}

#[test]
fn a_misspelled_key_is_an_error_at_its_place_with_the_name_that_was_meant() {
    each(|key, config| {
        if decides(key) {
            return;
        }
        let wrong = format!("{}x", key.name);
        let config = config().with(key, &wrong, key.example);
        let (good, said, (line, column)) = config.load(&wrong);
        let place = format!("main.conf:{line}:{column}: error: ");
        let rest = format!(".{wrong}: unknown key\n  hint: Did you mean `{}`?\n", key.name);
        assert!(said.contains(&place) && said.contains(&rest), "{place}…{rest}\n{said}");
        assert!(!good);
    });
}

#[test]
fn a_missing_or_empty_required_key_is_said_and_an_empty_optional_one_is_unset() {
    each(|key, config| {
        let empty = config().with(key, key.name, "''");
        let (good, said, _) = empty.load(key.name);
        let mut missing = config().with(key, key.name, "x");
        missing.entries.retain(|(s, n, _)| (*s, n.as_str()) != (key.section, key.name));
        let files = Files::new(&[("main.conf", &missing.text())]);
        let loaded = files.load();
        let required = format!("{}: this key is required", key.name);
        assert_eq!(
            files.said(&loaded).contains(&required),
            key.need != Need::Optional || gzip(key),
            "{}",
            key.name
        );
        match key.need {
            Need::Filled => {
                assert!(!good && said.contains(&format!("{}: needs a value", key.name)), "{said}")
            }
            Need::Reach => {
                assert!(
                    good && said.contains(&format!("{}: is empty; nothing can be reached", key.name)),
                    "{said}"
                );
            }
            // Together with others an empty one may be too little; never is it a wrong value.
            Need::Present | Need::Optional => {
                assert!(!said.contains(&format!(".{}: `", key.name)), "{}: {said}", key.name);
            }
        }
    });
}

/// Required too, in a rule of its own.
fn gzip(key: &Key) -> bool {
    (key.section, key.name) == (Section::Source, "gzip")
}

#[test]
fn every_single_value_may_stand_elsewhere_and_secrets_are_not_looked_at() {
    each(|key, config| {
        if decides(key) || key.kind == KeyType::Command {
            return;
        }
        let config = config().with(key, key.name, "ENV:NXS_NO_SUCH_VARIABLE");
        let (good, said, (line, _)) = config.load(key.name);
        if key.kind == KeyType::Secret {
            assert!(good && said.is_empty(), "{}: {said}", key.name);
        } else {
            let missing = "environment variable `NXS_NO_SUCH_VARIABLE` is not set\n";
            let place = format!("main.conf:{line}:");
            assert!(said.contains(missing) && said.contains(&place), "{}: {said}", key.name);
        }
    });
}
