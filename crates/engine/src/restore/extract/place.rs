//! One entry at its place: makes it beside or at its name, gives it its metadata, and puts it there in one step.
//! Knows nothing of archives or order.
//!
//! What is made keeps its content even if parts of its metadata cannot be set: those are told. Metadata goes through
//! the descriptor of what was made, never through a name that somebody may have replaced meanwhile.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nxs_archive::tar::Extent;
use nxs_archive::tar::acl::{self, Qualifier};
use nxs_archive::tar::read::EntryHeader;
use nxs_base::entry::{EntryKind, Meta};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_sys::safe;
use nxs_sys::users::Users;

use super::prune::Guard;

const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Made, with what of its metadata could not be set; or not made at all.
pub(super) type Made = Result<Vec<Error>>;

/// An open directory.
pub(super) struct Dir {
    fd: OwnedFd,
    /// What is made in it inherits an ACL, which is not the backup's.
    has_default_acl: bool,
}

impl Dir {
    /// `is_fresh`: see [`Writer`].
    pub(super) fn new(fd: OwnedFd, is_fresh: bool) -> Self {
        let has_default_acl = !is_fresh && safe::has_default_acl(&fd);
        Self { fd, has_default_acl }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A name in an open directory.
pub(super) struct Place {
    pub(super) dir: Arc<Dir>,
    pub(super) name: Vec<u8>,
    /// The same below the root of the extraction, for messages.
    pub(super) path: Vec<u8>,
}

/// What an entry is to become.
pub(super) struct Facts {
    meta: Meta,
    link: Vec<u8>,
    uname: Vec<u8>,
    gname: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    acl_access: Option<Vec<u8>>,
    acl_default: Option<Vec<u8>>,
    sparse: Option<Vec<Extent>>,
}

impl From<EntryHeader> for Facts {
    fn from(h: EntryHeader) -> Self {
        Self {
            meta: h.meta,
            link: h.link,
            uname: h.uname,
            gname: h.gname,
            xattrs: h.xattrs,
            acl_access: h.acl_access,
            acl_default: h.acl_default,
            sparse: h.sparse,
        }
    }
}

/// Makes entries. Shared by the writing threads.
pub(super) struct Writer {
    /// What stands at a place is replaced; else it is an error.
    pub(super) replace: bool,
    /// All directories are made by this extraction, in one that passes nothing on: until they get their metadata, what
    /// is made in them is this process's own and inherits nothing.
    pub(super) is_fresh: bool,
    /// Whole directories may be removed where the backup has something else.
    pub(super) guard: Option<Arc<Guard>>,
    pub(super) as_root: bool,
    /// Of this process: what new files have.
    pub(super) own_ids: (u32, u32),
    pub(super) users: Users,
}

/// Takes pieces of data.
pub(super) type Out<'o> = dyn FnMut(&[u8]) -> Result<()> + 'o;

impl Writer {
    /// Makes a file; `give` hands its data bytes (extents packed) to the given sink, piece by piece. With `again`
    /// it replaces what this extraction made before.
    pub(super) fn file(
        &self,
        place: &Place,
        facts: &Facts,
        again: bool,
        give: impl FnOnce(&mut Out<'_>) -> Result<()>,
    ) -> Made {
        let make = |name: &[u8]| {
            let file = safe::create_file(&place.dir, name, 0o600)?;
            fill(&file, facts, give).map(|()| self.file_metadata(&file, place, facts))
        };
        self.put(place, again, make)
    }

    /// Makes a symbolic link, FIFO or device.
    pub(super) fn special(&self, place: &Place, facts: &Facts, again: bool) -> Made {
        let dir = &place.dir;
        let make = |name: &[u8]| {
            if facts.meta.kind == EntryKind::Symlink {
                safe::symlink(dir, name, &facts.link)?;
            } else {
                safe::make_node(dir, name, &Meta { mode: 0o600, ..facts.meta })?;
            }
            let mut troubles = Vec::new();
            note(&mut troubles, self.special_metadata(place, name, facts));
            Ok(troubles)
        };
        self.put(place, again, make)
    }

    /// Makes the place a further name of the file `old`.
    pub(super) fn link(&self, old: &Place, place: &Place, again: bool) -> Made {
        if (&old.path, &old.name) == (&place.path, &place.name) {
            return Err(Error::new(ErrorKind::Invalid, "a hard link to itself"));
        }
        self.put(place, again, |name| safe::link(&old.dir, &old.name, &place.dir, name).map(|()| Vec::new()))
    }

    /// Has `make` make something: under its own name where nothing may be replaced, else under another one that
    /// then takes the place, so that there is always the old or the new one, whole. What failed is removed.
    fn put(&self, place: &Place, again: bool, make: impl FnOnce(&[u8]) -> Made) -> Made {
        if !self.replace && !again {
            let made = make(&place.name);
            // `Exists`: it is not ours.
            if made.as_ref().is_err_and(|e| e.kind() != ErrorKind::Exists) {
                remove_if_there(place, &place.name)?;
            }
            return made;
        }
        let name = temporary(&place.name);
        remove_if_there(place, &name)?;
        let made = make(&name).and_then(|troubles| self.take_place(place, &name).map(|()| troubles));
        // Also after success: between two names of one file, a rename does nothing.
        match remove_if_there(place, &name) {
            Err(error) if made.is_ok() => Err(error),
            _ => made,
        }
    }

    fn take_place(&self, place: &Place, temporary: &[u8]) -> Result<()> {
        let Place { dir, name, .. } = place;
        let Err(error) = safe::rename(dir, temporary, dir, name) else { return Ok(()) };
        if !safe::stat(dir, name).is_ok_and(|m| m.kind == EntryKind::Dir) {
            return Err(error);
        }
        match &self.guard {
            Some(guard) => guard.remove_tree(place, &mut Vec::new())?,
            None => safe::remove_dir(dir, name).map_err(|e| {
                let text = "a directory that is not empty stands where the backup has something else";
                Error::new(ErrorKind::Exists, text).with_source(e)
            })?,
        }
        safe::rename(dir, temporary, dir, name)
    }

    /// Makes a directory, or keeps the one that is there. True if it was there.
    pub(super) fn dir(&self, place: &Place, again: bool) -> Result<bool> {
        let Place { dir, name, .. } = place;
        let exists = match safe::make_dir(dir, name, 0o700) {
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == ErrorKind::Exists => e,
            Err(e) => return Err(e),
        };
        let there = safe::stat(dir, name)?;
        if there.kind == EntryKind::Dir {
            if !self.as_root && there.mode & 0o700 != 0o700 {
                // Gets its own mode at the end.
                safe::set_mode(dir, name, there.mode | 0o700)?;
            }
            return Ok(true);
        }
        if !self.replace && !again {
            return Err(exists);
        }
        let fresh = temporary(name);
        remove_if_there(place, &fresh)?;
        safe::make_dir(dir, &fresh, 0o700)?;
        match safe::exchange(dir, &fresh, name) {
            Ok(()) => safe::remove_file(dir, &fresh)?,
            // Not every file system can.
            Err(_) => {
                safe::remove_dir(dir, &fresh)?;
                safe::remove_file(dir, name)?;
                safe::make_dir(dir, name, 0o700)?;
            }
        }
        Ok(false)
    }

    fn file_metadata(&self, file: &File, place: &Place, facts: &Facts) -> Vec<Error> {
        let mut troubles = self.set_all(file, facts, place.dir.has_default_acl);
        note(&mut troubles, safe::set_mtime_fd(file, facts.meta.mtime));
        troubles
    }

    /// Gives a directory its metadata, once all that is in it is there.
    pub(super) fn finish_dir(&self, fd: &Dir, facts: &Facts) -> Vec<Error> {
        let mut troubles = self.set_all(fd, facts, !self.is_fresh);
        note(&mut troubles, safe::set_mtime_fd(fd, facts.meta.mtime));
        troubles
    }

    /// All but the time. `may_inherit`: there may be an ACL on it that is not the backup's.
    fn set_all(&self, fd: impl AsFd, facts: &Facts, may_inherit: bool) -> Vec<Error> {
        let mut troubles = Vec::new();
        let mut mode = self.mode(facts);
        if self.as_root {
            let (uid, gid) = self.ids(facts);
            let is_set = self.is_fresh && (uid, gid) == self.own_ids;
            if let Err(error) = if is_set { Ok(()) } else { safe::set_owner_fd(&fd, uid, gid) } {
                troubles.push(error);
                mode &= 0o1777;
            }
        }
        if may_inherit {
            note(&mut troubles, safe::remove_xattr_fd(&fd, ACL_ACCESS));
            if facts.meta.kind == EntryKind::Dir {
                note(&mut troubles, safe::remove_xattr_fd(&fd, ACL_DEFAULT));
            }
        }
        for (attribute, value) in &facts.xattrs {
            note(&mut troubles, self.attribute(attribute, || safe::set_xattr_fd(&fd, attribute, value)));
        }
        note(&mut troubles, safe::set_mode_fd(&fd, mode));
        if let Err(error) = self.acl(&fd, ACL_ACCESS, facts.acl_access.as_deref()) {
            troubles.push(error);
            // With an ACL these bits are its mask, which may be more than the group itself has.
            note(&mut troubles, safe::set_mode_fd(&fd, mode & !0o070));
        }
        if facts.meta.kind == EntryKind::Dir {
            note(&mut troubles, self.acl(&fd, ACL_DEFAULT, facts.acl_default.as_deref()));
        }
        troubles
    }

    fn special_metadata(&self, place: &Place, name: &[u8], facts: &Facts) -> Result<()> {
        let Place { dir, .. } = place;
        let made = safe::open_made(dir, name, facts.meta.kind)?;
        if self.as_root {
            let (uid, gid) = self.ids(facts);
            safe::set_owner_made(&made, uid, gid)?;
        }
        if facts.meta.kind != EntryKind::Symlink {
            safe::set_mode_made(&made, self.mode(facts))?;
        }
        for (attribute, value) in &facts.xattrs {
            self.attribute(attribute, || safe::set_xattr(dir, name, attribute, value))?;
        }
        safe::set_mtime(dir, name, facts.meta.mtime)
    }

    /// By name where this host knows the name, else by number, as GNU tar does.
    fn ids(&self, facts: &Facts) -> (u32, u32) {
        let name = |raw: &[u8]| std::str::from_utf8(raw).ok().filter(|n| !n.is_empty()).map(str::to_owned);
        let uid = name(&facts.uname).and_then(|n| self.users.uid(&n)).unwrap_or(facts.meta.uid);
        let gid = name(&facts.gname).and_then(|n| self.users.gid(&n)).unwrap_or(facts.meta.gid);
        (uid, gid)
    }

    /// Set-id bits only for who restores the owner too.
    fn mode(&self, facts: &Facts) -> u32 {
        if self.as_root { facts.meta.mode } else { facts.meta.mode & 0o1777 }
    }

    /// Sets an attribute of a namespace that a backup may hold. What only root may set is left out for others.
    fn attribute(&self, attribute: &[u8], set: impl FnOnce() -> Result<()>) -> Result<()> {
        let is_roots = attribute.starts_with(b"security.") || attribute.starts_with(b"trusted.");
        if !is_roots && !attribute.starts_with(b"user.") {
            let text = format!("refused to set the attribute `{}`", nxs_sys::fsx::show(attribute));
            return Err(Error::new(ErrorKind::Denied, text));
        }
        if is_roots && !self.as_root {
            return Ok(());
        }
        set()
    }

    fn acl(&self, fd: impl AsFd, attribute: &[u8], text: Option<&[u8]>) -> Result<()> {
        let Some(text) = text else { return Ok(()) };
        let raw = acl::encode(text, |kind, name| {
            let name = std::str::from_utf8(name).ok()?;
            match kind {
                Qualifier::User => self.users.uid(name),
                Qualifier::Group => self.users.gid(name),
            }
        })?;
        safe::set_xattr_fd(&fd, attribute, &raw)
    }
}

fn note(troubles: &mut Vec<Error>, outcome: Result<()>) {
    troubles.extend(outcome.err());
}

fn fill(file: &File, facts: &Facts, give: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<()> {
    let whole = [Extent { offset: 0, len: facts.meta.size_bytes }];
    let extents: &[Extent] = facts.sparse.as_deref().unwrap_or(&whole);
    if facts.sparse.is_some() {
        file.set_len(facts.meta.size_bytes).map_err(cannot_write)?;
    }
    let mut extents = extents.iter().filter(|e| e.len > 0).copied();
    let mut now = extents.next();
    give(&mut |mut bytes: &[u8]| {
        while !bytes.is_empty() {
            let Some(extent) = &mut now else {
                return Err(Error::new(ErrorKind::Corrupt, "a file has more data than its map"));
            };
            let n = bytes.len().min(usize::try_from(extent.len).unwrap_or(usize::MAX));
            file.write_all_at(&bytes[..n], extent.offset).map_err(cannot_write)?;
            extent.offset += n as u64;
            extent.len -= n as u64;
            bytes = &bytes[n..];
            if extent.len == 0 {
                now = extents.next();
            }
        }
        Ok(())
    })
}

/// A file too large for the file system is that file's problem; a full disk is everyone's.
fn cannot_write(error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::FileTooLarge {
        return Error::new(ErrorKind::Unsupported, "the file is too large for the file system")
            .with_source(error);
    }
    Error::io("cannot write the file", error)
}

fn remove_if_there(place: &Place, name: &[u8]) -> Result<()> {
    match safe::remove_file(&place.dir, name) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A name beside the final one, short enough for every file system.
fn temporary(name: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(name).to_hex();
    format!(".nxs-restore-{}", &hash[..16]).into_bytes()
}
