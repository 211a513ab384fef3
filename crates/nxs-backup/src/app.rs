//! Wires the program: reads the command line, loads the configuration, hands both to one command, and answers with
//! the exit code. Everything that a test wants to replace (clock, streams, lock paths, adapters) comes in as [`Env`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind as ClapKind;
use nxs_base::diag::Diagnostic;
use nxs_base::event::NoEvents;
use nxs_base::ports::clock::Clock;
use nxs_base::ports::source::{Cancel, Source};
use nxs_base::ports::storage::Storage;
use nxs_base::spec::{JobKind, JobSpec, RunSpec, SourceEntry, StorageSpec};
use nxs_base::{Error, Result};
use nxs_config::Commands;
use nxs_engine::job::RunContext;
use nxs_sources::registry::Surroundings;
use nxs_sys::lock::{LockError, RunLock};

use crate::cli::{Cli, Command, IndexAction, IndexArgs};
use crate::commands;
use crate::console::Console;
use crate::exit::{Ended, Exit};
use crate::messages::PREFIX;
use crate::own;
use crate::shelf;

/// Opens one storage of a job.
pub type OpenStorage = fn(&StorageSpec) -> Result<Arc<dyn Storage>>;
/// Opens one source of a job.
pub type OpenSource = fn(&SourceEntry, JobKind, &Surroundings) -> Result<Box<dyn Source>>;

/// What the program gets from outside.
pub struct Env {
    pub clock: Box<dyn Clock>,
    pub console: Console,
    /// Set by signals.
    pub cancel: Cancel,
    /// Name of this host.
    pub host: String,
    /// Hex, another one for every run.
    pub run_id: String,
    /// Threads that compress.
    pub workers: usize,
    /// Whether `start` lowers the priority of this process.
    pub lower_priority: bool,
    /// The lock where `lock_file` is not set.
    pub lock_path: PathBuf,
    /// Takes v2's lock, if there is one.
    pub v2_lock: fn() -> Result<Option<RunLock>, LockError>,
    /// Waits between two tries for the lock.
    pub pause: fn(Duration),
    pub open_storage: OpenStorage,
    pub open_source: OpenSource,
}

impl Env {
    /// What the real program uses. `cancel` is set by signals.
    pub fn system(cancel: Cancel) -> Result<Self> {
        use std::io::IsTerminal;
        let is_terminal = std::io::stderr().is_terminal();
        Ok(Self {
            clock: Box::new(nxs_sys::clock::SystemClock),
            console: Console::new(Box::new(std::io::stdout()), Box::new(std::io::stderr()), is_terminal),
            cancel,
            host: nxs_sys::host::host_name(),
            run_id: nxs_sys::host::run_id()?,
            workers: nxs_sys::host::cpu_count(),
            lower_priority: true,
            lock_path: nxs_sys::lock::default_path(),
            v2_lock: nxs_sys::lock::v2_lock,
            pause: std::thread::sleep,
            open_storage: |spec| nxs_storages::registry::open(spec, nxs_config::secrets::resolve),
            open_source: nxs_sources::registry::open,
        })
    }
}

/// Runs the program with `args` (the first is its own name) and answers with the exit code.
pub fn run<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>, env: &Env) -> u8 {
    match Cli::try_parse_from(args) {
        Ok(cli) => dispatch(&cli, env),
        Err(error) => {
            let text = error.render().to_string();
            if matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) {
                return said(env, env.console.data(&text), Exit::Complete).code();
            }
            env.console.raw(&format!("{PREFIX}{text}"));
            Exit::Usage.code()
        }
    }
}

fn dispatch(cli: &Cli, env: &Env) -> u8 {
    if cli.version {
        let text = format!("nxs-backup {}\n", env!("CARGO_PKG_VERSION"));
        return said(env, env.console.data(&text), Exit::Complete).code();
    }
    if cli.test {
        if cli.command.is_some() {
            env.console.say("`--test` takes no command");
            return Exit::Usage.code();
        }
        return commands::test::run(env, &cli.config).code();
    }
    match &cli.command {
        None => commands::help::run(env, None, false).code(),
        Some(Command::Help(args)) => commands::help::run(env, args.topic.as_deref(), args.markdown).code(),
        Some(Command::Test) => commands::test::run(env, &cli.config).code(),
        Some(Command::Generate(args)) => commands::generate::run(env, args).code(),
        Some(Command::Start(args)) => commands::start::run(env, &cli.config, args),
        Some(Command::Ls(args)) => ended(commands::ls::run(env, &cli.config, args)),
        Some(Command::Find(args)) => ended(commands::find::run(env, &cli.config, args)),
        Some(Command::Restore(args)) => ended(commands::restore::run(env, &cli.config, args)),
        Some(Command::Verify(args)) => ended(commands::verify::run(env, &cli.config, args)),
        Some(Command::Rotate(args)) => ended(commands::rotate::run(env, &cli.config, args)),
        Some(Command::Index(IndexArgs { action: IndexAction::Rebuild(args) })) => {
            ended(commands::index::rebuild(env, &cli.config, args))
        }
    }
}

fn ended(ended: Ended) -> u8 {
    ended.unwrap_or_else(|exit| exit).code()
}

/// Says why a command that reads failed, and how it ends.
pub(crate) fn failed(env: &Env, error: &Error) -> Exit {
    env.console.say_error(error);
    Exit::of_error(error.kind())
}

/// `exit`, or failed if the data could not be written.
pub(crate) fn said(env: &Env, written: Result<()>, exit: Exit) -> Exit {
    match written {
        Ok(()) => exit,
        Err(error) => {
            env.console.say_error(&error);
            Exit::Failed
        }
    }
}

/// Loads the configuration and says what is wrong with it. `Err` means that it cannot be used. Mere warnings are for
/// people: `test` shows them, others only on a terminal.
pub(crate) fn load(env: &Env, config: &Path) -> Result<RunSpec, Exit> {
    load_with_warnings(env, config).map(|(spec, _)| spec)
}

/// The same, with the warnings.
pub(crate) fn load_with_warnings(env: &Env, config: &Path) -> Result<(RunSpec, Vec<Diagnostic>), Exit> {
    let loaded = nxs_config::load(config, Commands::Run);
    if loaded.spec.is_none() || env.console.is_terminal {
        loaded.diagnostics.iter().for_each(|d| env.console.say_diagnostic(d));
    }
    let mut spec = loaded.spec.ok_or(Exit::Configuration)?;
    spec.jobs.iter_mut().for_each(own::leave_out);
    Ok((spec, loaded.diagnostics))
}

/// Opens one source of a job.
pub(crate) fn open_source(
    env: &Env,
    spec: &RunSpec,
    entry: &SourceEntry,
    kind: JobKind,
) -> Result<Box<dyn Source>> {
    (env.open_source)(entry, kind, &surroundings(spec))
}

/// What sources get beside their settings.
pub(crate) fn surroundings(spec: &RunSpec) -> Surroundings {
    Surroundings { resolve: nxs_config::secrets::resolve, state_dir: PathBuf::from(&spec.main.state_dir) }
}

/// The surroundings of a command that reads backups and makes none.
pub(crate) fn reading<'a>(env: &'a Env, spec: &'a RunSpec) -> RunContext<'a> {
    RunContext {
        server_name: shelf::server_name(env, spec),
        host: &env.host,
        run_id: &env.run_id,
        clock: &*env.clock,
        cancel: &env.cancel,
        events: &NoEvents,
        workers: env.workers,
        cache: None,
    }
}

/// The groups, in the order in which they run.
pub(crate) const GROUPS: [&str; 3] = ["files", "databases", "external"];

/// The jobs that `name` means, in the order in which they run: a group, `all`, or one job. Says which names there
/// are if there is none of this.
pub(crate) fn select<'a>(env: &Env, spec: &'a RunSpec, name: &str) -> Result<Vec<&'a JobSpec>, Exit> {
    let in_group = |group: &str| spec.jobs.iter().filter(|j| j.kind.group() == group).collect::<Vec<_>>();
    if name == "all" {
        return Ok(GROUPS.iter().flat_map(|g| in_group(g)).collect());
    }
    if GROUPS.contains(&name) {
        return Ok(in_group(name));
    }
    if let Some(job) = spec.jobs.iter().find(|j| j.name == name) {
        return Ok(vec![job]);
    }
    Err(no_such_job(env, spec, name))
}

/// The one job of that name.
pub(crate) fn job<'a>(env: &Env, spec: &'a RunSpec, name: &str) -> Result<&'a JobSpec, Exit> {
    spec.jobs.iter().find(|j| j.name == name).ok_or_else(|| no_such_job(env, spec, name))
}

/// Says that there is no such job, and which names there are.
fn no_such_job(env: &Env, spec: &RunSpec, name: &str) -> Exit {
    let known: Vec<&str> =
        ["all"].into_iter().chain(GROUPS).chain(spec.jobs.iter().map(|j| j.name.as_str())).collect();
    env.console.say(&format!("there is no job `{name}`"));
    env.console.say(&format!("allowed names: {}", known.join(", ")));
    Exit::Usage
}
