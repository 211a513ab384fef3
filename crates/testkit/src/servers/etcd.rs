//! etcd servers for tests, asked through the stock client.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Process, free_port, run, wait_until};

/// A server with one member.
pub struct Etcd {
    dir: TempDir,
    port: u16,
    /// Kept for its end.
    _process: Process,
}

impl Etcd {
    /// A fresh one.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        Self::start_from(dir, &data)
    }

    /// One whose data directory was restored.
    pub fn start_on(data: &Path) -> Self {
        Self::start_from(tempfile::tempdir().expect("a temporary directory"), data)
    }

    fn start_from(dir: TempDir, data: &Path) -> Self {
        let (port, peer) = (free_port(), free_port());
        let url = |port| format!("http://127.0.0.1:{port}");
        let mut command = Command::new("etcd");
        command.arg(format!("--data-dir={}", data.display())).arg("--unsafe-no-fsync");
        command.arg(format!("--listen-client-urls={}", url(port)));
        command.arg(format!("--advertise-client-urls={}", url(port)));
        command.arg(format!("--listen-peer-urls={}", url(peer)));
        command.arg(format!("--initial-advertise-peer-urls={}", url(peer)));
        command.arg(format!("--initial-cluster=default={}", url(peer)));
        let log: PathBuf = dir.path().join("log");
        let process = Process::start(&mut command, &log);
        let server = Self { dir, port, _process: process };
        wait_until("an etcd server", &server.dir.path().join("log"), || {
            server.client().args(["endpoint", "health"]).output().is_ok_and(|output| output.status.success())
        });
        server
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The stock client.
    pub fn client(&self) -> Command {
        let mut client = Command::new("etcdctl");
        client.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.url()));
        client
    }

    pub fn put(&self, key: &str, value: &str) {
        run(self.client().args(["put", "--", key, value]));
    }

    /// Every key and value.
    pub fn content(&self) -> String {
        let output = run(self.client().args(["get", "", "--prefix"]));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
