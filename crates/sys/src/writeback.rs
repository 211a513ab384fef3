//! Asks the kernel to write what lies in its cache, ahead of the call that waits for it (`fsync`).
#![expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Starts to write the bytes of `range`, and waits for nothing but a place in the device's queue. A mere hint: it makes
/// nothing durable, and file systems that do not know it are let be.
pub fn start(file: &File, range: Range<u64>) {
    let (Ok(offset), Ok(bytes)) = (i64::try_from(range.start), i64::try_from(range.end - range.start)) else {
        return;
    };
    // SAFETY: the descriptor is open as long as `file` lives; the call takes no pointer.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
}
