//! A sum over all that a backup has to bring back of a tree: `treesum DIR...` prints one line for each. Two trees have
//! the same sum if names, kinds, bytes, modes, owners, times, attributes and hard links are the same.
//!
//! What is looked at is `nxs_testkit::snapshot`'s affair.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use nxs_testkit::snapshot::Snapshot;

fn main() -> ExitCode {
    for root in std::env::args_os().skip(1) {
        let mut hasher = blake3::Hasher::new();
        let mut nodes = 0;
        for (path, mut node) in Snapshot::take(Path::new(&root)).nodes {
            node.allocated_bytes = 0;
            hasher.update(format!("{}\0{node:?}\n", path.escape_ascii()).as_bytes());
            nodes += 1;
        }
        if writeln!(std::io::stdout(), "{} {nodes}", hasher.finalize().to_hex()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
