//! An SSH connection with its SFTP channel: made, logged in, and spoken over as if it blocked.
//!
//! The only place with futures. One small runtime per storage drives the connections, so that the other side's
//! questions (are you there, new keys) are answered while nobody here asks anything.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nxs_base::secret::Secret;
use nxs_base::spec::Traffic;
use nxs_base::{Error, ErrorKind, Result};
use russh::client::{self, AuthResult, DisconnectReason, KeyboardInteractiveAuthResponse, Msg};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, load_secret_key};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodKind, cipher};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::hosts::KnownHost;
use super::wire::{Conversation, Stream};
use crate::net::{self, Server};

/// How often the other side is asked for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Bytes that the server may send before they are read.
const WINDOW_BYTES: u32 = 8 << 20;

/// Pieces of that which wait for their reader.
const WAITING: usize = 1024;

/// Bytes kept for a reader that is busy sending: more than anybody ever asks for at once.
const MAX_HELD_BYTES: usize = 64 << 20;

/// How long a server may take for a login: some wait before they refuse, or ask the name of the client first.
const LOGIN: Duration = Duration::from_secs(60);

/// Who logs in and how.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    pub(super) key_file: Option<String>,
    pub(super) passphrase: Option<Secret>,
    pub(super) agent: Option<String>,
}

/// The last words of a connection, once it has ended.
type Farewell = Arc<Mutex<Option<String>>>;

/// The bytes of an SFTP channel.
pub(super) struct Line {
    runtime: Arc<Runtime>,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    idle: Duration,
    farewell: Farewell,
    /// The connection lives as long as this.
    _session: client::Handle<Judge>,
}

impl Line {
    fn hear(&mut self, message: Option<ChannelMsg>) -> io::Result<()> {
        match message {
            Some(ChannelMsg::Data { data }) => {
                self.held_bytes += data.len();
                self.held.push_back(data);
                if self.held_bytes > MAX_HELD_BYTES {
                    let why = "it sends what nobody asked for";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                Ok(())
            }
            None | Some(ChannelMsg::Eof | ChannelMsg::Close) => Err(self.ended()),
            Some(_) => Ok(()),
        }
    }

    fn ended(&self) -> io::Error {
        let words = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
        let words = words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ended the connection{words}"))
    }
}

impl Stream for Line {
    /// Listens meanwhile: a server that is waited for may wait for its own words to be heard.
    fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let runtime = Arc::clone(&self.runtime);
        let mut heard = Vec::new();
        let sent = runtime.block_on(async {
            let sending = self.write.data_bytes(bytes);
            let mut sending = std::pin::pin!(sending);
            loop {
                tokio::select! {
                    biased;
                    sent = &mut sending => return Ok(sent.is_ok()),
                    message = timeout(self.idle, self.read.wait()) => match message {
                        Ok(Some(message)) => heard.push(message),
                        Ok(None) => return Ok(false),
                        Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                    },
                }
            }
        })?;
        for message in heard {
            self.hear(Some(message))?;
        }
        if sent { Ok(()) } else { Err(self.ended()) }
    }

    fn receive(&mut self, mut buf: &mut [u8], patience: Option<Duration>) -> io::Result<()> {
        while !buf.is_empty() {
            if let Some(first) = self.held.front_mut() {
                let n = buf.len().min(first.len());
                let (now, later) = buf.split_at_mut(n);
                now.copy_from_slice(&first.split_to(n));
                buf = later;
                self.held_bytes -= n;
                if first.is_empty() {
                    self.held.pop_front();
                }
                continue;
            }
            let patience = patience.unwrap_or(self.idle);
            let runtime = Arc::clone(&self.runtime);
            let message = runtime.block_on(async { timeout(patience, self.read.wait()).await });
            self.hear(message.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?)?;
        }
        Ok(())
    }
}

/// Judges the key of the host, and keeps the last words of the connection.
pub(super) struct Judge {
    known: KnownHost,
    farewell: Farewell,
}

/// What may go wrong before the login.
#[derive(Debug)]
pub(super) enum Refused {
    Ssh(russh::Error),
    Host(Error),
}

impl From<russh::Error> for Refused {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Judge {
    type Error = Refused;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Refused> {
        match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                self.known.check(key).map(|()| true).map_err(Refused::Host)
            }
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Refused>) -> Result<(), Refused> {
        let words = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => Some(info.message.clone()),
            DisconnectReason::Error(Refused::Ssh(
                russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout,
            )) => Some("it gave no sign of life".to_owned()),
            DisconnectReason::Error(Refused::Ssh(
                russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError,
            )) => None,
            DisconnectReason::Error(Refused::Ssh(error)) => Some(error.to_string()),
            DisconnectReason::Error(Refused::Host(error)) => Some(error.to_string()),
        };
        let words =
            words.map(|w| w.replace('`', "'").chars().filter(|c| !c.is_control()).take(200).collect());
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = words;
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// Connects, judges the host, logs in, and opens the SFTP channel.
pub(super) fn open(
    runtime: &Arc<Runtime>,
    server: &Server,
    traffic: &Traffic,
    known: KnownHost,
    login: &Login,
) -> Result<Conversation<Line>> {
    let socket = net::connect(server, traffic)?;
    socket.set_nonblocking(true).map_err(|e| server.io("connect to", e))?;
    let within = traffic.idle_timeout.min(LOGIN).max(traffic.connect_timeout);
    let farewell = Farewell::default();
    let judge = Judge { known, farewell: Arc::clone(&farewell) };
    let (session, channel) = runtime.block_on(async {
        let socket = tokio::net::TcpStream::from_std(socket).map_err(|e| server.io("connect to", e))?;
        let config = Arc::new(config(traffic, &judge.known));
        let late = |_| server.error(ErrorKind::Timeout, "log in to", "it says nothing");
        let connecting = client::connect_stream(config, socket, judge);
        let session = timeout(within, connecting).await.map_err(late)?.map_err(|e| match e {
            Refused::Host(error) => error,
            Refused::Ssh(error) => ssh(server, "speak SSH to", error),
        })?;
        let mut entrance = Entrance {
            session,
            server,
            login,
            what: format!("log in as `{}` to", login.user),
            farewell: &farewell,
        };
        timeout(within.saturating_mul(2), entrance.pass()).await.map_err(late)??;
        let session = entrance.session;
        let channel = timeout(within, sftp(&session)).await.map_err(late)?;
        Ok::<_, Error>((session, channel.map_err(|e| no_sftp(server, e))?))
    })?;
    let (read, write) = channel.split();
    let line = Line {
        runtime: Arc::clone(runtime),
        read,
        write,
        held: VecDeque::new(),
        held_bytes: 0,
        idle: traffic.idle_timeout,
        farewell,
        _session: session,
    };
    Conversation::open(line).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            no_sftp(server, russh::Error::RequestDenied).with_source(e)
        }
        _ => server.io("speak SFTP to", e),
    })
}

fn config(traffic: &Traffic, known: &KnownHost) -> client::Config {
    let signs = traffic.idle_timeout.as_secs() / KEEP_ALIVE.as_secs();
    let mut config = client::Config {
        keepalive_interval: Some(KEEP_ALIVE),
        keepalive_max: usize::try_from(signs).unwrap_or(8).max(1),
        // For a connection that stands still in the middle of a packet, where no sign of life is asked for.
        inactivity_timeout: Some(traffic.idle_timeout.max(KEEP_ALIVE) * 2),
        window_size: WINDOW_BYTES,
        channel_buffer_size: WAITING,
        ..client::Config::default()
    };
    config.preferred.key = known.sort(&config.preferred.key).into();
    // The fastest first where the processor helps, which all of these days do.
    let fast = [cipher::AES_128_GCM, cipher::AES_256_GCM];
    let rest = config.preferred.cipher.iter().filter(|c| !fast.contains(c)).copied();
    config.preferred.cipher = fast.into_iter().chain(rest).collect::<Vec<_>>().into();
    config
}

async fn sftp(session: &client::Handle<Judge>) -> Result<Channel<Msg>, russh::Error> {
    let mut channel = session.channel_open_session().await?;
    channel.request_subsystem(true, "sftp").await?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(channel),
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            Some(ChannelMsg::Failure) => return Err(russh::Error::RequestDenied),
            _ => return Err(russh::Error::Disconnect),
        }
    }
}

fn no_sftp(server: &Server, error: russh::Error) -> Error {
    match error {
        russh::Error::RequestDenied | russh::Error::ChannelOpenFailure(_) => server
            .error(ErrorKind::Unsupported, "speak SFTP to", "it does not offer it to this user")
            .with_hint("Only SFTP is spoken, whatever the name `scp`: the server needs `Subsystem sftp`."),
        error => ssh(server, "speak SFTP to", error),
    }
}

/// A connection that waits to be let in.
struct Entrance<'a> {
    session: client::Handle<Judge>,
    server: &'a Server,
    login: &'a Login,
    /// For errors.
    what: String,
    farewell: &'a Farewell,
}

impl Entrance<'_> {
    /// Tries what was configured: the agent, the key, the password, the password as an answer to a question. A server
    /// may ask for several.
    async fn pass(&mut self) -> Result<()> {
        let login = self.login;
        if login.user.is_empty() {
            let message = format!("storage `{}` has no `user`", self.server.storage);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let mut tried = Vec::new();
        if let Some(socket) = &login.agent {
            tried.push("the keys of the agent");
            if self.with_agent(socket).await? {
                return Ok(());
            }
        }
        if let Some(path) = &login.key_file {
            tried.push("the key");
            if self.with_key(path).await? {
                return Ok(());
            }
        }
        if let Some(password) = &login.password {
            tried.push("the password");
            if self.with_password(password).await? {
                return Ok(());
            }
        }
        let why = match tried.as_slice() {
            [] => "there is neither a password nor a key".to_owned(),
            tried => format!("it does not accept {}", tried.join(" nor ")),
        };
        Err(self.denied(&why))
    }

    fn denied(&self, why: &str) -> Error {
        const HINT: &str = "Check `user`, `password`, `path_to_key` and what the server allows.";
        self.server.error(ErrorKind::Denied, &self.what, why).with_hint(HINT)
    }

    /// Whether the answer lets in. An error if the server has ended the connection.
    fn judge(&self, answer: Result<AuthResult, russh::Error>) -> Result<bool> {
        let answer = answer.map_err(|e| self.ended(e))?;
        if answer.success() {
            return Ok(true);
        }
        if self.session.is_closed() { Err(self.ended(russh::Error::Disconnect)) } else { Ok(false) }
    }

    fn ended(&self, error: russh::Error) -> Error {
        let words = self.farewell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match words {
            // What it says when somebody tried too often.
            Some(words) if words.contains("authentication") => self.denied(&format!("it said `{words}`")),
            Some(words) => {
                let why = format!("it ended the connection: {words}");
                self.server.error(ErrorKind::Unreachable, &self.what, &why)
            }
            None => ssh(self.server, &self.what, error),
        }
    }

    /// Ways to sign with a key, the best first: servers that do not say which they know are asked.
    async fn hashes(&self, key: &PublicKey) -> Result<Vec<Option<HashAlg>>> {
        if !matches!(key.algorithm(), russh::keys::Algorithm::Rsa { .. }) {
            return Ok(vec![None]);
        }
        let best = self.session.best_supported_rsa_hash().await.map_err(|e| self.ended(e))?;
        Ok(best.map_or_else(|| vec![Some(HashAlg::Sha512), None], |hash| vec![hash]))
    }

    async fn with_key(&mut self, path: &str) -> Result<bool> {
        let passphrase = self.login.passphrase.as_ref().map(Secret::expose);
        let key = load_secret_key(path, passphrase).map_err(|e| {
            let message = format!("cannot use the key `{path}` for {}", self.server);
            let hint = match e {
                russh::keys::Error::KeyIsEncrypted => "It needs a passphrase: set `passphrase`.",
                russh::keys::Error::IO(_) => "It must be a file that this user may read.",
                _ => "It must be a private key; a wrong `passphrase` shows like this, too.",
            };
            Error::new(ErrorKind::Invalid, message).with_source(e).with_hint(hint)
        })?;
        let key = Arc::new(key);
        for hash in self.hashes(key.public_key()).await? {
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&key), hash);
            let answer = self.session.authenticate_publickey(&self.login.user, key).await;
            if self.judge(answer)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn with_agent(&mut self, socket: &str) -> Result<bool> {
        let failed = |e: russh::keys::Error| {
            let message = format!("cannot ask the ssh-agent at `{socket}` for {}", self.server);
            Error::new(ErrorKind::Invalid, message).with_source(e)
        };
        let mut agent = AgentClient::connect_uds(socket).await.map_err(failed)?;
        for identity in agent.request_identities().await.map_err(failed)? {
            let AgentIdentity::PublicKey { key, .. } = identity else { continue };
            for hash in self.hashes(&key).await? {
                let user = &self.login.user;
                let answer =
                    self.session.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await;
                // A key that the agent will not sign with is no reason to give up.
                if let Ok(answer) = answer
                    && self.judge(Ok(answer))?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn with_password(&mut self, password: &Secret) -> Result<bool> {
        let answer = self.session.authenticate_password(&self.login.user, password.expose()).await;
        let asks = matches!(&answer, Ok(AuthResult::Failure { remaining_methods, .. })
            if remaining_methods.contains(&MethodKind::KeyboardInteractive));
        if self.judge(answer)? {
            return Ok(true);
        }
        if !asks {
            return Ok(false);
        }
        let user = &self.login.user;
        let mut answer = self.session.authenticate_keyboard_interactive_start(user, None::<String>).await;
        // A password is asked for once, and told once; other questions are none that we could answer.
        let mut is_told = false;
        loop {
            let prompts = match answer.map_err(|e| self.ended(e))? {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
            };
            if prompts.len() > 1 || is_told && !prompts.is_empty() {
                return Ok(false);
            }
            is_told |= !prompts.is_empty();
            let answers = prompts.iter().map(|_| password.expose().to_owned()).collect();
            answer = self.session.authenticate_keyboard_interactive_respond(answers).await;
        }
    }
}

fn ssh(server: &Server, what: &str, error: russh::Error) -> Error {
    use russh::Error as E;
    match error {
        E::IO(error) => server.io(what, error),
        E::ConnectionTimeout | E::KeepaliveTimeout | E::InactivityTimeout | E::Elapsed(_) => {
            server.error(ErrorKind::Timeout, what, "it says nothing")
        }
        E::Disconnect | E::HUP | E::SendError | E::RecvError => {
            server.error(ErrorKind::Unreachable, what, "it ended the connection")
        }
        E::Version => {
            let why = "what answers does not speak SSH, or takes no more connections now";
            server.error(ErrorKind::Unreachable, what, why)
        }
        other => Error::new(ErrorKind::Other, format!("cannot {what} {server}")).with_source(other),
    }
}
