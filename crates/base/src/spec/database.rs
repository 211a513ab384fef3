//! Databases: how a server is reached, and what of it is dumped. One struct per type; what they share stands first.

use crate::secret::SecretRef;

/// How a server is reached. What is not set is left to the server's own client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connect {
    /// Option file of the client (`auth_file`). Where it is set, nothing else here counts.
    pub option_file: Option<String>,
    /// Goes before `socket`.
    pub host: Option<String>,
    pub port: Option<u16>,
    pub socket: Option<String>,
    pub user: Option<String>,
    pub password: Option<SecretRef>,
    /// The database that knows the user (MongoDB).
    pub auth_db: Option<String>,
    /// Name of the replica set that the host belongs to (MongoDB).
    pub replica_set: Option<String>,
    pub tls: Tls,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    pub mode: TlsMode,
    /// File with the certificates that are trusted.
    pub ca: Option<String>,
    /// Our own certificate, and its key.
    pub cert: Option<String>,
    pub key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// As the client does it by itself.
    #[default]
    Client,
    Off,
    /// Encrypted, whoever answers.
    Required,
    /// Encrypted, and the certificate has to fit the host.
    Verified,
}

/// Which databases of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Names, globs, or `all`.
    pub targets: Vec<String>,
    /// Names and globs of databases, and `database.table`.
    pub excludes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MysqlSource {
    pub connect: Connect,
    pub databases: Selection,
    /// Replication is stopped while the source is dumped.
    pub is_slave: bool,
    /// Further arguments of the dump program.
    pub extra_keys: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MongodbSource {
    pub connect: Connect,
    pub databases: Selection,
    /// Names and globs of collections in every one of the databases, or `all`.
    pub collections: Selection,
    pub archive_of: ArchiveOf,
    /// Collections that are read at once, at least 1; 0 = as many as the type thinks fit.
    pub jobs: u32,
    /// All collections as of one moment, where the server can do that.
    pub snapshot: bool,
    /// The dump program that is installed reads the server, not we.
    pub by_tool: bool,
    /// Further arguments of the dump program.
    pub extra_keys: Vec<String>,
}

/// What one archive of a MongoDB source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveOf {
    #[default]
    Collection,
    Database,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisSource {
    pub connect: Connect,
}

/// What a dump may not fall below, in percent of the median of the last dumps of its target; 0 = no such limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    pub warn_percent: u8,
    /// Below it nothing is published.
    pub fail_percent: u8,
}

impl Default for Floor {
    fn default() -> Self {
        Self { warn_percent: 50, fail_percent: 10 }
    }
}
