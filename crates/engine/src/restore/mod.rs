//! Restore: which backup, which bytes of it, and where to. Plans are printable; extraction never leaves its target.

pub mod browse;
mod chain;
mod content;
pub mod dump;
pub mod extract;
pub mod fetch;
pub mod guide;
mod leased;
mod passes;
pub(crate) mod rebuilt;
mod run;
pub mod select;
mod selection;
pub mod versions;

pub(crate) use leased::leased;
pub use run::{Excludes, Request, RestoreReport, Restored, run};
