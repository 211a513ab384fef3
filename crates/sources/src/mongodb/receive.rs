//! The way back: an archive, or the bare documents that version 2 stored, into the collections of a server. Each is
//! created with its options, filled with the raw documents, and gets its indexes last.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read;

use mongodb::bson::raw::cstr;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};
use nxs_archive::mongodump::{
    Collection, Event, MAGIC, Parser, Prelude, RawParser, keeps_series_as_they_are,
};
use nxs_base::naming;
use nxs_base::ports::source::{Cancel, Receiver};
use nxs_base::secret::SecretRef;
use nxs_base::spec::{Connect, MongodbSource as MongodbSpec};
use nxs_base::{Error, ErrorKind, Result};

use super::collections::{self, USERS};
use super::server::{self, Server, Session};
use super::{arguments, extjson};
use crate::dsn::Dsn;
use crate::registry::{Destination, Surroundings};
use crate::stream::read_block;

/// Variable with the password for `--into`; without it that of the job is taken.
const PASSWORD: &str = "NXS_RESTORE_PASSWORD";
const BLOCK_BYTES: usize = 256 << 10;
/// What one command carries at most, unless a single document is larger.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_DOCUMENTS: usize = 10_000;

struct Place {
    server: Server,
    /// Of what was saved.
    from: (String, Option<String>),
    /// Where it goes.
    db: String,
    collection: Option<String>,
    may_replace: bool,
    /// What an attempt before this one created: that may go as well.
    made: RefCell<BTreeSet<String>>,
}

/// Database and collection of `db.collection`, of a part (`db/collection`, escaped: all that is known of a backup of
/// version 2), or of `db` alone. A database's name has neither sign.
fn split(name: &str) -> (String, Option<String>) {
    let plain = |part: &str| String::from_utf8_lossy(&naming::unescape_component(part)).into_owned();
    match name.find(['.', '/']).map(|at| (&name[..at], &name[at..=at], &name[at + 1..])) {
        None => (name.to_owned(), None),
        Some((db, "/", collection)) => (plain(db), Some(plain(collection))),
        Some((db, _, collection)) => (db.to_owned(), Some(collection.to_owned())),
    }
}

/// Asks nobody anything yet.
pub(super) fn open(spec: &MongodbSpec, to: &Destination, around: Surroundings) -> Result<Box<dyn Receiver>> {
    let from = split(&to.root);
    if from.0 == "admin" && from.1.as_deref().is_some_and(|name| name.starts_with("system.")) {
        let text = format!("`{}` is not put back as a collection", to.root);
        return Err(Error::new(ErrorKind::Invalid, text).with_hint(format!(
            "Feed `mongorestore --archive` with --stdout; it knows {}.",
            USERS.join(", ")
        )));
    }
    let spec = arguments::take(MongodbSpec { by_tool: false, ..spec.clone() })
        .or_else(|_| arguments::take(MongodbSpec { extra_keys: Vec::new(), ..spec.clone() }))?;
    let mut server = Server { connect: spec.connect, around };
    let mut name = to.name.clone();
    if let Some(dsn) = &to.dsn {
        let dsn = Dsn::parse(dsn, &["mongodb"])?;
        name = name.or(dsn.database);
        let given = SecretRef::Env(PASSWORD.to_owned());
        let has_password = (server.around.resolve)(&given).is_ok();
        let of_job = server.connect;
        server.connect = Connect {
            host: dsn.host,
            port: dsn.port,
            user: dsn.user.or(of_job.user),
            password: if has_password { Some(given) } else { of_job.password },
            auth_db: of_job.auth_db,
            tls: of_job.tls,
            ..Connect::default()
        };
    }
    let (db, collection) = match name.as_deref().map(split) {
        None => from.clone(),
        Some((db, None)) => (db, from.1.clone()),
        Some((db, collection)) if from.1.is_some() => (db, collection),
        Some(_) => {
            let text = format!(
                "the backup is one of a whole database and does not go into `{}`",
                name.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Invalid, text).with_hint("Name a database, without a dot."));
        }
    };
    if db.is_empty()
        || collection.as_deref().is_some_and(|name| name.is_empty() || name.starts_with("system."))
    {
        return Err(Error::new(ErrorKind::Invalid, "a dump cannot be put there")
            .with_hint("Name another collection."));
    }
    let may_replace = to.may_replace;
    let made = RefCell::default();
    Ok(Box::new(Place { server, from, db, collection, may_replace, made }))
}

impl Place {
    fn shown(&self) -> String {
        match &self.collection {
            Some(collection) => format!("`{}.{}`", self.db.escape_debug(), collection.escape_debug()),
            None => format!("`{}`", self.db.escape_debug()),
        }
    }

    /// [`ErrorKind::Exists`] if one of these is there, is not empty, and may not go. None: any of the database.
    fn check_free(&self, session: &Session, names: Option<&BTreeSet<String>>, cancel: &Cancel) -> Result<()> {
        if self.may_replace {
            return Ok(());
        }
        for item in collections::all(session, cancel, &self.db)? {
            if names.is_some_and(|names| !names.contains(&item.name))
                || self.made.borrow().contains(&item.name)
            {
                continue;
            }
            let is_empty = !item.is_view() && {
                let find = doc! { "find": &item.name, "limit": 1, "singleBatch": true };
                session.list(cancel, &format!("look into {} of", item.shown()), &self.db, find)?.is_empty()
            };
            if !is_empty {
                let text = format!("{} of {} is not empty", item.shown(), session.place);
                return Err(Error::new(ErrorKind::Exists, text)
                    .with_hint("Name another place with --as, or let it go with --overwrite."));
            }
        }
        Ok(())
    }

    /// Where a collection of the archive goes.
    fn name_of(&self, collection: &Collection) -> Result<String> {
        if collection.db != self.from.0 || self.from.1.as_ref().is_some_and(|from| *from != collection.name) {
            let text = format!(
                "the archive holds `{}.{}`, which is not what was asked for",
                collection.db, collection.name
            );
            return Err(Error::new(ErrorKind::Corrupt, text)
                .with_hint("Feed `mongorestore --archive` with --stdout."));
        }
        Ok(self.collection.clone().unwrap_or_else(|| collection.name.clone()))
    }
}

impl Receiver for Place {
    fn place(&self) -> String {
        format!("{} of {}", self.shown(), self.server.place())
    }

    fn check(&self) -> Result<()> {
        let names = self.collection.clone().map(|name| BTreeSet::from([name]));
        // Where many are checked, none keeps its connection until its turn comes.
        let cancel = Cancel::new();
        self.check_free(&self.server.open(&cancel)?, names.as_ref(), &cancel)
    }

    fn receive(&self, plain: &mut dyn Read, cancel: &Cancel) -> Result<()> {
        let session = &self.server.open(cancel)?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut filled = read_block(plain, &mut block)?;
        let mut filling = Filling { place: self, session, cancel, collections: Vec::new() };
        if block[..filled].starts_with(&MAGIC) {
            let mut parser = Parser::default();
            while filled > 0 {
                cancel.check()?;
                parser.push(&block[..filled], &mut |event| match event {
                    Event::Prelude(prelude) => filling.begin(prelude),
                    Event::Document(place, document) => filling.document(place, document),
                    Event::End(place) => filling.end(place),
                })?;
                filled = read_block(plain, &mut block)?;
            }
            return parser.finish();
        }
        let Some(from) = self.from.1.clone() else {
            return Err(Error::new(ErrorKind::Corrupt, "this is no archive of `mongodump`"));
        };
        let collection = Collection { db: self.from.0.clone(), name: from, ..Collection::default() };
        filling.begin(&Prelude { collections: vec![collection], ..Prelude::default() })?;
        let mut parser = RawParser::default();
        while filled > 0 {
            cancel.check()?;
            parser.push(&block[..filled], &mut |document| filling.document(0, document))?;
            filled = read_block(plain, &mut block)?;
        }
        parser.finish()?;
        filling.end(0)
    }
}

/// The collections that are being filled.
struct Filling<'a> {
    place: &'a Place,
    session: &'a Session,
    cancel: &'a Cancel,
    collections: Vec<Filled>,
}

struct Filled {
    name: String,
    /// Where the documents go: elsewhere for a time series.
    data_name: String,
    needs_raw_key: bool,
    indexes: Vec<Bson>,
    batch: RawArrayBuf,
    batch_bytes: usize,
    batch_documents: usize,
}

impl Filling<'_> {
    fn begin(&mut self, prelude: &Prelude) -> Result<()> {
        let names: Result<BTreeSet<String>> =
            prelude.collections.iter().map(|collection| self.place.name_of(collection)).collect();
        self.place.check_free(self.session, Some(&names?), self.cancel)?;
        for collection in &prelude.collections {
            let metadata = match collection.metadata.as_str() {
                "" => Document::new(),
                text => extjson::decode(text)?,
            };
            let name = self.place.name_of(collection)?;
            self.create(&name, metadata.get_document("options").ok())?;
            let is_series = collection.kind == "timeseries";
            let needs_raw_key = is_series && keeps_series_as_they_are(&self.session.facts.version);
            self.collections.push(Filled {
                data_name: match is_series && !needs_raw_key {
                    true => format!("system.buckets.{name}"),
                    false => name.clone(),
                },
                name,
                needs_raw_key,
                indexes: metadata.get_array("indexes").cloned().unwrap_or_default(),
                batch: RawArrayBuf::new(),
                batch_bytes: 0,
                batch_documents: 0,
            });
        }
        Ok(())
    }

    /// Drops what is there, and creates it anew.
    fn create(&self, name: &str, options: Option<&Document>) -> Result<()> {
        let db = &self.place.db;
        let shown = format!("`{}.{}`", db.escape_debug(), name.escape_debug());
        let client = &self.session.client;
        let there = self.session.wait(self.cancel, collections::now(client, db, name))?;
        let there =
            there.map_err(|e| server::judged(&self.session.place, &format!("look for {shown} of"), &e))?;
        if there.is_some() {
            self.session.command(self.cancel, &format!("drop {shown} of"), db, doc! { "drop": name })?;
        }
        let mut command = doc! { "create": name };
        // Of servers before 4.0, and of no use any more.
        let options = options
            .into_iter()
            .flatten()
            .filter(|(key, _)| !matches!(key.as_str(), "autoIndexId" | "create"));
        command.extend(options.map(|(key, value)| (key.clone(), value.clone())));
        self.session.command(self.cancel, &format!("create {shown} of"), db, command)?;
        self.place.made.borrow_mut().insert(name.to_owned());
        Ok(())
    }

    fn document(&mut self, place: usize, document: &[u8]) -> Result<()> {
        let filled = &self.collections[place];
        let is_full =
            filled.batch_bytes + document.len() > BATCH_BYTES || filled.batch_documents == BATCH_DOCUMENTS;
        if is_full {
            self.flush(place)?;
        }
        let filled = &mut self.collections[place];
        let raw = RawDocument::from_bytes(document).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("a document of `{}` is broken", filled.name))
                .with_source(e)
        })?;
        filled.batch.push(raw);
        filled.batch_bytes += document.len();
        filled.batch_documents += 1;
        Ok(())
    }

    /// Inserts what has gathered.
    fn flush(&mut self, place: usize) -> Result<()> {
        let filled = &mut self.collections[place];
        let count = std::mem::take(&mut filled.batch_documents);
        if count == 0 {
            return Ok(());
        }
        filled.batch_bytes = 0;
        let mut command: RawDocumentBuf = rawdoc! { "insert": filled.data_name.as_str() };
        command.append(cstr!("documents"), std::mem::take(&mut filled.batch));
        command.append(cstr!("bypassDocumentValidation"), true);
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        if filled.needs_raw_key {
            command.append(cstr!("rawData"), true);
        }
        let what = format!("fill `{}.{}` of", self.place.db.escape_debug(), filled.name.escape_debug());
        let database = self.session.client.database(&self.place.db);
        let answer = database.run_raw_command(command).into_future();
        let answer = self.session.wait(self.cancel, answer)?;
        let answer = answer.map_err(|e| server::judged(&self.session.place, &what, &e))?;
        let first = answer
            .get_array("writeErrors")
            .ok()
            .and_then(|errors| errors.first()?.as_document()?.get_str("errmsg").ok());
        let unsafe_write =
            answer.get_document("writeConcernError").ok().and_then(|e| e.get_str("errmsg").ok());
        let inserted =
            answer.get("n").and_then(|n| n.as_i32().map(i64::from).or_else(|| n.as_i64())).unwrap_or(0);
        match first.or(unsafe_write) {
            None if inserted == count as i64 => Ok(()),
            why => {
                let why = why.unwrap_or("some documents did not get in");
                Err(Error::new(ErrorKind::Other, format!("cannot {what} {}: {why}", self.session.place)))
            }
        }
    }

    /// Inserts the rest and makes the indexes.
    fn end(&mut self, place: usize) -> Result<()> {
        self.flush(place)?;
        let filled = &mut self.collections[place];
        let of_itself = |index: &Document| {
            index.get_str("name").is_ok_and(|name| name == "_id_")
                || index.get_bool("clustered").unwrap_or(false)
        };
        let indexes: Vec<Bson> = std::mem::take(&mut filled.indexes)
            .into_iter()
            .filter_map(|index| match index {
                Bson::Document(mut index) if !of_itself(&index) => {
                    index.remove("ns");
                    Some(Bson::Document(index))
                }
                _ => None,
            })
            .collect();
        if indexes.is_empty() {
            return Ok(());
        }
        let what = format!("index `{}.{}` of", self.place.db.escape_debug(), filled.name.escape_debug());
        let command = doc! { "createIndexes": &filled.name, "indexes": indexes };
        self.session.long_command(self.cancel, &what, &self.place.db, command)
    }
}
