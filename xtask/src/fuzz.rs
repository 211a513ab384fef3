//! Runs the fuzz targets with the stable toolchain: libFuzzer guided by coverage, without sanitizers.
//!
//! What is found lands in `fuzz/artifacts`, what was learned in `fuzz/corpus`.

use std::fs;
use std::process::Command;

/// What `cargo fuzz` passes, as far as the stable compiler takes it.
const COVERAGE: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table";
/// Named, so that the flags do not reach build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const RSS_LIMIT_MIB: u32 = 512;

/// Runs one target, or all, for some seconds each.
pub(crate) fn run(name: Option<&str>, seconds: &str) -> Result<(), String> {
    let seconds: u32 = seconds.parse().map_err(|_| format!("`{seconds}` is no number of seconds"))?;
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => names()?,
    };
    let mut build = Command::new("cargo");
    build.current_dir("fuzz").args(["build", "--release", "--locked", "--target", TARGET]);
    crate::run(build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", "target"))?;
    fs::create_dir_all("fuzz/artifacts").map_err(|e| format!("cannot make fuzz/artifacts: {e}"))?;
    for name in names {
        let corpus = format!("fuzz/corpus/{name}");
        fs::create_dir_all(&corpus).map_err(|e| format!("cannot make {corpus}: {e}"))?;
        let mut fuzz = Command::new(format!("fuzz/target/{TARGET}/release/{name}"));
        fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={RSS_LIMIT_MIB}"));
        fuzz.args(["-max_len=65536", "-timeout=10", "-print_final_stats=1"]);
        crate::run(fuzz.arg(format!("-artifact_prefix=fuzz/artifacts/{name}-")).arg(corpus))?;
    }
    Ok(())
}

/// Every file of `fuzz/fuzz_targets`.
fn names() -> Result<Vec<String>, String> {
    let listing = fs::read_dir("fuzz/fuzz_targets").map_err(|e| format!("cannot list the targets: {e}"))?;
    let mut names = Vec::new();
    for entry in listing {
        let path = entry.map_err(|e| format!("cannot list the targets: {e}"))?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
