//! The upload directory of a web project on one day: `uploads DIR day=N first=SECONDS [files=N] [dirs=N] [mean=BYTES]
//! [seed=N]`. Day 0 makes it, every other changes it. Only the command line; the tree is `nxs_testkit::uploads`'s.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use nxs_testkit::uploads::Uploads;

fn main() -> ExitCode {
    let (out, is_fine) = match run() {
        Ok(line) => (line, true),
        Err(message) => (format!("uploads: {message}"), false),
    };
    let printed = writeln!(std::io::stdout(), "{out}").is_ok();
    if printed && is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run() -> Result<String, String> {
    let usage = "usage: uploads DIR day=N first=SECONDS [files=N] [dirs=N] [mean=BYTES] [seed=N]";
    let mut words = std::env::args().skip(1);
    let root = words.next().ok_or(usage)?;
    let mut uploads = Uploads { seed: 1, files: 20_000, dirs: 8_000, mean_bytes: 4096, first_day: 0 };
    let mut day = 0;
    for word in words {
        let (name, value) = word.split_once('=').ok_or(usage)?;
        let number: u64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        match name {
            "day" => day = number,
            "first" => uploads.first_day = number as i64,
            "files" => uploads.files = number,
            "dirs" => uploads.dirs = number,
            "mean" => uploads.mean_bytes = number,
            "seed" => uploads.seed = number,
            _ => return Err(format!("unknown setting `{name}`; {usage}")),
        }
    }
    let path = Path::new(&root);
    let done = if day == 0 { uploads.begin(path) } else { uploads.day(path, day) };
    let done = done.map_err(|e| format!("cannot change `{root}`: {e}"))?;
    Ok(format!("{} {} {}", done.added, done.changed, done.deleted))
}
