//! PostgreSQL: what of a server is dumped, and how. How it is reached: [`super::database`].

use super::database::{Connect, Selection};

/// How a database is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PgFormat {
    /// Statements for `psql`.
    #[default]
    Plain,
    /// An archive for `pg_restore`, from which single tables can be taken.
    Custom,
}

/// Databases, by `pg_dump`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostgresSource {
    pub connect: Connect,
    /// Tables may be left out as `database.schema.table`, too.
    pub databases: Selection,
    pub format: PgFormat,
    /// Further arguments of `pg_dump`.
    pub extra_keys: Vec<String>,
}

/// A whole server, by `pg_basebackup`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasebackupSource {
    pub connect: Connect,
    /// Further arguments of `pg_basebackup`.
    pub extra_keys: Vec<String>,
}
