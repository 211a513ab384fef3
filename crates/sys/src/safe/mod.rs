//! Work beneath a directory that others may change at the same time, without ever being led out of it: no symbolic
//! link is followed, `..` is refused. For restores, and for opening what a walk found.
//!
//! A directory is opened once ([`Root::dir`]); everything in it is then done relative to its descriptor, with single
//! names. Keeping descriptors is the caller's affair. Rule: `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
//! RESOLVE_NO_MAGICLINKS`; kernels without it get one `openat(O_NOFOLLOW)` per component, which is as strict.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nxs_base::entry::{EntryKind, FileTime, Meta};
use nxs_base::{Error, ErrorKind, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::{file_read, fsx, meta};

/// Directories on the way are made with this mode; their own is set when they are restored themselves.
const NEW_DIR_MODE: Mode = Mode::RWXU;
/// Links that [`Root::open_trusted`] follows before it thinks of a loop.
const MAX_LINKS: u32 = 40;
/// Below `PATH_MAX`, which counts the NUL.
const MAX_CHUNK: usize = 4000;
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The directory beneath which everything stays.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the directory; links in `path` itself are followed, they are the user's choice.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| {
            Error::io(format!("cannot open the directory `{}`", fsx::show_path(path)), e.into())
        })?;
        Ok(Self { fd, path: path.to_path_buf() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory `rel` (`a/b`; empty is the root itself), of any length. With `create`, missing ones are
    /// made with mode 0700. [`ErrorKind::Denied`] if a component is a link, [`ErrorKind::Invalid`] for `..`, `.`,
    /// empty components and NUL.
    pub fn dir(&self, rel: &[u8], create: bool) -> Result<OwnedFd> {
        self.dir_from(self.fd.as_fd(), b"", rel, create)
    }

    /// Like [`Root::dir`], beginning at `above`, which is open and was found at the path `above_path` on the way.
    pub fn dir_from(
        &self,
        above: BorrowedFd<'_>,
        above_path: &[u8],
        rel: &[u8],
        create: bool,
    ) -> Result<OwnedFd> {
        let below = match rel.strip_prefix(above_path) {
            Some(below) if above_path.is_empty() => below,
            Some([b'/', below @ ..]) => below,
            _ => return self.dir(rel, create),
        };
        check(below)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match open_beneath(above, below, flags) {
            Err(Errno::NOENT) if create => make_dirs(above, below, flags),
            other => other,
        };
        opened.map_err(|e| self.error("open the directory", rel, e))
    }

    /// Opens the file `rel` for reading, of whatever kind it is, without waiting and without changing its access
    /// time where that is allowed.
    pub fn open_file(&self, rel: &[u8]) -> Result<File> {
        check(rel)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = match open_beneath(self.fd.as_fd(), rel, flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open_beneath(self.fd.as_fd(), rel, flags),
            other => other,
        };
        opened.map(File::from).map_err(|e| self.error("open", rel, e))
    }

    fn error(&self, what: &str, rel: &[u8], errno: Errno) -> Error {
        let message = format!("cannot {what} `{}/{}`", fsx::show_path(&self.path), fsx::show(rel));
        match errno {
            Errno::LOOP | Errno::XDEV => {
                Error::new(ErrorKind::Denied, format!("{message}: a symbolic link leads elsewhere"))
            }
            e => Error::io(message, e.into()),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// Opens the directory that the absolute `path` names on this host, with `create` making missing ones with mode 0755. Links on
    /// the way are followed only if they belong to root or to the one who runs this: whoever owns a directory above
    /// could else lead a restore anywhere. [`ErrorKind::Denied`] for links of others.
    pub fn open_trusted(path: &Path, create: bool) -> Result<Self> {
        let failed =
            |e: Errno| Error::io(format!("cannot open the directory `{}`", fsx::show_path(path)), e.into());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = || rustix::fs::open("/", flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed);
        let mut dir = root()?;
        let mut rest: Vec<Vec<u8>> = components(path.as_os_str().as_encoded_bytes());
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let next = match rustix::fs::openat(&dir, &name[..], flags, Mode::empty()) {
                Err(Errno::NOENT) if create => {
                    match rustix::fs::mkdirat(&dir, &name[..], Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(failed(e)),
                    }
                    rustix::fs::openat(&dir, &name[..], flags, Mode::empty()).map_err(failed)?
                }
                other => other.map_err(failed)?,
            };
            let stat = rustix::fs::fstat(&next).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                dir = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(failed(Errno::LOOP));
            }
            if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
                let message = format!(
                    "cannot open the directory `{}`: the symbolic link `{}` on the way belongs to user {}",
                    fsx::show_path(path),
                    fsx::show(&name),
                    stat.st_uid
                );
                return Err(Error::new(ErrorKind::Denied, message));
            }
            let target = rustix::fs::readlinkat(&next, "", Vec::new()).map_err(failed)?.into_bytes();
            if target.starts_with(b"/") {
                dir = root()?;
            }
            rest.extend(components(&target));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&dir, ".", flags, Mode::empty()).map_err(failed)?;
        Ok(Self { fd, path: path.to_path_buf() })
    }

    /// The directory `rel` beneath this one, as a root of its own.
    pub fn below(&self, rel: &[u8], create: bool) -> Result<Self> {
        Ok(Self { fd: self.dir(rel, create)?, path: self.path.join(fsx::as_path(rel)) })
    }

    /// Like [`Root::dir`], and never on another file system or mount: [`ErrorKind::Unsupported`] then.
    pub fn dir_on_same_mount(&self, rel: &[u8]) -> Result<OwnedFd> {
        check(rel)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let other = || {
            let message = format!("`{}` lies on another file system", fsx::show(rel));
            Error::new(ErrorKind::Unsupported, message)
        };
        if has_openat2() && !rel.is_empty() && rel.len() < MAX_CHUNK {
            let resolve = RESOLVE | ResolveFlags::NO_XDEV;
            return retry(|| rustix::fs::openat2(&self.fd, rel, flags, Mode::empty(), resolve)).map_err(
                |e| if e == Errno::XDEV { other() } else { self.error("open the directory", rel, e) },
            );
        }
        let fd = open_beneath(self.fd.as_fd(), rel, flags)
            .map_err(|e| self.error("open the directory", rel, e))?;
        let dev = |fd: BorrowedFd<'_>| {
            rustix::fs::fstat(fd).map(|s| s.st_dev).map_err(|e| self.error("stat", rel, e))
        };
        if dev(fd.as_fd())? == dev(self.fd.as_fd())? { Ok(fd) } else { Err(other()) }
    }
}

/// Names of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").rev().map(<[u8]>::to_vec).collect()
}

/// Makes and opens for writing a new file; [`ErrorKind::Exists`] if there is anything of that name, a link included.
/// The mode is taken as it is only after [`set_mode`]: this one goes through the umask.
pub fn create_file(dir: impl AsFd, name: &[u8], mode: u32) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, single(name)?, flags, perm(mode))
        .map(File::from)
        .map_err(|e| tried("create", name, e))
}

/// Opens an existing file for reading, without following a link and without waiting.
pub fn open_file(dir: impl AsFd, name: &[u8]) -> Result<File> {
    file_read::open_noatime_at(dir, fsx::as_path(single(name)?)).map_err(|e| tried("open", name, e))
}

/// Makes a directory; never replaces.
pub fn make_dir(dir: impl AsFd, name: &[u8], mode: u32) -> Result<()> {
    rustix::fs::mkdirat(dir, single(name)?, perm(mode)).map_err(|e| tried("make the directory", name, e))
}

/// Makes a symbolic link that says `target` (any bytes, never resolved here); never replaces.
pub fn symlink(dir: impl AsFd, name: &[u8], target: &[u8]) -> Result<()> {
    let target = CString::new(target).map_err(|_| invalid(target))?;
    rustix::fs::symlinkat(target, dir, single(name)?).map_err(|e| tried("make the link", name, e))
}

/// Makes `new` a further name of the file `old`; never replaces, never follows.
pub fn link(old_dir: impl AsFd, old: &[u8], new_dir: impl AsFd, new: &[u8]) -> Result<()> {
    rustix::fs::linkat(old_dir, single(old)?, new_dir, single(new)?, AtFlags::empty())
        .map_err(|e| tried("make the hard link", new, e))
}

/// Moves within or between directories, replacing what is no directory.
pub fn rename(old_dir: impl AsFd, old: &[u8], new_dir: impl AsFd, new: &[u8]) -> Result<()> {
    rustix::fs::renameat(old_dir, single(old)?, new_dir, single(new)?).map_err(|e| tried("move", old, e))
}

/// Makes two names change places.
pub fn exchange(dir: impl AsFd, a: &[u8], b: &[u8]) -> Result<()> {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(&dir, single(a)?, &dir, single(b)?, flags).map_err(|e| tried("exchange", b, e))
}

/// Names in an open directory, in the order of their bytes.
pub fn list(dir: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let failed = |e: Errno| Error::io("cannot list an open directory", e.into());
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether the name is a socket.
pub fn is_socket(dir: impl AsFd, name: &[u8]) -> Result<bool> {
    rustix::fs::statat(dir, single(name)?, AtFlags::SYMLINK_NOFOLLOW)
        .map(|s| FileType::from_raw_mode(s.st_mode) == FileType::Socket)
        .map_err(|e| tried("stat", name, e))
}

/// Opens what was just made, of any kind, to give it its metadata; [`ErrorKind::Denied`] if by now the name means
/// something else: another kind, another owner, or a file with further names.
pub fn open_made(dir: impl AsFd, name: &[u8], kind: EntryKind) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(dir, single(name)?, flags, Mode::empty()).map_err(|e| tried("open", name, e))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| tried("stat", name, e))?;
    let (meta, is_socket) = meta::from_stat(&stat);
    let is_ours = meta.uid == rustix::process::geteuid().as_raw() && meta.nlink == 1;
    if meta.kind != kind || is_socket || !is_ours {
        return Err(Error::new(ErrorKind::Denied, format!("`{}` was replaced meanwhile", fsx::show(name))));
    }
    Ok(fd)
}

/// Sets owner and group of what [`open_made`] opened. Clears set-id bits.
pub fn set_owner_made(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = owners(uid, gid)?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(fd, "", Some(uid), Some(gid), flags)
        .map_err(|e| Error::io("cannot set the owner", e.into()))
}

/// Sets all permission bits of what [`open_made`] opened; it is no link.
pub fn set_mode_made(fd: impl AsFd, mode: u32) -> Result<()> {
    // The magic link leads to the very inode that was opened, whatever the name means by now.
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    rustix::fs::chmodat(CWD, path, perm(mode), AtFlags::empty())
        .map_err(|e| Error::io("cannot set the mode", e.into()))
}

/// Whether what is made in the open directory inherits an ACL.
pub fn has_default_acl(dir: impl AsFd) -> bool {
    rustix::fs::fgetxattr(dir, "system.posix_acl_default", &mut [0_u8; 0]).is_ok()
}

/// Whether what is made in an open directory has the ids of this process and nothing inherited: no set-group-id bit,
/// no default ACL, and no other group that a mount option might pass on.
pub fn passes_nothing_on(dir: impl AsFd) -> bool {
    let own_group = rustix::process::getegid().as_raw();
    let is_plain = |s: rustix::fs::Stat| s.st_mode & 0o2000 == 0 && s.st_gid == own_group;
    rustix::fs::fstat(&dir).is_ok_and(is_plain) && !has_default_acl(&dir)
}

/// Removes an extended attribute of an open file or directory; one that is not there is no error.
pub fn remove_xattr_fd(fd: impl AsFd, attribute: &[u8]) -> Result<()> {
    match rustix::fs::fremovexattr(fd, attribute) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(e) => {
            let message = format!("cannot remove the attribute `{}` of an open file", fsx::show(attribute));
            Err(Error::io(message, e.into()))
        }
    }
}

fn owners(uid: u32, gid: u32) -> Result<(Uid, Gid)> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Error::new(ErrorKind::Invalid, format!("`{}` is no user or group", u32::MAX)));
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Makes a FIFO; never replaces.
pub fn make_fifo(dir: impl AsFd, name: &[u8], mode: u32) -> Result<()> {
    rustix::fs::mknodat(dir, single(name)?, FileType::Fifo, perm(mode), 0)
        .map_err(|e| tried("make the fifo", name, e))
}

/// Makes the device (or FIFO) that `meta` describes, with its permission bits; [`ErrorKind::Invalid`] for other kinds.
pub fn make_node(dir: impl AsFd, name: &[u8], meta: &Meta) -> Result<()> {
    let file_type = match meta.kind {
        EntryKind::CharDevice => FileType::CharacterDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::Fifo => return make_fifo(dir, name, meta.mode),
        _ => return Err(Error::new(ErrorKind::Invalid, format!("`{}` is no device", fsx::show(name)))),
    };
    let device = rustix::fs::makedev(meta.rdev_major, meta.rdev_minor);
    rustix::fs::mknodat(dir, single(name)?, file_type, perm(meta.mode), device)
        .map_err(|e| tried("make the device", name, e))
}

/// Sets owner and group of the name itself, also of a link. Clears set-id bits: set the mode afterwards.
pub fn set_owner(dir: impl AsFd, name: &[u8], uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = owners(uid, gid)?;
    rustix::fs::chownat(dir, single(name)?, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| tried("set the owner of", name, e))
}

/// Sets all permission bits. A link is refused ([`ErrorKind::Denied`]): it has none, and is not followed.
pub fn set_mode(dir: impl AsFd, name: &[u8], mode: u32) -> Result<()> {
    let failed = |e| tried("set the mode of", name, e);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, single(name)?, flags, Mode::empty()).map_err(failed)?;
    if meta::from_stat(&rustix::fs::fstat(&fd).map_err(failed)?).0.kind == EntryKind::Symlink {
        return Err(Error::new(ErrorKind::Denied, format!("`{}` is a symbolic link", fsx::show(name))));
    }
    // The magic link leads to the very inode that was opened, whatever the name means by now.
    rustix::fs::chmodat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), perm(mode), AtFlags::empty())
        .map_err(failed)
}

/// Sets all permission bits of an open file.
pub fn set_mode_fd(fd: impl AsFd, mode: u32) -> Result<()> {
    rustix::fs::fchmod(fd, perm(mode)).map_err(|e| Error::io("cannot set the mode of an open file", e.into()))
}

/// Sets the modification time of the name itself, also of a link; the access time stays.
pub fn set_mtime(dir: impl AsFd, name: &[u8], mtime: FileTime) -> Result<()> {
    rustix::fs::utimensat(dir, single(name)?, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| tried("set the time of", name, e))
}

/// Sets owner and group of an open file or directory. Clears set-id bits: set the mode afterwards.
pub fn set_owner_fd(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = owners(uid, gid)?;
    rustix::fs::fchown(fd, Some(uid), Some(gid))
        .map_err(|e| Error::io("cannot set the owner of an open file", e.into()))
}

/// Sets the modification time of an open file or directory; the access time stays.
pub fn set_mtime_fd(fd: impl AsFd, mtime: FileTime) -> Result<()> {
    rustix::fs::futimens(fd, &times(mtime))
        .map_err(|e| Error::io("cannot set the time of an open file", e.into()))
}

fn times(mtime: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.sec, tv_nsec: i64::from(mtime.nsec.min(999_999_999)) },
    }
}

/// Sets an extended attribute of the name itself, also of a link, replacing its value.
pub fn set_xattr(dir: impl AsFd, name: &[u8], attribute: &[u8], value: &[u8]) -> Result<()> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(single(name)?);
    rustix::fs::lsetxattr(path, attribute, value, XattrFlags::empty()).map_err(|e| {
        let what = format!("set the attribute `{}` of", fsx::show(attribute));
        tried(&what, name, e)
    })
}

/// Sets an extended attribute of an open file.
pub fn set_xattr_fd(fd: impl AsFd, attribute: &[u8], value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(fd, attribute, value, XattrFlags::empty()).map_err(|e| {
        Error::io(format!("cannot set the attribute `{}` of an open file", fsx::show(attribute)), e.into())
    })
}

/// Removes a name that is no directory.
pub fn remove_file(dir: impl AsFd, name: &[u8]) -> Result<()> {
    rustix::fs::unlinkat(dir, single(name)?, AtFlags::empty()).map_err(|e| tried("remove", name, e))
}

/// Removes an empty directory.
pub fn remove_dir(dir: impl AsFd, name: &[u8]) -> Result<()> {
    rustix::fs::unlinkat(dir, single(name)?, AtFlags::REMOVEDIR)
        .map_err(|e| tried("remove the directory", name, e))
}

/// `stat` of the name itself. A socket shows as a FIFO.
pub fn stat(dir: impl AsFd, name: &[u8]) -> Result<Meta> {
    let stat = rustix::fs::statat(dir, single(name)?, AtFlags::SYMLINK_NOFOLLOW);
    stat.map(|s| meta::from_stat(&s).0).map_err(|e| tried("stat", name, e))
}

/// What a symbolic link says.
pub fn read_link(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    rustix::fs::readlinkat(dir, single(name)?, Vec::new())
        .map(CString::into_bytes)
        .map_err(|e| tried("read the link", name, e))
}

/// Opens `rel` (components that a listing gave, any length; empty is `dir` itself) beneath `dir`, following nothing.
/// The bare system error, for callers that know more.
pub fn open_beneath(dir: BorrowedFd<'_>, rel: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if rel.is_empty() {
        return rustix::fs::openat(dir, ".", flags, Mode::empty());
    }
    let max_chunk = if has_openat2() { MAX_CHUNK } else { 0 };
    let mut held: Option<OwnedFd> = None;
    let mut rest = rel;
    loop {
        let at = held.as_ref().map_or(dir, |fd| fd.as_fd());
        let (chunk, after) = split_chunk(rest, max_chunk);
        if after.is_empty() {
            return open_step(at, chunk, flags);
        }
        held = Some(open_step(at, chunk, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?);
        rest = after;
    }
}

/// Splits off as many leading components as fit `max` bytes, at least one.
fn split_chunk(rel: &[u8], max: usize) -> (&[u8], &[u8]) {
    if rel.len() <= max {
        return (rel, b"");
    }
    let cut = rel[..max].iter().rposition(|b| *b == b'/').or_else(|| rel.iter().position(|b| *b == b'/'));
    cut.map_or((rel, b"".as_slice()), |i| (&rel[..i], &rel[i + 1..]))
}

fn open_step(dir: BorrowedFd<'_>, rel: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if !has_openat2() {
        return match rustix::fs::openat(dir, rel, flags | OFlags::NOFOLLOW, Mode::empty()) {
            // With O_DIRECTORY a link reads as "not a directory"; say which it was, as openat2 does.
            Err(Errno::NOTDIR) if rustix::fs::readlinkat(dir, rel, Vec::new()).is_ok() => Err(Errno::LOOP),
            other => other,
        };
    }
    retry(|| rustix::fs::openat2(dir, rel, flags, Mode::empty(), RESOLVE))
}

fn retry(open: impl Fn() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    loop {
        match open() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn make_dirs(dir: BorrowedFd<'_>, rel: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut held: Option<OwnedFd> = None;
    for name in rel.split(|b| *b == b'/') {
        let at = held.as_ref().map_or(dir, |fd| fd.as_fd());
        let opened = match open_step(at, name, flags) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(at, name, NEW_DIR_MODE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e),
                }
                open_step(at, name, flags)?
            }
            other => other?,
        };
        held = Some(opened);
    }
    held.ok_or(Errno::INVAL)
}

/// Asked once. A filter that forbids the call answers like a kernel that lacks it.
fn has_openat2() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tried = rustix::fs::openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
        !matches!(tried, Err(Errno::NOSYS | Errno::PERM | Errno::INVAL))
    })
}

fn check(rel: &[u8]) -> Result<()> {
    let bad = |c: &[u8]| c.is_empty() || c == b"." || c == b".." || c.contains(&0);
    if !rel.is_empty() && rel.split(|b| *b == b'/').any(bad) {
        return Err(invalid(rel));
    }
    Ok(())
}

fn single(name: &[u8]) -> Result<&[u8]> {
    if name.is_empty() || name.contains(&b'/') {
        return Err(invalid(name));
    }
    check(name).map(|()| name)
}

fn invalid(name: &[u8]) -> Error {
    Error::new(ErrorKind::Invalid, format!("`{}` does not stay beneath its directory", fsx::show(name)))
}

fn perm(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

fn tried(what: &str, name: &[u8], error: Errno) -> Error {
    Error::io(format!("cannot {what} `{}`", fsx::show(name)), error.into())
}

#[cfg(test)]
mod tests;
