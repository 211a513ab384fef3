//! The whole way of a backup, with a real web project: the article's discrete job over 40 days, then every backup that is
//! left brought back with GNU tar alone and with the program, and compared with what was there on its day.
//!
//! `site` makes the trees, `change` a day's work in them, `expect` knows by rules of its own what must be left, `article`
//! and `variants` are the tests.

mod article;
mod change;
mod expect;
#[expect(dead_code, reason = "shared with the tests of single commands, which use more of it")]
#[path = "../it/house.rs"]
mod house;
mod site;
mod tools;
mod variants;
