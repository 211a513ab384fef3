//! Makes a seeded tree of files: `mktree DIR [files=N] [dirs=N] [mean=BYTES] [size=BYTES] [text=PERCENT] [seed=N]`.
//!
//! `mean` draws sizes around a mean, `size` makes all files equal. Only the command line; the tree is
//! `nxs_testkit::tree`'s.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use nxs_testkit::tree::{self, TreeSpec};

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            let printed = writeln!(std::io::stdout(), "{line}");
            if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            // Nobody is left to tell if the terminal is gone.
            writeln!(std::io::stderr(), "mktree: {message}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: mktree DIR [files=N] [dirs=N] [mean=BYTES] [size=BYTES] [text=PERCENT] [seed=N]";
    let root = words.next().ok_or(usage)?;
    let mut spec = TreeSpec::default();
    for word in words {
        let (name, value) = word.split_once('=').ok_or(usage)?;
        let value: u64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        match name {
            "files" => spec.files = value,
            "dirs" => spec.dirs = value,
            "mean" => spec.mean_bytes = value,
            "size" => (spec.mean_bytes, spec.is_fixed_size) = (value, true),
            "text" => spec.text_percent = value,
            "seed" => spec.seed = value,
            _ => return Err(format!("unknown setting `{name}`; {usage}")),
        }
    }
    let made = tree::make(Path::new(&root), &spec).map_err(|e| format!("cannot make `{root}`: {e}"))?;
    Ok(format!("{root}: {} files, {} directories, {} bytes", made.files, made.dirs, made.bytes))
}
