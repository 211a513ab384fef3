//! A house whose backups version 2 made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use nxs_testkit::rng::Rng;
use nxs_testkit::snapshot::{Kind, Snapshot};

use crate::world::{World, files};

const JOB: &str = "\
- job: uploads
  type: inc_files
  sources:
  - target: ['~/www/*/upload/']
    gzip: no
  storages:
  - {storage: local, enable: yes, backup_dir: ~/backup}
";

/// How version 2 is set up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variant(pub(crate) &'static [&'static str]);

pub(crate) const VARIANTS: [Variant; 5] = [
    Variant(&[]),
    Variant(&["gzip"]),
    Variant(&["copies", "gzip"]),
    Variant(&["files-index", "whole-seconds"]),
    Variant(&["copies", "files-index", "gzip", "whole-seconds"]),
];

/// One test at a time: while one starts a process, that holds for a moment the lock that another would take.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for the turn of this test.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Old {
    pub(crate) world: World,
    pub(crate) variant: Variant,
    rng: Rng,
    names: u64,
    _turn: MutexGuard<'static, ()>,
}

impl Old {
    /// A tree with something of everything, before the first run.
    pub(crate) fn new(variant: Variant, first: Date) -> Self {
        let turn = turn();
        let world = World::new(JOB, first);
        let mut old =
            Self { world, variant, rng: Rng::new(variant.0.len() as u64 + 7), names: 0, _turn: turn };
        let tree = old.tree();
        for dir in ["a", "a/deep/er", "b", "größe", "empty"] {
            std::fs::create_dir_all(tree.join(dir)).unwrap();
        }
        for name in ["a.txt", "a/x", "a/deep/er/y", "b/new\nline", "größe/ö", "b/-rf"] {
            old.write(&tree.join(name));
        }
        std::fs::hard_link(tree.join("a/x"), tree.join("b/x")).unwrap();
        std::os::unix::fs::symlink("a.txt", tree.join("to-file")).unwrap();
        std::os::unix::fs::symlink("nowhere", tree.join("to-nowhere")).unwrap();
        std::os::unix::fs::symlink("a", tree.join("to-dir")).unwrap();
        old
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.world.tree()
    }

    pub(crate) fn now(&self) -> DateTime {
        self.world.house.now
    }

    fn write(&mut self, path: &Path) {
        let mut bytes = vec![0; 1 + self.rng.below(3000) as usize];
        self.rng.fill(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    /// What happens to files in a day; only such things as version 2 notices.
    pub(crate) fn change(&mut self) {
        for _ in 0..2 + self.rng.below(4) {
            self.names += 1;
            let tree = self.tree();
            let all = Snapshot::take(&tree);
            let of = |want: fn(&Kind) -> bool| -> Vec<PathBuf> {
                let found = all.nodes.iter().filter(|(p, n)| !p.is_empty() && want(&n.kind));
                found.map(|(p, _)| tree.join(nxs_base_path(p))).collect()
            };
            let files = of(|k| matches!(k, Kind::File { .. }));
            let dirs = of(|k| *k == Kind::Dir);
            let dir = if dirs.is_empty() {
                tree.clone()
            } else {
                dirs[self.rng.below(dirs.len() as u64) as usize].clone()
            };
            let new = dir.join(format!("n{}", self.names));
            let file = files.get(self.rng.below(files.len() as u64 + 1) as usize);
            match (self.rng.below(8), file) {
                (0 | 1, Some(file)) => self.write(&file.clone()),
                (2, Some(file)) => std::fs::remove_file(file).unwrap(),
                (3, Some(file)) => {
                    std::fs::remove_file(file).unwrap();
                    std::fs::create_dir(file).unwrap();
                    self.write(&file.join("inside"));
                }
                (4, _) => {
                    std::fs::create_dir(&new).unwrap();
                    self.write(&new.join("first"));
                }
                (5, _) if dirs.len() > 3 => {
                    std::fs::remove_dir_all(&dir).unwrap();
                    if self.rng.percent(50) {
                        self.write(&dir);
                    }
                }
                (6, _) if dirs.len() > 3 => {
                    std::fs::rename(&dir, tree.join(format!("moved{}", self.names))).unwrap()
                }
                _ => self.write(&new),
            }
        }
    }

    /// A run of version 2 at this moment.
    pub(crate) fn v2(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/v2/make_inc.py");
        let date = self.now().date().to_string();
        let mut python = Command::new("python3");
        python.arg(script).arg(self.world.backups()).args(["shop", "shop"]).arg(self.tree()).arg(date);
        let output = python.args(self.variant.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let now = self.now();
        self.world.points.insert(now, Snapshot::take(&self.tree()));
    }

    /// Days of version 2 up to and without `end`.
    pub(crate) fn v2_until(&mut self, end: Date) {
        while self.now().date() < end {
            self.v2();
            self.pass();
        }
    }

    /// A day with its changes.
    pub(crate) fn pass(&mut self) {
        self.change();
        self.world.house.now = self.now().checked_add(1.day()).unwrap();
    }

    /// The archives of a point by version 2's manual: year, month, decade, day. For trees in which no day was missed.
    pub(crate) fn recipe(&self, at: DateTime) -> Vec<PathBuf> {
        let stamp = |path: &Path| -> Option<Date> {
            let name = path.file_name()?.to_str()?;
            let is_archive = name.ends_with(".tar") || name.ends_with(".tar.gz");
            name.strip_prefix("shop_").filter(|_| is_archive)?.get(..10)?.parse().ok()
        };
        let date = at.date();
        let root = self.world.backups().join("shop").join(format!("{:04}", date.year()));
        let month = root.join(format!("month_{:02}", date.month()));
        let decade = match date.day() {
            ..=10 => 1,
            11..=20 => 11,
            _ => 21,
        };
        let newest = |dir: PathBuf, fits: &dyn Fn(Date) -> bool| -> Option<PathBuf> {
            let there = if dir.is_dir() { files(&dir) } else { Vec::new() };
            let mut found: Vec<_> =
                there.into_iter().filter_map(|p| Some((stamp(&p).filter(|d| fits(*d))?, p))).collect();
            found.sort();
            found.pop().map(|(_, path)| path)
        };
        let full = newest(root.join("year"), &|d| d <= date).unwrap_or_else(|| panic!("{at}: no full"));
        let first = stamp(&full).unwrap();
        let days = month.join(format!("daily/day_{decade:02}"));
        let after = |d: Date| d > first && d <= date;
        let of_month = newest(month.join("monthly"), &after);
        let of_decade = newest(days.clone(), &|d| decade != 1 && d.day() == decade && after(d));
        let of_day = newest(days, &|d| d == date && after(d));
        let mut chain = vec![full];
        for archive in [of_month, of_decade, of_day].into_iter().flatten() {
            if !chain.contains(&archive) {
                chain.push(archive);
            }
        }
        chain
    }

    /// What GNU tar makes of the archives of a point.
    pub(crate) fn untarred(&self, at: DateTime) -> Snapshot {
        let place = tempfile::tempdir().unwrap();
        for (number, archive) in self.recipe(at).iter().enumerate() {
            let mut tar = Command::new("tar");
            tar.args(["--numeric-owner", "--warning=no-timestamp"]).arg(if number == 0 {
                "-xpf"
            } else {
                "-xpGf"
            });
            let output = tar.arg(archive).arg("-C").arg(place.path()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{}: {said}", archive.display());
        }
        Snapshot::take(&place.path().join(self.tree().strip_prefix("/").unwrap()))
    }

    /// A point as version 2's archives have it: the program and GNU tar agree, and of files and directories all is as it
    /// was. Symbolic links are lost in increments.
    pub(crate) fn check_v2(&mut self, at: DateTime) {
        let found = self.world.restored(at);
        self.untarred(at).assert_same(&found, &format!("{at} of version 2, {:?}", self.variant));
        let should = self.world.points[&at].clone();
        let links = |s: Snapshot| Snapshot {
            nodes: s.nodes.into_iter().filter(|(_, n)| !matches!(n.kind, Kind::Symlink { .. })).collect(),
        };
        self.assert_alike(links(should), links(found), &format!("{at} of version 2"));
    }

    /// One of our points.
    pub(crate) fn check_ours(&mut self, at: DateTime) {
        let found = self.world.restored(at);
        self.untarred(at).assert_same(&found, &format!("{at}, program and tar, {:?}", self.variant));
        let should = self.world.points[&at].clone();
        self.assert_alike(should, found, &format!("{at}"));
    }

    /// The same, as far as version 2's archives tell: times went through a float or lost their fraction, and a name that
    /// was linked later is a file of its own.
    fn assert_alike(&self, mut should: Snapshot, mut found: Snapshot, what: &str) {
        let slack = if self.variant.0.contains(&"whole-seconds") { 1_000_000_000 } else { 2_000 };
        let nanos = |(sec, nsec): (i64, i64)| i128::from(sec) * 1_000_000_000 + i128::from(nsec);
        for (path, node) in &mut found.nodes {
            let Some(was) = should.nodes.get_mut(path) else { continue };
            if (nanos(was.mtime) - nanos(node.mtime)).abs() <= slack {
                node.mtime = was.mtime;
            }
            node.first_name = None;
            was.first_name = None;
        }
        should.assert_same(&found, &format!("{what}, {:?}", self.variant));
    }
}

fn nxs_base_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// All moments that were remembered.
pub(crate) fn moments(points: &BTreeMap<DateTime, Snapshot>) -> Vec<DateTime> {
    points.keys().copied().collect()
}
