//! Extended attributes of a file, read without following links. POSIX ACLs are among them
//! (`system.posix_acl_access`); what to keep is the caller's affair.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nxs_base::{Error, Result};
use rustix::io::Errno;

use crate::fsx;

/// Name and value, both raw bytes.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// Most names take less; one call then answers.
const FIRST_TRY: usize = 1024;

/// All attributes of the path itself, sorted by name. Empty where the file system has none.
pub fn of_path(path: &Path) -> Result<Vec<Xattr>> {
    collect(|b| rustix::fs::llistxattr(path, b), |n, b| rustix::fs::lgetxattr(path, n, b))
        .map_err(|e| Error::io(format!("cannot read the attributes of `{}`", fsx::show_path(path)), e.into()))
}

/// All attributes of `rel`, a path in the open directory `dir` (`.` for itself), wherever that directory is by now;
/// sorted by name, not following a link at the end. Needs `/proc`, and a path shorter than 4000 bytes.
pub fn of_relative(dir: impl AsFd, rel: &[u8]) -> Result<Vec<Xattr>> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(rel);
    let path = path.as_slice();
    collect(|b| rustix::fs::llistxattr(path, b), |n, b| rustix::fs::lgetxattr(path, n, b))
        .map_err(|e| Error::io(format!("cannot read the attributes of `{}`", fsx::show(rel)), e.into()))
}

/// All attributes of an open file, sorted by name. `O_PATH` descriptors cannot be asked: use [`of_path`].
pub fn of_fd(fd: impl AsFd) -> Result<Vec<Xattr>> {
    let fd = fd.as_fd();
    collect(|b| rustix::fs::flistxattr(fd, b), |n, b| rustix::fs::fgetxattr(fd, n, b))
        .map_err(|e| Error::io("cannot read the attributes of an open file", e.into()))
}

fn collect(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, Errno> {
    let mut first = [0u8; FIRST_TRY];
    let grown;
    let names = match list(&mut first) {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Ok(n) => &first[..n],
        Err(Errno::RANGE) => {
            grown = grow(|b| list(b))?;
            &grown
        }
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        match grow(|b| get(name, b)) {
            Ok(value) => found.push((name.to_vec(), value)),
            // Removed meanwhile, or a name that is listed and not for us to read.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Calls with larger buffers until the answer fits (the kernel's bound is 64 KiB; some file systems go beyond).
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut size = FIRST_TRY;
    loop {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                buffer.shrink_to_fit();
                return Ok(buffer);
            }
            Err(Errno::RANGE) if size < 16 << 20 => size *= 8,
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{XattrFlags, lsetxattr};

    use super::*;

    #[test]
    fn all_attributes_are_read_sorted_small_and_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "").unwrap();
        assert_eq!(of_path(&path).unwrap(), vec![]);
        let large = vec![b'x'; 2500];
        lsetxattr(&path, "user.b", &large, XattrFlags::empty()).unwrap();
        lsetxattr(&path, "user.a", b"\0\xff", XattrFlags::empty()).unwrap();
        let expected = vec![(b"user.a".to_vec(), b"\0\xff".to_vec()), (b"user.b".to_vec(), large)];
        assert_eq!(of_path(&path).unwrap(), expected);
        assert_eq!(of_fd(std::fs::File::open(&path).unwrap()).unwrap(), expected);
        let opened = std::fs::File::open(dir.path()).unwrap();
        assert_eq!(of_relative(&opened, b"f").unwrap(), expected);
        lsetxattr(dir.path(), "user.d", b"1", XattrFlags::empty()).unwrap();
        assert_eq!(of_relative(&opened, b".").unwrap(), of_path(dir.path()).unwrap());
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        std::fs::write(&file, "").unwrap();
        lsetxattr(&file, "user.a", b"1", XattrFlags::empty()).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(of_path(&link).unwrap(), vec![]);
    }

    #[test]
    fn file_systems_without_attributes_have_none() {
        assert_eq!(collect(|_| Err(Errno::NOTSUP), |_, _| Err(Errno::NOTSUP)), Ok(vec![]));
    }

    #[test]
    fn a_long_list_of_names_is_read_whole() {
        let names: Vec<u8> = (0..400).flat_map(|i| format!("user.n{i:04}\0").into_bytes()).collect();
        let list = |b: &mut [u8]| {
            b.get_mut(..names.len()).ok_or(Errno::RANGE)?.copy_from_slice(&names);
            Ok(names.len())
        };
        assert_eq!(collect(list, |_, _| Ok(0)).unwrap().len(), 400);
    }
}
