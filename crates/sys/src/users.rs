//! Names of users and groups, looked up once each. Goes through the C library, so that LDAP and the like answer.
#![expect(unsafe_code, reason = "the C library's user database has no safe wrapper")]

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::{Mutex, PoisonError};

type Cache<K, V> = Mutex<HashMap<K, Option<V>>>;

/// A cache of lookups in the user and group database. What is not found is remembered too.
#[derive(Debug, Default)]
pub struct Users {
    user_names: Cache<u32, String>,
    group_names: Cache<u32, String>,
    uids: Cache<String, u32>,
    gids: Cache<String, u32>,
}

impl Users {
    pub fn new() -> Self {
        Self::default()
    }

    /// Name of a user; none if there is none, or the database cannot be asked.
    pub fn user_name(&self, uid: u32) -> Option<String> {
        cached(&self.user_names, &uid, || {
            passwd(|p, b, n, r| {
                // SAFETY: see `passwd`: all pointers are valid for the call and `n` is the length of the buffer.
                unsafe { libc::getpwuid_r(uid, p, b, n, r) }
            })
            .map(|(name, _)| name)
        })
    }

    /// Name of a group.
    pub fn group_name(&self, gid: u32) -> Option<String> {
        cached(&self.group_names, &gid, || {
            group(|g, b, n, r| {
                // SAFETY: see `group`.
                unsafe { libc::getgrgid_r(gid, g, b, n, r) }
            })
            .map(|(name, _)| name)
        })
    }

    /// Number of the user called `name`.
    pub fn uid(&self, name: &str) -> Option<u32> {
        cached(&self.uids, name, || {
            let name = CString::new(name).ok()?;
            passwd(|p, b, n, r| {
                // SAFETY: see `passwd`; `name` is NUL-terminated and outlives the call.
                unsafe { libc::getpwnam_r(name.as_ptr(), p, b, n, r) }
            })
            .map(|(_, uid)| uid)
        })
    }

    /// Number of the group called `name`.
    pub fn gid(&self, name: &str) -> Option<u32> {
        cached(&self.gids, name, || {
            let name = CString::new(name).ok()?;
            group(|g, b, n, r| {
                // SAFETY: see `group`; `name` is NUL-terminated and outlives the call.
                unsafe { libc::getgrnam_r(name.as_ptr(), g, b, n, r) }
            })
            .map(|(_, gid)| gid)
        })
    }
}

fn cached<K, Q, V>(cache: &Cache<K, V>, key: &Q, look_up: impl FnOnce() -> Option<V>) -> Option<V>
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
{
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = cache.get(key) {
        return known.clone();
    }
    let found = look_up();
    cache.insert(key.to_owned(), found.clone());
    found
}

/// The buffer grows until the entry fits; groups with very many members need it.
const MAX_BUFFER: usize = 16 << 20;

fn passwd(
    call: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> i32,
) -> Option<(String, u32)> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0u8; size];
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::zeroed();
        let mut result = std::ptr::null_mut();
        match call(entry.as_mut_ptr(), buffer.as_mut_ptr().cast(), size, &mut result) {
            libc::ERANGE if size < MAX_BUFFER => size *= 4,
            libc::EINTR => {}
            0 if !result.is_null() => {
                // SAFETY: the call succeeded, so `entry` is filled in (and was zeroed, a valid bit pattern, before).
                let entry = unsafe { entry.assume_init() };
                // SAFETY: `pw_name` points into `buffer`, which is alive, to a NUL-terminated string.
                let name = unsafe { CStr::from_ptr(entry.pw_name) };
                return Some((name.to_str().ok()?.to_owned(), entry.pw_uid));
            }
            _ => return None,
        }
    }
}

fn group(
    call: impl Fn(*mut libc::group, *mut libc::c_char, usize, *mut *mut libc::group) -> i32,
) -> Option<(String, u32)> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0u8; size];
        let mut entry = std::mem::MaybeUninit::<libc::group>::zeroed();
        let mut result = std::ptr::null_mut();
        match call(entry.as_mut_ptr(), buffer.as_mut_ptr().cast(), size, &mut result) {
            libc::ERANGE if size < MAX_BUFFER => size *= 4,
            libc::EINTR => {}
            0 if !result.is_null() => {
                // SAFETY: the call succeeded, so `entry` is filled in (and was zeroed, a valid bit pattern, before).
                let entry = unsafe { entry.assume_init() };
                // SAFETY: `gr_name` points into `buffer`, which is alive, to a NUL-terminated string.
                let name = unsafe { CStr::from_ptr(entry.gr_name) };
                return Some((name.to_str().ok()?.to_owned(), entry.gr_gid));
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_zero_both_ways() {
        let users = Users::new();
        assert_eq!(users.user_name(0).as_deref(), Some("root"));
        assert_eq!(users.group_name(0).as_deref(), Some("root"));
        assert_eq!((users.uid("root"), users.gid("root")), (Some(0), Some(0)));
    }

    #[test]
    fn what_is_not_there_is_none_also_the_second_time() {
        let users = Users::new();
        for _ in 0..2 {
            assert_eq!(users.user_name(4_000_000_001), None);
            assert_eq!(users.gid("no such group"), None);
            assert_eq!(users.uid("nul\0inside"), None);
        }
    }
}
