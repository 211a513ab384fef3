//! Validated settings: what the configuration means, after all aliases, defaults and dialects.

pub mod job;
pub mod main;
pub mod storage;

pub use job::{Compression, FilesSource, JobKind, JobSpec, Rotation, SourceSpec};
pub use main::{MainSpec, RunSpec};
pub use storage::{Retention, StorageKind, StorageSpec};
