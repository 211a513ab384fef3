//! Faults of storages and sources, one at a time and at every place of a run: two storages in memory with an
//! existing history, of which one fails, fills up or dies with the process at its k-th operation, for every k; and a
//! source that breaks off at byte n.
//!
//! After each: nothing half published, everything older there that the policy keeps, the other storage complete,
//! the report tells of it, and the next run leaves all in order.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cache;
mod increments;
mod scene;
mod scripted;
mod shelf;
mod sources;
mod storages;
