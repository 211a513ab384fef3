//! Reads collections, several at once, and writes them into one archive as their documents come.
//!
//! Memory: for each of the readers one answer of the server (16 MiB at most, and some) and a block or two; measured with the
//! largest documents, some 40 MiB.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use mongodb::Client;
use mongodb::bson::{Timestamp, doc};
use nxs_archive::mongodump::{Prelude, Writer};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Sink};
use nxs_base::{Error, ErrorKind, Result};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::collections::{self, Item};
use super::judged::Judged;
use super::server::{self, SILENCE, Session};

/// What of a collection goes into the archive at once; a document that is larger goes alone.
const BLOCK_BYTES: usize = 256 << 10;
/// The first version that reads capped collections as of a moment.
const CAPPED_SNAPSHOTS: u32 = 8;

/// What a reader has.
enum Piece {
    Documents(usize, Vec<u8>),
    End(usize),
}

/// What all readers of an archive share.
struct Reading {
    client: Client,
    place: String,
    version: String,
    /// The moment as of which is read.
    at: Option<Timestamp>,
    items: Vec<Item>,
    waiting: Mutex<VecDeque<usize>>,
}

/// Writes one archive of these. Fails, with nothing to be believed of what was written, if any of them could not be
/// read whole, or is another one at the end of reading than at its beginning.
pub(super) fn run(
    session: &Session,
    items: Vec<Item>,
    at: Option<Timestamp>,
    jobs: usize,
    sink: &mut dyn Sink,
    cancel: &Cancel,
) -> Result<DumpReport> {
    let described: Result<Vec<_>> = items.iter().map(|item| item.described(session, cancel)).collect();
    let jobs = jobs.clamp(1, items.len().max(1));
    let prelude = Prelude {
        concurrent_collections: jobs as i32,
        server_version: session.facts.version.clone(),
        tool_version: concat!("nxs-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
        collections: described?,
    };
    let (mut writer, head) = Writer::new(&prelude)?;
    let mut sink = Judged::new(sink);
    sink.begin(Artefact { has_index: false, expected_bytes: None })?;
    sink.write(&head)?;

    let reading = Arc::new(Reading {
        client: session.client.clone(),
        place: session.place.clone(),
        version: session.facts.version.clone(),
        at,
        waiting: Mutex::new((0..items.len()).collect()),
        items,
    });
    let (sender, mut pieces) = channel(jobs);
    // Dropped, it ends all of them.
    let mut readers = JoinSet::new();
    for _ in 0..jobs {
        readers.spawn_on(read(reading.clone(), sender.clone()), session.runtime().handle());
    }
    drop(sender);
    while let Some(piece) = session.wait(cancel, pieces.recv())? {
        match piece? {
            Piece::Documents(place, documents) => {
                sink.write(&writer.documents(place, &documents))?;
                sink.write(&documents)?;
            }
            Piece::End(place) => sink.write(&writer.end(place))?,
        }
    }
    writer.finish()?;
    sink.finish()?;
    let mut report = DumpReport::default();
    report.info.push(format!(
        "{} documents of {} collections, MongoDB {}{}",
        sink.documents,
        sink.collections,
        session.facts.version,
        at.map(|at| format!(", as of {}.{}", at.time, at.increment)).unwrap_or_default()
    ));
    Ok(report)
}

/// One reader: takes the next collection until there is none.
async fn read(reading: Arc<Reading>, to: Sender<Result<Piece>>) {
    loop {
        let next = reading.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(place) = next else { return };
        let end = read_one(&reading, place, &to).await.map(|()| Piece::End(place));
        let has_failed = end.is_err();
        // Nobody listens any more if another one failed.
        if to.send(end).await.is_err() || has_failed {
            return;
        }
    }
}

async fn read_one(reading: &Reading, place: usize, to: &Sender<Result<Piece>>) -> Result<()> {
    let item = &reading.items[place];
    let what = format!("read {} of", item.shown());
    let failed = |error: mongodb::error::Error| server::judged(&reading.place, &what, &error);
    if !item.is_view() {
        let mut cursor =
            server::cursor(&reading.client, &item.db, find(reading, item)).await.map_err(failed)?;
        let mut block = Vec::new();
        loop {
            let answer = timeout(SILENCE, cursor.advance()).await;
            if !answer.map_err(|_| server::silent(&reading.place))?.map_err(failed)? {
                break;
            }
            let document = cursor.current().as_bytes();
            if !block.is_empty() && block.len() + document.len() > BLOCK_BYTES {
                let full = std::mem::replace(&mut block, Vec::with_capacity(BLOCK_BYTES));
                if to.send(Ok(Piece::Documents(place, full))).await.is_err() {
                    return Ok(());
                }
            }
            block.extend_from_slice(document);
        }
        if !block.is_empty() && to.send(Ok(Piece::Documents(place, block))).await.is_err() {
            return Ok(());
        }
    }
    // A collection that went before it was read looks like an empty one.
    let now = collections::now(&reading.client, &item.db, &item.name).await.map_err(failed)?;
    match now {
        Some(now) if now.uuid == item.uuid && now.kind == item.kind => Ok(()),
        _ => {
            let text = format!("{} was dropped while it was read", item.shown());
            Err(Error::new(ErrorKind::NotFound, text))
        }
    }
}

fn find(reading: &Reading, item: &Item) -> mongodb::bson::Document {
    let is_raw = item.needs_raw_key(&reading.version);
    let name = match item.kind.as_str() {
        "timeseries" if !is_raw => format!("system.buckets.{}", item.name),
        _ => item.name.clone(),
    };
    // In the order in which they lie: that of a capped collection is part of it.
    let mut find = doc! { "find": name, "hint": { "$natural": 1 } };
    if is_raw {
        find.insert("rawData", true);
    }
    if let Some(at) = reading.at.filter(|_| has_past(item, &reading.version)) {
        find.insert("readConcern", doc! { "level": "snapshot", "atClusterTime": at });
    }
    find
}

/// Whether this one can be read as of a moment.
fn has_past(item: &Item, version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0_u32);
    !item.is_capped() || major >= CAPPED_SNAPSHOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capped_collections_have_no_past_before_version_8() {
        let item = |options| Item {
            db: "d".into(),
            name: "n".into(),
            kind: "collection".into(),
            options,
            uuid: None,
        };
        assert!(has_past(&item(doc! {}), "5.0.1") && has_past(&item(doc! { "capped": true }), "8.0.0"));
        assert!(!has_past(&item(doc! { "capped": true }), "7.0.14"));
    }
}
