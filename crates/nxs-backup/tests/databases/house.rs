//! A house with storages, a configuration and, if a test wants it, a tool of its own before those of the host; the real
//! program runs in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nxs_backup::app::{self, Env};
use nxs_backup::console::Console;
use nxs_base::ports::source::Cancel;
use nxs_testkit::FakeClock;
use nxs_testkit::servers::comes_true;
use nxs_testkit::servers::mariadb::{self, MariaDb};
use nxs_testkit::servers::postgres;

pub(crate) const MARKER: &str = "-- Dump completed";

/// What a run said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
    /// The lines that this run added to the log.
    pub(crate) log: String,
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}\nstderr:\n{}\nlog:\n{}", self.code, self.err, self.log)
    }
}

pub(crate) struct House {
    dir: tempfile::TempDir,
    /// Names of directories below the house, one storage each.
    pub(crate) storages: Vec<PathBuf>,
    /// The entries of `sources`.
    pub(crate) sources: Vec<String>,
    /// Type of the job.
    pub(crate) kind: &'static str,
    /// What `DB_PASSWORD` says.
    pub(crate) password: &'static str,
    /// Further keys of the job.
    pub(crate) keys: String,
    /// A file with jobs, in the place of the one that all this makes.
    pub(crate) file: Option<String>,
    /// How many backups each storage keeps.
    pub(crate) store: &'static str,
}

/// A stream that can be read afterwards.
#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl House {
    pub(crate) fn new(sources: &[String]) -> Self {
        Self::of("mysql", sources)
    }

    pub(crate) fn of(kind: &'static str, sources: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        let storages = vec![dir.path().join("backup")];
        Self {
            dir,
            kind,
            storages,
            sources: sources.to_vec(),
            password: mariadb::PASSWORD,
            keys: String::new(),
            file: None,
            store: "{days: 3, weeks: 0, month: 0}",
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> PathBuf {
        let root = self.dir.path().display();
        let mut text = format!(
            "main:\n  server_name: db-01\n  admin_mail: root@localhost\n  client_mail: ['']\n  mail_from: root@localhost\n  \
             level_message: error\n  log_file: {root}/nxs.log\n  state_dir: {root}/state\n  lock_file: {root}/lock\n  \
             nice: 0\n  ionice: none\n"
        );
        text += &match &self.file {
            Some(file) => {
                fs::create_dir_all(self.path("conf.d")).unwrap();
                write_private(&self.path("conf.d/jobs.conf"), file);
                "jobs: !include [conf.d/*.conf]\n".to_owned()
            }
            None => self.job(),
        };
        let path = self.path("nxs.conf");
        write_private(&path, &text);
        path
    }

    fn job(&self) -> String {
        let root = self.dir.path().display();
        let mut text = format!("jobs:\n- job: db\n  type: {}\n{}", self.kind, self.keys);
        if !self.sources.is_empty() {
            text += &format!("  tmp_dir: {root}/tmp\n  sources:\n");
        }
        self.sources.iter().for_each(|source| text += &format!("  - {source}\n"));
        text += "  storages:\n";
        for dir in &self.storages {
            text += &format!(
                "  - {{storage: local, enable: yes, backup_dir: {}, store: {}}}\n",
                dir.display(),
                self.store
            );
        }
        text
    }

    /// Puts a script before the tools of the host, under one of their names. `$REAL` in it is the host's.
    pub(crate) fn wrap(&self, tool: &str, script: &str) {
        let real =
            nxs_sys::child::find(&[tool]).unwrap_or_else(|| panic!("`{tool}` is missing: cargo xtask setup"));
        let path = self.path("bin").join(tool);
        fs::write(&path, format!("#!/bin/sh\nREAL={}\n{script}\n", real.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The real program with these arguments, an empty home, and the tools of this house first.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nxs-backup"));
        command.arg("-c").arg(self.config()).args(args);
        command.env("TZ", "UTC").env("HOME", self.path("home")).env("DB_PASSWORD", self.password);
        command.env("PG_PASSWORD", postgres::PASSWORD);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.finish(self.command(args))
    }

    pub(crate) fn finish(&self, mut command: Command) -> Said {
        let before = self.log().len();
        let output = command.output().unwrap();
        Said {
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
            log: self.log()[before..].to_owned(),
        }
    }

    /// The program in this process at a moment of one's choice, with the tools of the host. Passwords are to be had from
    /// files: this process has an environment of its own.
    pub(crate) fn run_at(&self, at: DateTime, args: &[&str]) -> Said {
        let config = self.config();
        let all = [&["nxs-backup", "-c", config.to_str().unwrap()], args].concat();
        let before = self.log().len();
        // A child that another test just forked holds all locks until it is another program.
        loop {
            let (out, err) = (Stream::default(), Stream::default());
            let env = Env {
                clock: Box::new(FakeClock::new(at.to_zoned(TimeZone::UTC).unwrap())),
                console: Console::new(Box::new(out.clone()), Box::new(err.clone()), false),
                lower_priority: false,
                workers: 2,
                v2_lock: || Ok(None),
                ..Env::system(Cancel::new()).unwrap()
            };
            let code = app::run(&all, &env);
            let err = String::from_utf8(err.0.lock().unwrap().clone()).unwrap();
            if !err.contains("Script already is running!") {
                let out = out.0.lock().unwrap().clone();
                return Said { code: Some(code.into()), out, err, log: self.log()[before..].to_owned() };
            }
            std::thread::yield_now();
        }
    }

    /// `start`, which has to end well.
    pub(crate) fn start(&self) -> Said {
        let said = self.run(&["start", "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("nxs.log")).unwrap_or_default()
    }

    /// What still runs with the home of this house: id, command line and environment.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let home = format!("HOME={}", self.path("home").display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let dir = entry.unwrap().path();
            let Some(id) = dir.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            let text = |name: &str| {
                let bytes = fs::read(dir.join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let (command, environment) = (text("cmdline"), text("environ"));
            if environment.contains(&home) {
                found.push((id, format!("{command} {environment}")));
            }
        }
        found
    }

    /// What goes on running after the program ended. A process that was killed beside it takes a moment to go, as it is
    /// a child of another one.
    pub(crate) fn left_running(&self) -> Vec<(u32, String)> {
        if comes_true(Duration::from_secs(2), || self.processes().is_empty()) {
            return Vec::new();
        }
        self.processes()
    }

    /// Every file of a storage that is no page and no list of the program, by its place, its time stamp left out.
    pub(crate) fn files(&self, storage: usize) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.storages[storage], &self.storages[storage], &mut files);
        files.sort();
        files
    }

    /// The archives of a storage by part; each part has at most one.
    pub(crate) fn archives(&self, storage: usize) -> BTreeMap<String, PathBuf> {
        let root = &self.storages[storage];
        let keys = self.files(storage).into_iter().filter(|key| !key.contains(".nxs"));
        keys.map(|key| (key.split("/daily/").next().unwrap().to_owned(), root.join(&key))).collect()
    }

    /// The plain bytes of the archive of a part, as `gzip` gives them.
    pub(crate) fn dump(&self, part: &str) -> Vec<u8> {
        let archives = self.archives(0);
        let path = archives.get(part).unwrap_or_else(|| panic!("no {part} in {archives:?}"));
        let output = Command::new("gzip").arg("-dc").stdin(fs::File::open(path).unwrap()).output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// The text of the newest archive of a part, as `gzip` gives it.
    pub(crate) fn newest(&self, part: &str) -> String {
        let archives =
            self.files(0).into_iter().filter(|f| f.starts_with(&format!("{part}/")) && f.ends_with(".gz"));
        let paths = archives.map(|archive| self.storages[0].join(archive));
        let newest = paths.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap();
        let output = Command::new("gzip").arg("-dc").stdin(fs::File::open(newest).unwrap()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same as text.
    pub(crate) fn text(&self, part: &str) -> String {
        String::from_utf8_lossy(&self.dump(part)).into_owned()
    }
}

/// It may hold passwords.
fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            collect(root, &path, files);
        } else if name != "RESTORE.md" && !name.starts_with(".nxs-") {
            files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// One entry of `sources` over the network.
pub(crate) fn source(server: &MariaDb, target: &str, more: &str) -> String {
    format!(
        "{{connect: {{db_host: 127.0.0.1, db_port: {}, db_user: {}, db_password: 'ENV:DB_PASSWORD'}}, \
         target: {target}, gzip: yes, is_slave: no, extra_keys: ''{more}}}",
        server.port(),
        mariadb::USER
    )
}
