//! The operating system: files, walks, locks, users, signals. Knows nothing of jobs, backups or configuration keys.
//!
//! Every wrapper says in its error what was tried on what. `unsafe` stands in `users`, `priority`, `host`, `writeback` and `child` only.

pub mod child;
pub mod clock;
pub mod direct;
pub mod file_read;
pub mod fsx;
pub mod host;
pub mod lock;
pub mod meta;
pub mod priority;
pub mod safe;
pub mod signals;
pub mod users;
pub mod walk;
pub mod writeback;
pub mod xattr;
