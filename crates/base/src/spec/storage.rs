//! One entry of `storages`.

/// How many backups each period keeps (`store`). All zero is refused while reading the configuration
/// (but for `inc_files`, which has no counts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Retention {
    pub days: u32,
    pub weeks: u32,
    pub months: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageKind {
    Local,
    Scp,
    Ftp,
    Smb,
    Nfs,
    Webdav,
    S3,
}

impl StorageKind {
    pub const ALL: [Self; 7] =
        [Self::Local, Self::Scp, Self::Ftp, Self::Smb, Self::Nfs, Self::Webdav, Self::S3];

    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Scp => "scp",
            Self::Ftp => "ftp",
            Self::Smb => "smb",
            Self::Nfs => "nfs",
            Self::Webdav => "webdav",
            Self::S3 => "s3",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSpec {
    pub kind: StorageKind,
    /// Unique within the job: the kind, or kind and number (`local`, `local-2`).
    pub name: String,
    pub enable: bool,
    pub backup_dir: String,
    pub retention: Retention,
    /// Host of a remote storage, for messages.
    pub host: Option<String>,
}
