//! One database through the dump program: its arguments, a rehearsal without data, and the dump itself.

use nxs_base::ports::source::{Cancel, DumpReport, Sink};
use nxs_base::spec::MysqlSource as MysqlSpec;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::Tool;

use super::program::{Flavour, Version};
use super::server::{Server, quoted_text};
use super::{END_MARKER, Known, defaults, rights};
use crate::databases;
use crate::stream;

/// How many tables are named in a message.
const SHOWN: usize = 5;

/// Keys that would send the dump elsewhere, or make it one of other databases.
const REFUSED: [(&str, &str); 5] = [
    ("--result-file", "-r"),
    ("--tab", "-T"),
    ("--all-databases", "-A"),
    ("--password", "-p"),
    ("--defaults-file", ""),
];

/// Keys with which the user says how the dump is kept consistent.
const LOCKING: [&str; 8] = [
    "--single-transaction",
    "--skip-single-transaction",
    "--lock-tables",
    "--skip-lock-tables",
    "--lock-all-tables",
    "-l",
    "-x",
    "--skip-opt",
];

/// [`ErrorKind::Invalid`] for keys with which no dump would arrive here, or with which a password would be seen by all.
pub(super) fn check_extra_keys(keys: &[String]) -> Result<()> {
    for key in keys {
        let long = key.split('=').next().unwrap_or(key);
        let is = |(name, short): &(&str, &str)| {
            long == *name || (!short.is_empty() && key.starts_with(short) && !key.starts_with("--"))
        };
        if let Some((name, _)) = REFUSED.iter().find(|refused| is(refused)) {
            let text = format!("extra_keys: `{name}` cannot be used here");
            let hint = if *name == "--password" {
                "Everybody on this host can see it; set `db_password`."
            } else {
                "Databases are chosen by `target`, and their dumps go to the storages."
            };
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(hint));
        }
    }
    Ok(())
}

/// Whether one of these keys is among the user's own.
pub(super) fn says(keys: &[String], names: &[&str]) -> bool {
    keys.iter().any(|key| names.contains(&key.split('=').next().unwrap_or(key)))
}

/// How one database is dumped.
#[derive(Debug)]
pub(super) struct Plan {
    database: String,
    /// What the dump program does not tell.
    head: String,
    args: Vec<String>,
    info: Vec<String>,
    warnings: Vec<String>,
}

/// Looks at the tables of a database and decides how it is dumped.
pub(super) fn plan(server: &Server, known: &Known, spec: &MysqlSpec, database: &str) -> Result<Plan> {
    let name = quoted_text(database);
    // The second comparison tells `Shop` from `shop`; the first one spares the server a look into every database.
    let question = format!(
        "SELECT table_name, COALESCE(engine, ''), table_type FROM information_schema.tables \
         WHERE table_schema = {name} AND BINARY table_schema = {name}"
    );
    let rows = server.ask(&known.client, &question)?;
    let question = format!(
        "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata \
         WHERE schema_name = {name} AND BINARY schema_name = {name}"
    );
    let Some(defaults) = server.ask(&known.client, &question)?.into_iter().next() else {
        let text = format!("there is no database `{}` at {}", database.escape_debug(), server.place());
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    let mut ignored = Vec::new();
    let mut others = Vec::new();
    let mut versioned = Vec::new();
    for row in &rows {
        let [table, engine, kind] = row.as_slice() else { continue };
        if databases::is_table_left_out(&spec.databases.excludes, database, table) {
            ignored.push(table.clone());
            continue;
        }
        if kind == "SYSTEM VERSIONED" {
            versioned.push(format!("`{table}`"));
        }
        if !kind.contains("VIEW") && !engine.eq_ignore_ascii_case("InnoDB") {
            others.push(format!("`{table}` ({engine})"));
        }
    }
    let mut plan = Plan {
        database: database.to_owned(),
        head: defaults::line(&defaults),
        args: Vec::new(),
        info: Vec::new(),
        warnings: Vec::new(),
    };
    plan.decide(known, spec, &others);
    plan.keep_history(known, spec, &versioned);
    plan.warnings.extend(unreadable(server, known, database)?);
    plan.warnings.extend(rights::hidden(server, known, spec, database)?);
    if !ignored.is_empty() {
        plan.info.push(format!("`{database}`: {} tables are left out by `excludes`", ignored.len()));
    }
    plan.args.extend(spec.extra_keys.iter().cloned());
    // After the user's own: the last line of the dump is a comment, and without it no dump is believed.
    plan.args.push("--comments".to_owned());
    plan.args.extend(ignored.iter().map(|table| format!("--ignore-table={database}.{table}")));
    Ok(plan)
}

/// Warns of columns whose very definition the server does not tell.
fn unreadable(server: &Server, known: &Known, database: &str) -> Result<Option<String>> {
    let name = quoted_text(database);
    // Members are shown in a character set of three bytes.
    let question = format!(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = {name} \
         AND BINARY table_schema = {name} AND data_type IN ('enum', 'set') AND column_type LIKE '%?%'"
    );
    let rows = server.ask(&known.client, &question)?;
    let columns: Vec<String> = rows.iter().map(|row| format!("`{}`", row.join("`.`"))).collect();
    Ok((!columns.is_empty()).then(|| {
        format!(
            "`{database}`: members of the ENUM or SET {} have a `?`: where that stands for a character outside of the \
             Basic Multilingual Plane, which the server does not show, their rows come back without a value",
            shortened(&columns)
        )
    }))
}

/// Some names, and how many more there are.
fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

impl Plan {
    /// Tables with system versioning have rows that only a dump program of today asks for.
    fn keep_history(&mut self, known: &Known, spec: &MysqlSpec, tables: &[String]) {
        if tables.is_empty() || says(&spec.extra_keys, &["--dump-history", "--as-of"]) {
            return;
        }
        let knows = |version: &Version| version.flavour == Flavour::Mariadb && version.numbers >= (10, 11, 0);
        if knows(&known.version) && knows(&known.dump.version) {
            self.args.push("--dump-history".to_owned());
        } else {
            self.warnings.push(format!(
                "`{}`: of {} only the rows of today are saved, not their history: that takes MariaDB 10.11 and its dump program",
                self.database,
                shortened(tables)
            ));
        }
    }

    /// What goes before the user's own keys. `others` are the tables without transactions.
    fn decide(&mut self, known: &Known, spec: &MysqlSpec, others: &[String]) {
        let says = |names: &[&str]| says(&spec.extra_keys, names);
        let mut add = |arg: &str| self.args.push(arg.to_owned());
        add("--default-character-set=utf8mb4");
        add("--max-allowed-packet=1G");
        add("--routines");
        add("--events");
        add("--triggers");
        if known.dump.version.flavour == Flavour::Mysql {
            // Tablespaces cannot be restored elsewhere, and reading them needs a right that nothing else does.
            add("--no-tablespaces");
        }
        let tables = shortened(others);
        let database = &self.database;
        if says(&LOCKING) {
            if says(&["--single-transaction"]) && !others.is_empty() {
                let text = format!(
                    "`{database}`: `--single-transaction` does not cover {tables}: what changes there meanwhile may \
                     be saved half"
                );
                self.warnings.push(text);
            }
        } else if others.is_empty() {
            self.args.push("--single-transaction".to_owned());
            self.info.push(format!(
                "`{database}` is dumped in one transaction, without locks: all its tables are InnoDB"
            ));
        } else {
            self.info
                .push(format!("`{database}` is locked for writing while it is dumped, because of {tables}"));
        }
    }

    fn tool(&self, server: &Server, known: &Known, more: &[&str]) -> Result<Tool> {
        let tool = server.tool(&known.dump)?.args(&self.args).args(more);
        // The name of a database may look like a key.
        Ok(tool.arg("--").arg(&self.database))
    }

    /// Reads every definition, and no data.
    pub(super) fn rehearse(&self, server: &Server, known: &Known) -> Result<()> {
        let tool = self.tool(server, known, &["--no-data", "--result-file=/dev/null"])?;
        let cancel = Cancel::new();
        tool.output(64 << 10, &cancel).map(drop).map_err(|e| server.judged(e))
    }

    pub(super) fn run(
        self,
        server: &Server,
        known: &Known,
        sink: &mut dyn Sink,
        cancel: &Cancel,
    ) -> Result<DumpReport> {
        let tool = self.tool(server, known, &[])?;
        let dumped = stream::pump(self.head.as_bytes(), tool, sink, cancel).map_err(|e| server.judged(e))?;
        dumped.ends_with_line(END_MARKER)?;
        let mut report = dumped.report(&known.dump.version.text, END_MARKER);
        report.info = self.info;
        report.warnings.extend(self.warnings);
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_lead_the_dump_elsewhere_or_show_a_password_are_refused() {
        let check = |key: &str| check_extra_keys(&[key.to_owned()]);
        for key in [
            "--result-file=/tmp/x",
            "-r/tmp/x",
            "-T",
            "--tab=/x",
            "-A",
            "--all-databases",
            "-psecret",
            "--password=x",
        ] {
            let error = check(key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{key}");
            assert!(!error.to_string().contains("secret"), "{error:?}");
        }
        for key in ["--routines", "--hex-blob", "--opt", "-v", "--protocol=tcp", "--replace", "-q"] {
            check(key).unwrap();
        }
    }
}
