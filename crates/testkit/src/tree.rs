//! Seeded trees of files for benchmarks and long tests.
//!
//! The same [`TreeSpec`] yields the same names, sizes, contents and times on every host. Contents never repeat: text is
//! made of words drawn anew for every file, the rest is noise, so that no window, however long, finds a second copy.
//! Makes trees only; comparing them is the affair of `diff -r` and of the tests.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::rng::Rng;

/// Bytes of a stretch that is either text or noise.
const SEGMENT_BYTES: u64 = 32 << 10;
/// Words that texts are made of.
const WORDS: usize = 20_000;
/// A file is at most so many times the mean.
const MAX_TIMES_MEAN: u64 = 48;
const OLDEST_MTIME: i64 = 1_400_000_000;
const MTIME_SPAN: u64 = 300_000_000;

/// What a tree is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeSpec {
    pub seed: u64,
    pub files: u64,
    /// Directories below the root, nested.
    pub dirs: u64,
    /// Sizes are exponentially distributed around it, or all equal to it if `is_fixed_size`.
    pub mean_bytes: u64,
    pub is_fixed_size: bool,
    /// Of the contents, how much is text (gzip makes it about a third); the rest is noise.
    pub text_percent: u64,
}

impl Default for TreeSpec {
    fn default() -> Self {
        Self {
            seed: 1,
            files: 100_000,
            dirs: 37_000,
            mean_bytes: 4096,
            is_fixed_size: false,
            text_percent: 50,
        }
    }
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
}

/// Makes the tree in `root`, which must not exist yet.
pub fn make(root: &Path, spec: &TreeSpec) -> io::Result<Made> {
    fs::create_dir(root)?;
    let dirs = make_dirs(root, spec)?;
    let words = words(spec.seed);
    let next = AtomicU64::new(0);
    let bytes = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        let work = || -> io::Result<()> {
            let mut content = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= spec.files {
                    return Ok(());
                }
                bytes.fetch_add(make_file(spec, &dirs, &words, number, &mut content)?, Ordering::Relaxed);
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
    })?;
    // The deepest come last: a directory's own time is set after all that is made in it.
    for (number, dir) in dirs.iter().enumerate().rev() {
        set_mtime(dir, &mut Rng::for_item(spec.seed ^ 0xd1, number as u64))?;
    }
    Ok(Made { files: spec.files, dirs: spec.dirs, bytes: bytes.into_inner() })
}

/// The root and all directories, parents before what is in them.
fn make_dirs(root: &Path, spec: &TreeSpec) -> io::Result<Vec<PathBuf>> {
    let mut dirs = vec![root.to_path_buf()];
    for number in 1..=spec.dirs {
        let mut rng = Rng::for_item(spec.seed ^ 0xd0, number);
        // The smaller of two draws: wide at the top, about six levels in the mean.
        let parent = rng.below(number).min(rng.below(number)) as usize;
        let dir = dirs[parent].join(format!("{}{number:x}", syllables(&mut rng)));
        fs::create_dir(&dir)?;
        dirs.push(dir);
    }
    Ok(dirs)
}

fn make_file(
    spec: &TreeSpec,
    dirs: &[PathBuf],
    words: &[String],
    number: u64,
    content: &mut Vec<u8>,
) -> io::Result<u64> {
    const ENDINGS: [&str; 6] = ["php", "html", "jpg", "txt", "log", "dat"];
    let mut rng = Rng::for_item(spec.seed, number);
    let dir = &dirs[rng.below(dirs.len() as u64) as usize];
    let ending = ENDINGS[rng.below(ENDINGS.len() as u64) as usize];
    let path = dir.join(format!("{}{number:x}.{ending}", syllables(&mut rng)));
    let size = if spec.is_fixed_size { spec.mean_bytes } else { draw_size(&mut rng, spec.mean_bytes) };
    let mut file = File::create_new(&path)?;
    let mut left = size;
    while left > 0 {
        let now = left.min(SEGMENT_BYTES);
        content.clear();
        if rng.percent(spec.text_percent) {
            write_text(&mut rng, words, now as usize, content);
        } else {
            content.resize(now as usize, 0);
            rng.fill(content);
        }
        file.write_all(content)?;
        left -= now;
    }
    drop(file);
    set_mtime(&path, &mut rng)?;
    Ok(size)
}

fn draw_size(rng: &mut Rng, mean_bytes: u64) -> u64 {
    let size = -(1.0 - rng.unit()).ln() * mean_bytes as f64;
    (size as u64).min(mean_bytes * MAX_TIMES_MEAN)
}

/// Words that look like some language's; the frequent ones come first and are short.
fn words(seed: u64) -> Vec<String> {
    let mut rng = Rng::for_item(seed, u64::MAX);
    (0..WORDS)
        .map(|rank| (0..=rank.checked_ilog2().unwrap_or(0) / 6).map(|_| syllables(&mut rng)).collect())
        .collect()
}

fn syllables(rng: &mut Rng) -> String {
    const FIRST: &[u8] = b"bcdfghjklmnprstvwz";
    const SECOND: &[u8] = b"aeiouy";
    let mut text = String::new();
    for _ in 0..=rng.below(3) {
        text.push(char::from(FIRST[rng.below(FIRST.len() as u64) as usize]));
        text.push(char::from(SECOND[rng.below(SECOND.len() as u64) as usize]));
    }
    text
}

fn write_text(rng: &mut Rng, words: &[String], bytes: usize, text: &mut Vec<u8>) {
    while text.len() < bytes {
        // Ranks are drawn so that each octave of them is about equally likely, as in natural texts.
        let rank = (words.len() as f64).powf(rng.unit()) as usize - 1;
        text.extend_from_slice(words[rank.min(words.len() - 1)].as_bytes());
        match rng.below(24) {
            0 => text.extend_from_slice(b".\n"),
            1 => text.extend_from_slice(format!(" {} ", rng.below(100_000)).as_bytes()),
            2 => text.extend_from_slice(b", "),
            _ => text.push(b' '),
        }
    }
    text.truncate(bytes);
}

fn set_mtime(path: &Path, rng: &mut Rng) -> io::Result<()> {
    let tv_sec = OLDEST_MTIME + rng.below(MTIME_SPAN) as i64;
    let time = Timespec { tv_sec, tv_nsec: rng.below(1_000_000_000) as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn look(root: &Path, below: &Path, found: &mut BTreeMap<PathBuf, (i64, Vec<u8>)>) {
        for entry in fs::read_dir(root.join(below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            let meta = entry.metadata().unwrap();
            let content = if meta.is_dir() { Vec::new() } else { fs::read(entry.path()).unwrap() };
            if meta.is_dir() {
                look(root, &path, found);
            }
            found.insert(path, (meta.mtime(), content));
        }
    }

    fn made(seed: u64) -> BTreeMap<PathBuf, (i64, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("t");
        let spec = TreeSpec { seed, files: 200, dirs: 70, ..TreeSpec::default() };
        let sums = make(&root, &spec).unwrap();
        let mut found = BTreeMap::new();
        look(&root, Path::new(""), &mut found);
        assert_eq!((sums.files, sums.dirs), (200, 70));
        assert_eq!(found.len(), 270);
        assert_eq!(found.values().map(|(_, c)| c.len() as u64).sum::<u64>(), sums.bytes);
        found
    }

    #[test]
    fn the_same_seed_makes_the_same_tree_and_another_seed_another() {
        let first = made(3);
        assert_eq!(first, made(3));
        assert_ne!(first, made(4));
    }

    #[test]
    fn no_content_comes_twice() {
        let tree = made(5);
        let mut seen = std::collections::HashSet::new();
        for (_, content) in tree.values() {
            for piece in content.chunks_exact(64) {
                assert!(seen.insert(piece.to_vec()));
            }
        }
        assert!(seen.len() > 1000);
    }
}
