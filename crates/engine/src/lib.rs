//! What the tool does: jobs, the pipeline, rotation, catalog, restore and verification. Reaches storages and sources
//! only through the ports of `nxs-base`; knows none of them by name, reads no configuration, prints nothing.

pub mod cache;
pub mod catalog;
pub mod incremental;
pub mod job;
pub mod lease;
pub mod pipeline;
pub mod reindex;
pub mod restore;
pub mod rotation;
pub mod verify;
