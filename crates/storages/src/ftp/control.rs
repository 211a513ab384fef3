//! The control connection of FTP (RFC 959, 2228, 2389, 2428, 4217): greeting, TLS, login, commands and replies, and
//! data connections made for them (passive, `EPSV` first).
//!
//! The address of a `PASV` reply is never believed: data goes to the host that commands go to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nxs_base::secret::Secret;
use nxs_base::spec::Traffic;
use nxs_base::spec::storage::FtpTls;
use nxs_base::{Error, ErrorKind, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::error::refused;
use crate::net::{self, Server};

const MAX_LINE_BYTES: u64 = 16 << 10;
const MAX_REPLY_LINES: usize = 1000;

/// How long the other end of an upload is waited for to close its side.
const LINGER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// All lines, without codes and control characters, joined with blanks.
    pub(super) text: String,
    /// The lines between the first and the last one, as they came.
    pub(super) between: Vec<String>,
}

impl Reply {
    pub(super) fn is_done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    fn is_begun(&self) -> bool {
        (100..200).contains(&self.code)
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.text.replace('`', "'"))
    }
}

/// A stream with or without TLS.
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn secure(self, config: &Arc<ClientConfig>, name: &ServerName<'static>) -> io::Result<Self> {
        let Self::Plain(mut socket) = self else { return Ok(self) };
        let mut connection =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// Says that nothing more comes, and waits until the other side has it: a socket that is closed with bytes
    /// unread (tickets of TLS) would be reset, and the end of an upload lost.
    pub(super) fn close_upload(mut self) -> io::Result<()> {
        self.flush()?;
        if let Self::Tls(stream) = &mut self {
            stream.conn.send_close_notify();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut stream.sock)?;
            }
        }
        let socket = self.socket();
        socket.shutdown(Shutdown::Write)?;
        socket.set_read_timeout(Some(LINGER))?;
        // Through TLS, which keeps the tickets: the next data connection takes up the session with one of them.
        let mut rest = [0; 4096];
        while matches!(self.read(&mut rest), Ok(n) if n > 0) {}
        Ok(())
    }
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Who logs in and how.
pub(super) struct Login<'a> {
    pub(super) server: &'a Server,
    pub(super) traffic: &'a Traffic,
    pub(super) user: &'a str,
    pub(super) password: Option<Secret>,
    pub(super) tls: FtpTls,
    pub(super) config: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

pub(super) struct Control {
    line: BufReader<Line>,
    server: Server,
    traffic: Traffic,
    peer: IpAddr,
    config: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Directory in which the login ended, without a trailing `/`.
    pub(super) home: String,
    /// `MLSD` and `MLST` are known.
    pub(super) has_mlst: bool,
    /// Nothing more can be said: the connection is gone, or what was said last is unknown.
    pub(super) is_broken: bool,
    has_epsv: bool,
}

impl Control {
    /// Connects, secures, logs in, and finds out what the server can.
    pub(super) fn open(login: Login<'_>) -> Result<Self> {
        let Login { server, traffic, user, password, tls, config } = login;
        let socket = net::connect(server, traffic)?;
        let peer = socket.peer_addr().map_err(|e| server.io("connect to", e))?.ip();
        let mut line = Line::Plain(socket);
        if let (FtpTls::Implicit, Some((config, name))) = (tls, &config) {
            line = line.secure(config, name).map_err(|e| untrusted(server, e))?;
        }
        let mut control = Self {
            line: BufReader::new(line),
            server: server.clone(),
            traffic: traffic.clone(),
            peer,
            config,
            home: String::new(),
            has_mlst: false,
            is_broken: false,
            has_epsv: true,
        };
        let mut greeting = control.reply("connect to")?;
        if greeting.code == 120 {
            greeting = control.reply("connect to")?;
        }
        control.must(&greeting, "connect to")?;
        if tls == FtpTls::Explicit {
            let reply = control.command("AUTH TLS", "secure the connection to")?;
            control.must(&reply, "secure the connection to")?;
            control = control.secured()?;
        }
        control.log_in(user, password)?;
        if control.config.is_some() {
            for command in ["PBSZ 0", "PROT P"] {
                let reply = control.command(command, "secure the data connections of")?;
                control.must(&reply, "secure the data connections of")?;
            }
        }
        control.settle()?;
        Ok(control)
    }

    fn secured(mut self) -> Result<Self> {
        // What came in clear text after the answer may be from anybody.
        if !self.line.buffer().is_empty() {
            let why = "it spoke in clear text after `AUTH TLS`";
            return Err(self.server.error(ErrorKind::Denied, "secure the connection to", why));
        }
        if let Some((config, name)) = &self.config {
            let line = self.line.into_inner().secure(config, name);
            self.line = BufReader::new(line.map_err(|e| untrusted(&self.server, e))?);
        }
        Ok(self)
    }

    fn log_in(&mut self, user: &str, password: Option<Secret>) -> Result<()> {
        const WHAT: &str = "log in to";
        let mut reply = self.command(&format!("USER {user}"), WHAT)?;
        if reply.code == 331 {
            let password = password.unwrap_or(Secret::new(""));
            reply = self.command(&format!("PASS {}", password.expose()), WHAT)?;
        }
        if reply.is_done() {
            return Ok(());
        }
        let error = refused(&self.server, &format!("log in as `{user}` to"), &reply);
        Err(match error.kind() {
            ErrorKind::Denied => error.with_hint("Check `user` and `password` of this storage."),
            _ => error,
        })
    }

    fn settle(&mut self) -> Result<()> {
        let reply = self.command("TYPE I", "speak to")?;
        self.must(&reply, "speak to")?;
        let features = self.command("FEAT", "speak to")?;
        if features.is_done() {
            let words = features.text.to_ascii_uppercase();
            let has = |word: &str| words.split([' ', '*', ';']).any(|w| w == word);
            self.has_mlst = has("MLST");
            if has("UTF8") {
                // Servers that speak UTF-8 anyway may refuse.
                self.command("OPTS UTF8 ON", "speak to")?;
            }
        }
        let reply = self.command("PWD", "speak to")?;
        self.must(&reply, "speak to")?;
        let quoted = reply.text.split_once('"').map(|(_, rest)| rest.replace("\"\"", "\0"));
        let home = quoted.as_deref().and_then(|rest| rest.split_once('"')).map(|(home, _)| home);
        self.home = home.unwrap_or("/").replace('\0', "\"").trim_end_matches('/').to_owned();
        Ok(())
    }

    fn must(&self, reply: &Reply, what: &str) -> Result<()> {
        if reply.is_done() { Ok(()) } else { Err(refused(&self.server, what, reply)) }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Says a command and returns the answer, whatever it is. An error means that the connection is gone.
    pub(super) fn command(&mut self, command: &str, what: &str) -> Result<Reply> {
        if command.contains(['\r', '\n', '\0']) {
            let message = format!("cannot {what} {}: a line break in a name or password", self.server);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let sent = self.line.get_mut().write_all(format!("{command}\r\n").as_bytes());
        if let Err(e) = sent.and_then(|()| self.line.get_mut().flush()) {
            self.is_broken = true;
            // The server may have said why before it hung up.
            return self.reply(what).map_err(|_| self.server.io(what, e));
        }
        self.reply(what)
    }

    /// Reads one reply.
    pub(super) fn reply(&mut self, what: &str) -> Result<Reply> {
        let reply = read_reply(&mut self.line).map_err(|e| {
            self.is_broken = true;
            match e.kind() {
                io::ErrorKind::UnexpectedEof => {
                    self.server.error(ErrorKind::Unreachable, what, "it ended the connection")
                }
                _ => self.server.io(what, e),
            }
        })?;
        // Without a data connection (a session of TLS that could not be taken up) a new login may help.
        self.is_broken |= matches!(reply.code, 421 | 425);
        Ok(reply)
    }

    /// Waits for a reply no longer than so; for when the connection may be dead.
    fn reply_within(&mut self, time: Duration, what: &str) -> Result<Reply> {
        let set = |control: &Self, time| control.line.get_ref().socket().set_read_timeout(Some(time));
        set(self, time.min(self.traffic.idle_timeout)).map_err(|e| self.server.io(what, e))?;
        let reply = self.reply(what);
        set(self, self.traffic.idle_timeout).map_err(|e| self.server.io(what, e))?;
        reply
    }

    pub(super) fn is_alive(&mut self) -> bool {
        self.command("NOOP", "speak to").is_ok_and(|reply| reply.is_done()) && !self.is_broken
    }

    /// Opens a data connection for `command`, from the byte `start` on. `Ok(Err(reply))` if the server refuses.
    pub(super) fn transfer(
        &mut self,
        command: &str,
        start: u64,
        what: &str,
    ) -> Result<std::result::Result<Line, Refusal>> {
        let socket = self.open_data(what)?;
        if start > 0 {
            let reply = self.command(&format!("REST {start}"), what)?;
            if reply.code != 350 {
                return Ok(Err(Refusal::Restart(reply)));
            }
        }
        let reply = self.command(command, what)?;
        if !reply.is_begun() {
            return Ok(Err(Refusal::Command(reply)));
        }
        let mut line = Line::Plain(socket);
        if let Some((config, name)) = &self.config {
            line = line.secure(config, name).map_err(|e| {
                self.is_broken = true;
                self.server.io(what, e)
            })?;
        }
        Ok(Ok(line))
    }

    fn open_data(&mut self, what: &str) -> Result<TcpStream> {
        let mut port = None;
        if self.has_epsv {
            let reply = self.command("EPSV", what)?;
            if reply.code < 500 && reply.code != 229 {
                self.is_broken = true;
                return Err(refused(&self.server, what, &reply));
            }
            port = if reply.code == 229 { epsv_port(&reply.text) } else { None };
            self.has_epsv = port.is_some();
        }
        if port.is_none() {
            let reply = self.command("PASV", what)?;
            if reply.code != 227 {
                return Err(refused(&self.server, what, &reply));
            }
            port = pasv_port(&reply.text);
        }
        let Some(port) = port else {
            self.is_broken = true;
            return Err(self.server.error(ErrorKind::Other, what, "it names no port for the data"));
        };
        net::connect_to(SocketAddr::new(self.peer, port), &self.traffic).map_err(|e| {
            self.is_broken = true;
            let what = format!("{what} (data connection to port {port})");
            self.server.io(&what, e).with_hint("Passive ports must be open in the firewall of the server.")
        })
    }

    /// What the server says at the end of a transfer.
    pub(super) fn end_of_transfer(&mut self, what: &str) -> Result<Reply> {
        let reply = self.reply(what)?;
        if reply.is_done() { Ok(reply) } else { Err(refused(&self.server, what, &reply)) }
    }

    /// Why the data connection of an upload broke, as far as the server tells.
    pub(super) fn why_broken(&mut self, what: &str, error: io::Error) -> Error {
        let told = self.reply_within(Duration::from_secs(5), what);
        self.is_broken = true;
        match told {
            Ok(reply) if !reply.is_done() => refused(&self.server, what, &reply),
            _ => self.server.io(what, error),
        }
    }

    /// Gets in step again after a data connection was closed before its end: passes over what is said of that, up to
    /// the answer to a question that nothing else is the answer to.
    pub(super) fn resynchronise(&mut self) {
        const MOST: usize = 6;
        let sent = self.line.get_mut().write_all(b"PWD\r\n").and_then(|()| self.line.get_mut().flush());
        let mut replies = (0..MOST).map(|_| self.reply_within(Duration::from_secs(5), "speak to"));
        let is_in_step = replies.find_map(|reply| match reply {
            Ok(reply) if reply.code == 257 => Some(true),
            Ok(_) => None,
            Err(_) => Some(false),
        });
        self.is_broken |= sent.is_err() || is_in_step != Some(true);
    }
}

/// What a server does not do.
pub(super) enum Refusal {
    /// It cannot begin in the middle.
    Restart(Reply),
    Command(Reply),
}

/// Why TLS was not begun; [`ErrorKind::Unsupported`] if the server has no such version of it.
fn untrusted(server: &Server, error: io::Error) -> Error {
    use rustls::AlertDescription::{HandshakeFailure, ProtocolVersion};
    let message = format!("cannot secure the connection to {server}");
    match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        None => return server.io("secure the connection to", error),
        Some(rustls::Error::AlertReceived(ProtocolVersion | HandshakeFailure)) => {
            return Error::new(ErrorKind::Unsupported, message).with_source(error);
        }
        Some(_) => {}
    }
    Error::new(ErrorKind::Denied, message)
        .with_source(error)
        .with_hint("Set `ca_file` to the certificate that signed the server's, or `verify: no`.")
}

fn read_reply(line: &mut impl BufRead) -> io::Result<Reply> {
    let first = read_line(line)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is no reply of FTP");
    let code = first.get(..3).and_then(|c| c.parse::<u16>().ok()).ok_or_else(bad)?;
    if !(100..600).contains(&code) {
        return Err(bad());
    }
    let mut text = first.get(4..).unwrap_or("").trim().to_owned();
    let mut between = Vec::new();
    if first.as_bytes().get(3) == Some(&b'-') {
        let last = format!("{code} ");
        for n in 0.. {
            if n == MAX_REPLY_LINES {
                return Err(bad());
            }
            let next = read_line(line)?;
            let is_last = next.starts_with(&last) || next.trim_end() == last.trim_end();
            let rest = next.strip_prefix(&last).or_else(|| next.strip_prefix(&format!("{code}-")));
            text.push(' ');
            text.push_str(rest.unwrap_or(&next).trim());
            if is_last {
                break;
            }
            between.push(next);
        }
    }
    Ok(Reply { code, text: text.trim().to_owned(), between })
}

fn read_line(line: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    line.take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.chars().filter(|c| !c.is_control() || *c == '\t').collect())
}

/// From `Entering Extended Passive Mode (|||6446|)`.
fn epsv_port(text: &str) -> Option<u16> {
    let (_, rest) = text.rsplit_once('(')?;
    let mark = rest.chars().next()?;
    rest.split(mark).nth(3)?.parse().ok().filter(|port| *port > 0)
}

/// From `Entering Passive Mode (192,168,1,2,7,138)`, with or without brackets.
fn pasv_port(text: &str) -> Option<u16> {
    let numbers: Vec<&str> = text
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .find(|part| part.matches(',').count() == 5)?
        .split(',')
        .collect();
    let byte = |n: usize| numbers.get(n)?.parse::<u8>().ok();
    Some(u16::from(byte(4)?) << 8 | u16::from(byte(5)?)).filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_one_and_of_many_lines_are_read() {
        let of = |text: &str| read_reply(&mut text.as_bytes()).unwrap();
        assert_eq!(of("220 hello\r\n"), Reply { code: 220, text: "hello".into(), between: Vec::new() });
        let many = of("211-Features:\r\n MDTM\r\n 211 is no end\r\n MLST type*;\r\n211 End\r\n");
        assert_eq!(many.text, "Features: MDTM 211 is no end MLST type*; End");
        assert_eq!(of("226-Options: -a\r\n226 2 matches\r\n").text, "Options: -a 2 matches");
        assert_eq!(of("200\r\n").code, 200);
        for bad in ["", "hello\r\n", "99 x\r\n", "226-x\r\n", "7777 x\r\n"] {
            assert!(read_reply(&mut bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ports_are_found_and_addresses_are_not_believed() {
        assert_eq!(epsv_port("Entering Extended Passive Mode (|||6446|)."), Some(6446));
        assert_eq!(epsv_port("ok (!!!1!)"), Some(1));
        assert_eq!(epsv_port("(|||0|)"), None);
        assert_eq!(pasv_port("Entering Passive Mode (10,0,0,1,7,138)."), Some(1930));
        assert_eq!(pasv_port("=10,0,0,1,0,80"), Some(80));
        assert_eq!(pasv_port("(10,0,0,1,999,1)"), None);
        assert_eq!(pasv_port("nothing"), None);
    }
}
