//! MongoDB, through its driver: collections as archives of `mongodump`, read raw, byte for byte as the server has them.
//!
//! One moment for the whole run: where the server is part of a replica set, every collection is read with the read concern
//! `snapshot` at one cluster time. Chosen over an oplog to be replayed because archives of single collections then fit
//! each other, and need no replay. The server keeps that past for a while only
//! (`minSnapshotHistoryWindowInSeconds`, 5 minutes unless changed): a run that outlasts it takes a later moment for the
//! next archive and says so; a collection that outlasts it by itself fails, loudly.
//!
//! `server` reaches a server, `collections` knows what a database holds, `dump` reads, `tool` lets `mongodump` read,
//! `judged` takes apart what passes, `receive` is the way back, `arguments` understands what `mongodump` was once told.

mod arguments;
mod collections;
mod dump;
mod extjson;
mod judged;
mod receive;
mod server;
mod tool;

use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mongodb::bson::{Timestamp, doc};
use nxs_base::naming;
use nxs_base::ports::source::{Cancel, DumpReport, NoSnapshot, Receiver, Sink, Snapshot, Source, Target};
use nxs_base::spec::{ArchiveOf, MongodbSource as MongodbSpec};
use nxs_base::{Error, ErrorKind, Result};

use crate::databases::{self, is_all};
use crate::registry::{Destination, Surroundings};
use collections::{Item, USERS};
use server::{Server, Session};

/// What only its own name brings in: the server's own.
const SYSTEM: [&str; 2] = ["config", "local"];
/// Collections that are read at once unless it is said how many.
const JOBS: usize = 4;
/// How long servers keep the past unless told otherwise, and what is left of that when a moment is given up.
const HISTORY: Duration = Duration::from_secs(300);
const HISTORY_RESERVE: Duration = Duration::from_secs(60);

/// Dumps the collections of one server.
#[derive(Debug)]
pub struct MongodbSource {
    spec: MongodbSpec,
    /// Place in `sources`, from 0.
    index: usize,
    server: Server,
    session: OnceCell<Session>,
    moment: Cell<Option<Moment>>,
}

/// As of when is read, and until when the server can do that.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Timestamp,
    ends: Instant,
}

impl MongodbSource {
    /// Asks nobody anything. [`ErrorKind::Invalid`] for arguments that cannot be used.
    pub fn new(spec: MongodbSpec, index: usize, around: Surroundings) -> Result<Self> {
        let spec = arguments::take(spec)?;
        let server = Server { connect: spec.connect.clone(), around };
        Ok(Self { spec, index, server, session: OnceCell::new(), moment: Cell::new(None) })
    }

    /// Where its dumps can be put back.
    pub fn receiver(spec: &MongodbSpec, to: &Destination, around: Surroundings) -> Result<Box<dyn Receiver>> {
        receive::open(spec, to, around)
    }

    fn session(&self, cancel: &Cancel) -> Result<&Session> {
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let session = self.server.open(cancel)?;
        Ok(self.session.get_or_init(|| session))
    }

    fn target(&self, db: &str, collection: Option<&str>) -> Target {
        let (name, root) = match collection {
            Some(collection) => {
                (naming::collection_target(self.index, db, collection), format!("{db}.{collection}"))
            }
            None => (naming::database_target(self.index, db), db.to_owned()),
        };
        Target {
            name: root.clone(),
            part: name.part,
            file_stem: name.stem,
            extension: "mongodump".to_owned(),
            root,
        }
    }

    /// What the archive of a target holds, and what its database holds beside that.
    fn items(&self, target: &Target, cancel: &Cancel) -> Result<(Vec<Item>, Vec<Item>)> {
        let (db, collection) = match target.root.split_once('.') {
            Some((db, collection)) => (db, Some(collection)),
            None => (target.root.as_str(), None),
        };
        let all = collections::all(self.session(cancel)?, cancel, db)?;
        let (items, others): (Vec<Item>, Vec<Item>) = match collection {
            Some(name) if db == "admin" && name == USERS[0] => {
                all.into_iter().partition(|item| USERS.contains(&item.name.as_str()))
            }
            Some(name) => all.into_iter().partition(|item| item.name == name),
            None => {
                let chosen = collections::chosen(all.clone(), &self.spec.collections);
                let others = all.into_iter().filter(|item| !chosen.contains(item)).collect();
                (chosen, others)
            }
        };
        if items.is_empty() {
            let text = format!("`{}` is not on the server any more", target.root.escape_debug());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        Ok((items, others))
    }

    /// The moment to read as of, a new one where the old one is about to be forgotten; with what is to be said of that.
    fn moment(&self, session: &Session, cancel: &Cancel) -> Result<(Option<Timestamp>, Option<String>)> {
        match self.moment.get() {
            Some(moment) if moment.ends <= Instant::now() => {
                self.take_moment(session, cancel)?;
                let warning = "the server has forgotten the moment that the run began with: what comes from here \
                               on is as of a later one";
                Ok((self.moment.get().map(|moment| moment.at), Some(warning.to_owned())))
            }
            moment => Ok((moment.map(|moment| moment.at), None)),
        }
    }

    fn take_moment(&self, session: &Session, cancel: &Cancel) -> Result<()> {
        let taken = Instant::now();
        let Some(at) = session.moment(cancel)? else { return Ok(()) };
        let asked = doc! { "getParameter": 1, "minSnapshotHistoryWindowInSeconds": 1 };
        // Who may not ask gets the default.
        let answer = session.command(cancel, "ask for the history of", "admin", asked).ok();
        let seconds = answer.and_then(|answer| {
            let value = answer.get("minSnapshotHistoryWindowInSeconds")?;
            value
                .as_i64()
                .or_else(|| value.as_i32().map(i64::from))
                .or_else(|| value.as_f64().map(|n| n as i64))
        });
        let kept = seconds.and_then(|n| u64::try_from(n).ok()).map_or(HISTORY, Duration::from_secs);
        let reserve = HISTORY_RESERVE.min(kept / 5);
        self.moment.set(Some(Moment { at, ends: taken + (kept - reserve) }));
        Ok(())
    }
}

impl Source for MongodbSource {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        let cancel = Cancel::new();
        let session = self.session(&cancel)?;
        let existing = session.databases(&cancel)?;
        let databases = databases::choose(&self.spec.databases, &existing, &SYSTEM);
        let (mut targets, mut found) = (Vec::new(), BTreeSet::new());
        let mut users = None;
        for db in databases {
            let db = match db {
                Ok(db) => db,
                Err(error) => {
                    targets.push(Err(error));
                    continue;
                }
            };
            let all = collections::all(session, &cancel, &db)?;
            if db == "admin" && is_all(&self.spec.databases) && all.iter().any(|item| item.name == USERS[0]) {
                users = Some(Ok(self.target("admin", Some(USERS[0]))));
            }
            let chosen = collections::chosen(all, &self.spec.collections);
            found.extend(chosen.iter().map(|item| item.name.clone()));
            match self.spec.archive_of {
                ArchiveOf::Database if chosen.is_empty() => {}
                ArchiveOf::Database => targets.push(Ok(self.target(&db, None))),
                ArchiveOf::Collection => {
                    targets.extend(chosen.iter().map(|item| Ok(self.target(&db, Some(&item.name)))));
                }
            }
            if chosen.is_empty() && self.spec.databases.targets.contains(&db) {
                let text = format!(
                    "nothing of `{}` is left to save: no collection is both meant and there",
                    db.escape_debug()
                );
                targets.push(Err(Error::new(ErrorKind::NotFound, text)));
            }
        }
        targets.extend(collections::missing(&self.spec.collections, &found).into_iter().map(Err));
        if found.is_empty() && !targets.iter().any(Result::is_err) {
            let text = "no collection is left to save: none is both meant and there";
            targets.push(Err(Error::new(ErrorKind::NotFound, text)));
        }
        targets.extend(users);
        Ok(targets)
    }

    fn named_targets(&self) -> Result<Vec<Result<Target>>> {
        let databases = databases::named(&self.spec.databases);
        Ok(match self.spec.archive_of {
            ArchiveOf::Database => databases.iter().map(|db| Ok(self.target(db, None))).collect(),
            ArchiveOf::Collection => {
                let names = databases::named(&self.spec.collections);
                let of_database = |db: &String| {
                    names.iter().map(|name| Ok(self.target(db, Some(name)))).collect::<Vec<_>>()
                };
                databases.iter().flat_map(of_database).collect()
            }
        })
    }

    fn snapshot(&self, cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        if self.spec.snapshot && !self.spec.by_tool {
            self.take_moment(self.session(cancel)?, cancel)?;
        }
        Ok(Box::new(NoSnapshot))
    }

    /// The server answers, lets us in, and lets us read the first collection and the indexes of all.
    fn probe(&self, target: &Target) -> Result<()> {
        let cancel = Cancel::new();
        if self.spec.by_tool {
            tool::program()?;
        }
        let (items, _) = self.items(target, &cancel)?;
        let session = self.session(&cancel)?;
        for item in &items {
            item.described(session, &cancel)?;
        }
        if let Some(item) = items.iter().find(|item| !item.is_view()) {
            let find = doc! { "find": &item.name, "limit": 1, "singleBatch": true };
            session.list(&cancel, &format!("read {} of", item.shown()), &item.db, find)?;
        }
        Ok(())
    }

    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let (items, others) = self.items(target, cancel)?;
        if self.spec.by_tool {
            return tool::run((&self.server, &self.spec), &items, &others, sink, cancel);
        }
        let session = self.session(cancel)?;
        let (at, warning) = self.moment(session, cancel)?;
        let jobs = if self.spec.jobs == 0 { JOBS } else { self.spec.jobs as usize };
        let mut report = dump::run(session, items, at, jobs, sink, cancel)?;
        report.warnings.extend(warning);
        Ok(report)
    }
}
