//! FTP and FTPS: passive, in clear text or over TLS (explicit or implicit), with servers old and new.
//!
//! What old servers lack is done without: `MLSD` (then `LIST -a`), `REST` (then what comes before is read and thrown
//! away), `EPSV`. No path is given to `LIST`, since servers take it for a pattern: the directory is entered first.
//! A refusal (`550`) says neither whether a thing is missing nor whether it is forbidden; its parents are asked.
//!
//! `control.rs` speaks, `listing.rs` reads listings, `error.rs` reads refusals.

mod control;
mod error;
mod listing;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nxs_base::ports::clock::Clock;
use nxs_base::ports::storage::Caps;
use nxs_base::secret::{Resolve, Secret};
use nxs_base::spec::StorageSpec;
use nxs_base::spec::storage::{FtpSettings, FtpTls};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::clock::SystemClock;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

use crate::net::Server;
use crate::pool::{Connect, Pool};
use crate::tls;
use crate::tree::{Entry, EntryKind, FileServer};
use control::{Control, Line, Login, Refusal};
use error::refused;

/// Bytes per write to the data connection.
const BLOCK: usize = 256 << 10;

/// Bytes of a listing of one directory.
const MAX_LISTING_BYTES: u64 = 256 << 20;

struct Account {
    server: Server,
    settings: FtpSettings,
    traffic: nxs_base::spec::Traffic,
    resolve: Resolve,
    password: Mutex<Option<Secret>>,
    tls: Option<TlsSettings>,
}

/// Sessions of TLS 1.2 can be taken up as often as FTP servers ask for it, for each data connection; those of 1.3
/// cannot. So the older is tried first, and the newer where a server has nothing else.
struct TlsSettings {
    older: Arc<ClientConfig>,
    newer: Arc<ClientConfig>,
    name: ServerName<'static>,
    needs_newer: AtomicBool,
}

impl TlsSettings {
    fn new(server: &Server, settings: &FtpSettings) -> Result<Self> {
        let with =
            |version| tls::client_config(server, settings.verify, settings.ca_file.as_deref(), &[version]);
        Ok(Self {
            older: with(&TLS12)?,
            newer: with(&TLS13)?,
            name: tls::server_name(server)?,
            needs_newer: AtomicBool::new(false),
        })
    }
}

impl Account {
    fn open(&self) -> Result<Control> {
        let config = self.tls.as_ref().map(|tls| {
            let config = if tls.needs_newer.load(Ordering::Relaxed) { &tls.newer } else { &tls.older };
            (Arc::clone(config), tls.name.clone())
        });
        Control::open(Login {
            server: &self.server,
            traffic: &self.traffic,
            user: if self.settings.user.is_empty() { "anonymous" } else { &self.settings.user },
            password: self.password()?,
            tls: self.settings.tls,
            config,
        })
    }

    fn password(&self) -> Result<Option<Secret>> {
        let mut known = self.password.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(reference)) = (&*known, &self.settings.password) {
            *known = Some((self.resolve)(reference)?);
        }
        Ok(known.clone())
    }
}

impl Connect for Account {
    type Connection = Control;

    fn connect(&self) -> Result<Control> {
        match (self.open(), &self.tls) {
            (Err(e), Some(tls)) if e.kind() == ErrorKind::Unsupported => {
                if tls.needs_newer.swap(true, Ordering::Relaxed) { Err(e) } else { self.open() }
            }
            (outcome, _) => outcome,
        }
    }

    fn is_alive(&self, connection: &mut Control) -> bool {
        connection.is_alive()
    }
}

/// An FTP server and a directory on it.
pub(crate) struct FtpServer {
    pool: Arc<Pool<Account>>,
    server: Server,
    settings: FtpSettings,
    /// Below the directory in which the login ends; no `/` at either end.
    dir: String,
}

impl FtpServer {
    pub(crate) fn new(spec: &StorageSpec, settings: &FtpSettings, resolve: Resolve) -> Result<Self> {
        let server = Server::new(&spec.name, &settings.host, settings.port);
        let tls = match settings.tls {
            FtpTls::No => None,
            FtpTls::Explicit | FtpTls::Implicit => Some(TlsSettings::new(&server, settings)?),
        };
        let account = Account {
            server: server.clone(),
            settings: settings.clone(),
            traffic: spec.traffic.clone(),
            resolve,
            password: Mutex::new(None),
            tls,
        };
        let parts = spec.backup_dir.split('/').filter(|part| !matches!(*part, "" | "."));
        Ok(Self {
            pool: Arc::new(Pool::new(account)),
            server,
            settings: settings.clone(),
            dir: parts.collect::<Vec<_>>().join("/"),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Control) -> Result<T>) -> Result<T> {
        self.pool.with(act, |control| !control.is_broken)
    }

    /// The absolute path of a path below the directory of the storage.
    fn path(&self, control: &Control, path: &str) -> String {
        let mut full = control.home.clone();
        for part in [self.dir.as_str(), path].into_iter().filter(|part| !part.is_empty()) {
            full.push('/');
            full.push_str(part);
        }
        if full.is_empty() { "/".into() } else { full }
    }
}

/// The directory above an absolute path; none above the highest.
fn above(path: &str) -> Option<&str> {
    let (above, name) = path.rsplit_once('/')?;
    match (above, name) {
        (_, "") => None,
        ("", _) => Some("/"),
        (above, _) => Some(above),
    }
}

/// Enters a directory; false if the server refuses.
fn enter(control: &mut Control, path: &str, what: &str) -> Result<bool> {
    let reply = control.command(&format!("CWD {path}"), what)?;
    match reply.code {
        200..300 => Ok(true),
        550 | 553 | 501 => Ok(false),
        _ => Err(refused(control.server(), what, &reply)),
    }
}

/// Whether a directory that cannot be entered is missing; if not, it is forbidden. Looks into the directories above.
fn is_missing(control: &mut Control, path: &str, what: &str) -> Result<bool> {
    let Some(parent) = above(path) else { return Ok(false) };
    if !enter(control, parent, what)? {
        return is_missing(control, parent, what);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let entries = list_here(control, what)?;
    Ok(!entries.iter().any(|entry| entry.name == name && entry.kind != EntryKind::File))
}

/// Enters a directory, or says why not.
fn must_enter(control: &mut Control, path: &str, what: &str) -> Result<()> {
    if enter(control, path, what)? {
        return Ok(());
    }
    let why = format!("`{path}` is not there");
    match is_missing(control, path, what)? {
        true => Err(control.server().error(ErrorKind::NotFound, what, &why)),
        false => {
            let why = format!("`{path}` may not be entered");
            Err(control.server().error(ErrorKind::Denied, what, &why))
        }
    }
}

/// What lies in the directory that was entered.
fn list_here(control: &mut Control, what: &str) -> Result<Vec<Entry>> {
    let command = if control.has_mlst { "MLSD" } else { "LIST -a" };
    let mut line = match control.transfer(command, 0, what)? {
        Ok(line) => line,
        Err(Refusal::Command(reply) | Refusal::Restart(reply)) => {
            return Err(refused(control.server(), what, &reply));
        }
    };
    let mut bytes = Vec::new();
    let read = read_all(&mut line, &mut bytes);
    drop(line);
    if let Err(error) = read {
        return Err(control.why_broken(what, error));
    }
    let end = control.end_of_transfer(what)?;
    let words = end.text.to_ascii_lowercase();
    // vsftpd and pure-ftpd call it a success to have left something out.
    if words.contains("truncated") || words.contains("fail") {
        let why = format!("its listing is not whole: `{end}`");
        return Err(control.server().error(ErrorKind::Denied, what, &why));
    }
    let today = SystemClock.now().date();
    let mut entries = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        // A name that is not UTF-8 is none of ours.
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let line = line.trim_end_matches('\r');
        if control.has_mlst {
            entries.extend(listing::machine(line));
        } else {
            let entry = listing::human(line, today).map_err(|()| {
                let why = format!("its listing has a line that cannot be read: `{}`", line.escape_debug());
                control.server().error(ErrorKind::Unsupported, what, &why)
            })?;
            entries.extend(entry);
        }
    }
    Ok(entries)
}

fn read_all(line: &mut Line, bytes: &mut Vec<u8>) -> io::Result<()> {
    match line.take(MAX_LISTING_BYTES).read_to_end(bytes) {
        // Servers that close without saying so in TLS; the reply tells whether all came.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other.map(drop),
    }
}

/// What lies at an absolute path.
fn entry_at(control: &mut Control, path: &str, what: &str) -> Result<Entry> {
    let Some(parent) = above(path) else {
        let name = String::new();
        let mtime = nxs_base::entry::FileTime::default();
        return Ok(Entry { name, kind: EntryKind::Dir, size_bytes: 0, mtime });
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    let missing = |control: &Control| {
        control.server().error(ErrorKind::NotFound, what, &format!("`{path}` is not there"))
    };
    if control.has_mlst {
        let reply = control.command(&format!("MLST {path}"), what)?;
        if reply.is_done() {
            let mut facts = reply.between.iter().filter_map(|line| listing::machine(line.trim_start()));
            if let Some(entry) = facts.next() {
                return Ok(Entry { name: name.to_owned(), ..entry });
            }
        } else if reply.code / 100 == 4 {
            return Err(refused(control.server(), what, &reply));
        } else {
            must_enter(control, parent, what)?;
            return Err(missing(control));
        }
    }
    must_enter(control, parent, what)?;
    let found = list_here(control, what)?.into_iter().find(|entry| entry.name == name);
    found.ok_or_else(|| missing(control))
}

/// The error that a refusal is, after a look at whether the thing is there at all.
fn refusal(control: &mut Control, path: &str, what: &str, reply: &control::Reply) -> Error {
    let error = refused(control.server(), what, reply);
    if error.kind() != ErrorKind::Denied {
        return error;
    }
    match entry_at(control, path, what) {
        Err(e) if e.kind() == ErrorKind::NotFound => e,
        Ok(Entry { kind: EntryKind::Dir, .. }) => {
            let why = format!("`{path}` is a directory");
            control.server().error(ErrorKind::NotFound, what, &why)
        }
        _ => error,
    }
}

impl FileServer for FtpServer {
    fn caps(&self) -> Caps {
        Caps { links: false, free_space: false }
    }

    fn root(&self) -> Result<String> {
        self.with(|control| Ok(self.path(control, "")))
    }

    fn write(&self, path: &str, data: &mut dyn Read) -> Result<()> {
        let what = &format!("write `{path}` to");
        self.with(|control| {
            let full = self.path(control, path);
            let line = match control.transfer(&format!("STOR {full}"), 0, what)? {
                Ok(line) => line,
                Err(Refusal::Command(reply) | Refusal::Restart(reply)) => {
                    let error = refused(control.server(), what, &reply);
                    if error.kind() == ErrorKind::Denied {
                        must_enter(control, above(&full).unwrap_or("/"), what)?;
                    }
                    return Err(error);
                }
            };
            upload(control, line, data, what)
        })
    }

    fn read(&self, path: &str, start: u64, end: Option<u64>) -> Result<Box<dyn Read + Send>> {
        let what = &format!("read `{path}` from");
        if end.is_some_and(|end| end <= start) {
            self.stat(path)?;
            return Ok(Box::new(io::empty()));
        }
        let mut control = self.pool.take()?;
        let full = self.path(&control, path);
        let retr = format!("RETR {full}");
        let mut skip = 0;
        let mut begun = control.transfer(&retr, start, what)?;
        if matches!(&begun, Err(Refusal::Restart(reply)) if matches!(reply.code, 500..600)) {
            skip = start;
            begun = control.transfer(&retr, 0, what)?;
        }
        match begun {
            Ok(line) => Ok(Box::new(Download {
                pool: Arc::clone(&self.pool),
                what: what.clone(),
                control: Some(control),
                line: Some(line),
                skip,
                left: end.map_or(u64::MAX, |end| end - start),
            })),
            Err(Refusal::Command(reply) | Refusal::Restart(reply)) => {
                let error = refusal(&mut control, &full, what, &reply);
                let size = match error.kind() {
                    ErrorKind::NotFound => None,
                    // Some servers refuse to begin at the end or behind it.
                    _ if start > 0 => entry_at(&mut control, &full, what).ok().map(|entry| entry.size_bytes),
                    _ => None,
                };
                if !control.is_broken {
                    self.pool.put_back(control);
                }
                if size.is_some_and(|size| size <= start) { Ok(Box::new(io::empty())) } else { Err(error) }
            }
        }
    }

    fn list_dir(&self, path: &str) -> Result<Vec<Entry>> {
        let what = &format!("list `{path}` on");
        self.with(|control| {
            let full = self.path(control, path);
            must_enter(control, &full, what)?;
            list_here(control, what)
        })
    }

    fn stat(&self, path: &str) -> Result<Entry> {
        let what = &format!("look at `{path}` on");
        self.with(|control| {
            let full = self.path(control, path);
            entry_at(control, &full, what)
        })
    }

    fn make_dir(&self, path: &str) -> Result<()> {
        let what = &format!("make the directory `{path}` on");
        self.with(|control| {
            let full = self.path(control, path);
            make_dir(control, &full, what, path.is_empty())
        })
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        let what = &format!("remove the directory `{path}` from");
        self.with(|control| {
            let full = self.path(control, path);
            let reply = control.command(&format!("RMD {full}"), what)?;
            if reply.is_done() { Ok(()) } else { Err(refused(control.server(), what, &reply)) }
        })
    }

    fn remove(&self, path: &str) -> Result<()> {
        let what = &format!("remove `{path}` from");
        self.with(|control| {
            let full = self.path(control, path);
            let reply = control.command(&format!("DELE {full}"), what)?;
            if reply.is_done() { Ok(()) } else { Err(refusal(control, &full, what, &reply)) }
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.replace(from, to)
    }

    fn replace(&self, from: &str, to: &str) -> Result<()> {
        let what = &format!("move `{from}` to `{to}` on");
        self.with(|control| {
            let (from, to) = (self.path(control, from), self.path(control, to));
            let reply = control.command(&format!("RNFR {from}"), what)?;
            if reply.code != 350 {
                return Err(refusal(control, &from, what, &reply));
            }
            let reply = control.command(&format!("RNTO {to}"), what)?;
            if reply.is_done() { Ok(()) } else { Err(refused(control.server(), what, &reply)) }
        })
    }

    fn symlink(&self, path: &str, _: &str) -> Result<()> {
        let what = format!("make the link `{path}` on");
        Err(self.server.error(ErrorKind::Unsupported, &what, "FTP has no links"))
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn fetch_command(&self, path: &str) -> Option<String> {
        let scheme = if self.settings.tls == FtpTls::Implicit { "ftps" } else { "ftp" };
        let host = if self.server.host.contains(':') {
            format!("[{}]", self.server.host)
        } else {
            self.server.host.clone()
        };
        let below = [self.dir.as_str(), path].into_iter().filter(|part| !part.is_empty());
        let below = below.collect::<Vec<_>>().join("/");
        let url = format!("{scheme}://{host}:{}/{}", self.server.port, percent(&below));
        let tls = if self.settings.tls == FtpTls::Explicit { " --ssl-reqd" } else { "" };
        let unverified =
            if self.settings.verify || self.settings.tls == FtpTls::No { "" } else { " --insecure" };
        let ca = self.settings.ca_file.as_ref().map(|ca| format!(" --cacert {}", nxs_base::shell::quote(ca)));
        Some(format!(
            "curl --fail{tls}{unverified}{} --user {} --create-dirs --output {} {}",
            ca.unwrap_or_default(),
            nxs_base::shell::quote(&self.settings.user),
            nxs_base::shell::quote(path),
            nxs_base::shell::quote(&url),
        ))
    }
}

/// A path as it stands in a URL.
fn percent(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn make_dir(control: &mut Control, path: &str, what: &str, with_parents: bool) -> Result<()> {
    let reply = control.command(&format!("MKD {path}"), what)?;
    if reply.is_done() {
        return Ok(());
    }
    let error = refused(control.server(), what, &reply);
    if enter(control, path, what)? {
        let why = format!("`{path}` is there");
        return Err(control.server().error(ErrorKind::Exists, what, &why));
    }
    let parent = above(path).unwrap_or("/");
    match must_enter(control, parent, what) {
        Err(e) if e.kind() == ErrorKind::NotFound && with_parents => {
            make_dir(control, parent, what, true)?;
            make_dir(control, path, what, false)
        }
        Err(e) => Err(e),
        Ok(()) => Err(error),
    }
}

fn upload(control: &mut Control, mut line: Line, data: &mut dyn Read, what: &str) -> Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        let n = match data.read(&mut block) {
            Ok(n) => n,
            Err(e) => {
                // The server will take what came for all there is; it lies under a partial name.
                let is_closed = line.close_upload().is_ok();
                control.is_broken |= !is_closed || control.end_of_transfer(what).is_err();
                return Err(Error::from_io(format!("cannot {what} {}", control.server()), e));
            }
        };
        if n == 0 {
            break;
        }
        if let Err(error) = line.write_all(&block[..n]) {
            drop(line);
            return Err(control.why_broken(what, error));
        }
    }
    if let Err(error) = line.close_upload() {
        return Err(control.why_broken(what, error));
    }
    control.end_of_transfer(what).map(drop)
}

/// The data of one file on its way here.
struct Download {
    pool: Arc<Pool<Account>>,
    what: String,
    control: Option<Control>,
    line: Option<Line>,
    /// Bytes to throw away first.
    skip: u64,
    left: u64,
}

impl Download {
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(line) = &mut self.line else { return Ok(0) };
        let n = match line.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
            other => other?,
        };
        if n == 0 {
            self.line = None;
            if let Some(mut control) = self.control.take() {
                control.end_of_transfer(&self.what).map_err(Error::into_io)?;
                self.pool.put_back(control);
            }
        }
        Ok(n)
    }

    fn named(&mut self, error: io::Error) -> io::Error {
        match &mut self.control {
            Some(control) => {
                control.is_broken = true;
                control.server().io(&self.what, error).into_io()
            }
            None => error,
        }
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.skip > 0 {
            let mut waste = vec![0; BLOCK.min(usize::try_from(self.skip).unwrap_or(BLOCK))];
            match self.fill(&mut waste).map_err(|e| self.named(e))? {
                0 => return Ok(0),
                n => self.skip -= n as u64,
            }
        }
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = self.fill(&mut buf[..most]).map_err(|e| self.named(e))?;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let was_open = self.line.take().is_some();
        if let Some(mut control) = self.control.take() {
            if was_open && !control.is_broken {
                control.resynchronise();
            }
            if !control.is_broken {
                self.pool.put_back(control);
            }
        }
    }
}
