//! Trees of files to back up, and what they look like, for comparison with what GNU tar unpacks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nxs_testkit::Rng;

/// One entry, in all that a restore has to bring back.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    /// Of a file its bytes, of a link its target.
    pub(crate) bytes: Vec<u8>,
    /// The first of the paths that are the same file.
    pub(crate) first_name: Option<String>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, owner, mtime, bytes, first_name } = self;
        write!(f, "{mode:o} {owner:?} {mtime:?} {} bytes, link of {first_name:?}", bytes.len())
    }
}

/// Escaped path below the root (`""` is the root itself) to what is there.
pub(crate) type Tree = BTreeMap<String, Node>;

/// Reads the tree at `root`.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut names = BTreeMap::new();
    read_below(root, "", &mut tree, &mut names);
    tree
}

fn read_below(path: &Path, name: &str, tree: &mut Tree, names: &mut BTreeMap<(u64, u64), String>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let bytes = if meta.is_symlink() {
        fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
    } else if meta.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    let mut first_name = None;
    if meta.is_file() && meta.nlink() > 1 {
        first_name = Some(names.entry((meta.dev(), meta.ino())).or_insert_with(|| name.to_owned()).clone());
    }
    let node = Node {
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        bytes,
        first_name,
    };
    tree.insert(name.to_owned(), node);
    if meta.is_dir() {
        let mut children: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
        children.sort();
        for child in children {
            let last = child.file_name().unwrap().as_bytes().escape_ascii().to_string();
            read_below(&child, &format!("{name}/{last}"), tree, names);
        }
    }
}

/// Fails with the paths that differ.
#[track_caller]
pub(crate) fn assert_same(is: &Tree, should: &Tree, what: &str) {
    let differs = |path: &&String| is.get(*path) != should.get(*path);
    let paths: std::collections::BTreeSet<&String> = is.keys().chain(should.keys()).collect();
    let wrong: Vec<_> = paths
        .into_iter()
        .filter(differs)
        .take(10)
        .map(|p| format!("{p}: is {:?}, should be {:?}", is.get(p), should.get(p)))
        .collect();
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

/// Makes some hundred files below `root`: `bytes` in all, half of them random, with links and odd names.
pub(crate) fn make(root: &Path, seed: u64, bytes: usize) {
    let mut rng = Rng::new(seed);
    let files = 200;
    for n in 0..files {
        let dir = root.join(format!("d{:02}/e{}", n % 17, n % 3));
        fs::create_dir_all(&dir).unwrap();
        let mut data = vec![0; rng.below(2 * bytes as u64 / files / 2 + 1) as usize];
        if n % 2 == 0 {
            rng.fill(&mut data);
        } else {
            data.iter_mut().enumerate().for_each(|(i, b)| *b = b"all work and no play "[i % 21]);
        }
        let file = dir.join(format!("f{n:03}"));
        fs::write(&file, data).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600 + (n as u32 % 4) * 0o11)).unwrap();
    }
    let mut big = vec![0; bytes / 2];
    rng.fill(&mut big);
    fs::write(root.join("m.big"), big).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff \n")), b"odd").unwrap();
    fs::create_dir(root.join("empty dir")).unwrap();
    fs::hard_link(root.join("empty"), root.join("hard link")).unwrap();
    symlink("../nowhere", root.join("d00/link")).unwrap();
}
