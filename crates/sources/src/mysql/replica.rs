//! Holds replication still while a source is dumped, and lets it go on in any case.
//!
//! Only the applying thread is stopped: nothing changes any more, and what the primary sends is still fetched. A marker
//! in the state directory, written before and removed after, lets the next start of the program notice a replica that a
//! dead run left stopped.

use std::path::PathBuf;

use nxs_base::naming;
use nxs_base::ports::source::{NoSnapshot, Snapshot};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::fsx;

use super::program::Program;
use super::server::{Server, code};

/// Below the state directory.
const DIR: &str = "stopped-replicas";
/// A server that does not know the statement.
const SYNTAX: u32 = 1064;

/// Says, beyond the life of this process, that replication of a server was stopped.
#[derive(Debug, Clone)]
pub(crate) struct Marker(PathBuf);

impl Marker {
    pub(crate) fn new(server: &Server) -> Self {
        let name = naming::plain_target(&server.place()).stem;
        Self(server.around.state_dir.join(DIR).join(name))
    }

    fn set(&self, server: &Server) -> Result<()> {
        fsx::create_dir_all(fsx::parent_of(&self.0), 0o700)?;
        let text = format!("replication of {} was stopped for a dump\n", server.place());
        fsx::atomic_write(&self.0, text.as_bytes(), 0o600)
    }

    fn clear(&self) -> Result<()> {
        match fsx::remove_file(&self.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Starts what a run that died had stopped.
    pub(crate) fn recover(&self, server: &Server) -> Result<Option<String>> {
        if !self.0.exists() {
            return Ok(None);
        }
        start(server, &Program::client()?, self)?;
        Ok(Some(format!("replication of {}, which a run that died had stopped, goes on", server.place())))
    }
}

/// Replication that is stopped as long as this lives.
#[derive(Debug)]
struct Stopped {
    server: Server,
    client: Program,
    marker: Marker,
    is_over: bool,
}

impl Snapshot for Stopped {
    fn close(mut self: Box<Self>) -> Result<()> {
        self.is_over = true;
        start(&self.server, &self.client, &self.marker)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if !self.is_over {
            // The marker stays if it fails: the next start tries again, and says so.
            drop(start(&self.server, &self.client, &self.marker));
        }
    }
}

/// Stops replication, if it runs. A replica that somebody else had stopped stays as it is.
pub(crate) fn stop(server: &Server, client: &Program, marker: Marker) -> Result<Box<dyn Snapshot>> {
    let status = either(server, client, "SHOW REPLICA STATUS", "SHOW SLAVE STATUS", true)?;
    let Some(names) = status.first() else {
        let text = format!("{} is no replica, and `is_slave` is set", server.place());
        return Err(Error::new(ErrorKind::Invalid, text).with_hint("Set `is_slave: no`."));
    };
    let column = names.iter().position(|name| name == "Slave_SQL_Running" || name == "Replica_SQL_Running");
    let runs = |row: &Vec<String>| column.and_then(|at| row.get(at)).is_some_and(|value| value == "Yes");
    if !status[1..].iter().any(runs) {
        return Ok(Box::new(NoSnapshot));
    }
    marker.set(server)?;
    // From here on it is started again, whatever becomes of the statement.
    let stopped = Stopped { server: server.clone(), client: client.clone(), marker, is_over: false };
    either(server, client, "STOP REPLICA SQL_THREAD", "STOP SLAVE SQL_THREAD", false)?;
    Ok(Box::new(stopped))
}

fn start(server: &Server, client: &Program, marker: &Marker) -> Result<()> {
    let started = either(server, client, "START REPLICA SQL_THREAD", "START SLAVE SQL_THREAD", false);
    started.map_err(|error| {
        let text = format!("cannot start replication of {} again", server.place());
        Error::new(error.kind(), text)
            .with_source(error)
            .with_hint("Start it by hand (`START REPLICA`); the next start of the program tries it too.")
    })?;
    marker.clear()
}

/// In today's words, or in those of older servers.
fn either(server: &Server, client: &Program, new: &str, old: &str, named: bool) -> Result<Vec<Vec<String>>> {
    let say = |words: &str| if named { server.ask_named(client, words) } else { server.ask(client, words) };
    match say(new) {
        Err(error) if code(&error.chain()) == Some(SYNTAX) => say(old),
        other => other,
    }
}
