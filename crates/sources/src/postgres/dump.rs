//! One database through `pg_dump`: its arguments, what of it the user may not read, and the dump itself.

use nxs_base::ports::source::{Cancel, DumpReport, Sink};
use nxs_base::spec::{PgFormat, PostgresSource as PostgresSpec};
use nxs_base::{Error, ErrorKind, Result};

use super::custom::CustomFormat;
use super::defaults::Defaults;
use super::keys::Key;
use super::properties::Properties;
use super::server::{Server, database_arg, quoted_name};
use super::{Known, trailer};
use crate::databases;
use crate::stream;

/// How many tables are named in a message.
const SHOWN: usize = 5;

/// A table, a partition or a sequence.
struct Relation {
    id: String,
    /// The table that it is a partition of; empty for others.
    parent: String,
    schema: String,
    name: String,
    is_readable: bool,
}

/// How one database is dumped.
#[derive(Debug)]
pub(super) struct Plan {
    database: String,
    /// What the program does not tell.
    head: String,
    format: PgFormat,
    args: Vec<String>,
    info: Vec<String>,
    warnings: Vec<String>,
}

/// Looks at the tables of a database and decides how it is dumped. [`ErrorKind::Denied`] if the user may not read some
/// that are to be saved.
pub(super) fn plan(
    server: &Server,
    known: &Known,
    spec: &PostgresSpec,
    keys: &[Key],
    database: &str,
) -> Result<Plan> {
    let Some(defaults) = Defaults::ask(server, &known.client, &known.version, database)? else {
        let text = format!("there is no database `{}` at {}", database.escape_debug(), server.place());
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    let relations = relations(server, known, database)?;
    let left_out = left_out(&relations, &spec.databases.excludes, database);
    let selects = |key: &Key| {
        let longs =
            ["--schema", "--exclude-schema", "--table", "--exclude-table", "--schema-only", "--filter"];
        "nNtTs".chars().any(|short| key.is(short, "")) || longs.iter().any(|long| key.is('\0', long))
    };
    if !keys.iter().any(selects) {
        let unreadable: Vec<String> = relations
            .iter()
            .filter(|relation| !relation.is_readable && !left_out.contains(&relation.id.as_str()))
            .map(|relation| format!("`{}.{}`", relation.schema, relation.name))
            .collect();
        if !unreadable.is_empty() {
            let shown = unreadable[..unreadable.len().min(SHOWN)].join(", ");
            let more = unreadable.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let text = format!("`{}`: permission denied for {shown}{more}", database.escape_debug());
            return Err(Error::new(ErrorKind::Denied, text)
                .with_hint("The user lacks a right: docs/databases.md lists those that are needed."));
        }
    }
    let mut plan = Plan {
        database: database.to_owned(),
        head: String::new(),
        format: spec.format,
        args: keys.iter().flat_map(Key::args).collect(),
        info: Vec::new(),
        warnings: Vec::new(),
    };
    // An archive has it itself.
    if spec.format == PgFormat::Plain {
        plan.head = defaults.line(database);
    }
    if !plan.head.is_empty() {
        let properties = Properties::ask(server, &known.client, database)?;
        let (lines, left_out) = properties.lines(database);
        plan.head.push_str(&lines);
        if left_out > 0 {
            let text = format!(
                "`{database}`: {left_out} settings, rights or its comment hold line breaks, and are not saved"
            );
            plan.warnings.push(text);
        }
    }
    plan.args.extend(match spec.format {
        PgFormat::Plain => vec!["--format=plain".to_owned()],
        // The stream is compressed as all others are.
        PgFormat::Custom => vec!["--format=custom".to_owned(), "--compress=0".to_owned()],
    });
    if keys.iter().any(|key| key.is('\0', "--enable-row-security")) {
        let text =
            format!("`{database}`: only the rows that the user may see are saved (`--enable-row-security`)");
        plan.warnings.push(text);
    }
    for relation in relations.iter().filter(|relation| left_out.contains(&relation.id.as_str())) {
        plan.args.push(format!(
            "--exclude-table={}.{}",
            quoted_name(&relation.schema),
            quoted_name(&relation.name)
        ));
    }
    if !left_out.is_empty() {
        plan.info.push(format!("`{database}`: {} tables are left out by `excludes`", left_out.len()));
    }
    Ok(plan)
}

fn relations(server: &Server, known: &Known, database: &str) -> Result<Vec<Relation>> {
    // What belongs to an extension is not dumped, but for the tables that the extension names as configuration.
    let partition = if known.version.major.is_from(10) { "c.relispartition" } else { "false" };
    let question = format!(
        "SELECT c.oid, CASE WHEN {partition} THEN i.inhparent::text ELSE '' END, n.nspname, c.relname, \
         c.relkind IN ('m', 'f') OR (has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
         WHERE c.relkind IN ('r', 'p', 'S', 'm', 'f') AND c.relpersistence <> 't' \
         AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
         AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
         AND d.deptype = 'e') ORDER BY c.oid"
    );
    let rows = server.ask(&known.client, database, 5, &question)?;
    let mut relations: Vec<Relation> = rows
        .into_iter()
        .filter_map(|row| <[String; 5]>::try_from(row).ok())
        .map(|[id, parent, schema, name, readable]| Relation {
            id,
            parent,
            schema,
            name,
            is_readable: readable == "t",
        })
        .collect();
    // A table that inherits from several comes once for each.
    relations.dedup_by(|later, first| later.id == first.id);
    Ok(relations)
}

/// The ids of those that are left out: by name, and the partitions of those.
fn left_out<'a>(relations: &'a [Relation], excludes: &[String], database: &str) -> Vec<&'a str> {
    let mut out: Vec<&str> = relations
        .iter()
        .filter(|r| databases::is_schema_table_left_out(excludes, database, &r.schema, &r.name))
        .map(|r| r.id.as_str())
        .collect();
    loop {
        let more: Vec<&str> = relations
            .iter()
            .filter(|r| out.contains(&r.parent.as_str()) && !out.contains(&r.id.as_str()))
            .map(|r| r.id.as_str())
            .collect();
        if more.is_empty() {
            return out;
        }
        out.extend(more);
    }
}

impl Plan {
    pub(super) fn run(
        self,
        server: &Server,
        known: &Known,
        sink: &mut dyn Sink,
        cancel: &Cancel,
    ) -> Result<DumpReport> {
        // After the user's own keys: what says where the dump goes is ours.
        let tool = server.tool(&known.dump)?.args(&self.args).arg(database_arg(&self.database));
        let mut report = match self.format {
            PgFormat::Plain => {
                let dumped =
                    stream::pump(self.head.as_bytes(), tool, sink, cancel).map_err(|e| server.judged(e))?;
                trailer::check(&dumped, trailer::DATABASE)?;
                dumped.report(&known.dump.text, trailer::DATABASE)
            }
            PgFormat::Custom => {
                let mut format = CustomFormat::default();
                let dumped = stream::pump_judged(b"", tool, sink, cancel, &mut |bytes| format.push(bytes))
                    .map_err(|e| server.judged(e))?;
                format.finish(&dumped.ended.name)?;
                dumped.unmarked_report(&known.dump.text)
            }
        };
        report.info = self.info;
        report.warnings.extend(self.warnings);
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_table_its_partitions_of_every_depth_are_left_out() {
        let relation = |id: &str, parent: &str, name: &str| Relation {
            id: id.into(),
            parent: parent.into(),
            schema: "public".into(),
            name: name.into(),
            is_readable: true,
        };
        let all = [
            relation("1", "", "log"),
            relation("2", "1", "log_2025"),
            relation("3", "2", "x"),
            relation("4", "", "shop"),
        ];
        assert_eq!(left_out(&all, &["db.log".into()], "db"), ["1", "2", "3"]);
        assert_eq!(left_out(&all, &["db.public.log_2025".into()], "db"), ["2", "3"]);
        assert_eq!(left_out(&all, &["other.*".into()], "db"), Vec::<&str>::new());
    }
}
