//! The program: command line, wiring, log sentences, exit codes. A library too, so that tests call it with their own
//! clock and streams.
//!
//! No algorithms live here: a command parses, calls the engine and shows what came back. `cli` has the flags, `app`
//! the wiring, `commands/` one file per command, `messages` every log sentence, `exit` every exit code.

pub mod app;
pub mod cli;
mod commands;
pub mod console;
pub mod exit;
pub mod logfile;
pub mod messages;
mod own;
pub mod progress;
mod runlog;
mod shelf;
mod summary;
pub mod wire;
