//! Incremental backups of files: which level is due, what a chain is, and the state of a tree at a restore point.
//!
//! Pure rules stand in [`level`] and [`retention`], what is whose parent in [`chain`]; [`by_log`] has both for copies of
//! databases, which lie among the full ones and follow the log of a server; [`state`] merges
//! the indexes of a chain into one sorted stream. What lies where is the catalog's, what an archive holds is the source's matter.

pub mod by_log;
pub mod chain;
pub mod inc_state;
pub mod level;
pub mod rebuild;
pub mod retention;
mod runs;
pub mod state;
