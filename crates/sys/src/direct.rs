//! Files that are written past the page cache (`O_DIRECT`): no copy, and what others have in the cache stays there.
//!
//! Knows when a file system can, and how it wants the memory; writes nothing itself.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, OFlags, StatxFlags};

/// Addresses, lengths and offsets that are multiples of this suit every file that `start` takes.
pub const ALIGN_BYTES: usize = 4096;
/// `STATX_DIOALIGN` of linux/stat.h: the kernel tells what direct I/O on a file needs (Linux 6.1, ext4, XFS, F2FS …).
const DIO_ALIGN: StatxFlags = StatxFlags::from_bits_retain(0x2000);

/// From now on `file` is written past the cache. `false`: its file system does not say that it can, and nothing changed.
pub fn start(file: &File) -> bool {
    let suits = |align: u32| align > 0 && ALIGN_BYTES.is_multiple_of(align as usize);
    let told = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, DIO_ALIGN);
    let can = told.is_ok_and(|stat| {
        stat.stx_mask & DIO_ALIGN.bits() != 0
            && suits(stat.stx_dio_mem_align)
            && suits(stat.stx_dio_offset_align)
    });
    can && set(file, true).is_ok()
}

/// Back to the cache, where any length goes.
pub fn stop(file: &File) -> io::Result<()> {
    set(file, false)
}

fn set(file: &File, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}
