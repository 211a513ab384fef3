//! A house with an incremental job, days that pass, and what the tree looked like after each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use nxs_base::Result;
use nxs_base::ports::source::Source;
use nxs_base::spec::{JobKind, SourceEntry, SourceSpec};
use nxs_sources::files::FilesSource;
use nxs_sources::registry::Surroundings;
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
fn open_source(entry: &SourceEntry, kind: JobKind, around: &Surroundings) -> Result<Box<dyn Source>> {
    match &entry.spec {
        SourceSpec::Files(spec) => Ok(Box::new(FilesSource::new(spec.clone())?.without_racy_rule())),
        _ => nxs_sources::registry::open(entry, kind, around),
    }
}

pub(crate) struct World {
    pub(crate) house: House,
    /// The tree after each run, by its time.
    pub(crate) points: BTreeMap<DateTime, Snapshot>,
    runs: u32,
    /// Files that changed just before the run are told from others, as in the real program.
    pub(crate) has_racy_rule: bool,
}

impl World {
    pub(crate) fn new(job: &str, first: Date) -> Self {
        let mut house = House::new();
        house.config(&format!("{MAIN}jobs:\n{job}"));
        std::fs::create_dir_all(house.path("www/shop/upload")).unwrap();
        house.now = first.at(3, 0, 0, 0);
        Self { house, points: BTreeMap::new(), runs: 0, has_racy_rule: false }
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
        let has_racy_rule = self.has_racy_rule;
        self.house.run_with(args, |env| {
            if !has_racy_rule {
                env.open_source = open_source;
            }
            env.run_id = id;
        })
    }

    /// A run that must be complete, and remembers the tree.
    pub(crate) fn backup(&mut self) {
        let answer = self.run(&["start"]);
        assert_eq!(answer.code, 0, "{}: {}\n{}", self.house.now, answer.err, self.house.log());
        self.points.insert(self.house.now, Snapshot::take(&self.tree()));
    }

    /// What the program brings back of a point, and how it ended.
    pub(crate) fn restore(&mut self, at: DateTime) -> (Snapshot, Answer) {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("to");
        let moment = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let args = ["restore", "uploads", "--at", &moment, "--to", to.to_str().unwrap(), "--strip"];
        let answer = self.run(&args);
        (Snapshot::take(&to), answer)
    }

    /// The same, without a complaint.
    pub(crate) fn restored(&mut self, at: DateTime) -> Snapshot {
        let (found, answer) = self.restore(at);
        assert_eq!(answer.code, 0, "{at}: {}", answer.err);
        found
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
