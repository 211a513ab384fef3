//! A house with an incremental job, days that pass, and what the tree looked like after each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use nxs_base::Result;
use nxs_base::ports::source::Source;
use nxs_base::spec::{JobKind, SourceEntry, SourceSpec};
use nxs_sources::files::FilesSource;
use nxs_testkit::snapshot::Snapshot;

use crate::house::{Answer, House, MAIN};

pub(crate) const JOB: &str = "\
- job: uploads
  type: inc_files
  sources:
  - target: ['~/www/*/upload/']
    gzip: yes
  storages:
  - {storage: local, enable: yes, backup_dir: ~/backup}
";

/// Days pass within seconds here, so what changed just now did not change just now.
fn open_source(entry: &SourceEntry, kind: JobKind) -> Result<Box<dyn Source>> {
    match &entry.spec {
        SourceSpec::Files(spec) => Ok(Box::new(FilesSource::new(spec.clone())?.without_racy_rule())),
        SourceSpec::Later => nxs_sources::registry::open(entry, kind),
    }
}

pub(crate) struct World {
    pub(crate) house: House,
    /// The tree after each run, by its time.
    pub(crate) points: BTreeMap<DateTime, Snapshot>,
    runs: u32,
}

impl World {
    pub(crate) fn new(job: &str, first: Date) -> Self {
        let mut house = House::new();
        house.config(&format!("{MAIN}jobs:\n{job}"));
        std::fs::create_dir_all(house.path("www/shop/upload")).unwrap();
        house.now = first.at(3, 0, 0, 0);
        Self { house, points: BTreeMap::new(), runs: 0 }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.house.path("www/shop/upload")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.house.path("backup")
    }

    pub(crate) fn pass(&mut self, days: i32) {
        self.house.now = self.house.now.checked_add(days.days()).unwrap();
    }

    /// Runs the program at its moment.
    pub(crate) fn run(&mut self, args: &[&str]) -> Answer {
        self.runs += 1;
        let id = format!("{:016x}", self.runs);
        self.house.run_with(args, |env| {
            env.open_source = open_source;
            env.run_id = id;
        })
    }

    /// A run that must be complete, and remembers the tree.
    pub(crate) fn backup(&mut self) {
        let answer = self.run(&["start"]);
        assert_eq!(answer.code, 0, "{}: {}\n{}", self.house.now, answer.err, self.house.log());
        self.points.insert(self.house.now, Snapshot::take(&self.tree()));
    }

    /// What the program brings back of a point, into a directory of its own.
    pub(crate) fn restored(&mut self, at: DateTime) -> Snapshot {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("to");
        let moment = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let answer =
            self.run(&["restore", "uploads", "--at", &moment, "--to", to.to_str().unwrap(), "--strip"]);
        assert_eq!(answer.code, 0, "{at}: {}", answer.err);
        Snapshot::take(&to)
    }

    /// What GNU tar makes of the chain of a point, by the records alone.
    pub(crate) fn untarred(&self, at: DateTime) -> Snapshot {
        let place = tempfile::tempdir().unwrap();
        let chain = self.chain(at);
        for (number, archive) in chain.iter().enumerate() {
            let mut tar = Command::new("tar");
            tar.args([
                "--xattrs",
                "--xattrs-include=*",
                "--acls",
                "--numeric-owner",
                "--warning=no-timestamp",
            ]);
            tar.arg(if number == 0 { "-xp" } else { "-xpG" });
            let output = tar.arg("-zf").arg(archive).arg("-C").arg(place.path()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{}: {said}", archive.display());
        }
        Snapshot::take(&place.path().join(self.tree().strip_prefix("/").unwrap()))
    }

    /// The archives of a point, the full first.
    pub(crate) fn chain(&self, at: DateTime) -> Vec<PathBuf> {
        let mut records: BTreeMap<String, (PathBuf, serde_json::Value)> = BTreeMap::new();
        let mut newest = None;
        for path in files(&self.backups()) {
            if path.extension().is_none_or(|e| e != "json") || path.ends_with(".nxs-adopted.json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let record: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            let id = record["id"].as_str().unwrap().to_owned();
            let local: DateTime = record["local"].as_str().unwrap().parse().unwrap();
            if local == at {
                newest = Some(id.clone());
            }
            let archive = path.to_str().unwrap().strip_suffix(".nxs.json").unwrap();
            records.insert(id, (PathBuf::from(archive), record));
        }
        let newest = newest.unwrap_or_else(|| panic!("no record of {at}"));
        let parents = records[&newest].1["parents"].as_array().unwrap().clone();
        let ids = parents.iter().rev().map(|p| p.as_str().unwrap()).chain([newest.as_str()]);
        ids.map(|id| records.get(id).unwrap_or_else(|| panic!("{at}: parent {id} is gone")).0.clone())
            .collect()
    }

    /// Times of the backups that are still there.
    pub(crate) fn kept(&self) -> Vec<DateTime> {
        let names: Vec<String> =
            files(&self.backups()).iter().map(|p| p.to_str().unwrap().to_owned()).collect();
        let is_kept = |at: &DateTime| {
            let stamp = at.strftime("_%Y-%m-%d_%H-%M").to_string();
            names.iter().any(|n| n.contains(&stamp) && n.ends_with(".nxs.json"))
        };
        self.points.keys().copied().filter(is_kept).collect()
    }

    /// Compares a point in both ways.
    pub(crate) fn check(&mut self, at: DateTime) {
        let should = self.points[&at].clone();
        should.assert_same(&self.restored(at), &format!("{at}, by the program"));
        should.assert_same(&self.untarred(at), &format!("{at}, by GNU tar"));
    }
}

/// All regular files below a directory; links are not followed.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(files(&path));
        } else if meta.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}
