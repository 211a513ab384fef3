//! A day's work in a site: seeded changes of every sort, the same on every host.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nxs_testkit::Rng;
use nxs_testkit::snapshot::{Kind, Snapshot};

use crate::site::{self, EXCLUDES, acl, set, set_mtime};

/// Random changes a day.
const CHANGES: usize = 30;
/// Directories with more in them are not thrown away.
const SMALL_DIR: usize = 25;

/// Changes the site as day number `day` does. What grows in the excluded directories is not to be seen in any backup.
pub(crate) fn change(root: &Path, day: u64, snapshot: &Snapshot) {
    let mut work = Work::new(root, day, snapshot);
    for _ in 0..CHANGES {
        work.one();
    }
    for exclude in EXCLUDES {
        fs::create_dir_all(root.join(exclude)).unwrap();
        fs::write(root.join(exclude).join(format!("junk-{day}")), "must not be saved\n").unwrap();
    }
    if root.join("zoo").is_dir() {
        change_zoo(&root.join("zoo"), day);
    }
}

struct Work {
    rng: Rng,
    files: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    links: Vec<PathBuf>,
    made: u64,
    day: u64,
}

impl Work {
    fn new(root: &Path, day: u64, snapshot: &Snapshot) -> Self {
        let mut work = Self {
            rng: Rng::for_item(0x51_7e, day),
            files: Vec::new(),
            dirs: Vec::new(),
            links: Vec::new(),
            made: 0,
            day,
        };
        // The zoo has changes of its own, and the excluded directories must stay where they are.
        let is_fixed = |path: &[u8]| path.starts_with(b"zoo") || path == b"bitrix" || path.is_empty();
        for (path, node) in snapshot.nodes.iter().filter(|(path, _)| !is_fixed(path)) {
            let list = match node.kind {
                Kind::Dir => &mut work.dirs,
                Kind::Symlink { .. } => &mut work.links,
                Kind::File { .. } => &mut work.files,
                _ => continue,
            };
            list.push(root.join(OsStr::from_bytes(path)));
        }
        work
    }

    /// One change. If what was drawn is gone since the morning, nothing happens.
    fn one(&mut self) {
        match self.rng.below(20) {
            0..=2 => self.edit(),
            3 => self.edit_and_put_the_time_back(),
            4 => self.append(),
            5 => self.truncate(),
            6..=8 => self.create(),
            9 => self.delete(),
            10 => self.rename_file(),
            11 => self.rename_dir(),
            12 => self.chmod(),
            13 => self.touch(),
            14 => self.hard_link(),
            15 => self.replace(),
            16 => self.symlink(),
            17 => self.dir_becomes_file(),
            18 => self.file_becomes_dir(),
            _ => self.attributes(),
        }
    }

    fn draw(rng: &mut Rng, list: &[PathBuf]) -> Option<PathBuf> {
        let path = list.get(rng.below(list.len() as u64) as usize)?;
        path.symlink_metadata().is_ok().then(|| path.clone())
    }

    fn file(&mut self) -> Option<PathBuf> {
        Self::draw(&mut self.rng, &self.files).filter(|p| p.symlink_metadata().is_ok_and(|m| m.is_file()))
    }

    fn dir(&mut self) -> Option<PathBuf> {
        Self::draw(&mut self.rng, &self.dirs).filter(|p| p.symlink_metadata().is_ok_and(|m| m.is_dir()))
    }

    fn small_dir(&mut self) -> Option<PathBuf> {
        self.dir().filter(|dir| Snapshot::take(dir).nodes.len() <= SMALL_DIR)
    }

    fn new_name(&mut self) -> PathBuf {
        self.made += 1;
        let odd: [&[u8]; 5] = [b"", b"\n", b"\xfe\xff", b" ", b"-"];
        let odd = odd[self.rng.below(5) as usize];
        let name = format!("made-{}-{}", self.day, self.made);
        PathBuf::from(OsStr::from_bytes(&[odd, name.as_bytes(), odd].concat()))
    }

    fn text(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 + self.rng.below(3000) as usize];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn edit(&mut self) {
        let Some(path) = self.file() else { return };
        let text = self.text();
        let length = path.metadata().unwrap().len();
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(self.rng.below(length))).unwrap();
        file.write_all(&text).unwrap();
    }

    fn edit_and_put_the_time_back(&mut self) {
        let Some(path) = self.file() else { return };
        let before = path.metadata().unwrap();
        if before.len() > 0 {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[self.rng.next_u64() as u8], self.rng.below(before.len())).unwrap();
            set_mtime(&path, before.mtime(), before.mtime_nsec());
        }
    }

    fn append(&mut self) {
        let Some(path) = self.file() else { return };
        let text = self.text();
        OpenOptions::new().append(true).open(path).unwrap().write_all(&text).unwrap();
    }

    fn truncate(&mut self) {
        let Some(path) = self.file() else { return };
        let length = self.rng.below(path.metadata().unwrap().len());
        OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
    }

    fn create(&mut self) {
        let Some(dir) = self.dir() else { return };
        let (path, text) = (dir.join(self.new_name()), self.text());
        fs::write(&path, text).unwrap();
        self.files.push(path);
    }

    fn delete(&mut self) {
        if self.rng.percent(30) {
            let Some(dir) = self.small_dir() else { return };
            fs::remove_dir_all(dir).unwrap();
        } else if let Some(path) = self.file() {
            fs::remove_file(path).unwrap();
        }
    }

    fn rename_file(&mut self) {
        let (Some(from), Some(dir)) = (self.file(), self.dir()) else { return };
        let to = dir.join(self.new_name());
        fs::rename(from, &to).unwrap();
        self.files.push(to);
    }

    fn rename_dir(&mut self) {
        let (Some(from), Some(dir)) = (self.dir(), self.dir()) else { return };
        if !dir.starts_with(&from) {
            let to = dir.join(self.new_name());
            fs::rename(from, &to).unwrap();
            self.dirs.push(to);
        }
    }

    fn chmod(&mut self) {
        let Some(path) = (if self.rng.percent(30) { self.dir() } else { self.file() }) else { return };
        let keep = if path.is_dir() { 0o700 } else { 0o600 };
        let mode = keep | (self.rng.below(0o10_000) as u32 & 0o7077);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        if site::is_root() && self.rng.percent(50) {
            let (user, group) = (self.rng.below(60_000) as u32, self.rng.below(60_000) as u32);
            site::own(&path, user, group);
        }
    }

    fn touch(&mut self) {
        let Some(path) = (if self.rng.percent(50) { self.dir() } else { self.file() }) else { return };
        set_mtime(&path, self.rng.below(4_000_000_000) as i64, self.rng.below(1_000_000_000) as i64);
    }

    fn hard_link(&mut self) {
        let (Some(path), Some(dir)) = (self.file(), self.dir()) else { return };
        let to = dir.join(self.new_name());
        fs::hard_link(path, &to).unwrap();
        self.files.push(to);
    }

    /// As an editor does: a new file takes the name. Breaks hard links.
    fn replace(&mut self) {
        let Some(path) = self.file() else { return };
        let (new, text) = (path.with_file_name(self.new_name()), self.text());
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn symlink(&mut self) {
        let target = format!("../retargeted/{}", self.rng.below(1000));
        if self.rng.percent(50) {
            let Some(link) = Self::draw(&mut self.rng, &self.links) else { return };
            fs::remove_file(&link).unwrap();
            symlink(target, link).unwrap();
        } else if let Some(dir) = self.dir() {
            let link = dir.join(self.new_name());
            symlink(target, &link).unwrap();
            self.links.push(link);
        }
    }

    fn dir_becomes_file(&mut self) {
        let (Some(dir), text) = (self.small_dir(), self.text()) else { return };
        fs::remove_dir_all(&dir).unwrap();
        fs::write(&dir, text).unwrap();
        self.files.push(dir);
    }

    fn file_becomes_dir(&mut self) {
        let Some(path) = self.file() else { return };
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        if self.rng.percent(60) {
            fs::write(path.join(self.new_name()), "was a file\n").unwrap();
        }
        self.dirs.push(path);
    }

    fn attributes(&mut self) {
        let Some(path) = self.file() else { return };
        if self.rng.percent(50) {
            set(&path, "user.day", self.day.to_string().as_bytes());
        } else {
            let user = self.rng.below(60_000) as u32;
            let none = u32::MAX;
            let list = acl(&[(1, 6, none), (2, 4, user), (4, 4, none), (16, 6, none), (32, 4, none)]);
            set(&path, "system.posix_acl_access", &list);
        }
    }
}

/// Every day something else in the zoo.
fn change_zoo(zoo: &Path, day: u64) {
    let sparse = OpenOptions::new().write(true).open(zoo.join("contents/sparse")).unwrap();
    sparse.write_all_at(format!("day {day}").as_bytes(), day * (1 << 20) + day).unwrap();
    sparse.set_len((50 << 20) + day % 3 * 4097).unwrap();
    // A file, a directory, a link, a hard link: the same name is something else every day.
    let swap = zoo.join("swap");
    match swap.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&swap).unwrap(),
        Ok(_) => fs::remove_file(&swap).unwrap(),
        Err(_) => {}
    }
    match day % 4 {
        0 => fs::write(&swap, day.to_string()).unwrap(),
        1 => {
            fs::create_dir(&swap).unwrap();
            fs::write(swap.join("swap"), day.to_string()).unwrap();
        }
        2 => symlink(format!("../zoo/{day}"), &swap).unwrap(),
        _ => fs::hard_link(zoo.join("links/middle"), &swap).unwrap(),
    }
    let odd = zoo.join("names").join(OsStr::from_bytes(b"latin-\xe9\xff"));
    File::options().append(true).open(odd).unwrap().write_all(b"x").unwrap();
    set_mtime(&zoo.join("times"), -(day as i64), 1);
    fs::set_permissions(zoo.join("kinds/fifo"), Permissions::from_mode(0o600 | (day as u32 & 0o77))).unwrap();
}
