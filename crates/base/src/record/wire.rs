//! The wire form of a record: what stands in the JSON line, and the checks on the way in.
//!
//! Private to the record; `docs/format.md` specifies it. A field is added with `#[serde(default)]`, never renamed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::{
    BackupId, Completeness, IndexDigest, LogOrigin, LogSpan, ParentArchive, Record, StoredDigest, Tool,
};
use crate::calendar::Period;
use crate::error::{Error, ErrorKind, Result};

/// Upper bound for each list and map of a record.
const MAX_ITEMS: usize = 1024;

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct RecordWire {
    format: u32,
    id: String,
    program: String,
    server_name: String,
    host: String,
    job: String,
    source: usize,
    target: String,
    part: String,
    root: String,
    kind: String,
    level: String,
    #[serde(default)]
    parents: Vec<String>,
    started: String,
    finished: String,
    local: String,
    plain_bytes: u64,
    compressed_bytes: u64,
    stored_bytes: u64,
    archive: DigestWire,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<IndexWire>,
    compression: String,
    #[serde(default)]
    recipients: Vec<String>,
    #[serde(default)]
    tools: Vec<ToolWire>,
    completeness: CompletenessWire,
    #[serde(default)]
    counts: BTreeMap<String, u64>,
    periods: Vec<String>,
    files: u64,
    dirs: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_marker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<LogWire>,
}

#[derive(Serialize, Deserialize)]
struct LogWire {
    server: String,
    up_since: i64,
    tool: String,
    from: u64,
    to: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<ParentWire>,
}

#[derive(Serialize, Deserialize)]
struct ParentWire {
    name: String,
    blake3: String,
}

#[derive(Serialize, Deserialize)]
struct DigestWire {
    blake3: String,
    sha256: String,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct IndexWire {
    blake3: String,
    sha256: String,
    bytes: u64,
    plain_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct ToolWire {
    name: String,
    version: String,
    exit_status: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CompletenessWire {
    Complete,
    Gaps,
}

pub(super) fn write(record: &Record) -> String {
    let r = record.clone();
    let wire = RecordWire {
        format: Record::FORMAT,
        id: r.id.to_string(),
        program: r.program,
        server_name: r.server_name,
        host: r.host,
        job: r.job,
        source: r.source,
        target: r.target,
        part: r.part,
        root: r.root,
        kind: r.kind,
        level: r.level,
        parents: r.parents.iter().map(BackupId::to_string).collect(),
        started: r.started.to_string(),
        finished: r.finished.to_string(),
        local: r.local.to_string(),
        plain_bytes: r.plain_bytes,
        compressed_bytes: r.compressed_bytes,
        stored_bytes: r.stored_bytes,
        archive: DigestWire { blake3: r.archive.blake3, sha256: r.archive.sha256, bytes: r.archive.bytes },
        index: r.index.map(|i| IndexWire {
            blake3: i.stored.blake3,
            sha256: i.stored.sha256,
            bytes: i.stored.bytes,
            plain_bytes: i.plain_bytes,
        }),
        compression: r.compression,
        recipients: r.recipients,
        tools: r
            .tools
            .into_iter()
            .map(|t| ToolWire { name: t.name, version: t.version, exit_status: t.exit_status })
            .collect(),
        completeness: match r.completeness {
            Completeness::Complete => CompletenessWire::Complete,
            Completeness::Gaps => CompletenessWire::Gaps,
        },
        counts: r.counts,
        periods: r.periods.iter().map(|p| p.name().to_owned()).collect(),
        files: r.files,
        dirs: r.dirs,
        end_marker: r.end_marker,
        log: r.log.map(|l| LogWire {
            server: l.origin.server,
            up_since: l.origin.up_since,
            tool: l.origin.tool,
            from: l.from,
            to: l.to,
            parent: l.parent.map(|p| ParentWire { name: p.name, blake3: p.blake3 }),
        }),
    };
    let mut line =
        serde_json::to_string(&wire).expect("strings, numbers and string-keyed maps always serialise");
    line.push('\n');
    line
}

pub(super) fn read(bytes: &[u8]) -> Result<Record> {
    if bytes.len() as u64 > Record::MAX_BYTES {
        return Err(corrupt(format!("a record of {} bytes is too large", bytes.len())));
    }
    let end =
        bytes.iter().position(|b| *b == b'\n').ok_or_else(|| corrupt("the record's line has no end"))?;
    let line = &bytes[..end];
    let not_json = |e: serde_json::Error| corrupt("the record is not the expected JSON").with_source(e);
    let Versioned { format } = serde_json::from_slice(line).map_err(not_json)?;
    if format > Record::FORMAT {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the record has format {format}, this program knows up to {}", Record::FORMAT),
        )
        .with_hint("A newer nxs-backup wrote it; use that version."));
    }
    if format == 0 {
        return Err(corrupt("the record has format 0"));
    }
    check(serde_json::from_slice(line).map_err(not_json)?)
}

fn check(w: RecordWire) -> Result<Record> {
    let lists = [w.parents.len(), w.recipients.len(), w.tools.len(), w.counts.len(), w.periods.len()];
    if lists.iter().any(|n| *n > MAX_ITEMS) {
        return Err(corrupt(format!("a list of the record has more than {MAX_ITEMS} items")));
    }
    if w.archive.bytes != w.stored_bytes {
        return Err(corrupt("`stored_bytes` and `archive.bytes` of the record differ"));
    }
    let periods = w
        .periods
        .iter()
        .map(|name| Period::from_name(name).ok_or_else(|| unreadable("periods", name)))
        .collect::<Result<_>>()?;
    let tools =
        w.tools.into_iter().map(|t| Tool { name: t.name, version: t.version, exit_status: t.exit_status });
    let index = w.index.map(|i| {
        let stored = digest("index", DigestWire { blake3: i.blake3, sha256: i.sha256, bytes: i.bytes })?;
        Ok::<_, Error>(IndexDigest { stored, plain_bytes: i.plain_bytes })
    });
    let log = w.log.map(|log| span(log, !w.parents.is_empty())).transpose()?;
    Ok(Record {
        id: id("id", &w.id)?,
        parents: w.parents.iter().map(|p| id("parents", p)).collect::<Result<_>>()?,
        started: instant("started", &w.started)?,
        finished: instant("finished", &w.finished)?,
        local: w.local.parse::<DateTime>().map_err(|e| unreadable("local", &w.local).with_source(e))?,
        archive: digest("archive", w.archive)?,
        index: index.transpose()?,
        tools: tools.collect(),
        completeness: match w.completeness {
            CompletenessWire::Complete => Completeness::Complete,
            CompletenessWire::Gaps => Completeness::Gaps,
        },
        periods,
        program: w.program,
        server_name: w.server_name,
        host: w.host,
        job: w.job,
        source: w.source,
        target: w.target,
        part: w.part,
        root: w.root,
        kind: w.kind,
        level: w.level,
        plain_bytes: w.plain_bytes,
        compressed_bytes: w.compressed_bytes,
        stored_bytes: w.stored_bytes,
        compression: w.compression,
        recipients: w.recipients,
        counts: w.counts,
        files: w.files,
        dirs: w.dirs,
        end_marker: w.end_marker,
        log,
    })
}

fn id(field: &str, text: &str) -> Result<BackupId> {
    BackupId::parse(text).ok_or_else(|| unreadable(field, text))
}

fn instant(field: &str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|e: jiff::Error| unreadable(field, text).with_source(e))
}

fn span(w: LogWire, has_parents: bool) -> Result<LogSpan> {
    if w.from > w.to || [w.from > 0, w.parent.is_some()] != [has_parents; 2] {
        return Err(corrupt("`log` and `parents` of the record contradict each other"));
    }
    if let Some(parent) = w.parent.as_ref().filter(|parent| !is_hex(&parent.blake3, 64)) {
        return Err(unreadable("log", &parent.blake3));
    }
    if !is_hex(&w.server, 32) {
        return Err(unreadable("log", &w.server));
    }
    Ok(LogSpan {
        origin: LogOrigin { server: w.server, up_since: w.up_since, tool: w.tool },
        from: w.from,
        to: w.to,
        parent: w.parent.map(|p| ParentArchive { name: p.name, blake3: p.blake3 }),
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn digest(field: &str, w: DigestWire) -> Result<StoredDigest> {
    for text in [&w.blake3, &w.sha256] {
        if !is_hex(text, 64) {
            return Err(unreadable(field, text));
        }
    }
    Ok(StoredDigest { blake3: w.blake3, sha256: w.sha256, bytes: w.bytes })
}

fn unreadable(field: &str, text: &str) -> Error {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    corrupt(format!("cannot read `{field}` of the record: `{shown}`"))
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
