//! One server: reached through the driver, asked what it is and what it holds. Every wait ends when the run is cancelled,
//! and after a time when the server says nothing any more.

use std::pin::pin;
use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use mongodb::error::ErrorKind as Native;
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls as DriverTls, TlsOptions};
use mongodb::{Client, Cursor};
use nxs_base::ports::source::Cancel;
use nxs_base::spec::{Connect, TlsMode};
use nxs_base::{Error, ErrorKind, Result};
use tokio::runtime::Runtime;

use crate::registry::Surroundings;

const DEFAULT_PORT: u16 = 27017;
/// How long a server may take to be found.
const FINDING: Duration = Duration::from_secs(15);
/// How long it may be silent in the middle of an answer.
pub(super) const SILENCE: Duration = Duration::from_secs(300);
/// How often a wait looks whether the run was cancelled.
const TICK: Duration = Duration::from_millis(100);

/// How a server is reached.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) connect: Connect,
    pub(super) around: Surroundings,
}

impl Server {
    /// Where it is, for messages; no secret.
    pub(super) fn place(&self) -> String {
        let hosts: Vec<String> = self.hosts().iter().map(ToString::to_string).collect();
        format!("mongodb://{}", hosts.join(","))
    }

    fn hosts(&self) -> Vec<ServerAddress> {
        let port = self.connect.port.unwrap_or(DEFAULT_PORT);
        let host = self.connect.host.as_deref().filter(|host| !host.is_empty()).unwrap_or("localhost");
        let parts = host.split(',').map(str::trim).filter(|part| !part.is_empty());
        let address = |part: &str| match part.rsplit_once(':') {
            Some((host, own)) if !host.contains(':') && own.parse::<u16>().is_ok() => {
                ServerAddress::Tcp { host: host.to_owned(), port: own.parse().ok() }
            }
            _ => ServerAddress::Tcp { host: part.to_owned(), port: Some(port) },
        };
        parts.map(address).collect()
    }

    /// Connects and asks what it is.
    pub(super) fn open(&self, cancel: &Cancel) -> Result<Session> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("mongodb")
            .enable_all()
            .build()
            .map_err(|e| Error::io("cannot start the threads of the driver", e))?;
        let options = self.options()?;
        let place = self.place();
        let client = {
            let _in_runtime = runtime.enter();
            Client::with_options(options).map_err(|e| judged(&place, "set up the driver for", &e))?
        };
        let mut session = Session { runtime: Some(runtime), client, place, facts: Facts::default() };
        session.facts = session.ask_facts(cancel)?;
        Ok(session)
    }

    fn options(&self) -> Result<ClientOptions> {
        let connect = &self.connect;
        let mut options = ClientOptions::builder().hosts(self.hosts()).build();
        options.app_name = Some("nxs-backup".to_owned());
        options.connect_timeout = Some(FINDING);
        options.server_selection_timeout = Some(FINDING);
        options.repl_set_name.clone_from(&connect.replica_set);
        options.direct_connection = Some(connect.replica_set.is_none() && self.hosts().len() == 1);
        if let Some(user) = &connect.user {
            let password =
                connect.password.as_ref().map(|secret| (self.around.resolve)(secret)).transpose()?;
            let credential = Credential::builder()
                .username(user.clone())
                .password(password.map(|password| password.expose().to_owned()))
                .source(connect.auth_db.clone().unwrap_or_else(|| "admin".to_owned()));
            options.credential = Some(credential.build());
        }
        options.tls = Some(self.tls()?);
        Ok(options)
    }

    fn tls(&self) -> Result<DriverTls> {
        let tls = &self.connect.tls;
        let has_files = tls.ca.is_some() || tls.cert.is_some();
        match tls.mode {
            TlsMode::Off => return Ok(DriverTls::Disabled),
            TlsMode::Client if !has_files => return Ok(DriverTls::Disabled),
            TlsMode::Client | TlsMode::Required | TlsMode::Verified => {}
        }
        if tls.key.is_some() && tls.key != tls.cert {
            let text = "tls_key: the driver takes certificate and key from one file";
            return Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("Put both into one PEM file and name it with `tls_cert`."));
        }
        let mut options = TlsOptions::default();
        options.ca_file_path = tls.ca.as_ref().map(Into::into);
        options.cert_key_file_path = tls.cert.as_ref().map(Into::into);
        options.allow_invalid_certificates = Some(tls.mode == TlsMode::Required);
        Ok(DriverTls::Enabled(options))
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// `7.0.14`.
    pub(super) version: String,
}

/// A server that answers.
#[derive(Debug)]
pub(super) struct Session {
    /// Only [`Drop`] takes it.
    runtime: Option<Runtime>,
    pub(super) client: Client,
    pub(super) place: String,
    pub(super) facts: Facts,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A server that says nothing holds nobody up.
            runtime.shutdown_background();
        }
    }
}

impl Session {
    pub(super) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("only dropping takes the runtime away")
    }

    /// Waits for an answer. [`ErrorKind::Cancelled`], or [`ErrorKind::Timeout`] after [`SILENCE`].
    pub(super) fn wait<T>(&self, cancel: &Cancel, answer: impl Future<Output = T>) -> Result<T> {
        self.wait_for(cancel, SILENCE, answer)
    }

    fn wait_for<T>(&self, cancel: &Cancel, limit: Duration, answer: impl Future<Output = T>) -> Result<T> {
        let start = Instant::now();
        self.runtime().block_on(async {
            let mut answer = pin!(answer);
            loop {
                if let Ok(answer) = tokio::time::timeout(TICK, answer.as_mut()).await {
                    return Ok(answer);
                }
                cancel.check()?;
                if start.elapsed() > limit {
                    return Err(silent(&self.place));
                }
            }
        })
    }

    /// The answer to a command. `what` is what is being done, for messages: `list the databases of`.
    pub(super) fn command(
        &self,
        cancel: &Cancel,
        what: &str,
        db: &str,
        command: Document,
    ) -> Result<Document> {
        let answer = self.wait(cancel, self.client.database(db).run_command(command).into_future())?;
        answer.map_err(|error| judged(&self.place, what, &error))
    }

    /// The same for a command that may take for ever, such as building an index.
    pub(super) fn long_command(
        &self,
        cancel: &Cancel,
        what: &str,
        db: &str,
        command: Document,
    ) -> Result<()> {
        let database = self.client.database(db);
        let answer = self.wait_for(cancel, Duration::MAX, database.run_command(command).into_future())?;
        answer.map(drop).map_err(|error| judged(&self.place, what, &error))
    }

    /// All documents of a cursor that is not long.
    pub(super) fn list(
        &self,
        cancel: &Cancel,
        what: &str,
        db: &str,
        command: Document,
    ) -> Result<Vec<Document>> {
        let listed = self.wait(cancel, async {
            let mut cursor = cursor(&self.client, db, command).await?;
            let mut all = Vec::new();
            while cursor.advance().await? {
                all.push(Document::try_from(cursor.current()).map_err(mongodb::error::Error::custom)?);
            }
            Ok(all)
        })?;
        listed.map_err(|error| judged(&self.place, what, &error))
    }

    fn ask_facts(&self, cancel: &Cancel) -> Result<Facts> {
        // The first command also shows whether the credentials are good.
        let build = self.command(cancel, "log in to", "admin", doc! { "buildInfo": 1 })?;
        let version = build.get_str("version").unwrap_or_default().to_owned();
        Ok(Facts { version })
    }

    /// The moment that snapshots of now are of; none for a server of its own.
    pub(super) fn moment(&self, cancel: &Cancel) -> Result<Option<Timestamp>> {
        let hello = self.command(cancel, "talk to", "admin", doc! { "hello": 1 })?;
        if !hello.contains_key("setName") {
            return Ok(None);
        }
        let safe = hello.get_document("lastWrite").and_then(|last| last.get_document("majorityOpTime"));
        Ok(safe.ok().and_then(|time| time.get_timestamp("ts").ok()))
    }

    pub(super) fn databases(&self, cancel: &Cancel) -> Result<Vec<String>> {
        let command = doc! { "listDatabases": 1, "nameOnly": true };
        let answer = self.command(cancel, "list the databases of", "admin", command)?;
        let databases = answer.get_array("databases").cloned().unwrap_or_default();
        let name = |database: &Bson| Some(database.as_document()?.get_str("name").ok()?.to_owned());
        Ok(databases.iter().filter_map(name).collect())
    }
}

/// A cursor over raw documents, as the server sent them.
pub(super) async fn cursor(
    client: &Client,
    db: &str,
    command: Document,
) -> mongodb::error::Result<Cursor<RawDocumentBuf>> {
    Ok(client.database(db).run_cursor_command(command).await?.with_type())
}

pub(super) fn silent(place: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("{place} said nothing for {} seconds", SILENCE.as_secs()))
}

/// The number of what a server refuses a command with.
pub(super) fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        Native::Command(command) => Some(command.code),
        _ => None,
    }
}

/// The driver's error in our words: `cannot list the databases of mongodb://…: not authorized`.
pub(super) fn judged(place: &str, what: &str, error: &mongodb::error::Error) -> Error {
    let (kind, why) = match error.kind.as_ref() {
        Native::Authentication { message, .. } => (ErrorKind::Denied, message.clone()),
        Native::Command(command) => {
            let kind = match command.code {
                13 | 18 => ErrorKind::Denied,
                26 => ErrorKind::NotFound,
                48 => ErrorKind::Exists,
                _ => ErrorKind::Other,
            };
            (kind, format!("{} ({})", command.message, command.code_name))
        }
        Native::Io(_) | Native::ServerSelection { .. } | Native::ConnectionPoolCleared { .. } => {
            (ErrorKind::Unreachable, error.kind.to_string())
        }
        Native::IncompatibleServer { message, .. } => (ErrorKind::Unsupported, message.clone()),
        _ => (ErrorKind::Other, error.kind.to_string()),
    };
    let text = format!("cannot {what} {place}: {why}");
    match code(error) {
        // SnapshotTooOld, SnapshotUnavailable.
        Some(239 | 246) => Error::new(kind, text).with_hint(
            "The server keeps the past for `minSnapshotHistoryWindowInSeconds`; raise that, or set `snapshot: no`.",
        ),
        _ => Error::new(kind, text),
    }
}
