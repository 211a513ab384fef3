//! TCP connections to servers: every address of a name is tried, nothing waits longer than it may, and every error
//! names the host.
//!
//! TLS settings for those that speak it stand in `tls.rs`; what is said over a connection is the adapter's.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use nxs_base::spec::Traffic;
use nxs_base::{Error, ErrorKind, Result};

/// A server as messages call it: name of the storage, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Name of the storage in the configuration.
    pub(crate) storage: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn new(storage: &str, host: &str, port: u16) -> Self {
        Self { storage: storage.into(), host: host.trim().trim_matches(['[', ']']).into(), port }
    }

    /// An error of this server: `cannot WHAT storage `ftp` (host:21)`; `what` ends with its preposition.
    pub(crate) fn error(&self, kind: ErrorKind, what: &str, why: &str) -> Error {
        Error::new(kind, format!("cannot {what} {self}: {why}"))
    }

    /// As [`Self::error`], for an error of the operating system while something was sent or received.
    pub(crate) fn io(&self, what: &str, error: io::Error) -> Error {
        let kind = network_kind(&error);
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => Error::new(kind, format!("cannot {what} {self}")).with_source(error),
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "storage `{}` ({}:{})", self.storage, self.host, self.port)
    }
}

/// What an error of a socket means: whatever is not silence is an end of the connection.
fn network_kind(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as K;
    match error.kind() {
        K::TimedOut | K::WouldBlock => ErrorKind::Timeout,
        K::InvalidData => ErrorKind::Other,
        _ => ErrorKind::Unreachable,
    }
}

/// Connects to a server, trying its addresses one after the other. [`ErrorKind::Invalid`] without a host: an empty one
/// is only a warning in the configuration.
pub(crate) fn connect(server: &Server, traffic: &Traffic) -> Result<TcpStream> {
    if server.host.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("storage `{}` has no `host`", server.storage)));
    }
    let addresses: Vec<SocketAddr> = (server.host.as_str(), server.port)
        .to_socket_addrs()
        .map_err(|e| {
            Error::new(ErrorKind::Unreachable, format!("cannot find the host of {server}")).with_source(e)
        })?
        .collect();
    let mut last = None;
    for address in addresses {
        match connect_to(address, traffic) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => server.io("connect to", error),
        None => server.error(ErrorKind::Unreachable, "connect to", "the host has no address"),
    })
}

/// Connects to one address, with time-outs and keep-alive set.
pub(crate) fn connect_to(address: SocketAddr, traffic: &Traffic) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, traffic.connect_timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(traffic.idle_timeout))?;
    stream.set_write_timeout(Some(traffic.idle_timeout))?;
    // Firewalls forget connections on which nothing passes, such as a control connection during a long transfer.
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?;
    rustix::net::sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE)?;
    Ok(stream)
}

const KEEP_ALIVE: Duration = Duration::from_secs(30);
