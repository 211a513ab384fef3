//! A temporary house with a source, storages and a configuration, in which the real program runs, or the library
//! with a clock of the test's own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nxs_backup::app::{self, Env};
use nxs_backup::console::Console;
use nxs_base::ports::clock::Clock;
use nxs_base::ports::source::Cancel;
use serde_json::Value;

use crate::tree::{self, Tree};
use crate::wait;

/// What a run said.
#[derive(Debug)]
pub(crate) struct Said {
    /// None if it was killed.
    pub(crate) code: Option<i32>,
    /// The report; null if there was none.
    pub(crate) report: Value,
    pub(crate) err: String,
    /// The lines that this run added to the log.
    pub(crate) log: String,
}

pub(crate) struct House {
    dir: tempfile::TempDir,
    /// Glob of what is saved.
    pub(crate) glob: String,
    /// `backup_dir` of each storage.
    pub(crate) storages: Vec<PathBuf>,
    /// What each storage keeps.
    pub(crate) store: &'static str,
    pub(crate) rotation: &'static str,
}

impl House {
    /// One job over `www/*/` with a small tree in `www/shop`, to one local storage `backup` that keeps two days.
    pub(crate) fn new(tree_bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        fs::create_dir_all(root.join("www/shop")).unwrap();
        tree::make(&root.join("www/shop"), 1, tree_bytes);
        Self {
            glob: format!("{}/www/*/", root.display()),
            storages: vec![root.join("backup")],
            store: "{days: 2, weeks: 0, month: 0}",
            rotation: "auto",
            dir,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn shop(&self) -> PathBuf {
        self.path("www/shop")
    }

    /// The source as it is now.
    pub(crate) fn tree(&self) -> Tree {
        tree::read(&self.shop())
    }

    /// Changes the source, so that no two backups are alike.
    pub(crate) fn touch(&self, text: &str) {
        fs::write(self.shop().join("changing"), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        let root = self.root().display();
        let mut text = format!(
            "main:\n  server_name: web-01\n  admin_mail: root@localhost\n  client_mail: ['']\n  mail_from: root@localhost\n  \
             level_message: error\n  log_file: {root}/nxs.log\n  state_dir: {root}/state\n  lock_file: {root}/lock\n  \
             nice: 0\n  ionice: none\njobs:\n- job: sites\n  type: desc_files\n  rotation: {}\n  sources:\n  \
             - {{target: ['{}'], gzip: yes}}\n  storages:\n",
            self.rotation, self.glob
        );
        for dir in &self.storages {
            let dir = dir.display();
            text +=
                &format!("  - {{storage: local, enable: yes, backup_dir: {dir}, store: {}}}\n", self.store);
        }
        let path = self.path("nxs.conf");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// `start --json` of the real program, with its streams in pipes.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nxs-backup"));
        self.arguments(&mut command);
        command
    }

    /// Gives `command` the arguments, streams and environment of a run.
    pub(crate) fn arguments(&self, command: &mut Command) {
        command.arg("-c").arg(self.config()).args(["start", "all", "--json"]).env("TZ", "UTC");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// Runs the real program to its end.
    pub(crate) fn start(&self) -> Said {
        self.watch(&mut self.command(), |_| None)
    }

    /// Runs a command of [`House::command`]; `meddle` gets the running child and returns its status if it waited.
    pub(crate) fn watch(
        &self,
        command: &mut Command,
        meddle: impl FnOnce(&mut Child) -> Option<ExitStatus>,
    ) -> Said {
        let before = self.log().len();
        let mut child = command.spawn().unwrap();
        if meddle(&mut child).is_none() {
            wait::until("the program to end", || child.try_wait().unwrap());
        }
        let out = child.wait_with_output().unwrap();
        Said {
            code: out.status.code(),
            report: serde_json::from_slice(&out.stdout).unwrap_or(Value::Null),
            err: String::from_utf8(out.stderr).unwrap(),
            log: self.log()[before..].to_owned(),
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("nxs.log")).unwrap_or_default()
    }

    /// Runs the program in this process, its clock standing still.
    pub(crate) fn start_at(&self, now: DateTime) -> Said {
        self.start_with(Box::new(Still(now)))
    }

    /// Runs the program in this process with this clock.
    pub(crate) fn start_with(&self, clock: Box<dyn Clock>) -> Said {
        let before = self.log().len();
        let (out, err) = (Stream::default(), Stream::default());
        let env = Env {
            run_id: format!("{:016x}", NEXT_RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            clock,
            console: Console::new(Box::new(out.clone()), Box::new(err.clone()), false),
            cancel: Cancel::new(),
            host: "web-01".into(),
            workers: 2,
            lower_priority: false,
            lock_path: self.path("lock"),
            v2_lock: || Ok(None),
            pause: |_| (),
            open_storage: |spec| nxs_storages::registry::open(spec, nxs_config::secrets::resolve),
            open_source: nxs_sources::registry::open,
        };
        let config = self.config();
        let code = app::run(["nxs-backup", "-c", config.to_str().unwrap(), "start", "all", "--json"], &env);
        Said {
            code: Some(i32::from(code)),
            report: serde_json::from_str(&out.text()).unwrap_or(Value::Null),
            err: err.text(),
            log: self.log()[before..].to_owned(),
        }
    }
}

static NEXT_RUN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0x1000);

struct Still(DateTime);

impl Clock for Still {
    fn now(&self) -> Zoned {
        self.0.to_zoned(TimeZone::UTC).unwrap()
    }
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Vec<u8>>>);

impl Stream {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
