//! The storages: dumb object stores behind [`nxs_base::ports::storage::Storage`].
//!
//! No rotation, no naming, no retry and no throttling live here; the engine has them once for all storages. The
//! only way in is [`registry::open`]. Tests run every storage through the suite of `nxs-testkit`.

pub mod local;
pub mod registry;

pub use local::LocalStorage;
pub use registry::open;
