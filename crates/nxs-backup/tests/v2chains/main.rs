//! Trees of version 2's incremental backups: restored, verified, gone on with, rotated; and indexes made anew.
//!
//! `old` is version 2's side of a house: its runs are imitated by `testdata/v2/make_inc.py`, and what its archives hold
//! is judged by GNU tar. `points` restores, `browse` lists, `going_on` makes backups on top, `damage` is what may be wrong, `rotation`
//! what goes, `rebuild` the indexes of our own archives.

#[cfg(test)]
mod browse;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod going_on;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of single commands, which use more of it")]
#[path = "../it/house.rs"]
mod house;
#[cfg(test)]
#[path = "../chains/listings.rs"]
mod listings;
#[cfg(test)]
mod old;
#[cfg(test)]
mod points;
#[cfg(test)]
mod rebuild;
#[cfg(test)]
mod rotation;
#[cfg(test)]
#[expect(dead_code, reason = "shared with `tests/chains`, which uses more of it")]
#[path = "../chains/world.rs"]
mod world;
