//! Leases of readers: restore and verify take no run lock, so they leave word on the storage of what they read, and
//! rotation spares it.
//!
//! A lease is a small object below `.nxs-leases/`. It counts until its expiry, which its reader moves on while it
//! reads ([`hold`]); a reader that was killed holds up rotation for an hour at most. Leases are best effort: where
//! none can be written, the reader goes on without. Rotation looks for them after it withdrew the record of what it
//! is about to drop ([`crate::rotation::apply`]), readers take theirs before they open anything: one of the two sees
//! the other.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nxs_base::layout::{LEASE_DIR, discrete};
use nxs_base::ports::clock::Clock;
use nxs_base::ports::storage::{ObjectInfo, ObjectKey, ObjectKind, PartTag, Storage};
use nxs_base::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::catalog::scan::read_small;
use crate::catalog::sweep::delete_if_there;
use crate::rotation::plan::{Action, Decision, Reason, RotationItem};
use nxs_base::calendar::Periods;

const FORMAT: u32 = 1;
const MAX_BYTES: u64 = 1 << 20;
/// More keys than that become a lease of everything.
const MAX_KEYS: usize = 1000;
/// How long a lease counts after it was written.
const TERM: SignedDuration = SignedDuration::from_hours(1);
/// How often [`hold`] writes it anew.
const RENEW_AFTER: Duration = Duration::from_secs(15 * 60);
/// An expiry further ahead comes from a clock that is wrong, and does not count.
const FAR_AHEAD: SignedDuration = SignedDuration::from_hours(26);

#[derive(Serialize, Deserialize)]
struct LeaseWire {
    format: u32,
    host: String,
    run_id: String,
    /// Seconds since 1970.
    expires_sec: i64,
    /// Archives; absent = everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<String>>,
}

/// What a reader reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    All,
    /// Archives. That rotation may have moved one to another period directory meanwhile does not matter.
    Keys(Vec<ObjectKey>),
}

impl Held {
    fn covers(&self, archive: &ObjectKey) -> bool {
        let Self::Keys(keys) = self else { return true };
        let family = discrete::siblings(archive);
        let is_sibling =
            |key: &ObjectKey| family.as_ref().is_some_and(|all| all.iter().any(|(_, s)| s == key));
        keys.iter().any(|key| key == archive || is_sibling(key))
    }
}

/// The word of one reader on one storage. Dropping it takes it back (best effort).
pub struct Lease<'a> {
    storage: &'a dyn Storage,
    tag: PartTag,
    key: ObjectKey,
    held: Held,
    is_there: bool,
}

impl<'a> Lease<'a> {
    /// Leaves word, for an hour from `now`. One per run (`tag`) and storage: a second one replaces the first.
    pub fn take(storage: &'a dyn Storage, tag: &PartTag, held: Held, now: Timestamp) -> Result<Self> {
        let key = ObjectKey::new(format!("{LEASE_DIR}/{}.{}", tag.host, tag.run_id))?;
        let held = match held {
            Held::Keys(keys) if keys.len() > MAX_KEYS => Held::All,
            other => other,
        };
        let mut lease = Self { storage, tag: tag.clone(), key, held, is_there: false };
        lease.renew(now)?;
        Ok(lease)
    }

    /// Moves the expiry to an hour from `now`.
    pub fn renew(&mut self, now: Timestamp) -> Result<()> {
        let expires = now.checked_add(TERM).unwrap_or(Timestamp::MAX);
        let wire = LeaseWire {
            format: FORMAT,
            host: self.tag.host.clone(),
            run_id: self.tag.run_id.clone(),
            expires_sec: expires.as_second(),
            keys: match &self.held {
                Held::All => None,
                Held::Keys(keys) => Some(keys.iter().map(ToString::to_string).collect()),
            },
        };
        let mut bytes = serde_json::to_vec(&wire).expect("strings and numbers always serialise");
        bytes.push(b'\n');
        self.storage.put_replace(&self.key, &self.tag, &bytes)?;
        self.is_there = true;
        Ok(())
    }

    /// Takes the word back, and says whether that went well.
    pub fn finish(mut self) -> Result<()> {
        self.take_back()
    }

    fn take_back(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_there) {
            delete_if_there(self.storage, &self.key)?;
        }
        Ok(())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Best effort: what stays expires and is swept.
        if self.take_back().is_err() {
            self.is_there = false;
        }
    }
}

/// Does `work` under leases that are renewed as long as it takes, and taken back at its end.
///
/// Where no lease can be had (a storage that is read-only for the reader), `warn` hears of it and the work is done
/// without.
pub fn hold<T>(
    readings: Vec<(&dyn Storage, Held)>,
    tag: &PartTag,
    clock: &dyn Clock,
    warn: &(dyn Fn(&Error) + Sync),
    work: impl FnOnce() -> T,
) -> T {
    hold_renewing(readings, tag, clock, warn, RENEW_AFTER, work)
}

fn hold_renewing<T>(
    readings: Vec<(&dyn Storage, Held)>,
    tag: &PartTag,
    clock: &dyn Clock,
    warn: &(dyn Fn(&Error) + Sync),
    renew_after: Duration,
    work: impl FnOnce() -> T,
) -> T {
    let now = clock.now().timestamp();
    let mut leases: Vec<Lease<'_>> = Vec::new();
    for (storage, held) in readings {
        match Lease::take(storage, tag, held, now) {
            Ok(lease) => leases.push(lease),
            Err(error) => warn(&unleased(storage, error)),
        }
    }
    if leases.is_empty() {
        return work();
    }
    let end = Signal::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.wait(renew_after) {
                for lease in &mut leases {
                    if let Err(error) = lease.renew(clock.now().timestamp()) {
                        warn(&unleased(lease.storage, error));
                    }
                }
            }
            drop(std::mem::take(&mut leases));
        });
        // Also when `work` panics, or the scope would wait for ever.
        let _end = RaiseAtEnd(&end);
        work()
    })
}

fn unleased(storage: &dyn Storage, cause: Error) -> Error {
    Error::new(cause.kind(), format!("no lease can be had on storage `{}`", storage.label()))
        .with_source(cause)
        .with_hint("A rotation at the same time may drop what is being read.")
}

#[derive(Default)]
struct Signal {
    is_raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Whether it was raised within `time`.
    fn wait(&self, time: Duration) -> bool {
        let guard = self.is_raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, time, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn raise(&self) {
        *self.is_raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

struct RaiseAtEnd<'a>(&'a Signal);

impl Drop for RaiseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

/// The leases on one storage at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leases {
    live: Vec<Held>,
    /// Objects of leases that count no more.
    pub expired: Vec<ObjectKey>,
}

impl Leases {
    /// Reads the leases of all readers. Fails rather than overlook one.
    pub fn read(storage: &dyn Storage, now: Timestamp) -> Result<Self> {
        let mut found: Vec<ObjectInfo> = Vec::new();
        storage.list(LEASE_DIR, &mut |info| {
            found.push(info);
            Ok(())
        })?;
        let mut leases = Self::default();
        for info in found.iter().filter(|i| i.kind == ObjectKind::File && !is_partial(&i.key)) {
            match read_one(storage, info, now) {
                Ok(Some(held)) => leases.live.push(held),
                Ok(None) => leases.expired.push(info.key.clone()),
                // Taken back since it was listed.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(leases)
    }

    /// As if somebody read everything.
    pub fn of_everything() -> Self {
        Self { live: vec![Held::All], expired: Vec::new() }
    }

    /// Whether somebody reads this archive.
    pub fn cover(&self, archive: &ObjectKey) -> bool {
        self.live.iter().any(|held| held.covers(archive))
    }

    /// Turns the drops of what is being read into keeps, with the reason [`Reason::Leased`].
    pub fn spare(&self, items: &[RotationItem], decisions: Vec<Decision>) -> Vec<Decision> {
        let here = |key: &ObjectKey| {
            let period = items.iter().find(|i| i.key == *key).and_then(|i| i.real_period);
            period.map_or(Periods::NONE, Periods::of)
        };
        let spare = |d: Decision| {
            if d.action == Action::Drop && self.cover(&d.key) {
                Decision { keep: here(&d.key), action: Action::Keep, reason: Reason::Leased, key: d.key }
            } else {
                d
            }
        };
        decisions.into_iter().map(spare).collect()
    }
}

fn is_partial(key: &ObjectKey) -> bool {
    PartTag::parse(key.file_name()).is_some()
}

/// What the lease holds; none if it expired. One that cannot be read (cut, of a later format) holds everything for
/// the usual term.
fn read_one(storage: &dyn Storage, info: &ObjectInfo, now: Timestamp) -> Result<Option<Held>> {
    let parsed = match read_small(storage, &info.key, MAX_BYTES) {
        Ok(bytes) => serde_json::from_slice::<LeaseWire>(&bytes).ok().filter(|wire| wire.format == FORMAT),
        Err(e) if e.kind() == ErrorKind::Corrupt => None,
        Err(e) => return Err(e),
    };
    let (held, expires_sec) = match parsed {
        Some(LeaseWire { keys: None, expires_sec, .. }) => (Held::All, expires_sec),
        Some(LeaseWire { keys: Some(keys), expires_sec, .. }) => {
            (Held::Keys(keys.into_iter().filter_map(|k| ObjectKey::new(k).ok()).collect()), expires_sec)
        }
        None => (Held::All, info.mtime.sec.saturating_add(TERM.as_secs())),
    };
    let left = expires_sec.saturating_sub(now.as_second());
    Ok((left > 0 && left <= FAR_AHEAD.as_secs()).then_some(held))
}

#[cfg(test)]
mod tests;
