//! SFTP (`scp`): over SSH with password, key or agent; hosts are known by their keys.
//!
//! Many requests are on their way at once, on writing and reading. Publishing is the server's own rename, which on
//! OpenSSH never replaces; what replaces is its `posix-rename`. `session.rs` connects, `wire.rs` speaks,
//! `hosts.rs` knows hosts, `error.rs` reads refusals, `transfer.rs` moves bytes.

mod error;
mod hosts;
mod session;
#[cfg(test)]
mod tests;
mod transfer;
mod wire;

use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nxs_base::entry::FileTime;
use nxs_base::ports::storage::Caps;
use nxs_base::secret::{Resolve, Secret, SecretRef};
use nxs_base::spec::storage::{ScpSettings, StorageSpec, Traffic};
use nxs_base::{Error, ErrorKind, Result, shell};
use tokio::runtime::{Builder, Runtime};

use crate::net::Server;
use crate::pool::{Connect, Pool};
use crate::tree::{Entry, EntryKind, FileServer};
use error::{Task, full_or};
use hosts::KnownHost;
use session::{Line, Login};
use wire::{Answer, Attributes, Conversation, Request};

/// How long a connection that was not used for a while may take to say that it lives.
const ALIVE: Duration = Duration::from_secs(10);

/// Questions of one kind that are asked at once.
const AT_ONCE: usize = 64;

/// A connection with what was found out on it.
struct Session {
    talk: Conversation<Line>,
    /// Absolute path of the directory of the storage, without a trailing `/`.
    root: String,
    /// Most bytes of one read.
    read_bytes: usize,
    /// Most bytes of one write.
    write_bytes: usize,
}

struct Account {
    server: Server,
    settings: ScpSettings,
    traffic: Traffic,
    resolve: Resolve,
    /// As configured: absolute, or below the home directory.
    dir: String,
    /// Password and passphrase, once they were asked for.
    secrets: Mutex<Option<[Option<Secret>; 2]>>,
    runtime: OnceLock<Arc<Runtime>>,
}

impl Account {
    fn runtime(&self) -> Result<&Arc<Runtime>> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let made = Builder::new_multi_thread().worker_threads(1).thread_name("ssh").enable_all().build();
        let made = made.map_err(|e| self.server.io("make a thread for", e))?;
        Ok(self.runtime.get_or_init(|| Arc::new(made)))
    }

    fn secrets(&self) -> Result<[Option<Secret>; 2]> {
        let mut known = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let of = |reference: &Option<SecretRef>| {
            let secret = reference.as_ref().map(self.resolve).transpose()?;
            // An empty one stands for none, as `generate` writes it.
            Ok::<_, Error>(secret.filter(|secret| !secret.expose().is_empty()))
        };
        let found = [of(&self.settings.password)?, of(&self.settings.passphrase)?];
        *known = Some(found.clone());
        Ok(found)
    }
}

impl Connect for Account {
    type Connection = Session;

    fn connect(&self) -> Result<Session> {
        let settings = &self.settings;
        let known = KnownHost::read(&self.server, settings.host_key, settings.known_hosts.as_deref())?;
        let [password, passphrase] = self.secrets()?;
        let login = Login {
            user: settings.user.clone(),
            password,
            key_file: settings.key_file.clone().filter(|path| !path.is_empty()),
            passphrase,
            agent: settings.agent.clone().filter(|path| !path.is_empty()),
        };
        let talk = session::open(self.runtime()?, &self.server, &self.traffic, known, &login)?;
        let mut session = Session {
            talk,
            root: self.dir.clone(),
            read_bytes: transfer::SMALL,
            write_bytes: transfer::SMALL,
        };
        let task = Task { server: &self.server, what: "speak to" };
        if !self.dir.starts_with('/') {
            let home = real_path(task, &mut session, None)?;
            session.root = format!("{}/{}", home.trim_end_matches('/'), self.dir);
        }
        session.root.truncate(session.root.trim_end_matches('/').len());
        limits(task, &mut session)?;
        Ok(session)
    }

    fn is_alive(&self, session: &mut Session) -> bool {
        real_path(Task { server: &self.server, what: "speak to" }, session, Some(ALIVE)).is_ok()
    }
}

/// Where the login ended.
fn real_path(task: Task<'_>, session: &mut Session, patience: Option<Duration>) -> Result<String> {
    let request = Request::new(wire::SSH_FXP_REALPATH).text(".");
    match session.talk.ask(request, patience).map_err(|e| task.io(e))? {
        Answer::Names(names) if names.len() == 1 => Ok(String::from_utf8_lossy(&names[0].0).into_owned()),
        other => Err(task.refused(&other)),
    }
}

/// Finds out how large requests may be.
fn limits(task: Task<'_>, session: &mut Session) -> Result<()> {
    if !session.talk.knows(wire::LIMITS) {
        return Ok(());
    }
    let Answer::Extended(bytes) = task.ask(session, Request::extended(wire::LIMITS))? else { return Ok(()) };
    let mut reader = wire::Reader(&bytes);
    reader.long().map_err(|e| task.io(e))?; // of a packet
    for most in [&mut session.read_bytes, &mut session.write_bytes] {
        // 0 stands for whatever.
        let told = reader.long().map_err(|e| task.io(e))?;
        if told > 0 {
            *most = usize::try_from(told).unwrap_or(transfer::LARGE).clamp(1024, transfer::LARGE);
        }
    }
    Ok(())
}

/// An SSH server and a directory on it.
pub(crate) struct ScpServer {
    pool: Arc<Pool<Account>>,
    server: Server,
    settings: ScpSettings,
    /// As configured: absolute, or below the home directory.
    dir: String,
}

impl ScpServer {
    pub(crate) fn new(spec: &StorageSpec, settings: &ScpSettings, resolve: Resolve) -> Self {
        let server = Server::new(&spec.name, &settings.host, settings.port);
        let parts = spec.backup_dir.split('/').filter(|part| !matches!(*part, "" | "."));
        let lead = if spec.backup_dir.starts_with('/') { "/" } else { "" };
        let dir = format!("{lead}{}", parts.collect::<Vec<_>>().join("/"));
        let account = Account {
            server: server.clone(),
            settings: settings.clone(),
            traffic: spec.traffic.clone(),
            resolve,
            dir: dir.clone(),
            secrets: Mutex::new(None),
            runtime: OnceLock::new(),
        };
        Self { pool: Arc::new(Pool::new(account)), server, settings: settings.clone(), dir }
    }

    /// Does one thing on a connection, at the absolute path of `at`.
    fn with<T>(
        &self,
        what: &str,
        at: &str,
        act: impl FnOnce(Task<'_>, &mut Session, &str) -> Result<T>,
    ) -> Result<T> {
        let task = Task { server: &self.server, what };
        let act = |session: &mut Session| {
            let full = path(session, at);
            act(task, session, &full)
        };
        self.pool.with(act, |session| !session.talk.is_broken)
    }
}

/// The absolute path of a path below the directory of the storage.
fn path(session: &Session, path: &str) -> String {
    match (session.root.as_str(), path) {
        ("", "") => "/".into(),
        (root, "") => root.into(),
        (root, path) => format!("{root}/{path}"),
    }
}

/// What is above an absolute path.
fn above(full: &str) -> &str {
    match full.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

const TYPE_BITS: u32 = 0o170_000;

/// What lies at an absolute path; follows no link.
fn entry_at(task: Task<'_>, session: &mut Session, full: &str) -> Result<Entry> {
    let answer = task.ask(session, Request::new(wire::SSH_FXP_LSTAT).text(full))?;
    let Answer::Attributes(attributes) = answer else { return Err(task.refused(&answer)) };
    let name = full.rsplit('/').next().unwrap_or(full).to_owned();
    let mut entry = entry(name, &attributes);
    if let EntryKind::Link(text) = &mut entry.kind {
        let answer = task.ask(session, Request::new(wire::SSH_FXP_READLINK).text(full))?;
        *text = link_text(&answer).ok_or_else(|| task.refused(&answer))?;
    }
    Ok(entry)
}

fn entry(name: String, attributes: &Attributes) -> Entry {
    let kind = match attributes.mode.map(|mode| mode & TYPE_BITS) {
        Some(0o040_000) => EntryKind::Dir,
        Some(0o120_000) => EntryKind::Link(String::new()),
        // Old servers tell no type.
        Some(0o100_000 | 0) | None => EntryKind::File,
        Some(_) => EntryKind::Other,
    };
    let mtime = FileTime { sec: i64::from(attributes.mtime_secs), nsec: 0 };
    Entry { name, kind, size_bytes: attributes.size_bytes, mtime }
}

fn link_text(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Names(names) => Some(String::from_utf8_lossy(&names.first()?.0).into_owned()),
        _ => None,
    }
}

fn list(task: Task<'_>, session: &mut Session, full: &str) -> Result<Vec<Entry>> {
    let answer = task.ask(session, Request::new(wire::SSH_FXP_OPENDIR).text(full))?;
    let Answer::Handle(handle) = answer else {
        let error = task.refused(&answer);
        // Some servers call a file in the place of the directory a mere failure.
        let is_file = error.kind() == ErrorKind::Other
            && entry_at(task, session, full).is_ok_and(|entry| entry.kind != EntryKind::Dir);
        return Err(if is_file { task.error(ErrorKind::NotFound, "it is no directory") } else { error });
    };
    let mut entries = Vec::new();
    let end = loop {
        match task.ask(session, Request::new(wire::SSH_FXP_READDIR).text(&handle))? {
            Answer::Names(names) => {
                for (name, attributes) in names {
                    // A name that is not UTF-8 is none of ours.
                    let Ok(name) = String::from_utf8(name) else { continue };
                    if !matches!(name.as_str(), "." | "..") {
                        entries.push(entry(name, &attributes));
                    }
                }
            }
            Answer::Status { code: wire::EOF, .. } => break Ok(()),
            other => break Err(task.refused(&other)),
        }
    };
    task.done(session, Request::new(wire::SSH_FXP_CLOSE).text(&handle))?;
    end?;
    read_links(task, session, full, &mut entries)?;
    Ok(entries)
}

/// Fills in the texts of links, many asked for at once.
fn read_links(task: Task<'_>, session: &mut Session, dir: &str, entries: &mut [Entry]) -> Result<()> {
    let links = entries.iter_mut().filter(|entry| matches!(entry.kind, EntryKind::Link(_)));
    for some in links.collect::<Vec<_>>().chunks_mut(AT_ONCE) {
        let mut asked = Vec::new();
        for entry in some.iter() {
            let request = Request::new(wire::SSH_FXP_READLINK).text(format!("{dir}/{}", entry.name));
            asked.push(session.talk.send(request).map_err(|e| task.io(e))?);
        }
        for (entry, id) in some.iter_mut().zip(asked) {
            let answer = session.talk.answer(id, None).map_err(|e| task.io(e))?;
            // One that went meanwhile leads nowhere.
            entry.kind = EntryKind::Link(link_text(&answer).unwrap_or_default());
        }
    }
    Ok(())
}

impl FileServer for ScpServer {
    fn caps(&self) -> Caps {
        Caps { links: true, free_space: true }
    }

    fn root(&self) -> Result<String> {
        if self.dir.starts_with('/') {
            return Ok(self.dir.clone());
        }
        self.with("speak to", "", |_, _, full| Ok(full.to_owned()))
    }

    fn write(&self, at: &str, data: &mut dyn Read) -> Result<()> {
        self.with(&format!("write `{at}` to"), at, |task, session, full| {
            transfer::write(task, session, full, data)
        })
    }

    fn read(&self, at: &str, start: u64, end: Option<u64>) -> Result<Box<dyn Read + Send>> {
        let what = format!("read `{at}` from");
        let mut session = self.pool.take()?;
        let full = path(&session, at);
        let task = Task { server: &self.server, what: &what };
        match transfer::open_to_read(task, &mut session, &full) {
            Ok(handle) => Ok(Box::new(transfer::Download::new(
                Arc::clone(&self.pool),
                self.server.clone(),
                what,
                (session, handle),
                (start, end),
            ))),
            Err(error) => {
                if !session.talk.is_broken {
                    self.pool.put_back(session);
                }
                Err(error)
            }
        }
    }

    fn list_dir(&self, at: &str) -> Result<Vec<Entry>> {
        self.with(&format!("list `{at}` on"), at, list)
    }

    fn stat(&self, at: &str) -> Result<Entry> {
        self.with(&format!("look at `{at}` on"), at, entry_at)
    }

    fn make_dir(&self, at: &str) -> Result<()> {
        self.with(&format!("make the directory `{at}` on"), at, |task, session, full| {
            make_dir(task, session, full, at.is_empty())
        })
    }

    fn remove_dir(&self, at: &str) -> Result<()> {
        self.with(&format!("remove the directory `{at}` from"), at, |task, session, full| {
            task.done(session, Request::new(wire::SSH_FXP_RMDIR).text(full))
        })
    }

    fn remove(&self, at: &str) -> Result<()> {
        self.with(&format!("remove `{at}` from"), at, |task, session, full| {
            task.done(session, Request::new(wire::SSH_FXP_REMOVE).text(full)).map_err(|error| {
                let is_dir = matches!(error.kind(), ErrorKind::Other | ErrorKind::Denied)
                    && entry_at(task, session, full).is_ok_and(|entry| entry.kind == EntryKind::Dir);
                if is_dir {
                    return task.error(ErrorKind::NotFound, "it is a directory");
                }
                full_or(task, session, full, error)
            })
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.with(&format!("move `{from}` to `{to}` on"), to, |task, session, full| {
            let request = Request::new(wire::SSH_FXP_RENAME).text(path(session, from)).text(full);
            task.done(session, request).map_err(|error| taken(task, session, full, error))
        })
    }

    fn replace(&self, from: &str, to: &str) -> Result<()> {
        self.with(&format!("move `{from}` to `{to}` on"), to, |task, session, full| {
            let from = path(session, from);
            if session.talk.knows(wire::POSIX_RENAME) {
                return task.done(session, Request::extended(wire::POSIX_RENAME).text(&from).text(full));
            }
            match task.done(session, Request::new(wire::SSH_FXP_REMOVE).text(full)) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
            task.done(session, Request::new(wire::SSH_FXP_RENAME).text(&from).text(full))
        })
    }

    fn symlink(&self, at: &str, text: &str) -> Result<()> {
        self.with(&format!("make the link `{at}` on"), at, |task, session, full| {
            // OpenSSH wants the text first, against the draft; the others have followed it.
            let request = Request::new(wire::SSH_FXP_SYMLINK).text(text).text(full);
            task.done(session, request).map_err(|error| taken(task, session, full, error))
        })
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.with("ask for the free room of", "", |task, session, full| {
            let mut at = full;
            loop {
                match error::room(task, session, at) {
                    // It is made when something is stored.
                    Err(e) if e.kind() == ErrorKind::NotFound && at.len() > 1 => at = above(at),
                    other => return Ok(other?.map(|room| room.free_bytes)),
                }
            }
        })
    }

    fn fetch_command(&self, at: &str) -> Option<String> {
        let host = if self.server.host.contains(':') {
            format!("[{}]", self.server.host)
        } else {
            self.server.host.clone()
        };
        let full = match self.dir.as_str() {
            "" => at.to_owned(),
            dir => format!("{}/{at}", dir.trim_end_matches('/')),
        };
        let remote = format!("{}@{host}:{}", self.settings.user, for_sftp(&full));
        let key = self.settings.key_file.as_ref().map(|key| format!(" -i {}", shell::quote(key)));
        let dir = at.rsplit_once('/').map(|(dir, _)| format!("mkdir -p {} && ", shell::quote(dir)));
        Some(format!(
            "{}sftp -P {}{} {} {}",
            dir.unwrap_or_default(),
            self.server.port,
            key.unwrap_or_default(),
            shell::quote(&remote),
            shell::quote(&for_sftp(at)),
        ))
    }
}

/// The stock client reads paths as its own commands: patterns, blanks, quotes.
fn for_sftp(path: &str) -> String {
    let mut quoted = String::with_capacity(path.len());
    for c in path.chars() {
        let is_plain = c.is_alphanumeric() || !c.is_ascii() || matches!(c, '/' | '.' | '_' | '-');
        if !is_plain {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// What a mere failure means where a name may be taken, or the disk full.
fn taken(task: Task<'_>, session: &mut Session, full: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Other if entry_at(task, session, full).is_ok() => {
            task.error(ErrorKind::Exists, "something is there already")
        }
        _ => full_or(task, session, full, error),
    }
}

fn make_dir(task: Task<'_>, session: &mut Session, full: &str, with_parents: bool) -> Result<()> {
    let request = || Request::new(wire::SSH_FXP_MKDIR).text(full).mode(0o700);
    let Err(error) = task.done(session, request()) else { return Ok(()) };
    match error.kind() {
        ErrorKind::NotFound if with_parents && full.len() > 1 => {
            match make_dir(task, session, above(full), true) {
                // Another one was faster.
                Err(e) if e.kind() == ErrorKind::Exists => {}
                other => other?,
            }
            task.done(session, request())
        }
        ErrorKind::NotFound => Err(error),
        // Where all is there, servers may yet say first that it may not be made.
        _ => {
            let is_there = entry_at(task, session, full)
                .is_ok_and(|entry| matches!(entry.kind, EntryKind::Dir | EntryKind::Link(_)));
            Err(match is_there {
                true => task.error(ErrorKind::Exists, "it is there"),
                false => full_or(task, session, full, error),
            })
        }
    }
}
