//! A storage that fails on purpose: single operations, a cut stream, or the death of the whole process.
//!
//! Wraps any storage. Operations are counted from 1 and logged; `stage` and `commit` are two. `free_bytes` and
//! `is_part_live` neither count nor fail.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, PartTag, Pending, Storage};
use nxs_base::{Error, ErrorKind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    Stage,
    Commit,
    PutReplace,
    Get,
    List,
    Stat,
    Delete,
    Rename,
    Link,
}

/// One operation that was asked for, failed ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub kind: OpKind,
    /// The key (of `rename`, where from), or the directory of `list`.
    pub key: String,
}

/// Fails as planned, else does what the storage inside does. Clones share plan and counts.
#[derive(Clone)]
pub struct FlakyStorage {
    inner: Arc<dyn Storage>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    faults: Vec<Fault>,
    killed: bool,
    /// Refuses every change, as a storage that is mounted read-only.
    read_only: bool,
    /// Partial objects whose writer was killed: nobody holds their lock any more.
    orphans: HashSet<ObjectKey>,
}

#[derive(Clone, Copy)]
struct Fault {
    /// Fires at this operation, or at any from there on that fits.
    at: u64,
    only: Option<OpKind>,
    effect: Effect,
}

#[derive(Clone, Copy)]
enum Effect {
    Fail(ErrorKind),
    CutUpload(u64, ErrorKind),
    CutDownload(u64, ErrorKind),
    FailAfter(ErrorKind),
    KillBefore,
    KillAfter,
    KillInStream(u64),
}

impl FlakyStorage {
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// The `nth` operation (from 1) fails with `kind` and does nothing.
    pub fn fail_op(&self, nth: u64, kind: ErrorKind) {
        self.plan(nth, None, Effect::Fail(kind));
    }

    /// The `nth` operation (from 1) takes effect and then says that it failed, as when an answer is lost.
    pub fn fail_after(&self, nth: u64, kind: ErrorKind) {
        self.plan(nth, None, Effect::FailAfter(kind));
    }

    /// The next operation of that sort fails with `kind` and does nothing. Twice planned, it fails twice.
    pub fn fail_next(&self, op: OpKind, kind: ErrorKind) {
        self.plan(self.op_count() + 1, Some(op), Effect::Fail(kind));
    }

    /// The next `stage` fails with `kind` once it took `bytes` bytes; if there are fewer, at their end.
    pub fn cut_upload(&self, bytes: u64, kind: ErrorKind) {
        self.plan(self.op_count() + 1, Some(OpKind::Stage), Effect::CutUpload(bytes, kind));
    }

    /// What the next `get` returns breaks with `kind` after `bytes` bytes.
    pub fn cut_download(&self, bytes: u64, kind: ErrorKind) {
        self.plan(self.op_count() + 1, Some(OpKind::Get), Effect::CutDownload(bytes, kind));
    }

    /// The process dies just before the `nth` operation (from 1): that and all later ones fail, partial objects stay.
    pub fn kill_before(&self, nth: u64) {
        self.plan(nth, None, Effect::KillBefore);
    }

    /// The process dies just after the `nth` operation took effect.
    pub fn kill_after(&self, nth: u64) {
        self.plan(nth, None, Effect::KillAfter);
    }

    /// The process dies while the `nth` operation, if it is a `stage`, has written `bytes` bytes. Any other operation
    /// dies before its effect.
    pub fn kill_in_stream(&self, nth: u64, bytes: u64) {
        self.plan(nth, None, Effect::KillInStream(bytes));
    }

    /// From now on every change is refused with [`ErrorKind::Denied`], and so is it for ever.
    pub fn make_read_only(&self) {
        self.lock().read_only = true;
    }

    /// Like a new process on the same storage: no faults, counting begins anew, partial objects of the dead process
    /// are not live.
    pub fn revive(&self) {
        let mut parts = Vec::new();
        let listed = self.inner.list("", &mut |info| {
            parts.extend(PartTag::parse(info.key.file_name()).is_some().then_some(info.key));
            Ok(())
        });
        listed.expect("a storage for tests can be listed");
        let mut state = self.lock();
        state.orphans.extend(parts);
        state.killed = false;
        state.faults.clear();
        state.ops.clear();
    }

    pub fn is_killed(&self) -> bool {
        self.lock().killed
    }

    pub fn op_count(&self) -> u64 {
        self.lock().ops.len() as u64
    }

    pub fn ops(&self) -> Vec<Op> {
        self.lock().ops.clone()
    }

    fn plan(&self, at: u64, only: Option<OpKind>, effect: Effect) {
        self.lock().faults.push(Fault { at, only, effect });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the plan")
    }

    /// Counts the operation and says which fault hits it. `Err` if it must not happen at all.
    fn enter(&self, kind: OpKind, key: &str) -> Result<Option<Effect>> {
        let mut state = self.lock();
        if state.killed {
            return Err(dead());
        }
        state.ops.push(Op { kind, key: key.to_owned() });
        if state.read_only && !matches!(kind, OpKind::Get | OpKind::List | OpKind::Stat) {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("planned fault: {kind:?} of `{key}`: read-only"),
            ));
        }
        let now = state.ops.len() as u64;
        let hit = state.faults.iter().position(|f| match f.only {
            None => f.at == now,
            Some(only) => f.at <= now && only == kind,
        });
        let Some(effect) = hit.map(|i| state.faults.remove(i).effect) else { return Ok(None) };
        match effect {
            Effect::Fail(error) => Err(Error::new(error, format!("planned fault: {kind:?} of `{key}`"))),
            Effect::KillInStream(_) if kind == OpKind::Stage => Ok(Some(effect)),
            Effect::KillBefore | Effect::KillInStream(_) => {
                state.killed = true;
                Err(dead())
            }
            Effect::CutUpload(..) | Effect::CutDownload(..) | Effect::FailAfter(_) | Effect::KillAfter => {
                Ok(Some(effect))
            }
        }
    }

    /// Runs an operation that has no stream.
    fn run<T>(&self, kind: OpKind, key: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let effect = self.enter(kind, key)?;
        let outcome = act();
        self.leave(effect)?;
        outcome
    }

    fn leave(&self, effect: Option<Effect>) -> Result<()> {
        match effect {
            Some(Effect::KillAfter) => {
                self.lock().killed = true;
                Err(dead())
            }
            Some(Effect::FailAfter(kind)) => Err(Error::new(kind, "planned fault: done, and told as failed")),
            _ => Ok(()),
        }
    }

    /// Keeps the partial object as a killed process would leave it.
    fn abandon(&self, pending: Box<dyn Pending>, part: &ObjectKey) {
        self.lock().orphans.insert(part.clone());
        std::mem::forget(pending);
    }
}

fn dead() -> Error {
    Error::new(ErrorKind::Other, "planned fault: the process is dead")
}

impl Storage for FlakyStorage {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        let part = part_of(key, tag)?;
        let effect = self.enter(OpKind::Stage, key.as_str())?;
        let staged = match effect {
            Some(Effect::CutUpload(bytes, kind)) => {
                let error =
                    Error::new(kind, format!("planned fault: upload of `{key}` cut after {bytes} bytes"));
                return self.inner.stage(key, tag, &mut CutReader::new(data, bytes, error)).and_then(|_| {
                    Err(Error::new(ErrorKind::Invalid, "the storage took a stream that failed for complete"))
                });
            }
            Some(Effect::KillInStream(bytes)) => {
                let staged = self.inner.stage(key, tag, &mut data.take(bytes))?;
                self.abandon(staged, &part);
                self.lock().killed = true;
                return Err(dead());
            }
            _ => self.inner.stage(key, tag, data)?,
        };
        if self.lock().killed {
            self.abandon(staged, &part);
            return Err(dead());
        }
        if let Err(e) = self.leave(effect) {
            if self.is_killed() {
                self.abandon(staged, &part);
            }
            return Err(e);
        }
        Ok(Box::new(FlakyPending { storage: self.clone(), key: key.clone(), part, inner: Some(staged) }))
    }

    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()> {
        self.run(OpKind::PutReplace, key.as_str(), || self.inner.put_replace(key, tag, data))
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>> {
        let effect = self.enter(OpKind::Get, key.as_str())?;
        let reader = self.inner.get(key, range)?;
        self.leave(effect)?;
        match effect {
            Some(Effect::CutDownload(bytes, kind)) => {
                let error =
                    Error::new(kind, format!("planned fault: download of `{key}` cut after {bytes} bytes"));
                Ok(Box::new(CutReader::new(reader, bytes, error)))
            }
            _ => Ok(reader),
        }
    }

    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        self.run(OpKind::List, dir, || self.inner.list(dir, each))
    }

    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.run(OpKind::Stat, key.as_str(), || self.inner.stat(key))
    }

    fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.run(OpKind::Delete, key.as_str(), || self.inner.delete(key))
    }

    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        self.run(OpKind::Rename, from.as_str(), || self.inner.rename(from, to))
    }

    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        self.run(OpKind::Link, key.as_str(), || self.inner.link(key, target))
    }

    fn is_dangling(&self, key: &ObjectKey) -> Result<bool> {
        self.run(OpKind::Stat, key.as_str(), || self.inner.is_dangling(key))
    }

    fn is_part_live(&self, key: &ObjectKey) -> bool {
        !self.lock().orphans.contains(key) && self.inner.is_part_live(key)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.free_bytes()
    }
}

struct FlakyPending {
    storage: FlakyStorage,
    key: ObjectKey,
    part: ObjectKey,
    inner: Option<Box<dyn Pending>>,
}

impl Pending for FlakyPending {
    fn size_bytes(&self) -> u64 {
        self.inner.as_ref().map_or(0, |p| p.size_bytes())
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        let effect = self.storage.enter(OpKind::Commit, self.key.as_str())?;
        let outcome = self.inner.take().map_or(Ok(()), Pending::commit);
        self.storage.leave(effect)?;
        outcome
    }
}

impl Drop for FlakyPending {
    fn drop(&mut self) {
        let killed = self.storage.is_killed();
        if let Some(inner) = self.inner.take().filter(|_| killed) {
            self.storage.abandon(inner, &self.part);
        }
    }
}

/// Passes `left` bytes on, then fails once; if the reader ends before, it fails there.
struct CutReader<R> {
    inner: R,
    left: u64,
    error: Option<Error>,
}

impl<R: Read> CutReader<R> {
    fn new(inner: R, left: u64, error: Error) -> Self {
        Self { inner, left, error: Some(error) }
    }
}

impl<R: Read> Read for CutReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = if want == 0 { 0 } else { self.inner.read(&mut buf[..want])? };
        self.left -= n as u64;
        match (n, self.error.take()) {
            (0, Some(error)) if !buf.is_empty() => Err(error.into_io()),
            (_, error) => {
                self.error = error;
                Ok(n)
            }
        }
    }
}

fn part_of(key: &ObjectKey, tag: &PartTag) -> Result<ObjectKey> {
    let name = tag.part_name(key.file_name());
    ObjectKey::new(if key.dir().is_empty() { name } else { format!("{}/{name}", key.dir()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;
    use crate::suite::{Fixture, key, list, read, stage};

    crate::storage_suite!(|| Fixture::new(Arc::new(FlakyStorage::new(Arc::new(MemoryStorage::new(
        "inner"
    ))))));

    fn make() -> (MemoryStorage, FlakyStorage) {
        let memory = MemoryStorage::new("m");
        (memory.clone(), FlakyStorage::new(Arc::new(memory)))
    }

    #[test]
    fn the_planned_operation_fails_and_no_other() {
        let (memory, flaky) = make();
        flaky.fail_op(2, ErrorKind::Timeout);
        let pending = stage(&flaky, "a", "1", b"x").unwrap();
        assert_eq!(pending.commit().unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(memory.tree(), "", "the partial object of a failed commit goes");
        stage(&flaky, "a", "1", b"x").unwrap().commit().unwrap();
        let kinds: Vec<OpKind> = flaky.ops().iter().map(|op| op.kind).collect();
        assert_eq!(kinds, [OpKind::Stage, OpKind::Commit, OpKind::Stage, OpKind::Commit]);
        flaky.fail_next(OpKind::Delete, ErrorKind::Denied);
        assert_eq!(read(&flaky, "a", None), b"x");
        assert_eq!(flaky.delete(&key("a")).unwrap_err().kind(), ErrorKind::Denied);
        flaky.delete(&key("a")).unwrap();
    }

    #[test]
    fn a_read_only_storage_can_be_read_and_refuses_every_change() {
        let (memory, flaky) = make();
        memory.insert("a", b"x");
        flaky.make_read_only();
        assert_eq!(read(&flaky, "a", None), b"x");
        assert_eq!(list(&flaky, "").len(), 1);
        assert_eq!(stage(&flaky, "b", "1", b"").err().unwrap().kind(), ErrorKind::Denied);
        assert_eq!(flaky.delete(&key("a")).unwrap_err().kind(), ErrorKind::Denied);
        flaky.revive();
        assert_eq!(flaky.rename(&key("a"), &key("b")).unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(
            memory.tree(),
            "a
"
        );
    }

    #[test]
    fn a_lost_answer_leaves_the_effect_and_an_error() {
        let (memory, flaky) = make();
        flaky.fail_after(2, ErrorKind::Timeout);
        let error = stage(&flaky, "a", "1", b"x").unwrap().commit().unwrap_err();
        assert_eq!((error.kind(), memory.tree()), (ErrorKind::Timeout, "a\n".into()));
        flaky.fail_after(3, ErrorKind::Other);
        assert!(stage(&flaky, "b", "1", b"x").is_err());
        assert_eq!(memory.tree(), "a\n", "a stage that failed leaves nothing");
    }

    #[test]
    fn a_cut_upload_takes_the_planned_bytes_and_leaves_nothing() {
        let (memory, flaky) = make();
        for (bytes, len) in [(0, 100), (70, 100), (100, 100), (200, 100)] {
            flaky.cut_upload(bytes, ErrorKind::Busy);
            let mut data = io::Cursor::new(vec![7; len]);
            let error = flaky.stage(&key("d/a"), &crate::suite::tag("1"), &mut data).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Busy);
            assert_eq!(data.position(), bytes.min(len as u64));
            assert_eq!(memory.tree(), "");
        }
    }

    #[test]
    fn a_cut_download_yields_the_first_bytes_and_then_the_error() {
        let (memory, flaky) = make();
        memory.insert("a", b"abcdef");
        flaky.cut_download(4, ErrorKind::Timeout);
        let mut got = Vec::new();
        let error = flaky.get(&key("a"), None).unwrap().read_to_end(&mut got).unwrap_err();
        assert_eq!(got, b"abcd");
        assert_eq!(Error::from_io("", error).kind(), ErrorKind::Timeout);
    }

    #[test]
    fn after_a_kill_everything_fails_and_the_partial_object_stays_dead() {
        let (memory, flaky) = make();
        flaky.kill_before(2);
        let pending = stage(&flaky, "a", "1", b"abc").unwrap();
        assert!(pending.commit().is_err());
        assert!(flaky.stat(&key("a")).is_err() && flaky.is_killed());
        assert_eq!(memory.tree(), ".a.host.1.nxs-part\n");
        flaky.revive();
        assert!(!flaky.is_part_live(&key(".a.host.1.nxs-part")));
        assert_eq!(list(&flaky, "").len(), 1);
    }

    #[test]
    fn a_kill_drops_partial_objects_that_were_staged_before_without_cleaning() {
        let (memory, flaky) = make();
        let pending = stage(&flaky, "a", "1", b"abc").unwrap();
        flaky.kill_before(2);
        assert!(flaky.stat(&key("a")).is_err());
        drop(pending);
        assert_eq!(memory.tree(), ".a.host.1.nxs-part\n");
    }

    #[test]
    fn a_kill_after_a_commit_leaves_the_object_though_the_caller_sees_an_error() {
        let (memory, flaky) = make();
        flaky.kill_after(2);
        assert!(stage(&flaky, "a", "1", b"abc").unwrap().commit().is_err());
        assert_eq!(memory.tree(), "a\n");
    }

    #[test]
    fn a_kill_in_the_stream_leaves_the_bytes_written_so_far() {
        let (memory, flaky) = make();
        flaky.kill_in_stream(1, 2);
        assert!(stage(&flaky, "a", "1", b"abc").is_err());
        assert_eq!(memory.bytes(".a.host.1.nxs-part").unwrap(), b"ab");
    }
}
