//! Physical backups of MySQL and MariaDB: copies of the data directory of a running server.

use super::database::Connect;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PhysicalSource {
    pub connect: Connect,
    /// Configuration file of the server (`path_to_conf`); those of the host where it is not set.
    pub config_file: Option<String>,
    pub prepare: Prepare,
    /// Replication is stopped meanwhile.
    pub is_slave: bool,
    /// Further arguments of the backup program, as they were written for whichever generation of it.
    pub extra_keys: Vec<String>,
}

/// When the copy is made consistent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Prepare {
    /// The stream goes to the storages as it is.
    #[default]
    OnRestore,
    /// At once, in this directory.
    In(String),
}
