//! The storages: dumb object stores behind [`nxs_base::ports::storage::Storage`].
//!
//! No rotation and no naming live here. The only way in is [`registry::open`], which also puts a `rate_limit` before
//! a storage that has one. Remote storages that are trees of files (`ftp`, `scp`) speak a protocol and nothing else; `tree`
//! makes a storage of each: publishing, links, repetition. `net`, `tls` and `pool` are theirs too. Tests run every
//! storage through the suite of `nxs-testkit`.

mod ftp;
mod links;
pub mod local;
mod net;
mod pool;
pub mod registry;
mod scp;
mod throttle;
mod tls;
mod tree;

pub use local::LocalStorage;
pub use registry::open;
