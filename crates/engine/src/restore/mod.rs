//! Restore: which backup, which bytes of it, and where to. Plans are printable; extraction never leaves its target.

pub mod extract;
pub mod fetch;
pub mod guide;
mod run;
pub mod select;

pub use run::{Request, RestoreReport, Restored, run};
