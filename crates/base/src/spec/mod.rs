//! Validated settings: what the configuration means, after all aliases, defaults and dialects.

pub mod database;
pub mod external;
pub mod job;
pub mod main;
pub mod physical;
pub mod postgres;
pub mod storage;

pub use database::{
    ArchiveOf, Connect, Floor, MongodbSource, MysqlSource, RedisSource, Selection, Tls, TlsMode,
};
pub use external::ExternalSource;
pub use job::{Compression, FilesSource, JobKind, JobSpec, Require, Rotation, SourceEntry, SourceSpec};
pub use main::{IoNice, MainSpec, RunSpec};
pub use physical::{PhysicalSource, Prepare};
pub use postgres::{BasebackupSource, PgFormat, PostgresSource};
pub use storage::{Retention, StorageKind, StorageSettings, StorageSpec, Traffic};
