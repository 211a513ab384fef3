//! A storage in memory for the tests of catalog and rotation, with a fuse: after a set number of changes the power
//! is out, and nothing changes any more. Made as the contract of the port says, links included.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use nxs_base::entry::FileTime;
use nxs_base::ports::storage::{
    Caps, ObjectInfo, ObjectKey, ObjectKind, PART_SUFFIX, PartTag, Pending, Storage,
};
use nxs_base::{Error, ErrorKind, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    File { data: Vec<u8>, mtime_sec: i64 },
    Link(ObjectKey),
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectKey, Object>,
    /// Changes until the power goes; none = never.
    fuse: Option<usize>,
    now_sec: i64,
    live: Vec<ObjectKey>,
}

#[derive(Clone)]
pub(crate) struct MemoryStorage {
    state: Arc<Mutex<State>>,
    links: bool,
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

impl MemoryStorage {
    pub(crate) fn new(links: bool) -> Self {
        Self { state: Arc::default(), links }
    }

    /// A copy that shares nothing.
    pub(crate) fn snapshot(&self) -> Self {
        let objects = self.objects();
        let copy = Self::new(self.links);
        copy.lock().objects = objects;
        copy.lock().now_sec = self.lock().now_sec;
        copy
    }

    pub(crate) fn objects(&self) -> BTreeMap<ObjectKey, Object> {
        self.lock().objects.clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().objects.keys().map(ToString::to_string).collect()
    }

    pub(crate) fn set_fuse(&self, changes: Option<usize>) {
        self.lock().fuse = changes;
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.lock().fuse == Some(0)
    }

    pub(crate) fn set_now(&self, now_sec: i64) {
        self.lock().now_sec = now_sec;
    }

    pub(crate) fn set_live(&self, key: ObjectKey) {
        self.lock().live.push(key);
    }

    /// Puts a file there, as somebody else would.
    pub(crate) fn put(&self, at: &str, data: &[u8]) {
        let mut state = self.lock();
        let mtime_sec = state.now_sec;
        state.objects.insert(key(at), Object::File { data: data.to_vec(), mtime_sec });
    }

    pub(crate) fn put_link(&self, at: &str, to: &str) {
        self.lock().objects.insert(key(at), Object::Link(key(to)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Access for a change; fails once the power is out.
    fn change(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.fuse {
            Some(0) => return Err(Error::new(ErrorKind::Other, "the power is out")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

fn error(kind: ErrorKind, at: &ObjectKey) -> Error {
    Error::new(kind, format!("`{at}`"))
}

fn is_file(state: &State, at: &ObjectKey) -> bool {
    matches!(state.objects.get(at), Some(Object::File { .. }))
}

fn info(state: &State, at: &ObjectKey, object: &Object) -> ObjectInfo {
    let (kind, size_bytes, sec) = match object {
        Object::File { data, mtime_sec } => (ObjectKind::File, data.len() as u64, *mtime_sec),
        Object::Link(to) => {
            let target = state.objects.contains_key(to).then(|| to.clone());
            (ObjectKind::Link { target }, 0, 0)
        }
    };
    ObjectInfo { key: at.clone(), kind, size_bytes, mtime: FileTime { sec, nsec: 0 } }
}

struct MemoryPending {
    storage: MemoryStorage,
    part: ObjectKey,
    at: ObjectKey,
    size: u64,
    is_committed: bool,
}

impl Pending for MemoryPending {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        self.storage.rename(&self.part, &self.at)?;
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for MemoryPending {
    fn drop(&mut self) {
        if !self.is_committed
            && let Ok(mut state) = self.storage.change()
        {
            state.objects.remove(&self.part);
        }
    }
}

impl Storage for MemoryStorage {
    fn label(&self) -> &str {
        "memory"
    }

    fn caps(&self) -> Caps {
        Caps { links: self.links, free_space: false }
    }

    fn stage(&self, at: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).map_err(|e| Error::io("read", e))?;
        let part = key(&format!("{}/{}", at.dir(), tag.part_name(at.file_name())));
        let size = bytes.len() as u64;
        let mut state = self.change()?;
        let mtime_sec = state.now_sec;
        // The power may go while it is written: half of it is there then.
        let is_last = state.fuse == Some(0);
        let data = if is_last { bytes[..bytes.len() / 2].to_vec() } else { bytes };
        state.objects.insert(part.clone(), Object::File { data, mtime_sec });
        drop(state);
        if is_last {
            return Err(error(ErrorKind::Other, at));
        }
        Ok(Box::new(MemoryPending { storage: self.clone(), part, at: at.clone(), size, is_committed: false }))
    }

    fn put_replace(&self, at: &ObjectKey, _: &PartTag, data: &[u8]) -> Result<()> {
        let mut state = self.change()?;
        let mtime_sec = state.now_sec;
        state.objects.insert(at.clone(), Object::File { data: data.to_vec(), mtime_sec });
        Ok(())
    }

    fn get(&self, at: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>> {
        match self.lock().objects.get(at) {
            Some(Object::File { data, .. }) => {
                let end = data.len();
                let place = |n: u64| usize::try_from(n).unwrap_or(end).min(end);
                let range = range.map_or(0..end, |r| place(r.start)..place(r.end));
                Ok(Box::new(Cursor::new(data[range].to_vec())))
            }
            _ => Err(error(ErrorKind::NotFound, at)),
        }
    }

    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        let state = self.lock();
        let below = |k: &ObjectKey| dir.is_empty() || k.as_str().starts_with(&format!("{dir}/"));
        state.objects.iter().rev().filter(|(k, _)| below(k)).try_for_each(|(k, o)| each(info(&state, k, o)))
    }

    fn stat(&self, at: &ObjectKey) -> Result<ObjectInfo> {
        let state = self.lock();
        state.objects.get(at).map(|o| info(&state, at, o)).ok_or_else(|| error(ErrorKind::NotFound, at))
    }

    fn delete(&self, at: &ObjectKey) -> Result<()> {
        let mut state = self.change()?;
        state.objects.remove(at).map(|_| ()).ok_or_else(|| error(ErrorKind::NotFound, at))
    }

    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let mut state = self.change()?;
        if is_file(&state, to) {
            return Err(error(ErrorKind::Exists, to));
        }
        let object = state.objects.remove(from).ok_or_else(|| error(ErrorKind::NotFound, from))?;
        state.objects.insert(to.clone(), object);
        Ok(())
    }

    fn link(&self, at: &ObjectKey, target: &ObjectKey) -> Result<()> {
        assert!(self.links, "asked for a link without `caps().links`");
        let mut state = self.change()?;
        if is_file(&state, at) {
            return Err(error(ErrorKind::Exists, at));
        }
        state.objects.insert(at.clone(), Object::Link(target.clone()));
        Ok(())
    }

    fn is_part_live(&self, at: &ObjectKey) -> bool {
        assert!(at.file_name().ends_with(PART_SUFFIX), "asked for `{at}`");
        self.lock().live.contains(at)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}
