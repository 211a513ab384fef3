//! What a database holds and what of it is meant: collections, views, time series, with what an archive says of each.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, Document, doc};
use nxs_archive::mongodump::{Collection, keeps_series_as_they_are};
use nxs_base::ports::source::Cancel;
use nxs_base::spec::Selection;
use nxs_base::{Error, ErrorKind, Result};

use super::extjson;
use super::server::Session;
use crate::databases::{is_all, is_like};

/// The collections of users, roles and the version of their form: one archive, since none is of use alone.
pub(super) const USERS: [&str; 3] = ["system.users", "system.roles", "system.version"];

/// One collection, view or time series of a server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) db: String,
    pub(super) name: String,
    /// `collection`, `view`, `timeseries`.
    pub(super) kind: String,
    pub(super) options: Document,
    pub(super) uuid: Option<Vec<u8>>,
}

impl Item {
    fn read(db: &str, listed: &Document) -> Option<Self> {
        let info = listed.get_document("info").ok();
        let uuid = info.and_then(|info| match info.get("uuid") {
            Some(Bson::Binary(uuid)) => Some(uuid.bytes.clone()),
            _ => None,
        });
        Some(Self {
            db: db.to_owned(),
            name: listed.get_str("name").ok()?.to_owned(),
            kind: listed.get_str("type").unwrap_or("collection").to_owned(),
            options: listed.get_document("options").cloned().unwrap_or_default(),
            uuid,
        })
    }

    pub(super) fn shown(&self) -> String {
        format!("`{}.{}`", self.db.escape_debug(), self.name.escape_debug())
    }

    pub(super) fn is_view(&self) -> bool {
        self.kind == "view"
    }

    pub(super) fn is_capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or(false)
    }

    /// Whether its raw documents have to be asked for by a key of its own.
    pub(super) fn needs_raw_key(&self, server_version: &str) -> bool {
        self.kind == "timeseries" && keeps_series_as_they_are(server_version)
    }

    /// What the prelude says of it; asks for the indexes.
    pub(super) fn described(&self, session: &Session, cancel: &Cancel) -> Result<Collection> {
        let indexes = if self.is_view() { Vec::new() } else { self.indexes(session, cancel)? };
        let mut metadata = Document::new();
        if !self.options.is_empty() {
            metadata.insert("options", self.options.clone());
        }
        metadata.insert("indexes", indexes.into_iter().map(Bson::Document).collect::<Vec<_>>());
        if let Some(uuid) = &self.uuid {
            metadata.insert("uuid", uuid.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        metadata.insert("collectionName", self.name.clone());
        metadata.insert("type", self.kind.clone());
        Ok(Collection {
            db: self.db.clone(),
            name: self.name.clone(),
            metadata: extjson::encode(&metadata)?,
            kind: self.kind.clone(),
        })
    }

    fn indexes(&self, session: &Session, cancel: &Cancel) -> Result<Vec<Document>> {
        let what = format!("list the indexes of {} of", self.shown());
        session.list(cancel, &what, &self.db, doc! { "listIndexes": &self.name })
    }
}

/// All that a database holds and that a dump can hold: as `mongodump`, without the server's own collections. Of `admin`
/// those of [`USERS`] come as well.
pub(super) fn all(session: &Session, cancel: &Cancel, db: &str) -> Result<Vec<Item>> {
    let what = format!("list the collections of `{}` of", db.escape_debug());
    let listed = session.list(cancel, &what, db, doc! { "listCollections": 1 })?;
    let mut items: Vec<Item> = listed.iter().filter_map(|listed| Item::read(db, listed)).collect();
    if items.len() < listed.len() {
        let text = format!("{} lists a collection without a name in `{}`", session.place, db.escape_debug());
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    items.retain(|item| !is_of_the_server(db, &item.name));
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(items)
}

fn is_of_the_server(db: &str, name: &str) -> bool {
    match name {
        _ if db == "admin" && USERS.contains(&name) => false,
        "system.js" => false,
        _ => name.starts_with("system.") || (name.contains('$') && !name.contains(".oplog.$")),
    }
}

/// The collection of this name as it is now; none if there is none.
pub(super) async fn now(
    client: &mongodb::Client,
    db: &str,
    name: &str,
) -> mongodb::error::Result<Option<Item>> {
    let command = doc! { "listCollections": 1, "filter": { "name": name } };
    let mut cursor = super::server::cursor(client, db, command).await?;
    while cursor.advance().await? {
        let listed = Document::try_from(cursor.current()).map_err(mongodb::error::Error::custom)?;
        if let Some(item) = Item::read(db, &listed).filter(|item| item.name == name) {
            return Ok(Some(item));
        }
    }
    Ok(None)
}

/// Those of these that are meant. Users and roles are not: they are their own target.
pub(super) fn chosen(items: Vec<Item>, selection: &Selection) -> Vec<Item> {
    let fits = |patterns: &[String], name: &str| patterns.iter().any(|pattern| is_like(pattern, name));
    let is_meant = |item: &Item| {
        let is_users = item.db == "admin" && USERS.contains(&item.name.as_str());
        !is_users
            && (is_all(selection) || fits(&selection.targets, &item.name))
            && !fits(&selection.excludes, &item.name)
    };
    items.into_iter().filter(is_meant).collect()
}

/// Names that were asked for outright, and that are in none of the databases.
pub(super) fn missing(selection: &Selection, found: &BTreeSet<String>) -> Vec<Error> {
    let is_missing = |pattern: &&String| {
        *pattern != "all"
            && !selection.excludes.iter().any(|exclude| is_like(exclude, pattern))
            && !found.iter().any(|name| is_like(pattern, name))
    };
    let error = |pattern: &String| {
        let text = format!("there is no collection `{}` in any of the databases", pattern.escape_debug());
        Error::new(ErrorKind::NotFound, text)
    };
    selection.targets.iter().filter(is_missing).map(error).collect()
}
