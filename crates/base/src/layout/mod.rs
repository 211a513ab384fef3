//! Where backups lie below a `backup_dir`, and what stands beside them: names in, names out.
//!
//! [`discrete`] knows v2's period directories, [`incremental`] the trees of its years. The names that are the same for all layouts (record, index, the
//! adoption list) stand here. What the objects contain is the record's, the index's and the catalog's matter.

pub mod discrete;
pub mod incremental;
pub mod stock;

use crate::ports::storage::ObjectKey;

/// What the name of a record has after that of its archive.
pub const RECORD_SUFFIX: &str = ".nxs.json";
/// What the name of an index has after that of its archive.
pub const INDEX_SUFFIX: &str = ".nxs.idx";
/// Key of the list of backups that were there before the first contact.
pub const ADOPTION_LIST: &str = ".nxs-adopted.json";
/// Key of the guide to restoring with stock tools.
pub const RESTORE_GUIDE: &str = "RESTORE.md";

/// Directory of the leases of readers.
pub const LEASE_DIR: &str = ".nxs-leases";

/// What an object is to its backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Archive,
    Record,
    Index,
}

/// The role that the last component tells, and the name without its suffix.
pub fn role_of(name: &str) -> (Role, &str) {
    if let Some(archive) = name.strip_suffix(RECORD_SUFFIX) {
        (Role::Record, archive)
    } else if let Some(archive) = name.strip_suffix(INDEX_SUFFIX) {
        (Role::Index, archive)
    } else {
        (Role::Archive, name)
    }
}

/// The key of the record beside `archive`.
pub fn record_key(archive: &ObjectKey) -> ObjectKey {
    with_suffix(archive, RECORD_SUFFIX)
}

/// The key of the index beside `archive`.
pub fn index_key(archive: &ObjectKey) -> ObjectKey {
    with_suffix(archive, INDEX_SUFFIX)
}

fn with_suffix(key: &ObjectKey, suffix: &str) -> ObjectKey {
    ObjectKey::new(format!("{key}{suffix}"))
        .expect("a suffix without slash or control byte keeps a key valid")
}
