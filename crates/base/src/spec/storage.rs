//! One entry of `storages`: where it is, how it is reached, what it keeps.
//!
//! Secrets are references ([`SecretRef`]); whoever connects resolves them on first use.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::secret::SecretRef;

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
    /// Unique within the job: the kind, or kind and number (`local`, `local-2`).
    pub name: String,
    pub enable: bool,
    /// As written. What it is relative to stands in the settings of the kind.
    pub backup_dir: String,
    pub retention: Retention,
    pub settings: StorageSettings,
    pub traffic: Traffic,
}

impl StorageSpec {
    pub fn kind(&self) -> StorageKind {
        self.settings.kind()
    }

    /// Host of a remote storage, for messages.
    pub fn host(&self) -> Option<&str> {
        self.settings.host()
    }
}

/// How a storage is spoken to, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes per second, up and down each; none = as fast as it goes.
    pub rate_limit: Option<NonZeroU64>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the other side may be silent while it is waited for.
    pub idle_timeout: Duration,
    /// How often something that may be repeated is tried, at least 1.
    pub tries: u32,
}

impl Traffic {
    /// Seconds for a connection to be made, where nothing is configured.
    pub const CONNECT_SECS: u64 = 10;
    /// Seconds of silence, where nothing is configured.
    pub const IDLE_SECS: u64 = 120;
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            rate_limit: None,
            connect_timeout: Duration::from_secs(Self::CONNECT_SECS),
            idle_timeout: Duration::from_secs(Self::IDLE_SECS),
            tries: 4,
        }
    }
}

/// What only one kind of storage has. Texts may be empty: then the storage cannot be opened, and says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageSettings {
    /// `backup_dir` is a path of this host.
    Local,
    Scp(ScpSettings),
    Ftp(FtpSettings),
    Smb(SmbSettings),
    Nfs(NfsSettings),
    Webdav(WebdavSettings),
    S3(S3Settings),
}

impl StorageSettings {
    pub fn kind(&self) -> StorageKind {
        match self {
            Self::Local => StorageKind::Local,
            Self::Scp(_) => StorageKind::Scp,
            Self::Ftp(_) => StorageKind::Ftp,
            Self::Smb(_) => StorageKind::Smb,
            Self::Nfs(_) => StorageKind::Nfs,
            Self::Webdav(_) => StorageKind::Webdav,
            Self::S3(_) => StorageKind::S3,
        }
    }

    pub fn host(&self) -> Option<&str> {
        let host = match self {
            Self::Local | Self::S3(_) => return None,
            Self::Scp(s) => &s.host,
            Self::Ftp(s) => &s.host,
            Self::Smb(s) => &s.host,
            Self::Nfs(s) => &s.host,
            Self::Webdav(s) => &s.url,
        };
        Some(host).filter(|h| !h.is_empty()).map(String::as_str)
    }
}

/// SFTP. `backup_dir` is a path of the remote host; a relative one starts in the home directory of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScpSettings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<SecretRef>,
    /// Private key in a file of this host.
    pub key_file: Option<String>,
    pub passphrase: Option<SecretRef>,
    /// Socket of an ssh-agent.
    pub agent: Option<String>,
    pub host_key: HostKey,
    /// None = `.ssh/known_hosts` in the home directory of the user who runs this, and that of the system.
    pub known_hosts: Option<String>,
}

/// What is asked of the key of an SSH server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HostKey {
    /// It must be known.
    Strict,
    /// One that is not known yet is remembered; another one than the known is refused.
    #[default]
    AcceptNew,
    /// Any key will do.
    Off,
}

/// FTP and FTPS. `backup_dir` lies below the directory in which the login ends, with or without a leading `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FtpSettings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<SecretRef>,
    pub tls: FtpTls,
    /// Whether the certificate is checked.
    pub verify: bool,
    /// Certificates to trust instead of those of the system (PEM).
    pub ca_file: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FtpTls {
    #[default]
    No,
    /// `AUTH TLS` on the ordinary port.
    Explicit,
    /// TLS from the first byte.
    Implicit,
}

/// SMB. `backup_dir` lies in the share, with or without a leading `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmbSettings {
    pub host: String,
    pub port: u16,
    pub share: String,
    pub user: String,
    pub password: Option<SecretRef>,
}

/// NFS. `backup_dir` is a path of the remote host, in or below an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NfsSettings {
    pub host: String,
    /// Mount options.
    pub options: Option<String>,
}

/// WebDAV. `backup_dir` lies below the URL, with or without a leading `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebdavSettings {
    pub url: String,
    /// None = as the URL says.
    pub port: Option<u16>,
    pub user: String,
    pub password: Option<SecretRef>,
}

/// S3. `backup_dir` is the first part of the keys, with or without a leading `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    pub bucket: String,
    pub access_key: Option<SecretRef>,
    pub secret_key: Option<SecretRef>,
    /// Options in the words of s3fs; the endpoint is `url=https://…`.
    pub s3fs_options: Option<String>,
}
