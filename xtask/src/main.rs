//! Tasks of the project: `setup`, `test`, `tidy`, `gen-docs [--check]`, `fuzz`, `bench`. Nothing here ships.

mod bench;
mod fuzz;
mod gendocs;
mod setup;
mod tidy;

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["setup"] => setup::install(),
        ["test"] => setup::install().and_then(|()| cargo(&["test", "--workspace", "--locked"])),
        ["tidy"] => tidy::check(),
        ["gen-docs"] => gendocs::write(),
        ["gen-docs", "--check"] => gendocs::check(),
        ["fuzz"] => fuzz::run(None, "60"),
        ["fuzz", name] => fuzz::run(Some(name), "60"),
        ["fuzz", name, seconds] => fuzz::run(Some(name), seconds),
        ["bench", rest @ ..] => bench::run(rest),
        _ => Err("usage: cargo xtask setup | test | tidy | gen-docs [--check] | fuzz [NAME [SECONDS]] | bench [NAME]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            report(&message);
            ExitCode::FAILURE
        }
    }
}

/// Prints to stderr.
#[expect(clippy::print_stderr, reason = "a developer's tool talks on the terminal")]
fn report(message: &str) {
    eprintln!("xtask: {message}");
}

/// Runs cargo in the workspace.
fn cargo(args: &[&str]) -> Result<(), String> {
    run(Command::new("cargo").args(args))
}

/// Runs a command to its end; a failure names it.
fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("cannot start {command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
