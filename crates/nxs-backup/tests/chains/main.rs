//! Incremental backups through the whole program: simulated months over trees that live, every restore point brought
//! back by the program in one step and by GNU tar level by level, and compared with what was there.
//!
//! `world` runs the days and knows what there was; `model` are random histories, `calendar` the year's own days.

#[cfg(test)]
mod calendar;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of single commands, which use more of it")]
#[path = "../it/house.rs"]
mod house;
#[cfg(test)]
mod model;
#[cfg(test)]
mod world;
