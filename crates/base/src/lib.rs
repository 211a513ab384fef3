//! Plain data and pure rules of nxs-backup: no I/O, no clock, no environment, no threads, no log calls.
//!
//! Everything else in the workspace depends on this crate and this crate on nothing of ours. The traits in
//! [`ports`] are the only way in which the engine reaches storages and sources.

pub mod calendar;
pub mod diag;
pub mod entry;
pub mod error;
pub mod event;
pub mod layout;
pub mod naming;
pub mod ports;
pub mod record;
pub mod report;
pub mod secret;
pub mod shell;
pub mod spec;
pub mod tail;
pub mod units;

pub use error::{Error, ErrorKind, Result};
