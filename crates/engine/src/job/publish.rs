//! From what came out of the pipeline to committed copies: index and record are built once, then staged and published
//! with the archive on every storage.
//!
//! The commit point of a copy is its record: archive, index and record are staged (complete and durable under
//! partial names) before the first of them is published, and the record is published last.

use nxs_archive::index::IndexBytes;
use nxs_base::calendar;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::layout;
use nxs_base::ports::source::DumpReport;
use nxs_base::ports::storage::{ObjectKey, PartTag, Pending, Storage};
use nxs_base::record::{BackupId, Completeness, IndexDigest, LogSpan, ParentArchive, Record, StoredDigest};
use nxs_base::report::TargetReport;

use super::store::Store;
use super::target::{TargetJob, path_of, tell};
use crate::catalog::sweep;
use crate::pipeline::digest::{Digest, Digests};
use crate::pipeline::run::Passed;

/// Name, moment and descent of a backup.
pub(super) struct Birth<'a> {
    pub(super) id: BackupId,
    pub(super) now: &'a jiff::Zoned,
    pub(super) level: &'a str,
    /// Nearest first.
    pub(super) parents: Vec<BackupId>,
    /// What an increment follows in the log of a server.
    pub(super) after: Option<ParentArchive>,
}

/// What was published.
pub(super) struct Published {
    pub(super) record: Record,
    pub(super) index: Option<IndexBytes>,
    /// One per place, in order.
    pub(super) committed: Vec<Result<()>>,
}

/// Builds index and record once, then brings every staged copy to its commit. `places` are the storages, by their
/// place in `stores`, and the keys.
pub(super) fn publish(
    work: &TargetJob<'_>,
    stores: &[Store],
    places: &[(usize, ObjectKey)],
    passed: Passed,
    birth: &Birth<'_>,
    report: &mut TargetReport,
) -> Result<Published> {
    let Passed { plain_bytes, archive, frames, totals, index, dump, staged } = passed;
    let index = match index {
        Some(index) => Some(index.finish(&frames, totals)?),
        None => None,
    };
    let index_digest = index.as_ref().map(|index| {
        let mut digest = Digest::default();
        for chunk in index.chunks() {
            digest.update(chunk);
        }
        IndexDigest { stored: stored_digest(digest.finish()), plain_bytes: index.plain_bytes() }
    });
    let record = record(work, birth, &archive, plain_bytes, index_digest, &dump);
    let line = record.to_line();
    if let Some((store, key)) = places.first() {
        let path = path_of(&stores[*store], key.as_str());
        work.ctx.events.emit(&Event::ArtefactMade {
            job: &work.job.name,
            target: &work.target.name,
            path: &path,
        });
    }
    tell(work, &dump);
    report.plain_bytes += plain_bytes;
    report.stored_bytes += archive.bytes;
    report.dump = dump;
    let tag = work.ctx.tag();
    let committed = places.iter().zip(staged).map(|((store, key), staged)| {
        let storage = stores[*store].storage();
        let pending = staged?;
        verify_size(key, pending.size_bytes(), archive.bytes)?;
        let mut parts: Vec<Box<dyn Pending>> = vec![pending];
        if let Some(index) = &index {
            parts.push(storage.stage(&layout::index_key(key), &tag, &mut index.reader())?);
        }
        parts.push(storage.stage(&layout::record_key(key), &tag, &mut line.as_bytes())?);
        work.ctx.cancel.check()?;
        commit(storage.as_ref(), &tag, key, parts)
    });
    let committed: Vec<Result<()>> = committed.collect();
    Ok(Published { record, index, committed })
}

/// Publishes archive, index and record, in this order. If one of them fails, what was published goes again: no archive
/// stays without its record.
fn commit(
    storage: &dyn Storage,
    tag: &PartTag,
    archive: &ObjectKey,
    parts: Vec<Box<dyn Pending>>,
) -> Result<()> {
    let size_bytes = parts.first().map_or(0, |p| p.size_bytes());
    let mut parts = parts.into_iter();
    let mut published = 0;
    let mut failed = None;
    for part in parts.by_ref() {
        match part.commit() {
            Ok(()) => published += 1,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let Some(mut error) = failed else { return Ok(()) };
    // A commit that failed may have taken effect; but what was there before is somebody else's.
    let is_foreign = error.kind() == ErrorKind::Exists;
    let is_ours = || storage.stat(archive).is_ok_and(|info| info.size_bytes == size_bytes);
    if published == 0 && (is_foreign || !is_ours()) {
        return Err(error);
    }
    if let Err(left) = take_back(storage, tag, archive, published < 2 || !is_foreign) {
        let hint = format!("`{archive}` is no backup, and not all of it could be removed: {}", left.chain());
        error = error.with_hint(hint);
        // The partial of the record outlives the archive: the next sweep goes on.
        std::mem::forget(parts);
    }
    Err(error)
}

/// Removes an archive that was published without its record; the partial of the record goes last, so that a death in
/// between is swept.
fn take_back(storage: &dyn Storage, tag: &PartTag, archive: &ObjectKey, with_record: bool) -> Result<()> {
    let record = layout::record_key(archive);
    let tombstone = ObjectKey::new(format!("{}/{}", record.dir(), tag.part_name(record.file_name())))?;
    let mut is_withdrawn = false;
    if with_record {
        match storage.rename(&record, &tombstone) {
            Ok(()) => is_withdrawn = true,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    for key in [layout::index_key(archive), archive.clone()] {
        sweep::delete_if_there(storage, &key)?;
    }
    if is_withdrawn {
        sweep::delete_if_there(storage, &tombstone)?;
    }
    Ok(())
}

fn verify_size(key: &ObjectKey, is: u64, should: u64) -> Result<()> {
    if is == should {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("cannot store `{key}`: {is} bytes arrived, {should} were sent"),
    ))
}

fn stored_digest(digests: Digests) -> StoredDigest {
    StoredDigest { blake3: digests.blake3, sha256: digests.sha256, bytes: digests.bytes }
}

fn record(
    work: &TargetJob<'_>,
    birth: &Birth<'_>,
    archive: &Digests,
    plain_bytes: u64,
    index: Option<IndexDigest>,
    dump: &DumpReport,
) -> Record {
    let now = birth.now;
    Record {
        id: birth.id,
        program: format!("nxs-backup {}", env!("CARGO_PKG_VERSION")),
        server_name: work.ctx.server_name.into(),
        host: work.ctx.host.into(),
        job: work.job.name.clone(),
        source: work.entry.index,
        target: work.target.name.clone(),
        part: work.target.part.clone(),
        root: work.target.root.clone(),
        kind: work.job.kind.name().into(),
        level: birth.level.into(),
        parents: birth.parents.clone(),
        started: now.timestamp(),
        finished: work.ctx.clock.now().timestamp(),
        local: now.datetime(),
        plain_bytes,
        compressed_bytes: archive.bytes,
        stored_bytes: archive.bytes,
        archive: stored_digest(archive.clone()),
        index,
        compression: compression_text(work.compression()),
        recipients: Vec::new(),
        tools: dump.tools.clone(),
        completeness: if dump.gaps() == 0 { Completeness::Complete } else { Completeness::Gaps },
        counts: dump.counts.iter().map(|(kind, n)| (kind.name().to_owned(), *n)).collect(),
        periods: calendar::periods_of(now.date()),
        files: dump.files,
        dirs: dump.dirs,
        end_marker: dump.end_marker.clone(),
        log: dump.log.as_deref().map(|log| LogSpan { parent: birth.after.clone(), ..log.clone() }),
    }
}

fn compression_text(compression: nxs_base::spec::Compression) -> String {
    use nxs_base::spec::Compression as C;
    match compression {
        C::None => "none".into(),
        C::Gzip(level) => format!("gzip-{level}"),
        C::Zstd(level) => format!("zstd-{level}"),
    }
}

/// An id that no other backup has: from the run, the job, the target and the moment; and the storage, where one backup is
/// made for it alone.
pub(super) fn backup_id(
    work: &TargetJob<'_>,
    now: &jiff::Zoned,
    parent: Option<BackupId>,
    storage: Option<&str>,
) -> BackupId {
    let mut hasher = blake3::Hasher::new();
    for part in [work.ctx.run_id, work.ctx.host, &work.job.name, &work.target.root] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&work.entry.index.to_le_bytes());
    hasher.update(&now.timestamp().as_nanosecond().to_le_bytes());
    // One run may make several increments of a target, against different parents.
    hasher.update(&parent.map_or(0, |id| id.0).to_le_bytes());
    hasher.update(storage.unwrap_or_default().as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    BackupId(u128::from_be_bytes(short))
}
