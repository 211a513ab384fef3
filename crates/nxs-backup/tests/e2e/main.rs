//! The whole way of a backup, with a real web project: the article's discrete job over 40 days, then every backup that is
//! left brought back with GNU tar alone and with the program, and compared with what was there on its day.
//!
//! `site` makes the trees, `change` a day's work in them, `expect` knows by rules of its own what must be left, `article`
//! and `variants` are the tests.

#[cfg(test)]
mod article;
#[cfg(test)]
mod change;
#[cfg(test)]
mod expect;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of single commands, which use more of it")]
#[path = "../it/house.rs"]
mod house;
#[cfg(test)]
mod site;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod variants;
