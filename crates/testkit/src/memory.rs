//! A storage in memory that keeps the whole contract of the port: links, partial objects, directories that cannot be
//! objects, a quota. For tests of the engine; shows and changes what it holds in ways no real storage would.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use nxs_base::entry::FileTime;
use nxs_base::ports::clock::Clock;
use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, ObjectKind, PartTag, Pending, Storage};
use nxs_base::{Error, ErrorKind, Result};

const MAX_LINKS: usize = 16;
const BLOCK: usize = 64 << 10;

/// Objects in memory. Clones share what they hold.
#[derive(Clone)]
pub struct MemoryStorage {
    name: String,
    links: bool,
    clock: Option<Arc<dyn Clock>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectKey, Object>,
    live_parts: HashSet<ObjectKey>,
    quota: Option<u64>,
    ticks: i64,
}

struct Object {
    body: Body,
    mtime: FileTime,
}

enum Body {
    File(Arc<Vec<u8>>),
    Link(ObjectKey),
}

impl MemoryStorage {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), links: true, clock: None, state: Arc::default() }
    }

    /// Holds at most `bytes`, partial objects included; writing more fails with [`ErrorKind::Full`].
    pub fn with_quota(self, bytes: u64) -> Self {
        self.set_quota(Some(bytes));
        self
    }

    /// Like a storage that knows no links.
    pub fn without_links(mut self) -> Self {
        self.links = false;
        self
    }

    /// Modification times come from `clock`; without one they count seconds from 1,700,000,000 on.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    pub fn set_quota(&self, bytes: Option<u64>) {
        self.lock().quota = bytes;
    }

    /// Puts a file there, replacing, whatever the contract says.
    pub fn insert(&self, key: &str, data: &[u8]) {
        let mtime = self.now();
        let object = Object { body: Body::File(Arc::new(data.to_vec())), mtime };
        self.lock().objects.insert(key_of(key), object);
    }

    /// The bytes of the file `key`, not following links; none if it is not there or a link.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        match &self.lock().objects.get(&key_of(key))?.body {
            Body::File(data) => Some(data.to_vec()),
            Body::Link(_) => None,
        }
    }

    /// All keys in order, one a line; links as `key -> target`. For comparing with a golden tree.
    pub fn tree(&self) -> String {
        let state = self.lock();
        let line = |(key, object): (&ObjectKey, &Object)| match &object.body {
            Body::File(_) => format!("{key}\n"),
            Body::Link(target) => format!("{key} -> {target}\n"),
        };
        state.objects.iter().map(line).collect()
    }

    /// Sum of the bytes of all files, partial ones included.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Flips all bits of one byte of the file `key`. Panics if there is none.
    pub fn corrupt(&self, key: &str, offset: usize) {
        let mut state = self.lock();
        match state.objects.get_mut(&key_of(key)).map(|o| &mut o.body) {
            Some(Body::File(data)) => Arc::make_mut(data)[offset] ^= 0xff,
            _ => panic!("there is no file `{key}` to damage"),
        }
    }

    /// Cuts the file `key` to `len` bytes. Panics if there is none.
    pub fn truncate(&self, key: &str, len: usize) {
        let mut state = self.lock();
        match state.objects.get_mut(&key_of(key)).map(|o| &mut o.body) {
            Some(Body::File(data)) => Arc::make_mut(data).truncate(len),
            _ => panic!("there is no file `{key}` to cut"),
        }
    }

    /// Sets a modification time. Panics if there is no such object.
    pub fn set_mtime(&self, key: &str, mtime: FileTime) {
        let mut state = self.lock();
        state.objects.get_mut(&key_of(key)).expect("the object is there").mtime = mtime;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the objects")
    }

    fn now(&self) -> FileTime {
        if let Some(clock) = &self.clock {
            let now = clock.now().timestamp();
            let nsec = u32::try_from(now.as_nanosecond().rem_euclid(1_000_000_000)).unwrap_or(0);
            return FileTime { sec: now.as_nanosecond().div_euclid(1_000_000_000) as i64, nsec };
        }
        let mut state = self.lock();
        state.ticks += 1;
        FileTime { sec: 1_700_000_000 + state.ticks, nsec: 0 }
    }

    fn not_found(&self, key: &ObjectKey) -> Error {
        Error::new(ErrorKind::NotFound, format!("storage `{}` has no object `{key}`", self.name))
    }

    fn exists(&self, key: &ObjectKey) -> Error {
        Error::new(ErrorKind::Exists, format!("storage `{}` has an object `{key}` already", self.name))
    }

    /// Puts `object` at `key`; over a link only if told to, over a file or a directory never.
    fn place(&self, state: &mut State, key: &ObjectKey, object: Object, over_link: bool) -> Result<()> {
        self.check_dirs(state, key)?;
        match state.objects.get(key) {
            Some(Object { body: Body::Link(_), .. }) if over_link => {}
            Some(_) => return Err(self.exists(key)),
            None if state.is_dir(key) => return Err(self.exists(key)),
            None => {}
        }
        state.objects.insert(key.clone(), object);
        Ok(())
    }

    /// No parent of `key` may be an object.
    fn check_dirs(&self, state: &State, key: &ObjectKey) -> Result<()> {
        let mut dir = key.dir();
        while !dir.is_empty() {
            if state.objects.contains_key(&key_of(dir)) {
                let message =
                    format!("cannot write `{key}` to storage `{}`: `{dir}` is no directory", self.name);
                return Err(Error::new(ErrorKind::Other, message));
            }
            dir = dir.rsplit_once('/').map_or("", |(d, _)| d);
        }
        Ok(())
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        let size = |o: &Object| match &o.body {
            Body::File(data) => data.len() as u64,
            Body::Link(_) => 0,
        };
        self.objects.values().map(size).sum()
    }

    fn is_dir(&self, key: &ObjectKey) -> bool {
        let below = format!("{key}/");
        self.objects.keys().any(|k| k.as_str().starts_with(&below))
    }

    fn follow(&self, key: &ObjectKey) -> Option<(ObjectKey, Arc<Vec<u8>>)> {
        let mut key = key;
        for _ in 0..MAX_LINKS {
            match &self.objects.get(key)?.body {
                Body::File(data) => return Some((key.clone(), data.clone())),
                Body::Link(target) => key = target,
            }
        }
        None
    }

    fn info(&self, key: &ObjectKey) -> Option<ObjectInfo> {
        let object = self.objects.get(key)?;
        let (kind, size_bytes) = match &object.body {
            Body::File(data) => (ObjectKind::File, data.len() as u64),
            Body::Link(target) => (
                ObjectKind::Link { target: self.follow(key).map(|(end, _)| end) },
                target.as_str().len() as u64,
            ),
        };
        Some(ObjectInfo { key: key.clone(), kind, size_bytes, mtime: object.mtime })
    }
}

impl Storage for MemoryStorage {
    fn label(&self) -> &str {
        &self.name
    }

    fn caps(&self) -> Caps {
        Caps { links: self.links, free_space: self.lock().quota.is_some() }
    }

    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        let part = part_of(key, tag);
        let mtime = self.now();
        {
            let mut state = self.lock();
            let empty = Object { body: Body::File(Arc::default()), mtime };
            self.place(&mut state, &part, empty, false)?;
            state.live_parts.insert(part.clone());
        }
        let mut pending =
            MemoryPending { storage: self.clone(), key: key.clone(), part, size_bytes: 0, done: false };
        let mut block = vec![0; BLOCK];
        loop {
            match data.read(&mut block) {
                Ok(0) => return Ok(Box::new(pending)),
                Ok(n) => pending.append(&block[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::from_io(format!("cannot read what `{key}` is to hold"), e)),
            }
        }
    }

    fn put_replace(&self, key: &ObjectKey, _tag: &PartTag, data: &[u8]) -> Result<()> {
        let mtime = self.now();
        let mut state = self.lock();
        self.check_dirs(&state, key)?;
        if state.is_dir(key) {
            return Err(self.exists(key));
        }
        let object = Object { body: Body::File(Arc::new(data.to_vec())), mtime };
        let old = state.objects.insert(key.clone(), object);
        if state.quota.is_some_and(|quota| state.used_bytes() > quota) {
            match old {
                Some(old) => state.objects.insert(key.clone(), old),
                None => state.objects.remove(key),
            };
            return Err(full(key, &self.name));
        }
        Ok(())
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>> {
        let (_, data) = self.lock().follow(key).ok_or_else(|| self.not_found(key))?;
        let len = data.len() as u64;
        let range = range.unwrap_or(0..len);
        let end = range.end.min(len) as usize;
        let at = (range.start as usize).min(end);
        Ok(Box::new(SharedReader { data, at, end }))
    }

    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        let below = if dir.is_empty() { String::new() } else { format!("{}/", ObjectKey::new(dir)?) };
        let found: Vec<ObjectInfo> = {
            let state = self.lock();
            let inside = state.objects.keys().filter(|k| k.as_str().starts_with(&below));
            inside.filter_map(|k| state.info(k)).collect()
        };
        found.into_iter().try_for_each(each)
    }

    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.lock().info(key).ok_or_else(|| self.not_found(key))
    }

    fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.lock().objects.remove(key).map(drop).ok_or_else(|| self.not_found(key))
    }

    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let mut state = self.lock();
        let object = state.objects.remove(from).ok_or_else(|| self.not_found(from))?;
        if from == to {
            state.objects.insert(from.clone(), object);
            return Err(self.exists(to));
        }
        let copy = Object { body: object.body.share(), mtime: object.mtime };
        let placed = self.place(&mut state, to, copy, true);
        if placed.is_err() {
            state.objects.insert(from.clone(), object);
        }
        placed
    }

    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        if !self.links {
            let message = format!("storage `{}` has no links", self.name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if key == target {
            return Err(Error::new(ErrorKind::Invalid, format!("`{key}` cannot be a link to itself")));
        }
        let mtime = self.now();
        self.place(&mut self.lock(), key, Object { body: Body::Link(target.clone()), mtime }, true)
    }

    fn is_part_live(&self, key: &ObjectKey) -> bool {
        self.lock().live_parts.contains(key)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        let state = self.lock();
        Ok(state.quota.map(|quota| quota.saturating_sub(state.used_bytes())))
    }
}

impl Body {
    fn share(&self) -> Self {
        match self {
            Self::File(data) => Self::File(data.clone()),
            Self::Link(target) => Self::Link(target.clone()),
        }
    }
}

struct MemoryPending {
    storage: MemoryStorage,
    key: ObjectKey,
    part: ObjectKey,
    size_bytes: u64,
    done: bool,
}

impl MemoryPending {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut state = self.storage.lock();
        let state = &mut *state;
        if state.quota.is_some_and(|quota| state.used_bytes() + bytes.len() as u64 > quota) {
            return Err(full(&self.key, &self.storage.name));
        }
        match state.objects.get_mut(&self.part).map(|o| &mut o.body) {
            Some(Body::File(data)) => Arc::make_mut(data).extend_from_slice(bytes),
            _ => {
                let message =
                    format!("the partial object of `{}` was removed while it was written", self.key);
                return Err(Error::new(ErrorKind::Other, message));
            }
        }
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Pending for MemoryPending {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        let storage = self.storage.clone();
        let mtime = storage.now();
        let mut state = storage.lock();
        let Some(object) = state.objects.get(&self.part) else { return Err(storage.not_found(&self.part)) };
        let copy = Object { body: object.body.share(), mtime };
        let placed = storage.place(&mut state, &self.key, copy, false);
        state.objects.remove(&self.part);
        state.live_parts.remove(&self.part);
        self.done = true;
        placed
    }
}

impl Drop for MemoryPending {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.storage.lock();
            state.objects.remove(&self.part);
            state.live_parts.remove(&self.part);
        }
    }
}

struct SharedReader {
    data: Arc<Vec<u8>>,
    at: usize,
    end: usize,
}

impl Read for SharedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(self.end - self.at);
        buf[..n].copy_from_slice(&self.data[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn part_of(key: &ObjectKey, tag: &PartTag) -> ObjectKey {
    let name = tag.part_name(key.file_name());
    if key.dir().is_empty() { key_of(&name) } else { key_of(&format!("{}/{name}", key.dir())) }
}

fn key_of(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap_or_else(|e| panic!("{e}"))
}

fn full(key: &ObjectKey, name: &str) -> Error {
    Error::new(ErrorKind::Full, format!("cannot write `{key}` to storage `{name}`: its quota is used up"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Fixture, read, stage, tag};

    crate::storage_suite!(|| Fixture::new(Arc::new(MemoryStorage::new("memory"))));

    mod without_links {
        use super::*;
        crate::storage_suite!(|| Fixture::new(Arc::new(MemoryStorage::new("memory").without_links())));
    }

    #[test]
    fn more_than_the_quota_is_full_and_leaves_nothing() {
        let storage = MemoryStorage::new("m").with_quota(100_000);
        stage(&storage, "a", "1", &[1; 60_000]).unwrap().commit().unwrap();
        let error = stage(&storage, "b", "1", &[2; 60_000]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert_eq!(storage.tree(), "a\n");
        assert_eq!(storage.free_bytes().unwrap(), Some(40_000));
        assert_eq!(
            storage.put_replace(&key_of("a"), &tag("1"), &[3; 200_000]).unwrap_err().kind(),
            ErrorKind::Full
        );
        assert_eq!(storage.bytes("a").unwrap(), [1; 60_000], "a refused replacement changes nothing");
    }

    #[test]
    fn an_object_is_no_directory_and_a_directory_no_object() {
        let storage = MemoryStorage::new("m");
        storage.insert("a/b", b"");
        assert_eq!(stage(&storage, "a/b/c", "1", b"").err().unwrap().kind(), ErrorKind::Other);
        assert_eq!(stage(&storage, "a", "1", b"").unwrap().commit().unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(storage.tree(), "a/b\n");
    }

    #[test]
    fn damage_shows_in_what_is_read() {
        let storage = MemoryStorage::new("m");
        storage.insert("a", b"abc");
        storage.corrupt("a", 1);
        storage.truncate("a", 2);
        assert_eq!(read(&storage, "a", None), [b'a', !b'b']);
    }

    #[test]
    fn times_come_from_the_clock_if_there_is_one() {
        let clock = Arc::new(crate::FakeClock::utc("1970-01-02T00:00:01.5"));
        let storage = MemoryStorage::new("m").with_clock(clock);
        stage(&storage, "a", "1", b"").unwrap().commit().unwrap();
        assert_eq!(storage.stat(&key_of("a")).unwrap().mtime, FileTime { sec: 86401, nsec: 500_000_000 });
    }
}
