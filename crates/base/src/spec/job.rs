//! One job.

use super::database::{Floor, MongodbSource, MysqlSource, RedisSource};
use super::external::ExternalSource;
use super::physical::PhysicalSource;
use super::postgres::{BasebackupSource, PostgresSource};
use super::storage::StorageSpec;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    DescFiles,
    IncFiles,
    Mysql,
    MysqlXtrabackup,
    MariadbBackup,
    Postgresql,
    PostgresqlBasebackup,
    Mongodb,
    Redis,
    External,
}

impl JobKind {
    pub const ALL: [Self; 10] = [
        Self::DescFiles,
        Self::IncFiles,
        Self::Mysql,
        Self::MysqlXtrabackup,
        Self::MariadbBackup,
        Self::Postgresql,
        Self::PostgresqlBasebackup,
        Self::Mongodb,
        Self::Redis,
        Self::External,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DescFiles => "desc_files",
            Self::IncFiles => "inc_files",
            Self::Mysql => "mysql",
            Self::MysqlXtrabackup => "mysql_xtrabackup",
            Self::MariadbBackup => "mariadb_backup",
            Self::Postgresql => "postgresql",
            Self::PostgresqlBasebackup => "postgresql_basebackup",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
            Self::External => "external",
        }
    }

    /// Extensions of its archives, v2's and ours, the one that is written first; none are fixed for modules of users.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::DescFiles | Self::IncFiles | Self::PostgresqlBasebackup => &["tar"],
            // Not what `tar` reads, so not under its name; v2's and prepared ones are tar.
            Self::MysqlXtrabackup | Self::MariadbBackup => &["xbstream", "tar"],
            Self::Mysql => &["sql"],
            Self::Postgresql => &["pgdump.sql", "pgdump", "pgdump.custom"],
            Self::Mongodb => &["mongodump"],
            Self::Redis => &["rdb"],
            Self::External => &[],
        }
    }

    /// The group a job starts with: `files`, `databases` or `external`.
    pub fn group(self) -> &'static str {
        match self {
            Self::DescFiles | Self::IncFiles => "files",
            Self::External => "external",
            _ => "databases",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    /// Level 1 to 12.
    Gzip(u8),
    /// Level 1 to 19.
    Zstd(u8),
}

impl Compression {
    /// Of libdeflate: within 1 % of the size of `gzip -6`, in a third less time than its own level 6.
    pub const GZIP_DEFAULT: Self = Self::Gzip(4);

    /// What the file name gets: ``, `.gz`, `.zst`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip(_) => ".gz",
            Self::Zstd(_) => ".zst",
        }
    }
}

/// When old backups go (`rotation`, `safety_backup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rotation {
    #[default]
    Auto,
    Before,
    After,
}

/// How many enabled storages must hold a copy for the job to count as done (`require`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Require {
    #[default]
    All,
    Any,
    /// At least 1.
    AtLeast(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSource {
    /// Globs as written.
    pub targets: Vec<String>,
    /// Relative to every target, or absolute; globs, `**`.
    pub excludes: Vec<String>,
    pub one_file_system: bool,
    pub exclude_caches: bool,
    /// A directory with an entry of one of these names is saved without its content.
    pub exclude_if_present: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSpec {
    Files(FilesSource),
    Mysql(Box<MysqlSource>),
    MysqlPhysical(Box<PhysicalSource>),
    Postgres(Box<PostgresSource>),
    Basebackup(Box<BasebackupSource>),
    Mongodb(Box<MongodbSource>),
    Redis(Box<RedisSource>),
    External(Box<ExternalSource>),
    /// Read and validated; this build cannot run it yet.
    Later,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// Place in `sources`, from 0.
    pub index: usize,
    pub spec: SourceSpec,
    pub compression: Compression,
    /// Increments are made between full copies, which are made when the last one is so many days old; at least 1. None
    /// where every copy is a full one.
    pub full_every: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    pub name: String,
    pub kind: JobKind,
    pub tmp_dir: Option<String>,
    pub sources: Vec<SourceEntry>,
    pub storages: Vec<StorageSpec>,
    pub rotation: Rotation,
    /// For `inc_files`: how many month directories are kept beside the current one, 0 to 12.
    pub months_to_store: u32,
    pub require: Require,
    /// None for what is not dumped.
    pub floor: Option<Floor>,
}
