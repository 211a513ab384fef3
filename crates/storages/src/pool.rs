//! Connections that wait to be used again: taken out for one conversation, put back after it, made anew when the
//! server has ended them meanwhile.
//!
//! Repeating what a conversation was about is `tree.rs`'s; this only tells a connection that died of old age, whose
//! command never arrived, from one that died in use.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nxs_base::Result;

/// Connections kept.
const KEPT: usize = 4;

/// How long a connection is believed to live without being asked.
const FRESH: Duration = Duration::from_secs(5);

/// Makes connections, and tells whether one still lives.
pub(crate) trait Connect: Send + Sync {
    type Connection: Send;

    fn connect(&self) -> Result<Self::Connection>;

    /// Asks the server; false if it does not answer.
    fn is_alive(&self, connection: &mut Self::Connection) -> bool;
}

pub(crate) struct Pool<C: Connect> {
    connect: C,
    idle: Mutex<Vec<(C::Connection, Instant)>>,
}

impl<C: Connect> Pool<C> {
    pub(crate) fn new(connect: C) -> Self {
        Self { connect, idle: Mutex::new(Vec::new()) }
    }

    /// A living connection: the one used last, else a new one.
    pub(crate) fn take(&self) -> Result<C::Connection> {
        loop {
            let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut connection, since)) = waiting else { return self.connect.connect() };
            if since.elapsed() < FRESH || self.connect.is_alive(&mut connection) {
                return Ok(connection);
            }
        }
    }

    /// Keeps a connection that is in order for the next one who asks.
    pub(crate) fn put_back(&self, connection: C::Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push((connection, Instant::now()));
        }
    }

    /// Holds one conversation. The connection is kept if `is_intact` says so afterwards.
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&mut C::Connection) -> Result<T>,
        is_intact: impl FnOnce(&C::Connection) -> bool,
    ) -> Result<T> {
        let mut connection = self.take()?;
        let outcome = act(&mut connection);
        if is_intact(&connection) {
            self.put_back(connection);
        }
        outcome
    }
}
