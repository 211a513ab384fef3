//! Configuration: YAML in, specs and all diagnostics out.
//!
//! [`load`] reads a v2 main file with everything it includes. It reads files and environment variables, and runs the
//! commands that plain values name if [`Commands`] says so; secrets stay references until [`secrets::resolve`].
//! Nothing is created, no network is touched.

use std::path::Path;

use nxs_base::diag::Diagnostic;
use nxs_base::spec::RunSpec;

mod diagnostics;
mod generate;
mod glob;
mod include;
pub mod keys;
mod read;
pub mod secrets;
mod tree;
mod v2;

#[cfg(test)]
mod tests;

pub use generate::generate;
pub use keys::markdown;
pub use v2::job_kind;

/// What a configuration says, and everything that is wrong with it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// None if a diagnostic is an error. Jobs stand in the order of the files.
    pub spec: Option<RunSpec>,
    /// By file, line and column.
    pub diagnostics: Vec<Diagnostic>,
}

/// What becomes of `CMD:command` in a plain value. Secrets are never read while loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Commands {
    /// Run: its output is the value.
    #[default]
    Run,
    /// Left alone, for whoever only wants to look: the value counts as there and is not judged.
    Leave,
}

/// Reads the main file at `path` and all files it includes. Never fails otherwise than by diagnostics, which name
/// files as `path` and the includes spell them.
pub fn load(path: &Path, commands: Commands) -> Loaded {
    let mut reader = read::Reader::new(commands);
    let root = include::load(path, &mut reader.diags);
    let spec = v2::read(&mut reader, &root).filter(|_| !reader.diags.has_errors());
    Loaded { spec, diagnostics: reader.diags.into_sorted() }
}
