//! PAX tar for file backups: headers of members as bytes, and a strict streaming reader.
//!
//! Bytes only: nothing here opens files, asks the system or knows owners. `write` builds what goes in front of the
//! data of a member, `read` takes any tar apart that this program, its older versions or GNU tar wrote, `acl`
//! translates between the kernel's form of ACLs and the text that tar carries, `sparse` deals with holes.
//! Formats: POSIX.1-2001 pax, GNU tar's manual (sparse formats, dumpdir), ustar.

pub mod acl;
mod block;
mod pax;
pub mod read;
pub mod sparse;
pub mod write;

pub use read::{EntryHeader, TarReader, safe_path};
pub use sparse::{Extent, align_extents};
pub use write::{DataPlan, Member, TRAILER, header, padding};

/// Bytes of a tar block; headers and data are padded to it with zeros.
pub const BLOCK: usize = 512;

/// Most bytes that the extended header of one member may have, its dumpdir aside.
pub const MAX_PAX_BYTES: usize = 4 << 20;

/// Most bytes of the list of names (dumpdir) of one directory.
pub const MAX_DUMPDIR_BYTES: usize = 128 << 20;

/// Most bytes of one path or link target.
pub const MAX_NAME_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
