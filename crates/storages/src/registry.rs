//! From a validated storage setting to an opened storage: one exhaustive match over the kinds.
//!
//! A new kind in `nxs_base::spec::storage` does not compile until it has its line here.

use std::path::PathBuf;
use std::sync::Arc;

use nxs_base::ports::storage::Storage;
use nxs_base::spec::storage::{StorageKind, StorageSpec};
use nxs_base::{Error, ErrorKind, Result};

use crate::local::LocalStorage;

/// Opens the storage that `spec` describes. Reaches no server: whether one answers shows with the first call.
/// [`ErrorKind::Unsupported`] for a kind that this build lacks, [`ErrorKind::Invalid`] without a `backup_dir`, or where
/// a local one is a file.
pub fn open(spec: &StorageSpec) -> Result<Arc<dyn Storage>> {
    match spec.kind {
        StorageKind::Local => {
            if spec.backup_dir.is_empty() {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("storage `{}` has no `backup_dir`", spec.name),
                ));
            }
            Ok(Arc::new(LocalStorage::open(&spec.name, PathBuf::from(&spec.backup_dir))?))
        }
        StorageKind::Scp
        | StorageKind::Ftp
        | StorageKind::Smb
        | StorageKind::Nfs
        | StorageKind::Webdav
        | StorageKind::S3 => Err(Error::new(
            ErrorKind::Unsupported,
            format!("storage `{}`: this build does not have it yet", spec.name),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nxs_base::spec::storage::Retention;

    fn spec(kind: StorageKind) -> StorageSpec {
        StorageSpec {
            kind,
            name: kind.name().into(),
            enable: true,
            backup_dir: "/var/nxs-backup".into(),
            retention: Retention::default(),
            host: None,
        }
    }

    #[test]
    fn every_kind_but_local_is_refused_by_name() {
        for kind in StorageKind::ALL {
            match open(&spec(kind)) {
                Ok(storage) => {
                    assert_eq!(kind, StorageKind::Local);
                    assert_eq!(storage.label(), "local");
                }
                Err(e) => {
                    assert_ne!(kind, StorageKind::Local);
                    assert_eq!(e.kind(), ErrorKind::Unsupported);
                    let expected = format!("storage `{}`: this build does not have it yet", kind.name());
                    assert_eq!(e.to_string(), expected);
                }
            }
        }
    }

    #[test]
    fn a_local_storage_without_a_directory_is_refused() {
        let spec = StorageSpec { backup_dir: String::new(), ..spec(StorageKind::Local) };
        assert_eq!(open(&spec).err().map(|e| e.kind()), Some(ErrorKind::Invalid));
    }

    #[test]
    fn a_local_directory_that_is_a_file_or_below_one_is_refused_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (place, what) in [(file.clone(), "is a file"), (file.join("a/b"), "lies below a file")] {
            let spec = StorageSpec { backup_dir: place.display().to_string(), ..spec(StorageKind::Local) };
            let error = open(&spec).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().ends_with(what), "{error}");
            assert!(error.hint().unwrap().contains(&format!("`{}`", file.display())));
            // It became one since.
            let late = LocalStorage::new("local", place);
            let listed = nxs_base::ports::storage::Storage::list(&late, "", &mut |_| Ok(()));
            assert_eq!(listed.err().map(|e| e.kind()), Some(ErrorKind::Invalid));
        }
    }
}
