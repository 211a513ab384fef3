//! Facts about this host and process: name, user, processors, random run ids.
#![expect(unsafe_code, reason = "getrandom has no safe wrapper among the enabled features")]

use nxs_base::{Error, Result};

/// The host name as the kernel knows it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Sixteen hex digits from the kernel's random source.
pub fn run_id() -> Result<String> {
    let mut bytes = [0u8; 8];
    // SAFETY: the pointer and the length describe `bytes`, which lives through the call; the call writes no more.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if n != bytes.len() as isize {
        return Err(Error::io("cannot read the kernel's random source", std::io::Error::last_os_error()));
    }
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether the effective user is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Effective user and group of this process.
pub fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Processors that this process may use; at least 1.
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_sixteen_hex_digits_and_differ() {
        let (a, b) = (run_id().unwrap(), run_id().unwrap());
        assert!(a.len() == 16 && a.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(a, b);
    }

    #[test]
    fn the_host_has_a_name_and_a_processor() {
        assert!(!host_name().is_empty());
        assert!(cpu_count() >= 1);
    }
}
