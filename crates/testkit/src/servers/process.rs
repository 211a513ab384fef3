//! A server as a child process that ends with the test.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wait_until;

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let output = File::create(log).expect("cannot make the log of a server");
        let errors = output.try_clone().expect("cannot make the log of a server");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let program = command.get_program().to_string_lossy().into_owned();
        let child = child
            .unwrap_or_else(|e| panic!("this test needs `{program}`: {e}; `cargo xtask setup` brings it"));
        Self { child, log: log.to_owned() }
    }

    /// Waits until something answers on the port; with `greets`, until it says something.
    pub fn wait_for_port(&mut self, port: u16, greets: bool) {
        wait_until("a server that answers", &self.log, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!(
                    "the server ended with {status}: {}",
                    std::fs::read_to_string(&self.log).unwrap_or_default()
                );
            }
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
            let set = stream.set_read_timeout(Some(Duration::from_secs(5)));
            !greets || set.is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
        });
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() {
            self.child.wait().expect("cannot wait for a server");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
