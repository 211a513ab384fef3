//! The upload directory of a web project, and how it lives from day to day: new pictures with their thumbnails, some
//! replaced, some deleted, now and then an import, a cleared cache, a renamed directory.
//!
//! The state is the tree alone: a day's changes follow from seed, number of the day and what is there. Layout:
//! `iblock/<hex>/<name>.jpg` and `resize_cache/iblock/<hex>/<size>/<name>.jpg`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::rng::Rng;

const PICTURES: &str = "iblock";
const CACHE: &str = "resize_cache/iblock";
const SIZES: [&str; 4] = ["140_105_1", "240_180_2", "320_240_1", "800_600_2"];
const DAY_SECS: i64 = 86_400;

/// What the directory is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploads {
    pub seed: u64,
    /// At the beginning; half of them are thumbnails.
    pub files: u64,
    /// About so many at the beginning.
    pub dirs: u64,
    pub mean_bytes: u64,
    /// Seconds since the epoch of day 0.
    pub first_day: i64,
}

/// What a day did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    pub added: u64,
    pub changed: u64,
    pub deleted: u64,
}

struct Day<'a> {
    root: &'a Path,
    uploads: &'a Uploads,
    rng: Rng,
    /// Seconds since the epoch, at night.
    time: i64,
    done: Done,
}

impl Uploads {
    /// Makes the tree of day 0 in `root`, which must not exist yet.
    pub fn begin(&self, root: &Path) -> io::Result<Done> {
        fs::create_dir(root)?;
        let mut day = self.on(root, 0);
        let buckets = (self.dirs / 3).max(1);
        for _ in 0..self.files / 2 {
            day.add(buckets)?;
        }
        Ok(day.done)
    }

    /// Does what happens on a day, from 1 on.
    pub fn day(&self, root: &Path, number: u64) -> io::Result<Done> {
        let mut day = self.on(root, number);
        // In the mean a third of a percent more each day; every hundredth day an import of five percent.
        let half = (self.files / 2).max(100);
        let mut pairs = 1 + day.rng.below(half / 150);
        if number.is_multiple_of(100) {
            pairs += half / 20;
        }
        let buckets = (self.dirs / 3).max(1) + number * self.dirs / 3000;
        for _ in 0..pairs {
            day.add(buckets)?;
        }
        let pictures = files_below(&root.join(PICTURES))?;
        for _ in 0..1 + day.rng.below(half / 250) {
            let path = pictures[day.rng.below(pictures.len() as u64) as usize].clone();
            day.change(&path)?;
        }
        for _ in 0..day.rng.below(half / 400) {
            let path = &pictures[day.rng.below(pictures.len() as u64) as usize];
            day.delete(path)?;
        }
        match number % 365 {
            // The cache of a third of the pictures is cleared, a directory gets another name.
            150 => day.clear_cache()?,
            250 => day.rename()?,
            _ => {}
        }
        Ok(day.done)
    }

    fn on<'a>(&'a self, root: &'a Path, number: u64) -> Day<'a> {
        let rng = Rng::for_item(self.seed, number);
        let time = self.first_day + number as i64 * DAY_SECS;
        Day { root, uploads: self, rng, time, done: Done::default() }
    }
}

impl Day<'_> {
    /// A picture and its thumbnail.
    fn add(&mut self, buckets: u64) -> io::Result<()> {
        let bucket = self.rng.below(buckets);
        let name = format!("{:016x}{:016x}.jpg", self.rng.next_u64(), self.rng.next_u64());
        let picture = self.root.join(format!("{PICTURES}/{bucket:03x}/{name}"));
        let size = SIZES[(bucket % 4) as usize];
        let thumbnail = self.root.join(format!("{CACHE}/{bucket:03x}/{size}/{name}"));
        let bytes = self.draw_size();
        self.write(&picture, bytes)?;
        self.write(&thumbnail, bytes / 4)?;
        self.done.added += 2;
        Ok(())
    }

    /// Writes it anew: in place, or as editors do by a rename.
    fn change(&mut self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let bytes = self.draw_size();
        if self.rng.percent(50) {
            self.write(path, bytes)?;
        } else {
            let new = path.with_extension("new");
            self.write(&new, bytes)?;
            fs::rename(new, path)?;
        }
        self.done.changed += 1;
        Ok(())
    }

    fn delete(&mut self, picture: &Path) -> io::Result<()> {
        if picture.exists() {
            fs::remove_file(picture)?;
            self.done.deleted += 1;
        }
        Ok(())
    }

    fn clear_cache(&mut self) -> io::Result<()> {
        for bucket in children(&self.root.join(CACHE))?.iter().step_by(3) {
            self.done.deleted += files_below(bucket)?.len() as u64;
            fs::remove_dir_all(bucket)?;
        }
        Ok(())
    }

    fn rename(&mut self) -> io::Result<()> {
        let buckets = children(&self.root.join(PICTURES))?;
        let old = &buckets[self.rng.below(buckets.len() as u64) as usize];
        fs::rename(old, old.with_extension("old"))
    }

    fn draw_size(&mut self) -> u64 {
        let size = -(1.0 - self.rng.unit()).ln() * self.uploads.mean_bytes as f64;
        (size as u64).min(self.uploads.mean_bytes * 20)
    }

    /// Noise, as pictures are; of some moment of the day before the night.
    fn write(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut content = vec![0; bytes as usize];
        self.rng.fill(&mut content);
        fs::write(path, content)?;
        let tv_sec = self.time - self.rng.below(DAY_SECS as u64) as i64;
        let time = Timespec { tv_sec, tv_nsec: self.rng.below(1_000_000_000) as _ };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// What is in a directory, sorted; nothing if it is not there.
fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = match fs::read_dir(dir) {
        Ok(listing) => listing.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    paths.sort();
    Ok(paths)
}

/// All files below a directory, sorted.
fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in children(dir)? {
        if fs::symlink_metadata(&path)?.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    /// All files of two hundred and fifty days.
    fn lived(seed: u64) -> Vec<(PathBuf, u64)> {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("upload");
        let first_day = 1_750_000_000;
        let uploads = Uploads { seed, files: 300, dirs: 60, mean_bytes: 100, first_day };
        assert_eq!(uploads.begin(&root).unwrap(), Done { added: 300, changed: 0, deleted: 0 });
        let mut sum = 300;
        for number in [1, 2, 100, 149, 150, 250] {
            let before = Snapshot::take(&root);
            let done = uploads.day(&root, number).unwrap();
            assert!(done.added > 0 && !before.differences(&Snapshot::take(&root)).is_empty(), "{number}");
            sum = sum + done.added - done.deleted;
        }
        let files = files_below(&root).unwrap();
        assert_eq!(files.len() as u64, sum);
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        files.iter().map(|f| (f.strip_prefix(&root).unwrap().to_owned(), size(f))).collect()
    }

    #[test]
    fn the_same_seed_lives_the_same_year_and_another_seed_another() {
        let first = lived(3);
        assert_eq!(first, lived(3));
        assert_ne!(first, lived(4));
    }
}
