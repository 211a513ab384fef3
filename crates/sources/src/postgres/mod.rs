//! PostgreSQL: single databases by `pg_dump`, roles and tablespaces beside them where all databases were asked for, and
//! the whole server by `pg_basebackup`.
//!
//! `server` reaches a server, `program` knows the client programs, `keys` reads the user's own keys, `dump` dumps a
//! database and `globals` what belongs to none, `trailer` and `custom` tell a whole dump from a cut one, `defaults` is how
//! a database was made and `properties` what else it has, `receive` is the way back; `basebackup` is the other type, with `tarball` for its end. Which
//! databases are meant is decided in [`crate::databases`].

pub mod basebackup;
mod custom;
mod defaults;
mod dump;
mod globals;
mod keys;
mod program;
mod properties;
mod receive;
mod server;
mod tarball;
mod trailer;

use std::cell::OnceCell;

use nxs_base::naming;
use nxs_base::ports::source::{Cancel, DumpReport, Receiver, Sink, Source, Target};
use nxs_base::spec::{PgFormat, PostgresSource as PostgresSpec};
use nxs_base::{Error, ErrorKind, Result};

use crate::databases;
use crate::registry::{Destination, Surroundings};
use keys::Key;
use program::{Program, Version};
use server::Server;

/// The target with roles and tablespaces.
const GLOBALS: &str = "@globals";
const PLAIN: &str = "pgdump.sql";
const CUSTOM: &str = "pgdump.custom";

/// Dumps the databases of one server.
#[derive(Debug)]
pub struct PostgresSource {
    spec: PostgresSpec,
    keys: Vec<Key>,
    /// Place in `sources`, from 0.
    index: usize,
    server: Server,
    known: OnceCell<Known>,
}

/// What does not change during a run.
#[derive(Debug, Clone)]
struct Known {
    client: Program,
    dump: Program,
    version: Version,
}

impl PostgresSource {
    /// Asks nobody anything.
    pub fn new(spec: PostgresSpec, index: usize, around: Surroundings) -> Result<Self> {
        let mut keys = keys::parse(&spec.extra_keys, &keys::DUMP)?;
        keys::check(&keys, &keys::DUMP)?;
        // Nobody looks on.
        keys.retain(|key| !key.is('v', "--verbose"));
        let server = Server::new(spec.connect.clone(), around);
        Ok(Self { spec, keys, index, server, known: OnceCell::new() })
    }

    /// Where its dumps can be put back.
    pub fn receiver(
        spec: &PostgresSpec,
        to: &Destination,
        around: Surroundings,
    ) -> Result<Box<dyn Receiver>> {
        receive::open(spec, to, around)
    }

    fn known(&self) -> Result<&Known> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let client = Program::any("psql")?;
        let version = self.server.version(&client)?;
        let dump = Program::fitting("pg_dump", &version)?;
        Ok(self.known.get_or_init(|| Known { client, dump, version }))
    }

    fn target(&self, database: &str) -> Target {
        let extension = if self.spec.format == PgFormat::Custom { CUSTOM } else { PLAIN };
        self.named(naming::database_target(self.index, database), database, extension)
    }

    fn named(&self, name: naming::TargetName, root: &str, extension: &str) -> Target {
        Target {
            name: root.to_owned(),
            part: name.part,
            file_stem: name.stem,
            extension: extension.to_owned(),
            root: root.to_owned(),
        }
    }
}

impl Source for PostgresSource {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        let known = self.known()?;
        let question = "SELECT datname, datistemplate FROM pg_database WHERE datallowconn ORDER BY datname";
        let rows = self.server.ask_common(&known.client, "", 2, question)?;
        let is_template = |row: &&Vec<String>| row.get(1).is_some_and(|field| field == "t");
        let name = |row: &Vec<String>| row.first().cloned().unwrap_or_default();
        let existing: Vec<String> = rows.iter().map(name).collect();
        let templates: Vec<String> = rows.iter().filter(is_template).map(name).collect();
        let templates: Vec<&str> = templates.iter().map(String::as_str).collect();
        let chosen = databases::choose(&self.spec.databases, &existing, &templates);
        let mut targets: Vec<Result<Target>> =
            chosen.into_iter().map(|name| name.map(|name| self.target(&name))).collect();
        if databases::is_all(&self.spec.databases) {
            targets.push(if targets.iter().flatten().any(|target| target.root == GLOBALS) {
                let text =
                    format!("roles and tablespaces are not saved: a database has their name, `{GLOBALS}`");
                Err(Error::new(ErrorKind::Exists, text))
            } else {
                Ok(self.named(naming::server_target(self.index, GLOBALS), GLOBALS, PLAIN))
            });
        }
        Ok(targets)
    }

    fn named_targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(databases::named(&self.spec.databases).iter().map(|name| Ok(self.target(name))).collect())
    }

    /// The server answers, the programs fit, and the user may read all that is to be saved.
    fn probe(&self, target: &Target) -> Result<()> {
        let known = self.known()?;
        if target.root == GLOBALS {
            return globals::probe(&self.server, known);
        }
        dump::plan(&self.server, known, &self.spec, &self.keys, &target.root).map(drop)
    }

    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let known = self.known()?;
        if target.root == GLOBALS {
            return globals::dump(&self.server, known, sink, cancel);
        }
        let plan = dump::plan(&self.server, known, &self.spec, &self.keys, &target.root)?;
        plan.run(&self.server, known, sink, cancel)
    }
}
