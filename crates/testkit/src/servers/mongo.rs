//! A stand-in for MongoDB, since no package has a real server: `fixtures/mongolite.py`, asked by `fixtures/mongosay.py`,
//! and the reader of archives that was written from the page alone, `fixtures/mongoarchive.py`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::{Process, free_port};

/// The user that tests back up with, and its password: one that has to be quoted everywhere.
pub const USER: &str = "backup";
pub const PASSWORD: &str = "p\"a'ss \\w#0rd@:/";

/// The interpreter that has the packages of the host.
const PYTHON: &str = "/usr/bin/python3";

/// A running stand-in.
pub struct Mongo {
    dir: TempDir,
    port: u16,
    process: Process,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

impl Mongo {
    /// One that asks for [`USER`] and [`PASSWORD`].
    pub fn start() -> Self {
        Self::start_with(&["--user", USER, "--password", PASSWORD])
    }

    /// One with these arguments alone.
    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", PYTHON]).arg(fixture("mongolite.py"));
        command.arg(port.to_string()).args(args);
        let mut process = Process::start(&mut command, &dir.path().join("log"));
        process.wait_for_port(port, false);
        Self { dir, port, process }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a Python program that has `cmd`, `put`, `docs`, `fingerprint` and `bson`; panics unless that goes well.
    pub fn say(&self, program: &str) -> String {
        let mut python = Command::new(PYTHON);
        python.arg(fixture("mongosay.py")).arg(self.port.to_string());
        feed(python, program.as_bytes())
    }

    /// All of a database that can be compared.
    pub fn fingerprint(&self, db: &str) -> String {
        self.say(&format!("fingerprint({db:?})"))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// What the server says of itself.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// What the independent reader finds in an archive; panics if that breaks a rule of the page.
pub fn read_archive(archive: &[u8]) -> String {
    let mut python = Command::new(PYTHON);
    python.arg(fixture("mongoarchive.py"));
    feed(python, archive)
}

fn feed(mut command: Command, input: &[u8]) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python3 starts (`cargo xtask setup`)");
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    let Output { status, stdout, stderr } = std::thread::scope(|scope| {
        scope.spawn(move || {
            // What it does not read any more is told by its status.
            drop(stdin.write_all(input));
        });
        child.wait_with_output().expect("a child can be waited for")
    });
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("answers in UTF-8")
}
