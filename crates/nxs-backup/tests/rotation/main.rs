//! Rotation as a user sees it: whole jobs, night after night, on real directories and in memory.
//!
//! `house.rs` runs the nights and shows what lies there; `v2.rs` builds trees as version 2 left them.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic where the test would")]

mod adopted;
mod calendar;
mod golden;
mod history;
mod house;
mod names;
mod readers;
mod room;
mod shared;
mod v2;
