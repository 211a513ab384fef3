//! Redis servers for tests, asked through the stock client.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Process, free_port, run, wait_until};

/// Password of the default user.
pub const PASSWORD: &str = "p a'ss\"w#0rd";

/// A running server.
pub struct Redis {
    dir: TempDir,
    port: u16,
    process: Process,
}

impl Redis {
    /// An empty one.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"))
    }

    /// One that starts from this RDB.
    pub fn start_from(rdb: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("dump.rdb"), rdb).expect("a file");
        Self::start_in(dir)
    }

    fn start_in(dir: TempDir) -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", PASSWORD]);
        command.arg("--dir").arg(dir.path()).args(["--save", "", "--enable-debug-command", "yes"]);
        command.args(["--repl-diskless-sync-delay", "0", "--rdb-key-save-delay", "0"]);
        let process = Process::start(&mut command, &dir.path().join("log"));
        let server = Self { dir, port, process };
        wait_until("a Redis server", &server.log(), || {
            server.client().arg("PING").output().is_ok_and(|output| output.stdout == b"PONG\n")
        });
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn log(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("log")
    }

    /// The stock client.
    pub fn client(&self) -> Command {
        let mut client = Command::new("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).env("REDISCLI_AUTH", PASSWORD);
        client
    }

    /// Runs one command and answers with what came back.
    pub fn ask(&self, words: &[&str]) -> String {
        String::from_utf8_lossy(&run(self.client().args(words)).stdout).trim().to_owned()
    }

    /// What stands for all its data.
    pub fn digest(&self) -> String {
        self.ask(&["DEBUG", "DIGEST"])
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }
}
