//! Incremental backups through the whole program: simulated months over trees that live, every restore point brought
//! back by the program in one step and by GNU tar level by level, and compared with what was there.
//!
//! `world` and `scene` run the days and know what there was (`scene` with storages and walks that can be asked and can
//! fail); `model` are random histories, `calendar` the year's own days, `changes` each sort of change, `two` several
//! storages and targets, `faults` damage and sudden death; on `levels`, `full` are file systems without room and `kill`
//! deaths at each step, judged by `shelf`; `verify` is what is said of damage.

#[cfg(test)]
mod browse;
#[cfg(test)]
mod calendar;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod full;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of single commands, which use more of it")]
#[path = "../it/house.rs"]
mod house;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod levels;
#[cfg(test)]
mod listings;
#[cfg(test)]
mod model;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the fault tests of discrete backups, which use more of it")]
#[path = "../faults/mounts.rs"]
mod mounts;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod shelf;
#[cfg(test)]
mod two;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod world;
