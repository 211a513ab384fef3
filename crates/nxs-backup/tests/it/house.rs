//! What the tests share: a temporary house with a configuration, a fake clock, and a program that runs in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Zoned;
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use nxs_backup::app::{self, Env};
use nxs_backup::console::Console;
use nxs_base::ports::clock::Clock;
use nxs_base::ports::source::Cancel;

/// A clock that stands still.
pub(crate) struct Still(pub(crate) DateTime);

impl Clock for Still {
    fn now(&self) -> Zoned {
        self.0.to_zoned(TimeZone::UTC).unwrap()
    }
}

/// A stream that can be read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Stream(Arc<Mutex<Vec<u8>>>);

impl Stream {
    pub(crate) fn text(&self) -> String {
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

/// What came out of one call, with the house's directory shown as `~`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) struct House {
    dir: tempfile::TempDir,
    /// Each call runs at this moment.
    pub(crate) now: DateTime,
    pub(crate) is_terminal: bool,
    pub(crate) cancel: Cancel,
}

impl House {
    /// A Friday at three, and nothing there yet.
    pub(crate) fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    /// The same in a directory of the caller's choice.
    pub(crate) fn in_dir(dir: tempfile::TempDir) -> Self {
        Self { dir, now: date(2026, 11, 20).at(3, 0, 0, 0), is_terminal: false, cancel: Cancel::new() }
    }

    /// A house with one job `sites` over `www/*/` to a local storage, and one site in it.
    pub(crate) fn with_sites() -> Self {
        let house = Self::new();
        house.write("www/shop/index.html", "hello");
        house.write("www/shop/img/logo.png", "not really");
        house.config(&format!("{}jobs:\n{}", MAIN, SITES));
        house
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        self.mask(&std::fs::read_to_string(self.path(name)).unwrap_or_default())
    }

    /// Writes `nxs.conf`; `~` in it stands for the house.
    pub(crate) fn config(&self, text: &str) {
        self.write("nxs.conf", &self.unmask(text));
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.path("nxs.conf"), private).unwrap();
    }

    pub(crate) fn mask(&self, text: &str) -> String {
        text.replace(self.root().to_str().unwrap(), "~")
    }

    pub(crate) fn unmask(&self, text: &str) -> String {
        text.replace('~', self.root().to_str().unwrap())
    }

    /// Runs the program with `-c ~/nxs.conf` and these arguments.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.run_with(args, |_| ())
    }

    /// The same, with the environment changed before.
    pub(crate) fn run_with(&self, args: &[&str], change: impl FnOnce(&mut Env)) -> Answer {
        let config = self.path("nxs.conf");
        let mut all = vec!["nxs-backup", "-c", config.to_str().unwrap()];
        all.extend(args);
        self.run_bare(&all, change)
    }

    pub(crate) fn run_bare(&self, args: &[&str], change: impl FnOnce(&mut Env)) -> Answer {
        let (out, err) = (Stream::default(), Stream::default());
        let mut env = Env {
            clock: Box::new(Still(self.now)),
            console: Console::new(Box::new(out.clone()), Box::new(err.clone()), self.is_terminal),
            cancel: self.cancel.clone(),
            host: "web-01".into(),
            run_id: "00c0ffee00c0ffee".into(),
            workers: 2,
            lower_priority: false,
            lock_path: self.path("lock"),
            v2_lock: || Ok(None),
            pause: |_| (),
            open_storage: |spec| nxs_storages::registry::open(spec, nxs_config::secrets::resolve),
            open_source: nxs_sources::registry::open,
        };
        change(&mut env);
        let code = app::run(args, &env);
        Answer { code, out: self.mask(&out.text()), err: self.mask(&err.text()) }
    }

    pub(crate) fn log(&self) -> String {
        self.read("nxs.log")
    }
}

pub(crate) const MAIN: &str = "\
main:
  server_name: web-01
  admin_mail: root@localhost
  client_mail: ['']
  mail_from: root@localhost
  level_message: error
  log_file: ~/nxs.log
  state_dir: ~/state
";

pub(crate) const SITES: &str = "\
- job: sites
  type: desc_files
  tmp_dir: ~/tmp
  sources:
  - target: ['~/www/*/']
    gzip: yes
  storages:
  - {storage: local, enable: yes, backup_dir: ~/backup, store: {days: 2, weeks: 0, month: 0}}
";
