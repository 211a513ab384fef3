//! The `main` section and the whole configuration.

use super::job::JobSpec;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainSpec {
    pub server_name: String,
    /// None = `/dev/null`-less default `/var/log/nxs-backup/nxs-backup.log`, filled in by the reader.
    pub log_file: String,
    pub state_dir: String,
    /// Empty = the default place (`/run`, or `$XDG_RUNTIME_DIR` for users other than root).
    pub lock_file: Option<String>,
    /// Seconds to wait for the lock; none = not at all.
    pub loop_timeout_secs: Option<u64>,
    pub loop_interval_secs: u64,
    pub legacy_exit_codes: bool,
    /// -20..=19, default 19.
    pub nice: i8,
    pub ionice: IoNice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoNice {
    #[default]
    Idle,
    /// Level 0..=7.
    BestEffort(u8),
    /// Leave as it is.
    None,
}

/// Everything that was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSpec {
    pub main: MainSpec,
    pub jobs: Vec<JobSpec>,
}
