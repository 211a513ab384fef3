//! Opens and reads what lies below the root of a target: the only place of the files source that talks to files.
//!
//! Behind traits, so that tests can make a file shrink, grow or fail at a given byte. Symbolic links on the way are
//! never followed, and nothing leads out of the root: who may write into the tree cannot make the backup read other
//! files. Does not decide what to do about an error (`super::emit`), does not walk (`nxs_sys::walk`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nxs_base::entry::{EntryKind, Meta};
use nxs_sys::fsx::as_path;
use nxs_sys::{file_read, meta, safe, xattr};
use rustix::fs::{self as rfs, Mode, OFlags};
use rustix::io::Errno;

/// Name and value of each extended attribute.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What an open file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStat {
    pub(crate) meta: Meta,
    /// False for anything but a regular file.
    pub(crate) is_regular: bool,
    /// Whether fewer bytes are allocated than the size says.
    pub(crate) may_have_holes: bool,
}

/// Opens regular files of one target.
pub(crate) trait OpenFiles: Sync {
    type File: ReadFile;

    /// Opens the file `below` (relative to the root; empty for the root itself) for reading. Never blocks on a pipe.
    fn open(&self, below: &[u8]) -> io::Result<Self::File>;

    /// What a symbolic link says.
    fn read_link(&self, below: &[u8]) -> io::Result<Vec<u8>>;

    /// The extended attributes of an entry of any kind, not following a link. None where the file system has none.
    fn xattrs(&self, below: &[u8]) -> nxs_base::Result<Xattrs>;
}

/// One open file.
pub(crate) trait ReadFile {
    fn stat(&self) -> io::Result<FileStat>;

    /// Reads at `offset`; fewer bytes than asked for, zero at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Where the first `size_bytes` hold data, as offset and length. None if there are no holes in them.
    fn extents(&self, size_bytes: u64) -> Option<Vec<(u64, u64)>>;

    fn xattrs(&self) -> nxs_base::Result<Xattrs>;

    /// Says that the whole file will be read in order.
    fn advise_sequential(&self);
}

/// The root of a target in the file system.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    /// Without links.
    path: Vec<u8>,
    is_file: bool,
    is_privileged: bool,
    /// Whether `/proc` is there, through which a path begins at an open directory.
    has_proc: bool,
}

/// The attribute that holds the ACL of an entry.
pub(crate) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";

/// The attribute that holds the ACL which a directory passes on.
pub(crate) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Longest path given to the kernel in one piece, with room for what may stand before it.
const MAX_PIECE_BYTES: usize = 4000;

impl Root {
    /// Opens `path`, following it if it is a link. Reads nothing and wakes no device.
    pub(crate) fn open(path: &[u8]) -> io::Result<Self> {
        let real = std::fs::canonicalize(as_path(path))?;
        let fd = rfs::open(&real, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let is_privileged = rustix::process::geteuid().is_root();
        let is_file = meta::from_stat(&rfs::fstat(&fd)?).0.kind != EntryKind::Dir;
        let has_proc = rfs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).is_ok();
        Ok(Self { fd, path: real.into_os_string().into_vec(), is_file, is_privileged, has_proc })
    }

    /// The root's path without links on the way.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// What it is, and whether it is a socket.
    pub(crate) fn stat(&self) -> io::Result<(Meta, bool)> {
        Ok(meta::from_stat(&rfs::fstat(&self.fd)?))
    }

    /// Proves that a directory can be listed and a file be read. Leaves devices and pipes alone.
    pub(crate) fn probe(&self) -> io::Result<()> {
        match self.stat()?.0.kind {
            EntryKind::Dir => {
                let dir = self.open_quietly(|flags| self.reopen(flags | OFlags::DIRECTORY))?;
                rfs::Dir::new(dir.0)?.next().transpose()?;
            }
            EntryKind::File => drop(self.open(b"")?),
            _ => {}
        }
        Ok(())
    }

    fn reopen(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rfs::open(as_path(&self.path), flags, Mode::empty())?)
    }

    /// Follows no link, neither on the way nor at the end.
    fn open_below(&self, below: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(safe::open_beneath(self.fd.as_fd(), below, flags)?)
    }

    /// Opens a file that somebody holds a lease on (Samba, the NFS server), which has to be given back first: waits
    /// for that, at most as long as the kernel lets the holder take. Only a regular file is waited for.
    fn open_leased(&self, below: &[u8]) -> io::Result<OpenFile> {
        let found =
            if below.is_empty() { self.fd.try_clone()? } else { self.open_below(below, OFlags::PATH)? };
        if meta::from_stat(&rfs::fstat(&found)?).0.kind != EntryKind::File {
            return Err(Errno::NXIO.into());
        }
        // The magic link leads to the very file that was looked at.
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        self.open_quietly(|flags| {
            Ok(rfs::open(&path, flags & !OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
        })
    }

    /// As [`Self::open_below`], without changing the access time where that is allowed.
    fn open_quietly(&self, open: impl Fn(OFlags) -> io::Result<OwnedFd>) -> io::Result<OpenFile> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        if self.is_privileged {
            match open(flags | OFlags::NOATIME) {
                // Not the owner after all, seen from this user namespace.
                Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {}
                other => return other.map(OpenFile),
            }
        }
        open(flags).map(OpenFile)
    }
}

impl OpenFiles for Root {
    type File = OpenFile;

    fn open(&self, below: &[u8]) -> io::Result<OpenFile> {
        let opened = match below {
            [] => self.open_quietly(|flags| self.reopen(flags)),
            _ => self.open_quietly(|flags| self.open_below(below, flags)),
        };
        match opened {
            Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {
                self.open_leased(below)
            }
            other => other,
        }
    }

    fn read_link(&self, below: &[u8]) -> io::Result<Vec<u8>> {
        if below.len() <= MAX_PIECE_BYTES {
            return Ok(rfs::readlinkat(&self.fd, as_path(below), Vec::new())?.into_bytes());
        }
        let link = self.open_below(below, OFlags::PATH)?;
        Ok(rfs::readlinkat(&link, "", Vec::new())?.into_bytes())
    }

    fn xattrs(&self, below: &[u8]) -> nxs_base::Result<Xattrs> {
        if !self.has_proc || self.is_file && below.is_empty() {
            let slash: &[u8] = if below.is_empty() { b"" } else { b"/" };
            return wanted(xattr::of_path(as_path(&[&self.path, slash, below].concat()))?);
        }
        if below.is_empty() {
            return wanted(xattr::of_relative(&self.fd, b".")?);
        }
        if below.len() <= MAX_PIECE_BYTES {
            return wanted(xattr::of_relative(&self.fd, below)?);
        }
        let (dir, name) = match below.iter().rposition(|b| *b == b'/') {
            Some(at) => (&below[..at], &below[at + 1..]),
            None => (&below[..0], below),
        };
        let cannot = "cannot open the directory of an entry with a long path";
        let dir = self
            .open_below(dir, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|e| nxs_base::Error::io(cannot, e))?;
        wanted(xattr::of_relative(dir, name)?)
    }
}

/// A file opened for reading.
#[derive(Debug)]
pub(crate) struct OpenFile(OwnedFd);

impl ReadFile for OpenFile {
    fn stat(&self) -> io::Result<FileStat> {
        Ok(file_stat(&rfs::fstat(&self.0)?))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match rustix::io::pread(&self.0, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn extents(&self, size_bytes: u64) -> Option<Vec<(u64, u64)>> {
        file_read::extents(&self.0, size_bytes)
    }

    fn xattrs(&self) -> nxs_base::Result<Xattrs> {
        wanted(xattr::of_fd(&self.0)?)
    }

    fn advise_sequential(&self) {
        file_read::will_read_through(&self.0);
    }
}

/// Attributes that belong to the policy of the host and not to the file: labels, and signatures bound to the inode.
const OF_THE_HOST: [&[u8]; 5] =
    [b"security.selinux", b"security.SMACK64", b"security.apparmor", b"security.ima", b"security.evm"];

/// Leaves out attributes that a backup does not carry. `security` has more than labels: capabilities, and the ACLs
/// of Windows clients. What else is in `system` or elsewhere is a view of the file system on its own settings.
fn wanted(mut xattrs: Xattrs) -> nxs_base::Result<Xattrs> {
    xattrs.retain(|(name, _)| {
        name.starts_with(b"user.")
            || name.starts_with(b"trusted.")
            || name.starts_with(b"security.") && !OF_THE_HOST.iter().any(|label| name.starts_with(label))
            || name == ACL_ACCESS
            || name == ACL_DEFAULT
    });
    Ok(xattrs)
}

fn file_stat(stat: &rfs::Stat) -> FileStat {
    let (meta, _) = meta::from_stat(stat);
    let is_regular = meta.kind == EntryKind::File;
    let allocated_bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    FileStat { meta, is_regular, may_have_holes: is_regular && meta.size_bytes > allocated_bytes }
}
