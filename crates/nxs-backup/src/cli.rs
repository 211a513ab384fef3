//! The command line: clap structs and nothing else. What a command does stands in `commands/`; wiring in `app`.
//!
//! v2's flags are kept with all their spellings; long flags may be cut as long as they stay unambiguous, as with v2.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Backs up the files and databases of this host.
#[derive(Debug, Parser)]
#[command(
    name = "nxs-backup",
    version,
    disable_version_flag = true,
    disable_help_subcommand = true,
    infer_long_args = true,
    max_term_width = 110
)]
pub struct Cli {
    /// Main configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "PATH",
        default_value = "/etc/nxs-backup/nxs-backup.conf"
    )]
    pub config: PathBuf,

    /// Check the configuration and end
    #[arg(short, long, alias = "test-config")]
    pub test: bool,

    /// Print the version and end
    #[arg(short = 'v', short_alias = 'V', long)]
    pub version: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run jobs
    Start(StartArgs),
    /// Check the configuration and show what it means
    Test,
    /// Write a commented job file
    Generate(GenerateArgs),
    /// List the backups that can be restored, or what is in them
    Ls(LsArgs),
    /// Find all versions of a file
    Find(FindArgs),
    /// Restore a backup
    Restore(RestoreArgs),
    /// Check backups: presence, sizes, digests, every frame
    Verify(VerifyArgs),
    /// Show what the retention keeps and drops
    Rotate(RotateArgs),
    /// Work on the indexes of backups
    Index(IndexArgs),
    /// Print this help, the help of a command, or a table (`exit-codes`)
    Help(HelpArgs),
}

#[derive(Debug, Args)]
pub struct StartArgs {
    /// A job, or `files`, `databases`, `external`, `all`
    #[arg(default_value = "all")]
    pub job: String,

    /// Print the report as JSON on stdout
    #[arg(long)]
    pub json: bool,

    /// Show log lines on stderr too
    #[arg(long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Type of the job, e.g. `desc_files`
    #[arg(short = 'T', long = "type", alias = "backup-type", value_name = "TYPE")]
    pub kind: String,

    /// Storages, e.g. `local scp`
    #[arg(short = 'S', long, alias = "storage", alias = "storage-types", value_name = "STORAGE", num_args = 1.., required = true)]
    pub storages: Vec<String>,

    /// File to write
    #[arg(short = 'P', short_alias = 'O', long, alias = "out-path", value_name = "FILE")]
    pub path: PathBuf,
}

#[derive(Debug, Args)]
pub struct LsArgs {
    /// A job, or `files`, `databases`, `external`, `all`
    #[arg(default_value = "all")]
    pub job: String,

    /// List what is in these directories of the restore point: paths in the archive, or below the target
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// List what is in the newest backup that is not younger than this: `2026-11-20`, `2026-11-20 03:00`, RFC 3339
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,

    /// With --at or PATH: all that is below
    #[arg(short, long)]
    pub recursive: bool,

    /// With --at or PATH: only this entry of `sources`, counted from 0
    #[arg(long, value_name = "N")]
    pub source: Option<usize>,

    /// With --at or PATH: only this target
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,

    /// With --at or PATH: only from this storage
    #[arg(long, value_name = "STORAGE")]
    pub from: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct FindArgs {
    /// A job, or `files`, `databases`, `external`, `all`
    pub job: String,

    /// Which files: a name with `*` and `?`, or with a `/` a path in the archive or below the target
    #[arg(value_name = "GLOB")]
    pub pattern: String,

    /// Only in this target
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,

    /// Only in backups that are not younger than this
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,

    /// Only on this storage
    #[arg(long, value_name = "STORAGE")]
    pub from: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The job
    pub job: String,

    /// Only this entry of `sources`, counted from 0
    #[arg(long, value_name = "N")]
    pub source: Option<usize>,

    /// Only this target
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,

    /// The newest backup that is not younger than this: `2026-11-20`, `2026-11-20 03:00`, RFC 3339
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,

    /// Only from this storage
    #[arg(long, value_name = "STORAGE")]
    pub from: Option<String>,

    /// Only paths that match; may be given several times
    #[arg(long = "path", value_name = "GLOB")]
    pub paths: Vec<String>,

    /// Directory to restore into; must be empty or absent
    #[arg(long, value_name = "DIR", conflicts_with = "in_place")]
    pub to: Option<PathBuf>,

    /// Restore to where the files came from, over what is there
    #[arg(long)]
    pub in_place: bool,

    /// With --in-place: remove what the backup does not have
    #[arg(long, requires = "in_place", conflicts_with = "to")]
    pub delete: bool,

    /// Leave out the leading directories: the content of the target lands in DIR itself
    #[arg(long, conflicts_with = "in_place")]
    pub strip: bool,

    /// Print the plain dump of a database
    #[arg(long, conflicts_with_all = ["to", "in_place", "into", "name"])]
    pub stdout: bool,

    /// Put a dump into a database of this server: `mysql://user@host:port/NAME`. The password is that of the job, or
    /// `NXS_RESTORE_PASSWORD`
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["to", "in_place"])]
    pub into: Option<String>,

    /// Put a dump into a database of this name; without --into, on the server that it came from
    #[arg(long = "as", value_name = "NAME", conflicts_with_all = ["to", "in_place"])]
    pub name: Option<String>,

    /// With --into or --as: what the database holds may go
    #[arg(long, conflicts_with_all = ["to", "in_place", "stdout"])]
    pub overwrite: bool,

    /// List the backups that could be restored, and restore none
    #[arg(long)]
    pub list: bool,

    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Accept an archive without a record
    #[arg(long)]
    pub adopt: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A job, or `files`, `databases`, `external`, `all`
    #[arg(default_value = "all")]
    pub job: String,

    /// Only this target
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,

    /// Only the newest backup that is not younger than this
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,

    /// Read only this share of the frames
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = parse_percent)]
    pub sample: u8,
}

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// A job, or `files`, `databases`, `external`, `all`
    #[arg(default_value = "all")]
    pub job: String,

    /// Show what would go, and why
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct IndexArgs {
    #[command(subcommand)]
    pub action: IndexAction,
}

#[derive(Debug, Subcommand)]
pub enum IndexAction {
    /// Write missing or damaged indexes again, from the archives
    Rebuild(IndexRebuildArgs),
}

#[derive(Debug, Args)]
pub struct IndexRebuildArgs {
    /// The job
    pub job: String,

    /// Only this target
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,

    /// Only on this storage
    #[arg(long, value_name = "STORAGE")]
    pub storage: Option<String>,

    /// Only of the newest backup that is not younger than this, and of what it needs
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command, or `exit-codes`
    pub topic: Option<String>,

    /// Print the table as the page of the manual
    #[arg(long, hide = true)]
    pub markdown: bool,
}

/// `20` or `20%`, from 1 to 100.
fn parse_percent(text: &str) -> Result<u8, String> {
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err("expected a number from 1 to 100".into()),
    }
}
