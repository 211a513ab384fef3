//! Real servers of Debian packages (`cargo xtask setup`), started by a test on directories, sockets and ports of its own.
//!
//! A missing server is a failure, never a skip. Every server dies with the value that stands for it, and with the thread
//! that started it.

pub mod etcd;
mod ftp;
pub mod mariadb;
pub mod mongo;
pub mod postgres;
mod process;
mod proxy;
pub mod redis;
mod ssh;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub use ftp::{FtpKind, FtpOptions, FtpServer, Tls};
pub use process::Process;
pub use proxy::{Proxy, Trouble};
pub use ssh::{SshAgent, SshOptions, SshServer};

/// User and group as which servers of files touch what they serve.
pub const NOBODY: u32 = 65534;

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port of the loopback that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Waits until it is so; panics with `what` and the end of `log` if that takes too long.
pub fn wait_until(what: &str, log: &Path, is_so: impl FnMut() -> bool) {
    if !comes_true(PATIENCE, is_so) {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        panic!("waited in vain for {what}; its log ends with:\n{}", &log[log.len().saturating_sub(2000)..]);
    }
}

/// Waits until it is so, for no longer than `patience`.
pub fn comes_true(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Runs a program to its end; panics with what it said unless that was well.
pub fn run(command: &mut Command) -> Output {
    let output =
        command.output().unwrap_or_else(|e| panic!("cannot start {command:?} (`cargo xtask setup`?): {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
    output
}

/// Programs that are unpacked and not installed lie below `target/fixtures`, or `NXS_FIXTURES`.
fn fixtures() -> PathBuf {
    std::env::var_os("NXS_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures"),
        PathBuf::from,
    )
}
