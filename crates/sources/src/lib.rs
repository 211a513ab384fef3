//! The sources: what can be backed up, one folder per type, opened through [`registry`].
//!
//! A source expands its configuration to targets and pushes the bytes of each into a sink. It knows no storage, no
//! period and no rotation. Neighbours: `nxs_base::ports::source` (the contract), `nxs_archive` (formats), `nxs_sys`.

mod databases;
mod dsn;
pub mod external;
pub mod files;
#[cfg(feature = "mongodb")]
pub mod mongodb;
pub mod mysql;
pub mod mysql_physical;
pub mod postgres;
pub mod redis;
pub mod registry;
mod stream;
