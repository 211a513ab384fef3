//! Restores of file backups: everything comes back as it was; nothing outside the target is touched, whatever an
//! archive or an index says; what is in place is replaced whole or not at all; old backups without records come back.
//!
//! Archives come from the real source, from the program's own tar headers, from GNU tar and from Python.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic where the test would")]

mod adopted;
mod hostile;
mod in_place;
mod indexes;
mod roundtrip;
mod scene;
mod unprivileged;
