//! Increments: one walk compared with the baselines of all lanes, then one archive of the difference for each.
//!
//! The comparison itself is `super::difference`'s; members are written as those of a full.

use std::time::{SystemTime, UNIX_EPOCH};

use nxs_base::Result;
use nxs_base::entry::{EntryKind, FileTime};
use nxs_base::ports::source::{Baseline, Cancel, DumpReport, Lane, NoteKind, Sink, Target};
use nxs_sys::fsx;

use super::difference::{Differ, Difference, Seeing, Seen};
use super::open::Root;
use super::{Archive, FilesSource, dangling_link, emit, is_dir, member_path, root_text, walk};

/// A change within so many seconds before it is looked at may be followed by one that leaves no trace.
const RACY_SECS: i64 = 2;

impl FilesSource {
    pub(super) fn save_since(
        &self,
        target: &Target,
        lanes: &mut [Lane<'_>],
        cancel: &Cancel,
    ) -> Result<Vec<Result<DumpReport>>> {
        if let [Lane { baseline: None, sink }] = lanes {
            // A full needs no comparison, and no memory for it.
            return self.save(target, &mut **sink, cancel, self.racy_since()).map(|report| vec![Ok(report)]);
        }
        let path = root_text::decode(&target.root);
        let member = member_path(&path).to_vec();
        let racy_since = self.racy_since();
        let mut differs: Vec<Differ<'_>> = lanes
            .iter_mut()
            .map(|lane| {
                let nothing: Baseline<'_> = Box::new(std::iter::empty());
                Differ::new(lane.baseline.take().unwrap_or(nothing))
            })
            .collect();
        let root = Root::open(&path);
        match &root {
            _ if self.excludes.covers_target(&member, is_dir(&path)) => {}
            Ok(root) => {
                root.probe().map_err(|e| emit::cannot_open(&path, e))?;
                let (meta, is_socket) = root.stat().map_err(|e| emit::cannot_open(&path, e))?;
                match meta.kind {
                    _ if is_socket => {}
                    EntryKind::Dir => {
                        let walk = walk::Walk {
                            root: root.path(),
                            root_ino: meta.ino,
                            member: &member,
                            spec: &self.spec,
                            excludes: &self.excludes,
                        };
                        walk.compare(&mut differs, cancel)?;
                    }
                    _ => add_single(&mut differs, &member, meta)?,
                }
            }
            // A link that leads nowhere.
            Err(_) => {
                if let Some((meta, _)) = dangling_link(&path) {
                    add_single(&mut differs, &member, meta)?;
                } else {
                    root.as_ref().map_err(|e| {
                        emit::cannot_open(&path, std::io::Error::new(e.kind(), e.to_string()))
                    })?;
                }
            }
        }
        let found = differs.into_iter().map(Differ::finish).collect();
        let mut sinks: Vec<&mut dyn Sink> = Vec::new();
        for lane in lanes {
            sinks.push(&mut *lane.sink);
        }
        let archive = Archive { users: &self.users, sinks, cancel, member: &member, racy_since };
        match &root {
            Ok(root) => archive.changes(root, found),
            Err(_) => archive.changes(&super::NoFiles, found),
        }
    }

    /// By the clock of the machine, which is that of its file systems; never one that was injected.
    fn racy_since(&self) -> Option<FileTime> {
        if !self.is_racy_rule_on {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sec = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_sub(RACY_SECS);
        Some(FileTime { sec, nsec: now.subsec_nanos() })
    }
}

fn add_single(differs: &mut [Differ<'_>], member: &[u8], meta: nxs_base::entry::Meta) -> Result<()> {
    for differ in differs {
        differ.add(Seen { path: member, meta, note: None, state: Seeing::Whole })?;
    }
    Ok(())
}

/// What there is to say of a difference beside its archive.
struct Remarks {
    seen: u64,
    metadata_only: u64,
    ignored_inodes: bool,
}

impl<'a> Archive<'a> {
    /// Writes an archive of each difference, reading once what is in several of them. One answer for each.
    pub(super) fn changes<O: super::OpenFiles>(
        mut self,
        opener: &'a O,
        found: Vec<Result<Difference>>,
    ) -> Result<Vec<Result<DumpReport>>> {
        let (mut lanes, mut sinks, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
        for (difference, sink) in found.into_iter().zip(std::mem::take(&mut self.sinks)) {
            remarks.push(difference.map(|difference| {
                let Difference { changes, seen, metadata_only, ignored_inodes } = difference;
                lanes.push(changes);
                sinks.push(sink);
                Remarks { seen, metadata_only, ignored_inodes }
            }));
        }
        let root = format!("/{}", fsx::show(self.member));
        let reports = Self { sinks, ..self }.trees(opener, |feed| {
            walk::feed_changes(lanes, feed);
            Ok(())
        })?;
        let mut reports = reports.into_iter();
        let with_remarks = remarks.into_iter().map(|remarks| {
            let (remarks, report) = (remarks?, reports.next());
            let mut report = report.unwrap_or_else(|| Ok(DumpReport::default()))?;
            remarks.add_to(&mut report, &root);
            Ok(report)
        });
        Ok(with_remarks.collect())
    }
}

impl Remarks {
    fn add_to(&self, report: &mut DumpReport, root: &str) {
        let Self { seen, metadata_only, ignored_inodes } = self;
        if *ignored_inodes {
            let reason = "nearly all inodes differ from the parent's (copied, or mounted anew): not compared";
            report.note(NoteKind::LeftOut, root, reason);
        }
        if metadata_only * 2 > *seen && *metadata_only > 0 {
            let reason = format!(
                "{metadata_only} of {seen} entries are saved whole for a change of owner, mode or links"
            );
            report.note(NoteKind::Racy, root, reason);
        }
    }
}
