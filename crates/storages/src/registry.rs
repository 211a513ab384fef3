//! From a validated storage setting to an opened storage: one exhaustive match over the kinds.
//!
//! A new kind in `nxs_base::spec::storage` does not compile until it has its line here.

use std::path::PathBuf;
use std::sync::Arc;

use nxs_base::ports::storage::Storage;
use nxs_base::secret::Resolve;
use nxs_base::spec::storage::{StorageSettings, StorageSpec};
use nxs_base::{Error, ErrorKind, Result};

use crate::ftp::FtpServer;
use crate::local::LocalStorage;
use crate::scp::ScpServer;
use crate::throttle::Throttled;
use crate::tree::retry::Retry;
use crate::tree::{FileServer, Tree};

/// Opens the storage that `spec` describes. Does not touch it yet, nor resolve a secret: whether it answers shows with
/// the first call. [`ErrorKind::Unsupported`] for a kind that this build lacks, [`ErrorKind::Invalid`] if something
/// is missing without which it cannot be reached, or where a local directory is a file.
pub fn open(spec: &StorageSpec, resolve: Resolve) -> Result<Arc<dyn Storage>> {
    let storage: Arc<dyn Storage> = match &spec.settings {
        StorageSettings::Local => {
            if spec.backup_dir.is_empty() {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("storage `{}` has no `backup_dir`", spec.name),
                ));
            }
            Arc::new(LocalStorage::open(&spec.name, PathBuf::from(&spec.backup_dir))?)
        }
        StorageSettings::Ftp(settings) => tree(spec, FtpServer::new(spec, settings, resolve)?),
        StorageSettings::Scp(settings) => tree(spec, ScpServer::new(spec, settings, resolve)),
        StorageSettings::Smb(_)
        | StorageSettings::Nfs(_)
        | StorageSettings::Webdav(_)
        | StorageSettings::S3(_) => {
            let message = format!("storage `{}`: this build does not have it yet", spec.name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    Ok(match spec.traffic.rate_limit {
        Some(limit) => Arc::new(Throttled::new(storage, limit)),
        None => storage,
    })
}

/// A server of files as storage, with the repetitions that `spec` allows.
fn tree(spec: &StorageSpec, server: impl FileServer) -> Arc<dyn Storage> {
    Arc::new(Tree::new(&spec.name, server, Retry::new(spec.traffic.tries)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nxs_base::secret::Secret;
    use nxs_base::spec::storage::{NfsSettings, Retention, S3Settings, Traffic};

    fn spec(settings: StorageSettings) -> StorageSpec {
        StorageSpec {
            name: settings.kind().name().into(),
            enable: true,
            backup_dir: "/var/nxs-backup".into(),
            retention: Retention::default(),
            settings,
            traffic: Traffic::default(),
        }
    }

    fn opened(spec: &StorageSpec) -> Result<Arc<dyn Storage>> {
        open(spec, |_| Ok(Secret::new("")))
    }

    #[test]
    fn a_kind_that_is_not_built_is_refused_by_name() {
        let nfs = NfsSettings { host: "h".into(), options: None };
        let s3 = S3Settings { bucket: "b".into(), access_key: None, secret_key: None, s3fs_options: None };
        for settings in [StorageSettings::Nfs(nfs), StorageSettings::S3(s3)] {
            let spec = spec(settings);
            let error = opened(&spec).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let expected = format!("storage `{}`: this build does not have it yet", spec.name);
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_local_storage_without_a_directory_is_refused() {
        let spec = StorageSpec { backup_dir: String::new(), ..spec(StorageSettings::Local) };
        assert_eq!(opened(&spec).err().map(|e| e.kind()), Some(ErrorKind::Invalid));
    }

    #[test]
    fn a_local_directory_that_is_a_file_or_below_one_is_refused_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (place, what) in [(file.clone(), "is a file"), (file.join("a/b"), "lies below a file")] {
            let spec =
                StorageSpec { backup_dir: place.display().to_string(), ..spec(StorageSettings::Local) };
            let error = opened(&spec).err().unwrap();
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
