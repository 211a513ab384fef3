//! The fault suite of discrete file backups on local storages: the real program, killed, starved of room, cut off
//! from its files and its storage, run twice at once and with clocks that jump.
//!
//! Every test ends in the one judge (`judge`): nothing half published, everything older there and restorable with
//! stock tools, and exit code, report and log say what happened. Needs root: file systems are mounted (tmpfs, loop
//! images) and users changed. No test sleeps; all wait for a condition with a deadline (`wait`).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

mod clock;
mod full;
mod gaps;
mod house;
mod judge;
mod kill;
mod locks;
mod mounts;
mod readonly;
mod shelf;
mod signals;
mod tree;
mod wait;
