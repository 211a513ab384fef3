//! Property: any tree, dumped and unpacked by GNU tar, is the tree that it was.

use std::fs::File;
use std::os::unix::fs::{FileExt, lchown, symlink};

use rustix::fs::{FileType, Mode, mknodat};

use super::*;

/// Sizes at which something changes: blocks of the archive, read-ahead, blocks of reading.
const SIZES: [u64; 12] = [
    0,
    1,
    511,
    512,
    513,
    4096,
    65_535,
    (256 << 10) - 1,
    256 << 10,
    (256 << 10) + 1,
    512 << 10,
    (1 << 20) + 3,
];

fn name(rng: &mut Rng) -> Vec<u8> {
    const ODD: [&[u8]; 12] = [
        b" ",
        b"a=b",
        b"\n",
        b"\xff\xfe",
        "größe".as_bytes(),
        b"*",
        b"[x]",
        b"\\",
        b"'\"",
        b"%41",
        b"-rf",
        b"...",
    ];
    let mut name = match rng.below(4) {
        0 => ODD[rng.below(12) as usize].to_vec(),
        // Around the widths of the header's fields.
        1 => vec![b'n'; [20, 95, 99, 100, 101, 155, 240][rng.below(7) as usize]],
        _ => Vec::new(),
    };
    name.extend_from_slice(format!("{:x}", rng.below(1 << 20)).as_bytes());
    name
}

fn file(path: &Path, rng: &mut Rng) {
    let size = SIZES[rng.below(12) as usize];
    if !rng.percent(25) {
        fs::write(path, noise(size as usize, rng.next_u64())).unwrap();
        return;
    }
    let sparse = File::create(path).unwrap();
    sparse.set_len(size * 8).unwrap();
    for _ in 0..rng.below(5) {
        let length = rng.below(20_000).min(size) as usize;
        let at = rng.below((size * 8 - length as u64).max(1));
        sparse.write_all_at(&noise(length, rng.next_u64()), at).unwrap();
    }
}

fn attributes(path: &Path, is_link: bool, rng: &mut Rng) {
    if is_root() && rng.percent(30) {
        let id = |rng: &mut Rng| [0, 1, 33, 65_534, 2_097_152, 4_294_967_294][rng.below(6) as usize];
        lchown(path, Some(id(rng)), Some(id(rng))).unwrap();
    }
    if !is_link && rng.percent(40) {
        // Readable for its owner, so that it works without root as well.
        let mode = 0o400 | (rng.below(0o10_000) as u32);
        rustix::fs::chmod(path, Mode::from_raw_mode(mode)).unwrap();
    }
    if is_root() && rng.percent(15) {
        set_xattr(path, "trusted.nxs", &noise(rng.below(50) as usize, rng.next_u64()));
    }
    let meta = fs::symlink_metadata(path).unwrap();
    if (meta.is_file() || meta.is_dir()) && rng.percent(20) {
        set_xattr(path, &format!("user.n{}", rng.below(9)), &noise(rng.below(300) as usize, rng.next_u64()));
    }
    if meta.is_file() && is_root() && rng.percent(5) {
        let net_raw = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set_xattr(path, "security.capability", &net_raw);
    }
    if (meta.is_file() || meta.is_dir()) && rng.percent(10) {
        let text = format!("user::rwx,user:{}:r-x,group::r--,mask::r-x,other::---", rng.below(100_000));
        let acl = nxs_archive::tar::acl::encode(text.as_bytes(), |_, _| None).unwrap();
        set_xattr(path, "system.posix_acl_access", &acl);
        if meta.is_dir() {
            set_xattr(path, "system.posix_acl_default", &acl);
        }
    }
    set_mtime(path, rng.below(12_000_000_000) as i64 - 2_000_000_000, rng.below(1_000_000_000) as u32);
}

fn build(root: &Path, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut dirs = vec![root.to_path_buf()];
    let mut others: Vec<PathBuf> = Vec::new();
    for _ in 0..80 {
        let path = dirs[rng.below(dirs.len() as u64) as usize].join(as_path(&name(&mut rng)));
        if fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match rng.below(12) {
            0..=2 => {
                fs::create_dir(&path).unwrap();
                dirs.push(path);
                continue;
            }
            3 => symlink(as_path(&name(&mut rng)), &path).unwrap(),
            4 => symlink(root, &path).unwrap(),
            5 => rustix::fs::mkfifoat(CWD, &path, Mode::RUSR).unwrap(),
            6 if is_root() => {
                let device = rustix::fs::makedev(rng.below(300) as u32, rng.below(300) as u32);
                mknodat(CWD, &path, FileType::BlockDevice, Mode::RUSR, device).unwrap();
            }
            7 | 8 if !others.is_empty() => {
                let first = &others[rng.below(others.len() as u64) as usize];
                fs::hard_link(first, &path).unwrap();
                continue;
            }
            _ => file(&path, &mut rng),
        }
        others.push(path);
    }
    for path in others.iter().chain(dirs.iter().rev()) {
        let is_link = fs::symlink_metadata(path).unwrap().is_symlink();
        attributes(path, is_link, &mut rng);
    }
}

#[test]
fn any_tree_is_the_same_after_gnu_tar_unpacked_it() {
    for seed in 1..=16 {
        let (_dir, root) = fresh();
        build(&root, seed);
        let before = Snapshot::take(&root);
        let (sink, report) = dump_path(&root, &[]);
        assert_eq!(report.notes, [], "seed {seed}");
        assert_eq!(sink.index.len(), before.nodes.len(), "seed {seed}");
        let place = untar(&sink.bytes);
        before.assert_same(&Snapshot::take(&unpacked(&place, &root)), &format!("seed {seed}"));
    }
}
