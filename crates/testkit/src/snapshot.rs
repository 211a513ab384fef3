//! What a tree of files looks like: everything that a backup has to bring back, in a form that can be compared.
//!
//! Names, kinds, bytes (as BLAKE3), permissions, owners, modification times in nanoseconds, link targets, groups of hard
//! links, device numbers, extended attributes (ACLs and capabilities are among them), and whether holes stayed holes.
//! Reads with the system calls alone, through none of the program's own code.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;

/// Attributes that belong to the place and not to the file.
const ATTRIBUTES_OF_THE_HOST: [&[u8]; 2] = [b"security.selinux", b"security.ima"];
/// A file with so many bytes in holes counts as sparse.
const HOLE_BYTES: u64 = 1 << 20;

/// A tree at one moment. The path of the root is empty, all others are relative to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    pub nodes: BTreeMap<Vec<u8>, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File { bytes: u64, blake3: [u8; 32] },
    Dir,
    Symlink { target: Vec<u8> },
    Fifo,
    Socket,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
}

/// One name in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    /// Permission bits with set-id and sticky: `0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of all in the tree that are names of this very file; none if this is its only one.
    pub first_name: Option<Vec<u8>>,
    /// What it takes on the disk; compared only where holes are to be kept.
    pub allocated_bytes: u64,
}

impl Snapshot {
    /// The whole tree. Panics if something cannot be read.
    pub fn take(root: &Path) -> Self {
        Self::take_without(root, |_, _| false)
    }

    /// The same without what `is_left_out` says of a relative path, and without all that is below that.
    pub fn take_without(root: &Path, is_left_out: impl Fn(&[u8], &Kind) -> bool) -> Self {
        let mut snapshot = Self::default();
        let mut inodes: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
        let mut waiting = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            let place = if path.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(&path)) };
            let node = look(&place).unwrap_or_else(|e| panic!("cannot look at `{}`: {e}", place.display()));
            let (node, meta) = node;
            if !path.is_empty() && is_left_out(&path, &node.kind) {
                continue;
            }
            if node.kind == Kind::Dir {
                let listing = fs::read_dir(&place).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
                for entry in listing {
                    let name = entry.unwrap_or_else(|e| panic!("{}: {e}", place.display())).file_name();
                    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    waiting.push([&path, slash, &name.into_vec()].concat());
                }
            } else if meta.nlink() > 1 {
                inodes.entry((meta.dev(), meta.ino())).or_default().push(path.clone());
            }
            snapshot.nodes.insert(path, node);
        }
        for mut names in inodes.into_values().filter(|names| names.len() > 1) {
            names.sort();
            for name in &names {
                if let Some(node) = snapshot.nodes.get_mut(name) {
                    node.first_name = Some(names[0].clone());
                }
            }
        }
        snapshot
    }

    /// What of this snapshot is below `path`, as if that were the root; the node itself has the empty path.
    pub fn below(&self, path: &[u8]) -> Self {
        let inside = |full: &[u8]| match full.strip_prefix(path) {
            Some([]) => Some(Vec::new()),
            Some([b'/', rest @ ..]) => Some(rest.to_vec()),
            Some(rest) if path.is_empty() => Some(rest.to_vec()),
            _ => None,
        };
        let mut nodes: BTreeMap<_, _> =
            self.nodes.iter().filter_map(|(p, n)| Some((inside(p)?, n.clone()))).collect();
        let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for (path, node) in &nodes {
            if let Some(first) = &node.first_name {
                groups.entry(first.clone()).or_default().push(path.clone());
            }
        }
        for names in groups.into_values() {
            for name in &names {
                if let Some(node) = nodes.get_mut(name) {
                    node.first_name = (names.len() > 1).then(|| names[0].clone());
                }
            }
        }
        Self { nodes }
    }

    /// In words, what `found` has otherwise than this; empty if it is the same tree.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, should) in &self.nodes {
            match found.nodes.get(path) {
                None => lines.push(format!("{}: is missing", shown(path))),
                Some(is) => compare(path, should, is, &mut lines),
            }
        }
        for path in found.nodes.keys().filter(|p| !self.nodes.contains_key(*p)) {
            lines.push(format!("{}: should not be there", shown(path)));
        }
        lines
    }

    /// Panics with the first differences if `found` is another tree.
    pub fn assert_same(&self, found: &Self, what: &str) {
        let lines = self.differences(found);
        let first: Vec<_> = lines.iter().take(20).map(String::as_str).collect();
        assert!(lines.is_empty(), "{what}: {} differences:\n{}", lines.len(), first.join("\n"));
    }
}

fn compare(path: &[u8], should: &Node, is: &Node, lines: &mut Vec<String>) {
    let mut differs = |what: &str, should: String, is: String| {
        if should != is {
            lines.push(format!("{}: {what} is {is}, should be {should}", shown(path)));
        }
    };
    differs("kind", kind_text(&should.kind), kind_text(&is.kind));
    differs("mode", format!("{:04o}", should.mode), format!("{:04o}", is.mode));
    differs("owner", format!("{}:{}", should.uid, should.gid), format!("{}:{}", is.uid, is.gid));
    differs("mtime", format!("{:?}", should.mtime), format!("{:?}", is.mtime));
    differs("attributes", xattr_text(&should.xattrs), xattr_text(&is.xattrs));
    let first = |node: &Node| node.first_name.as_deref().map_or_else(|| "none".to_owned(), shown);
    differs("hard link", first(should), first(is));
    if let Kind::File { bytes, .. } = should.kind
        && should.allocated_bytes + HOLE_BYTES < bytes
        && is.allocated_bytes > should.allocated_bytes + HOLE_BYTES
    {
        differs("space", should.allocated_bytes.to_string(), is.allocated_bytes.to_string());
    }
}

fn look(place: &Path) -> io::Result<(Node, fs::Metadata)> {
    let meta = fs::symlink_metadata(place)?;
    let kind = meta.file_type();
    let device = || (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let kind = if kind.is_file() {
        Kind::File { bytes: meta.len(), blake3: digest(place)? }
    } else if kind.is_dir() {
        Kind::Dir
    } else if kind.is_symlink() {
        Kind::Symlink { target: fs::read_link(place)?.into_os_string().into_vec() }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else if kind.is_char_device() {
        let (major, minor) = device();
        Kind::CharDevice { major, minor }
    } else {
        let (major, minor) = device();
        Kind::BlockDevice { major, minor }
    };
    let node = Node {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        xattrs: xattrs(place)?,
        first_name: None,
        allocated_bytes: meta.blocks() * 512,
    };
    Ok((node, meta))
}

fn digest(place: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(place)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 256 << 10];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            n => hasher.update(&block[..n]),
        };
    }
}

fn xattrs(place: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(place, &mut names) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        if ATTRIBUTES_OF_THE_HOST.contains(&name) {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(place, name, &mut value)?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

fn kind_text(kind: &Kind) -> String {
    match kind {
        Kind::File { bytes, blake3 } => {
            let mut text = format!("file of {bytes} bytes ");
            blake3[..8].iter().for_each(|b| write!(text, "{b:02x}").expect("a string takes all"));
            text
        }
        Kind::Symlink { target } => format!("link to {}", shown(target)),
        other => format!("{other:?}"),
    }
}

fn xattr_text(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let all: Vec<_> = xattrs.iter().map(|(n, v)| format!("{}={}", shown(n), v.escape_ascii())).collect();
    format!("[{}]", all.join(", "))
}

fn shown(path: &[u8]) -> String {
    format!("`{}`", path.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

    use super::*;

    fn set_mtime(path: &Path, sec: i64, nsec: i64) {
        let time = Timespec { tv_sec: sec, tv_nsec: nsec as _ };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    /// A file, a second name of it, a link and a directory, all of one time.
    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("d")).unwrap();
        fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("d/f"), "text").unwrap();
        fs::hard_link(root.join("d/f"), root.join("g")).unwrap();
        symlink("d/f", root.join("l")).unwrap();
        File::create(root.join("s")).unwrap().set_len(8 << 20).unwrap();
        settle(root);
        dir
    }

    fn settle(root: &Path) {
        for name in ["d/f", "g", "l", "s", "d", ""] {
            if root.join(name).symlink_metadata().is_ok() {
                set_mtime(&root.join(name), 7, 8);
            }
        }
    }

    fn differences_after(change: impl FnOnce(&Path)) -> Vec<String> {
        let dir = tree();
        let before = Snapshot::take(dir.path());
        assert_eq!(before.differences(&before), Vec::<String>::new());
        change(dir.path());
        settle(dir.path());
        before.differences(&Snapshot::take(dir.path()))
    }

    #[test]
    fn every_change_of_a_tree_is_told() {
        let rewrite = |root: &Path| {
            fs::remove_file(root.join("g")).unwrap();
            fs::write(root.join("g"), "text").unwrap();
        };
        let told = differences_after(rewrite);
        let expected =
            ["`d/f`: hard link is none, should be `d/f`", "`g`: hard link is none, should be `d/f`"];
        assert_eq!(told, expected);
        let told = differences_after(|root| fs::write(root.join("g"), "Text").unwrap());
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("`d/f`: kind is file of 4 bytes "), "{told:?}");
        let told = differences_after(|root| {
            fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o2711)).unwrap();
        });
        assert_eq!(told, ["`d`: mode is 2711, should be 0755"]);
        let told = differences_after(|root| {
            rustix::fs::lsetxattr(root.join("d"), "user.a", b"\0", XattrFlags::empty()).unwrap();
        });
        assert_eq!(told, ["`d`: attributes is [`user.a`=\\x00], should be []"]);
        let told = differences_after(|root| {
            fs::remove_file(root.join("l")).unwrap();
            symlink("d/g", root.join("l")).unwrap();
            File::create(root.join("n\n")).unwrap();
        });
        assert_eq!(
            told,
            ["`l`: kind is link to `d/g`, should be link to `d/f`", "`n\\n`: should not be there"]
        );
        let told = differences_after(|root| fs::write(root.join("s"), vec![0; 8 << 20]).unwrap());
        assert!(told.len() == 1 && told[0].starts_with("`s`: space is "), "{told:?}");
    }

    #[test]
    fn a_nanosecond_and_a_missing_file_are_told() {
        let dir = tree();
        let before = Snapshot::take(dir.path());
        set_mtime(&dir.path().join("l"), 7, 9);
        fs::remove_dir_all(dir.path().join("d")).unwrap();
        set_mtime(dir.path(), -7, 8);
        let told = before.differences(&Snapshot::take(dir.path()));
        let expected = [
            "``: mtime is (-7, 8), should be (7, 8)",
            "`d`: is missing",
            "`d/f`: is missing",
            "`g`: hard link is none, should be `d/f`",
            "`l`: mtime is (7, 9), should be (7, 8)",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_left_out_is_not_seen_and_parts_are_trees_of_their_own() {
        let dir = tree();
        let without = Snapshot::take_without(dir.path(), |path, _| path == b"d");
        assert_eq!(without.nodes.keys().map(|p| shown(p)).collect::<Vec<_>>(), ["``", "`g`", "`l`", "`s`"]);
        assert_eq!(without.nodes[&b"g"[..]].first_name, None);
        Snapshot::take(dir.path()).below(b"d").assert_same(&Snapshot::take(&dir.path().join("d")), "part");
    }
}
