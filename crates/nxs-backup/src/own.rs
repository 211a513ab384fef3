//! What a job must not save: its own backups. A target that holds the `backup_dir` of one of the job's local storages
//! (`/`, `/var/*/`) would grow by all earlier backups every night.

use nxs_base::spec::{JobSpec, SourceSpec, StorageKind};

/// Adds the job's local backup directories to the excludes of its sources.
pub(crate) fn leave_out(job: &mut JobSpec) {
    let local = job.storages.iter().filter(|s| s.enable && s.kind() == StorageKind::Local);
    let own: Vec<String> = local.map(|s| literal(s.backup_dir.trim_end_matches('/'))).collect();
    for source in &mut job.sources {
        if let SourceSpec::Files(files) = &mut source.spec {
            files.excludes.extend(own.iter().filter(|dir| dir.starts_with('/')).cloned());
        }
    }
}

/// A glob that fits this very path.
fn literal(path: &str) -> String {
    let mut glob = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '*' | '?' | '[' => {
                glob.push('[');
                glob.push(c);
                glob.push(']');
            }
            _ => glob.push(c),
        }
    }
    glob
}
