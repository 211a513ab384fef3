//! Reads one directory: names, `stat` of each in inode order (the order on the disk), what is left out, sorted by name.
//!
//! Knows nothing of threads and order between directories (see `queue`). An entry takes 64 bytes and its name.

use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use nxs_base::entry::{EntryKind, FileTime, Meta};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::{CACHE_DIR, Filter, MARKED, OTHER_FILE_SYSTEM, Options};
use crate::{file_read, meta, safe};

const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Descriptors of directories that are kept for opening what is in them; beyond that, paths are resolved anew.
const MAX_HELD: usize = 128;
const BUFFER_BYTES: usize = 64 << 10;
/// Scratch space that a wide directory took is given back above this.
const KEEP_SCRATCH: usize = 1 << 16;

pub(super) const DESCEND: u8 = 1;
pub(super) const ON_OTHER_DEVICE: u8 = 2;
pub(super) const LEFT_OUT_DEVICE: u8 = 4;
pub(super) const IS_SOCKET: u8 = 8;
pub(super) const FAILED: u8 = 16;
/// A directory that is itself the marker for which its parent is left out.
pub(super) const IS_MARKER: u8 = 32;

/// [`Meta`] and a name, packed.
pub(super) struct Packed {
    /// Device numbers (major in the upper half) for devices.
    size: u64,
    ino: u64,
    mtime_sec: i64,
    ctime_sec: i64,
    mtime_nsec: u32,
    ctime_nsec: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    name_at: u32,
    name_len: u16,
    /// Kind in the upper four bits.
    mode: u16,
    pub(super) flags: u8,
}

/// A directory below another, and how far its reading is (see `queue`).
pub(super) struct Child {
    pub(super) entry: u32,
    pub(super) state: AtomicU32,
}

/// What went wrong with the directory itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    Open(Errno),
    /// The listing broke off; what was read until then is there.
    List(Errno),
}

/// A directory that was read.
#[derive(Default)]
pub(super) struct Dir {
    dev: u64,
    names: Box<[u8]>,
    pub(super) entries: Vec<Packed>,
    pub(super) children: Vec<Child>,
    /// Keyed by `name_at`, ascending: the few entries whose device differs from that of the directory.
    devices: Vec<(u32, u64)>,
    /// Keyed by `name_at`, ascending: the few entries that could not be asked.
    failures: Vec<(u32, Errno)>,
    pub(super) left_out: Option<&'static str>,
    pub(super) trouble: Option<Trouble>,
}

/// What reading the directories below one takes: its path and, within bounds, its descriptor.
pub(super) struct Context {
    path: Box<[u8]>,
    fd: Option<HeldFd>,
}

struct HeldFd {
    fd: OwnedFd,
    held: Arc<AtomicUsize>,
}

impl Drop for HeldFd {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all readers share.
pub(super) struct Reader {
    pub(super) root: OwnedFd,
    pub(super) root_dev: u64,
    pub(super) options: Options,
    pub(super) filter: Arc<Filter>,
    pub(super) stop: AtomicBool,
    held: Arc<AtomicUsize>,
    euid: u32,
}

/// What one thread reuses.
pub(super) struct Scratch {
    buffer: Vec<MaybeUninit<u8>>,
    names: Vec<u8>,
    raw: Vec<Raw>,
    path: Vec<u8>,
}

struct Raw {
    ino: u64,
    at: u32,
    len: u16,
    file_type: FileType,
}

impl Raw {
    fn name<'n>(&self, names: &'n [u8]) -> &'n [u8] {
        &names[self.at as usize..][..usize::from(self.len)]
    }
}

impl Scratch {
    pub(super) fn new() -> Self {
        let buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        Self { buffer, names: Vec::new(), raw: Vec::new(), path: Vec::new() }
    }

    fn give_back(&mut self) {
        if self.raw.capacity() > KEEP_SCRATCH / 16 {
            self.raw = Vec::new();
        }
        if self.names.capacity() > KEEP_SCRATCH {
            self.names = Vec::new();
        }
    }
}

impl Dir {
    pub(super) fn name(&self, entry: &Packed) -> &[u8] {
        &self.names[entry.name_at as usize..][..usize::from(entry.name_len)]
    }

    pub(super) fn meta(&self, entry: &Packed) -> Meta {
        let kind = KINDS[usize::from(entry.mode >> 12)];
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let side = entry.flags & ON_OTHER_DEVICE != 0;
        let dev = if side { look_up(&self.devices, entry.name_at) } else { None };
        Meta {
            kind,
            mode: u32::from(entry.mode & 0o7777),
            uid: entry.uid,
            gid: entry.gid,
            size_bytes: if is_device { 0 } else { entry.size },
            mtime: FileTime { sec: entry.mtime_sec, nsec: entry.mtime_nsec },
            ctime: FileTime { sec: entry.ctime_sec, nsec: entry.ctime_nsec },
            ino: entry.ino,
            dev: dev.unwrap_or(self.dev),
            nlink: u64::from(entry.nlink),
            rdev_major: if is_device { (entry.size >> 32) as u32 } else { 0 },
            rdev_minor: if is_device { entry.size as u32 } else { 0 },
        }
    }

    pub(super) fn failure(&self, entry: &Packed) -> Option<Errno> {
        if entry.flags & FAILED == 0 { None } else { look_up(&self.failures, entry.name_at) }
    }

    /// What it counts against the bound on entries read ahead.
    pub(super) fn cost(&self) -> usize {
        1 + self.entries.len()
    }
}

fn look_up<T: Copy>(table: &[(u32, T)], key: u32) -> Option<T> {
    table.binary_search_by_key(&key, |(k, _)| *k).ok().map(|i| table[i].1)
}

/// Indexed by the upper four bits of [`Packed::mode`].
const KINDS: [EntryKind; 16] = {
    let mut kinds = [EntryKind::File; 16];
    kinds[1] = EntryKind::Dir;
    kinds[2] = EntryKind::Symlink;
    kinds[3] = EntryKind::Fifo;
    kinds[4] = EntryKind::CharDevice;
    kinds[5] = EntryKind::BlockDevice;
    kinds
};

fn kind_code(kind: EntryKind) -> u16 {
    match kind {
        EntryKind::File | EntryKind::HardLink => 0,
        EntryKind::Dir => 1,
        EntryKind::Symlink => 2,
        EntryKind::Fifo => 3,
        EntryKind::CharDevice => 4,
        EntryKind::BlockDevice => 5,
    }
}

fn pack(meta: &Meta, raw: &Raw, flags: u8) -> Packed {
    let is_device = matches!(meta.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    let device = u64::from(meta.rdev_major) << 32 | u64::from(meta.rdev_minor);
    Packed {
        size: if is_device { device } else { meta.size_bytes },
        ino: meta.ino,
        mtime_sec: meta.mtime.sec,
        ctime_sec: meta.ctime.sec,
        mtime_nsec: meta.mtime.nsec,
        ctime_nsec: meta.ctime.nsec,
        uid: meta.uid,
        gid: meta.gid,
        nlink: u32::try_from(meta.nlink).unwrap_or(u32::MAX),
        name_at: raw.at,
        name_len: raw.len,
        mode: kind_code(meta.kind) << 12 | (meta.mode & 0o7777) as u16,
        flags,
    }
}

impl Reader {
    pub(super) fn new(root: OwnedFd, root_dev: u64, options: Options, filter: Arc<Filter>) -> Self {
        let euid = rustix::process::geteuid().as_raw();
        let (stop, held) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
        Self { root, root_dev, options, filter, stop, held, euid }
    }

    /// Reads the root itself, which belongs to `root_uid`.
    pub(super) fn read_root(&self, root_uid: u32, scratch: &mut Scratch) -> (Dir, Option<Context>) {
        scratch.path.clear();
        match self.open_quietly(root_uid, OFlags::empty(), |flags| {
            rustix::fs::openat(&self.root, ".", flags, Mode::empty())
        }) {
            Ok(fd) => self.read(fd, self.root_dev, scratch),
            Err(e) => (Dir { trouble: Some(Trouble::Open(e)), ..Dir::default() }, None),
        }
    }

    /// Reads the directory that is entry `entry` of `parent`.
    pub(super) fn read_child(
        &self,
        parent: &Dir,
        entry: u32,
        context: &Context,
        scratch: &mut Scratch,
    ) -> (Dir, Option<Context>) {
        let entry = &parent.entries[entry as usize];
        let name = parent.name(entry);
        scratch.path.clear();
        scratch.path.extend_from_slice(&context.path);
        push_name(&mut scratch.path, name);
        let mut dev = parent.meta(entry).dev;
        match self.open(name, entry.uid, context, &scratch.path) {
            Ok(fd) => {
                if self.options.one_file_system {
                    // Opening may have mounted something here.
                    dev = rustix::fs::fstat(&fd).map_or(dev, |s| meta::from_stat(&s).0.dev);
                    if dev != self.root_dev {
                        return (Dir { left_out: Some(OTHER_FILE_SYSTEM), ..Dir::default() }, None);
                    }
                }
                self.read(fd, dev, scratch)
            }
            Err(e) => (Dir { trouble: Some(Trouble::Open(e)), ..Dir::default() }, None),
        }
    }

    fn open(&self, name: &[u8], uid: u32, context: &Context, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_quietly(uid, OFlags::NOFOLLOW, |flags| match &context.fd {
            Some(held) => rustix::fs::openat(&held.fd, name, flags, Mode::empty()),
            None => safe::open_beneath(self.root.as_fd(), path, flags),
        })
    }

    /// Opens a directory of `uid` without changing its access time where that is allowed.
    fn open_quietly(
        &self,
        uid: u32,
        flags: OFlags,
        open: impl Fn(OFlags) -> Result<OwnedFd, Errno>,
    ) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if self.euid == 0 || self.euid == uid {
            match open(flags | OFlags::NOATIME) {
                Err(Errno::PERM) => {}
                other => return other,
            }
        }
        open(flags)
    }

    /// Reads the open directory whose path stands in `scratch.path`.
    fn read(&self, fd: OwnedFd, dev: u64, scratch: &mut Scratch) -> (Dir, Option<Context>) {
        let mut dir = Dir { dev, ..Dir::default() };
        dir.trouble = self.list(fd.as_fd(), scratch).err().map(Trouble::List);
        if let Some((reason, keep)) = self.marker(fd.as_fd(), scratch) {
            dir.left_out = Some(reason);
            let names = &scratch.names;
            scratch.raw.retain(|r| r.name(names) == keep);
        }
        scratch.raw.sort_unstable_by_key(|r| r.ino);
        self.stat_all(fd.as_fd(), &mut dir, scratch);
        if dir.left_out.is_some() {
            let markers = dir.entries.iter_mut().filter(|e| e.flags & DESCEND != 0);
            markers.for_each(|e| e.flags = e.flags & !DESCEND | IS_MARKER);
        }
        sort_by_name(&mut dir, &scratch.names);
        let descends = dir.entries.iter().zip(0..).filter(|(e, _)| e.flags & DESCEND != 0);
        dir.children = descends.map(|(_, entry)| Child { entry, state: AtomicU32::new(0) }).collect();
        let context = (!dir.children.is_empty()).then(|| self.context(fd, &scratch.path));
        scratch.give_back();
        (dir, context)
    }

    fn list(&self, fd: BorrowedFd<'_>, scratch: &mut Scratch) -> Result<(), Errno> {
        scratch.names.clear();
        scratch.raw.clear();
        let mut raw_dir = RawDir::new(fd, &mut scratch.buffer);
        while let Some(entry) = raw_dir.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let at = u32::try_from(scratch.names.len()).map_err(|_| Errno::OVERFLOW)?;
            let len = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
            scratch.names.extend_from_slice(name);
            scratch.raw.push(Raw { ino: entry.ino(), at, len, file_type: entry.file_type() });
            if scratch.raw.len().is_multiple_of(1024) && self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }

    /// Why only one entry of the directory is kept, and which.
    fn marker<'s>(&'s self, fd: BorrowedFd<'_>, scratch: &Scratch) -> Option<(&'static str, &'s [u8])> {
        let wanted = &self.options.exclude_if_present;
        if wanted.is_empty() && !self.options.exclude_caches {
            return None;
        }
        let has = |name: &[u8]| scratch.raw.iter().any(|r| r.name(&scratch.names) == name);
        if let Some(marker) = wanted.iter().find(|w| has(w)) {
            return Some((MARKED, marker));
        }
        let is_cache = self.options.exclude_caches && has(CACHE_TAG) && is_cache_tag(fd);
        is_cache.then_some((CACHE_DIR, CACHE_TAG))
    }

    fn stat_all(&self, fd: BorrowedFd<'_>, dir: &mut Dir, scratch: &mut Scratch) {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let path = &mut scratch.path;
        let path_len = path.len();
        dir.entries.reserve_exact(scratch.raw.len());
        for raw in &scratch.raw {
            let name = raw.name(&scratch.names);
            let (meta, mut entry_flags) = match rustix::fs::statat(fd, name, flags) {
                Ok(stat) => {
                    let (meta, is_socket) = meta::from_stat(&stat);
                    (meta, if is_socket { IS_SOCKET } else { 0 })
                }
                Err(e) => {
                    dir.failures.push((raw.at, e));
                    (Meta { kind: kind_of(raw.file_type), dev: dir.dev, ..Meta::default() }, FAILED)
                }
            };
            push_name(path, name);
            let keep = (self.filter)(path, &meta);
            path.truncate(path_len);
            if !keep {
                continue;
            }
            if meta.dev != dir.dev {
                entry_flags |= ON_OTHER_DEVICE;
                dir.devices.push((raw.at, meta.dev));
            }
            if meta.kind == EntryKind::Dir && entry_flags & FAILED == 0 {
                let is_other = self.options.one_file_system && meta.dev != self.root_dev;
                entry_flags |= if is_other { LEFT_OUT_DEVICE } else { DESCEND };
            }
            dir.entries.push(pack(&meta, raw, entry_flags));
        }
    }

    fn context(&self, fd: OwnedFd, path: &[u8]) -> Context {
        let is_within = self.held.fetch_add(1, Ordering::Relaxed) < MAX_HELD;
        let held = HeldFd { fd, held: Arc::clone(&self.held) };
        Context { path: path.into(), fd: is_within.then_some(held) }
    }
}

/// Sorts by raw bytes and moves the names that are still needed into the directory, in that order.
fn sort_by_name(dir: &mut Dir, names: &[u8]) {
    let name = |e: &Packed| &names[e.name_at as usize..][..usize::from(e.name_len)];
    dir.entries.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    if dir.entries.len() < dir.entries.capacity() / 2 {
        dir.entries.shrink_to_fit();
    }
    let mut kept = Vec::with_capacity(dir.entries.iter().map(|e| usize::from(e.name_len)).sum());
    dir.devices.sort_unstable_by_key(|d| d.0);
    dir.failures.sort_unstable_by_key(|f| f.0);
    let (mut devices, mut failures) = (Vec::new(), Vec::new());
    for entry in &mut dir.entries {
        let (old, new) = (entry.name_at, kept.len() as u32);
        kept.extend_from_slice(&names[old as usize..][..usize::from(entry.name_len)]);
        entry.name_at = new;
        if entry.flags & ON_OTHER_DEVICE != 0 {
            devices.extend(look_up(&dir.devices, old).map(|d| (new, d)));
        }
        if entry.flags & FAILED != 0 {
            failures.extend(look_up(&dir.failures, old).map(|f| (new, f)));
        }
    }
    dir.names = kept.into_boxed_slice();
    dir.devices = devices;
    dir.failures = failures;
}

fn is_cache_tag(dir: BorrowedFd<'_>) -> bool {
    let Ok(file) = file_read::open_noatime_at(dir, crate::fsx::as_path(CACHE_TAG)) else { return false };
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return false;
    }
    let mut begin = Vec::new();
    file.take(CACHE_SIGNATURE.len() as u64).read_to_end(&mut begin).is_ok() && begin == CACHE_SIGNATURE
}

fn kind_of(file_type: FileType) -> EntryKind {
    match file_type {
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo | FileType::Socket => EntryKind::Fifo,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        _ => EntryKind::File,
    }
}

/// Appends a component.
pub(super) fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
