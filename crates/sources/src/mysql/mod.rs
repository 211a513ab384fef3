//! MySQL and MariaDB, by their own dump program: each database is one artefact, users and grants one more where all
//! databases were asked for.
//!
//! `server` reaches a server, `program` knows the client programs, `dump` runs the dump, `users` writes the accounts,
//! `replica` holds replication still, `rights` knows what a
//! user may not see, `receive` is the way back. Which databases are meant is decided in
//! [`crate::databases`].

mod defaults;
mod dump;
pub(crate) mod program;
mod receive;
pub(crate) mod replica;
mod rights;
pub(crate) mod server;
mod users;

use std::cell::OnceCell;

use nxs_base::naming;
use nxs_base::ports::source::{Cancel, DumpReport, NoSnapshot, Receiver, Sink, Snapshot, Source, Target};
use nxs_base::spec::MysqlSource as MysqlSpec;
use nxs_base::{Error, ErrorKind, Result};

use crate::databases;
use crate::registry::{Destination, Surroundings};
use program::{Program, Version};
use replica::Marker;
use server::Server;

/// The last line of a whole dump starts with it.
const END_MARKER: &str = "-- Dump completed";
/// What only its own name brings in: these are the server's, and restoring them over another server breaks it.
const SYSTEM: [&str; 5] = ["information_schema", "performance_schema", "mysql", "sys", "#mysql50#lost+found"];
/// The target with users, roles and grants.
const USERS: &str = "@users";

/// Dumps the databases of one server.
#[derive(Debug)]
pub struct MysqlSource {
    spec: MysqlSpec,
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

impl MysqlSource {
    /// Asks nobody anything.
    pub fn new(spec: MysqlSpec, index: usize, around: Surroundings) -> Result<Self> {
        dump::check_extra_keys(&spec.extra_keys)?;
        let server = Server::new(spec.connect.clone(), around);
        Ok(Self { spec, index, server, known: OnceCell::new() })
    }

    /// Where its dumps can be put back.
    pub fn receiver(spec: &MysqlSpec, to: &Destination, around: Surroundings) -> Result<Box<dyn Receiver>> {
        receive::open(spec, to, around)
    }

    fn known(&self) -> Result<&Known> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let client = Program::client()?;
        self.server.check_encrypted(&client)?;
        let version = self.server.version(&client)?;
        let dump = Program::dump(version.flavour)?;
        dump.check_fits(&version)?;
        Ok(self.known.get_or_init(|| Known { client, dump, version }))
    }

    fn databases(&self) -> Result<Vec<String>> {
        let rows = self.server.ask(&self.known()?.client, "SHOW DATABASES")?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next()).collect())
    }

    fn target(&self, database: &str) -> Target {
        let name = naming::database_target(self.index, database);
        self.named(name, database)
    }

    fn named(&self, name: naming::TargetName, root: &str) -> Target {
        Target {
            name: root.to_owned(),
            part: name.part,
            file_stem: name.stem,
            extension: "sql".to_owned(),
            root: root.to_owned(),
        }
    }

    fn marker(&self) -> Marker {
        Marker::new(&self.server)
    }
}

impl Source for MysqlSource {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        let existing = self.databases()?;
        let chosen = databases::choose(&self.spec.databases, &existing, &SYSTEM);
        let mut targets: Vec<Result<Target>> =
            chosen.into_iter().map(|name| name.map(|name| self.target(&name))).collect();
        if databases::is_all(&self.spec.databases) {
            targets.push(if targets.iter().flatten().any(|target| target.root == USERS) {
                let text = format!("users and grants are not saved: a database has their name, `{USERS}`");
                Err(Error::new(ErrorKind::Exists, text))
            } else {
                Ok(self.named(naming::server_target(self.index, USERS), USERS))
            });
        }
        Ok(targets)
    }

    fn named_targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(databases::named(&self.spec.databases).iter().map(|name| Ok(self.target(name))).collect())
    }

    fn recover(&self) -> Result<Option<String>> {
        if self.spec.is_slave { self.marker().recover(&self.server) } else { Ok(None) }
    }

    fn snapshot(&self, cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        cancel.check()?;
        if self.spec.is_slave {
            replica::stop(&self.server, &self.known()?.client, self.marker())
        } else {
            Ok(Box::new(NoSnapshot))
        }
    }

    /// The server answers, the programs fit, and the dump program can read the definitions of all that is to be saved.
    fn probe(&self, target: &Target) -> Result<()> {
        let known = self.known()?;
        if target.root == USERS {
            return users::accounts(&self.server, known).map(drop);
        }
        dump::plan(&self.server, known, &self.spec, &target.root)?.rehearse(&self.server, known)
    }

    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let known = self.known()?;
        if target.root == USERS {
            return users::dump(&self.server, known, sink, cancel);
        }
        dump::plan(&self.server, known, &self.spec, &target.root)?.run(&self.server, known, sink, cancel)
    }
}
