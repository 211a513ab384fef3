//! Backups on storages in memory, and restores of them into temporary directories.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nxs_archive::tar::{self, Member};
use nxs_base::Result;
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta, path_order};
use nxs_base::event::NoEvents;
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, NoteKind, Sink, Source, Target};
use nxs_base::ports::storage::Storage;
use nxs_base::spec::{
    Compression, FilesSource as FilesSpec, JobKind, JobSpec, Require, Retention, Rotation, SourceEntry,
    SourceSpec, StorageSettings, StorageSpec, Traffic,
};
use nxs_engine::job::{JobPorts, RunContext, run_job};
use nxs_engine::restore::{Request, RestoreReport, Restored, run};
use nxs_sources::files::FilesSource;
use nxs_testkit::snapshot::Snapshot;
use nxs_testkit::{FakeClock, MemoryStorage};

/// A job with storages in memory, and a directory to play in: `tree` is saved, `out` restored into, `outside` is what
/// nothing may touch.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) storages: Vec<MemoryStorage>,
    pub(crate) clock: FakeClock,
    pub(crate) compression: Compression,
    pub(crate) excludes: Vec<String>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tree", "outside"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        Self {
            dir,
            storages: vec![MemoryStorage::new("one")],
            clock: FakeClock::utc("2026-03-05T03:00"),
            compression: Compression::Zstd(1),
            excludes: Vec::new(),
        }
    }

    pub(crate) fn with_two_storages() -> Self {
        let mut scene = Self::new();
        scene.storages.push(MemoryStorage::new("two"));
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    /// Where the tree is after a restore into `out`.
    pub(crate) fn restored_tree(&self) -> PathBuf {
        self.path("out").join(self.tree().strip_prefix("/").unwrap())
    }

    /// The path of `name` in the tree as the archive spells it.
    pub(crate) fn member(&self, name: &str) -> String {
        let path = if name.is_empty() { self.tree() } else { self.tree().join(name) };
        path.strip_prefix("/").unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn outside(&self) -> Snapshot {
        Snapshot::take(&self.path("outside"))
    }

    fn files_spec(&self) -> FilesSpec {
        FilesSpec {
            targets: vec![self.tree().to_str().unwrap().into()],
            excludes: self.excludes.clone(),
            one_file_system: false,
            exclude_caches: false,
            exclude_if_present: Vec::new(),
        }
    }

    fn entry(&self) -> SourceEntry {
        SourceEntry {
            index: 0,
            spec: SourceSpec::Files(self.files_spec()),
            compression: self.compression,
            full_every: None,
        }
    }

    pub(crate) fn job(&self) -> JobSpec {
        JobSpec {
            name: "files".into(),
            kind: JobKind::DescFiles,
            tmp_dir: None,
            sources: vec![self.entry()],
            storages: self.storages.iter().enumerate().map(|(n, _)| storage_spec(n)).collect(),
            rotation: Rotation::After,
            require: Require::All,
            floor: None,
            months_to_store: 12,
        }
    }

    /// Saves the tree with the real source.
    pub(crate) fn save(&self) {
        let source = FilesSource::new(self.files_spec()).unwrap();
        self.save_from(Box::new(source));
    }

    pub(crate) fn save_from(&self, source: Box<dyn Source>) {
        let cancel = Cancel::new();
        let ports = JobPorts {
            storages: self.opened().into_iter().map(|(spec, storage)| (spec, Ok(storage))).collect(),
            sources: vec![(self.entry(), Ok(source))],
            neighbours: Vec::new(),
        };
        let report = run_job(&context(&self.clock, &cancel), &self.job(), ports);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert!(report.targets.iter().all(|t| t.problem.is_none()), "{:?}", report.targets);
        assert!(report.targets.iter().all(|t| t.copies.iter().all(|c| c.problem.is_none())), "{report:?}");
    }

    fn opened(&self) -> Vec<(StorageSpec, Arc<dyn Storage>)> {
        let storages = self.storages.iter().enumerate();
        storages.map(|(n, s)| (storage_spec(n), Arc::new(s.clone()) as Arc<dyn Storage>)).collect()
    }

    pub(crate) fn restore_with(&self, request: &Request) -> Result<RestoreReport> {
        self.restore_from(self.opened(), request)
    }

    pub(crate) fn restore_from(
        &self,
        storages: Vec<(StorageSpec, Arc<dyn Storage>)>,
        request: &Request,
    ) -> Result<RestoreReport> {
        let cancel = Cancel::new();
        run(&context(&self.clock, &cancel), &self.job(), &storages, request)
    }

    /// Restores one target, which has to work; what single entries suffered is in the answer.
    pub(crate) fn restored(&self, request: &Request) -> Restored {
        let mut report = self.restore_with(request).unwrap();
        assert!(!report.failed, "{:?}", report.problems);
        assert_eq!(report.restored.len(), 1);
        report.restored.remove(0)
    }

    /// Into `out`.
    pub(crate) fn request(&self) -> Request {
        Request { to: self.path("out"), ..Request::default() }
    }

    /// In place, as if the temporary directory were all there is: the tree is at its path below `out`.
    pub(crate) fn in_place(&self) -> Request {
        Request { in_place: true, ..self.request() }
    }

    /// The key of the only archive on a storage.
    pub(crate) fn archive_key(&self, storage: usize) -> String {
        let tree = self.storages[storage].tree();
        let keys: Vec<&str> = tree.lines().filter(|l| !l.contains(" -> ")).collect();
        let is_archive = |key: &&&str| {
            key.rsplit('/').next().unwrap().contains(".tar")
                && !key.contains(".nxs.")
                && !key.contains("leases")
        };
        let found: Vec<_> = keys.iter().filter(is_archive).collect();
        assert_eq!(found.len(), 1, "{tree}");
        (*found[0]).to_owned()
    }
}

pub(crate) fn storage_spec(number: usize) -> StorageSpec {
    StorageSpec {
        name: ["one", "two"][number].into(),
        enable: true,
        backup_dir: "/backup".into(),
        retention: Retention { days: 9, weeks: 0, months: 0 },
        settings: StorageSettings::Local,
        traffic: Traffic::default(),
    }
}

fn context<'a>(clock: &'a FakeClock, cancel: &'a Cancel) -> RunContext<'a> {
    RunContext {
        server_name: "web",
        host: "web",
        run_id: "1",
        clock,
        cancel,
        events: &NoEvents,
        workers: 2,
        cache: None,
    }
}

/// An archive made by hand: members and index as the test wants them.
#[derive(Clone, Default)]
pub(crate) struct Canned {
    pub(crate) root: String,
    pub(crate) plain: Vec<u8>,
    pub(crate) entries: Vec<IndexEntry>,
    pub(crate) has_index: bool,
    pub(crate) counts: Vec<(NoteKind, u64)>,
}

impl Canned {
    pub(crate) fn of(scene: &Scene) -> Self {
        Self { root: scene.tree().to_str().unwrap().into(), ..Self::default() }
    }

    /// Adds a member with its index entry.
    pub(crate) fn add(
        &mut self,
        path: impl AsRef<[u8]>,
        kind: EntryKind,
        link: &str,
        data: &[u8],
    ) -> &mut Self {
        self.add_with(path, Meta { kind, mode: 0o644, ..Meta::default() }, link, data, &[])
    }

    pub(crate) fn add_with(
        &mut self,
        path: impl AsRef<[u8]>,
        meta: Meta,
        link: &str,
        data: &[u8],
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> &mut Self {
        let path = path.as_ref();
        let uid = rustix::process::geteuid().as_raw();
        let meta = Meta {
            size_bytes: data.len() as u64,
            mtime: FileTime { sec: 1_700_000_000, nsec: 5 },
            uid,
            gid: rustix::process::getegid().as_raw(),
            ..meta
        };
        let member = Member {
            path,
            meta: &meta,
            link: link.as_bytes(),
            uname: b"",
            gname: b"",
            xattrs,
            acl_access: None,
            acl_default: None,
            sparse: None,
            state: EntryState::Sound,
            dumpdir: None,
        };
        let offset = self.plain.len() as u64;
        let plan = tar::header(&mut self.plain, &member).unwrap();
        self.plain.extend_from_slice(data);
        self.plain.resize(self.plain.len() + plan.padding, 0);
        self.entries.push(IndexEntry {
            path: path.to_vec(),
            meta,
            state: EntryState::Sound,
            link: link.into(),
            offset,
            stored_bytes: self.plain.len() as u64 - offset,
        });
        self
    }

    pub(crate) fn dir(&mut self, path: impl AsRef<[u8]>) -> &mut Self {
        self.add_with(path, Meta { kind: EntryKind::Dir, mode: 0o755, ..Meta::default() }, "", b"", &[])
    }

    pub(crate) fn file(&mut self, path: impl AsRef<[u8]>, data: &str) -> &mut Self {
        self.add(path, EntryKind::File, "", data.as_bytes())
    }

    /// Appends blocks as they are.
    pub(crate) fn raw(&mut self, blocks: &[u8]) -> &mut Self {
        self.plain.extend_from_slice(blocks);
        self
    }

    /// The archive with its end mark.
    pub(crate) fn archive(&self) -> Vec<u8> {
        [&self.plain[..], &tar::TRAILER].concat()
    }
}

impl Source for Canned {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(vec![Ok(Target {
            name: "tree".into(),
            part: "tree".into(),
            file_stem: "tree".into(),
            extension: "tar".into(),
            root: self.root.clone(),
        })])
    }

    fn probe(&self, _: &Target) -> Result<()> {
        Ok(())
    }

    fn dump(&self, _: &Target, sink: &mut dyn Sink, _: &Cancel) -> Result<DumpReport> {
        sink.begin(Artefact { has_index: self.has_index, expected_bytes: None })?;
        // Small frames, so that damage of one leaves others.
        for block in self.archive().chunks(10 * 512) {
            sink.write(block)?;
            sink.cut_here()?;
        }
        let mut entries = self.entries.clone();
        entries.sort_by(|a, b| path_order(&a.path, &b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        entries.iter().try_for_each(|entry| sink.entry(entry))?;
        let counts = self.counts.iter().copied().collect();
        Ok(DumpReport { counts, ..DumpReport::default() })
    }
}

/// A ustar header block as hostile as wished.
pub(crate) fn raw_header(name: &[u8], kind: u8, size_field: &[u8], link: &[u8]) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    for field in [108, 116] {
        block[field..field + 7].copy_from_slice(b"0000000");
    }
    block[124..124 + size_field.len()].copy_from_slice(size_field);
    block[136..147].copy_from_slice(b"14524770400");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The names directly in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
