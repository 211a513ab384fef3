//! `rate_limit`: a storage that is read and written no faster than so many bytes per second, each way.
//!
//! A token bucket whose tokens are a tenth of a second's bytes at most, so that the flow is smooth: no burst after
//! a pause is longer than that.

use std::io::{self, Read};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nxs_base::Result;
use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, PartTag, Pending, Storage};

/// Parts of a second that the flow may run ahead.
const BURSTS_PER_SECOND: u64 = 10;

/// Hands out permission to pass bytes; shared by all streams of one direction.
#[derive(Debug)]
pub(crate) struct Bucket {
    bytes_per_second: u64,
    /// When the bytes that passed so far will have been paid for.
    paid_until: Mutex<Option<Instant>>,
}

impl Bucket {
    pub(crate) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second: bytes_per_second.get(), paid_until: Mutex::new(None) }
    }

    /// Most bytes that should pass at once.
    fn burst(&self) -> usize {
        usize::try_from(self.bytes_per_second / BURSTS_PER_SECOND).unwrap_or(usize::MAX).max(1)
    }

    /// Books `bytes` at the moment `now`; says how long to wait before they count as passed.
    fn book(&self, bytes: usize, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let from = paid.map_or(now, |paid| paid.max(now));
        let until = from + cost;
        *paid = Some(until);
        until.saturating_duration_since(now)
    }

    fn pass(&self, bytes: usize) {
        let wait = self.book(bytes, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}

struct Slow<R> {
    inner: R,
    bucket: Arc<Bucket>,
}

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(self.bucket.burst());
        let n = self.inner.read(&mut buf[..most])?;
        self.bucket.pass(n);
        Ok(n)
    }
}

/// A storage behind two buckets.
pub(crate) struct Throttled {
    inner: Arc<dyn Storage>,
    up: Arc<Bucket>,
    down: Arc<Bucket>,
}

impl Throttled {
    pub(crate) fn new(inner: Arc<dyn Storage>, limit: NonZeroU64) -> Self {
        Self { inner, up: Arc::new(Bucket::new(limit)), down: Arc::new(Bucket::new(limit)) }
    }
}

impl Storage for Throttled {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        let mut slow = Slow { inner: data, bucket: Arc::clone(&self.up) };
        self.inner.stage(key, tag, &mut slow)
    }

    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()> {
        self.up.pass(data.len());
        self.inner.put_replace(key, tag, data)
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>> {
        let inner = self.inner.get(key, range)?;
        Ok(Box::new(Slow { inner, bucket: Arc::clone(&self.down) }))
    }

    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        self.inner.list(dir, each)
    }

    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.inner.stat(key)
    }

    fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key)
    }

    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        self.inner.rename(from, to)
    }

    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        self.inner.link(key, target)
    }

    fn is_dangling(&self, key: &ObjectKey) -> Result<bool> {
        self.inner.is_dangling(key)
    }

    fn is_part_live(&self, key: &ObjectKey) -> bool {
        self.inner.is_part_live(key)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.free_bytes()
    }

    fn fetch_command(&self, key: &ObjectKey) -> Option<String> {
        self.inner.fetch_command(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_for_one_after_the_other_and_a_pause_buys_nothing() {
        let bucket = Bucket::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(bucket.book(500, start), second / 2);
        assert_eq!(bucket.book(500, start), second);
        assert_eq!(bucket.book(500, start + second), second / 2);
        assert_eq!(bucket.book(500, start + 60 * second), second / 2, "no burst after a minute of rest");
        assert_eq!(bucket.burst(), 100);
    }

    #[test]
    fn a_limited_stream_takes_no_less_than_its_time() {
        let bucket = Arc::new(Bucket::new(NonZeroU64::new(2 << 20).unwrap()));
        let mut slow = Slow { inner: io::repeat(1).take(1 << 20), bucket };
        let begin = Instant::now();
        assert_eq!(io::copy(&mut slow, &mut io::sink()).unwrap(), 1 << 20);
        let took = begin.elapsed().as_secs_f64();
        assert!((0.475..0.9).contains(&took), "{took}");
    }
}
