//! One entry at its place: makes it and gives it its metadata. Knows nothing of archives or order.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nxs_archive::tar::Extent;
use nxs_archive::tar::acl::{self, Qualifier};
use nxs_archive::tar::read::EntryHeader;
use nxs_base::entry::{EntryKind, Meta};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_sys::safe;
use nxs_sys::users::Users;

/// A name in an open directory.
pub(super) struct Place {
    pub(super) dir: Arc<OwnedFd>,
    pub(super) name: Vec<u8>,
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
    pub(super) in_place: bool,
    pub(super) as_root: bool,
    pub(super) users: Users,
}

impl Writer {
    /// Makes a file; `give` hands its data bytes (extents packed) to the given sink, piece by piece.
    pub(super) fn file(
        &self,
        place: &Place,
        facts: &Facts,
        give: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let name = if self.in_place { temporary(&place.name) } else { place.name.clone() };
        if self.in_place {
            remove_if_there(place, &name)?;
        }
        let file = safe::create_file(&place.dir, &name, 0o600)?;
        let made =
            self.fill(&file, facts, give).and_then(|()| self.file_metadata(&file, place, &name, facts));
        let made = made.and_then(|()| {
            if !self.in_place {
                return Ok(());
            }
            if safe::stat(&place.dir, &place.name).is_ok_and(|m| m.kind == EntryKind::Dir) {
                safe::remove_dir(&place.dir, &place.name)?;
            }
            safe::rename(&place.dir, &name, &place.dir, &place.name)
        });
        if made.is_err() {
            remove_if_there(place, &name)?;
        }
        made
    }

    fn fill(
        &self,
        file: &File,
        facts: &Facts,
        give: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let failed = |e| Error::io("cannot write the file", e);
        let whole = [Extent { offset: 0, len: facts.meta.size_bytes }];
        let extents: &[Extent] = facts.sparse.as_deref().unwrap_or(&whole);
        if facts.sparse.is_some() {
            file.set_len(facts.meta.size_bytes).map_err(failed)?;
        }
        let mut extents = extents.iter().filter(|e| e.len > 0).copied();
        let mut now = extents.next();
        give(&mut |mut bytes: &[u8]| {
            while !bytes.is_empty() {
                let Some(extent) = &mut now else {
                    return Err(Error::new(ErrorKind::Corrupt, "a file has more data than its map"));
                };
                let n = bytes.len().min(usize::try_from(extent.len).unwrap_or(usize::MAX));
                file.write_all_at(&bytes[..n], extent.offset).map_err(failed)?;
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

    fn file_metadata(&self, file: &File, place: &Place, name: &[u8], facts: &Facts) -> Result<()> {
        self.owner(place, name, facts)?;
        self.attributes(file, facts)?;
        safe::set_mode_fd(file, self.mode(facts))?;
        self.acls(file, facts)?;
        safe::set_mtime(&place.dir, name, facts.meta.mtime)
    }

    /// Makes a directory, or keeps the one that is there.
    pub(super) fn dir(&self, place: &Place) -> Result<()> {
        match safe::make_dir(&place.dir, &place.name, 0o700) {
            Err(e) if e.kind() == ErrorKind::Exists => {
                if safe::stat(&place.dir, &place.name)?.kind == EntryKind::Dir {
                    return Ok(());
                }
                if !self.in_place {
                    return Err(e);
                }
                safe::remove_file(&place.dir, &place.name)?;
                safe::make_dir(&place.dir, &place.name, 0o700)
            }
            other => other,
        }
    }

    /// Gives a directory its metadata, once all that is in it is there.
    pub(super) fn finish_dir(&self, fd: OwnedFd, facts: &Facts) -> Result<()> {
        if self.as_root {
            let (uid, gid) = self.ids(facts);
            safe::set_owner_fd(&fd, uid, gid)?;
        }
        self.attributes(&fd, facts)?;
        safe::set_mode_fd(&fd, self.mode(facts))?;
        self.acls(&fd, facts)?;
        safe::set_mtime_fd(&fd, facts.meta.mtime)
    }

    /// Makes a symbolic link, FIFO or device.
    pub(super) fn special(&self, place: &Place, facts: &Facts) -> Result<()> {
        if self.in_place {
            self.clear(place)?;
        }
        let Place { dir, name } = place;
        if facts.meta.kind == EntryKind::Symlink {
            safe::symlink(dir, name, &facts.link)?;
            self.owner(place, name, facts)?;
        } else {
            safe::make_node(dir, name, &facts.meta)?;
            self.owner(place, name, facts)?;
            safe::set_mode(dir, name, self.mode(facts))?;
        }
        for (attribute, value) in &facts.xattrs {
            self.tolerate(attribute, safe::set_xattr(dir, name, attribute, value))?;
        }
        safe::set_mtime(dir, name, facts.meta.mtime)
    }

    /// Removes what stands at the place, unless it is a directory with something in it.
    pub(super) fn clear(&self, place: &Place) -> Result<()> {
        match safe::stat(&place.dir, &place.name) {
            Ok(meta) if meta.kind == EntryKind::Dir => safe::remove_dir(&place.dir, &place.name),
            Ok(_) => safe::remove_file(&place.dir, &place.name),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn owner(&self, place: &Place, name: &[u8], facts: &Facts) -> Result<()> {
        if !self.as_root {
            return Ok(());
        }
        let (uid, gid) = self.ids(facts);
        safe::set_owner(&place.dir, name, uid, gid)
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

    fn attributes(&self, fd: impl AsFd, facts: &Facts) -> Result<()> {
        for (attribute, value) in &facts.xattrs {
            self.tolerate(attribute, safe::set_xattr_fd(&fd, attribute, value))?;
        }
        Ok(())
    }

    fn acls(&self, fd: impl AsFd, facts: &Facts) -> Result<()> {
        for (attribute, text) in
            [("system.posix_acl_access", &facts.acl_access), ("system.posix_acl_default", &facts.acl_default)]
        {
            let Some(text) = text else { continue };
            let raw = acl::encode(text, |kind, name| {
                let name = std::str::from_utf8(name).ok()?;
                match kind {
                    Qualifier::User => self.users.uid(name),
                    Qualifier::Group => self.users.gid(name),
                }
            })?;
            self.tolerate(attribute.as_bytes(), safe::set_xattr_fd(&fd, attribute.as_bytes(), &raw))?;
        }
        Ok(())
    }

    /// Attributes that only root may set are left out for others.
    fn tolerate(&self, attribute: &[u8], set: Result<()>) -> Result<()> {
        let is_own = attribute.starts_with(b"user.") || attribute.starts_with(b"system.posix_acl");
        match set {
            Err(e) if !self.as_root && !is_own && e.kind() == ErrorKind::Denied => Ok(()),
            other => other,
        }
    }
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
