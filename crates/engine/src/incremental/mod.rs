//! Incremental backups of files: which level is due, what a chain is, and the state of a tree at a restore point.
//!
//! Pure rules stand in [`level`] and [`retention`], what is whose parent in [`chain`]; [`state`] merges
//! the indexes of a chain into one sorted stream. What lies where is the catalog's, what an archive holds is the source's matter.

pub mod chain;
pub mod inc_state;
pub mod level;
pub mod rebuild;
pub mod retention;
mod runs;
pub mod state;
