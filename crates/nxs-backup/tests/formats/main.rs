//! The formats on a storage: read by a program written from `docs/format.md` alone (`page`), and held against hostile
//! bytes (`hostile`), with the functions that the fuzz targets call.
//!
//! What the program answers on the command line is `tests/it`.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

#[path = "../../../../fuzz/src/lib.rs"]
pub mod targets;

mod hostile;
mod mutate;
mod page;
mod seeds;
