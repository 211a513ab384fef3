//! The way back: a dump into one database of a server, by `psql` or `pg_restore`; roles and tablespaces into the server.

use std::cell::{Cell, RefCell};
use std::io::Read;

use nxs_base::ports::source::{Cancel, Receiver};
use nxs_base::secret::SecretRef;
use nxs_base::spec::{Connect, PostgresSource as PostgresSpec};
use nxs_base::{Error, ErrorKind, Result};

use super::defaults::Defaults;
use super::globals::There;
use super::program::Program;
use super::properties::Properties;
use super::server::{Server, database_arg, quoted_name, quoted_text};
use super::{GLOBALS, custom};
use crate::dsn::Dsn;
use crate::registry::{Destination, Surroundings};
use crate::stream;

/// Variable with the password for `--into`; without it that of the job is taken.
const PASSWORD: &str = "NXS_RESTORE_PASSWORD";
/// What no dump goes into: every new database is made of them.
const TEMPLATES: [&str; 2] = ["template0", "template1"];
/// Bytes at the start of a dump in which it would name its own database.
const HEAD_BYTES: usize = 16 << 10;
/// Roles and tablespaces are read whole.
const MAX_GLOBALS_BYTES: u64 = 256 << 20;

/// Asks nobody anything yet.
pub(super) fn open(spec: &PostgresSpec, to: &Destination, around: Surroundings) -> Result<Box<dyn Receiver>> {
    let mut server = Server::new(spec.connect.clone(), around);
    let mut name = to.name.clone();
    if let Some(text) = &to.dsn {
        let (place, database) = place_of(text)?;
        server.instead(place, Some(SecretRef::Env(PASSWORD.to_owned())));
        name = name.or(database);
    }
    let client = Program::any("psql")?;
    if to.root == GLOBALS {
        if to.name.is_some() {
            let text = "roles and tablespaces go into a server, and not into a database";
            return Err(Error::new(ErrorKind::Invalid, text).with_hint("Name the server with --into."));
        }
        let may_alter = to.may_replace;
        return Ok(Box::new(Globals { server, client, may_alter, met: RefCell::default() }));
    }
    let name = name.unwrap_or_else(|| to.root.clone());
    if name.is_empty() || TEMPLATES.contains(&name.as_str()) {
        let text = format!("a dump cannot be put into `{}`", name.escape_debug());
        return Err(Error::new(ErrorKind::Invalid, text).with_hint("Name another database."));
    }
    Ok(Box::new(Database {
        server,
        client,
        name,
        from: to.root.clone(),
        may_replace: to.may_replace,
        is_begun: Cell::new(false),
        notes: RefCell::default(),
    }))
}

/// `postgresql://user@host:port/NAME?host=/dir&port=N`: the server, and the database. A host that opens with `/` is the
/// directory of a socket.
fn place_of(text: &str) -> Result<(Connect, Option<String>)> {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let dsn = Dsn::parse(address, &["postgresql", "postgres"])?;
    let (mut host, mut port) = (dsn.host, dsn.port);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = String::from_utf8(nxs_base::naming::unescape_component(value)).unwrap_or_default();
        match (name, value.parse::<u16>()) {
            ("host", _) if !value.is_empty() => host = Some(value),
            ("port", Ok(number)) if number > 0 => port = Some(number),
            _ => {
                let text = format!("--into: `{}` is not understood", pair.escape_debug());
                return Err(Error::new(ErrorKind::Invalid, text)
                    .with_hint("After `?` go `host=/directory` and `port=5432` alone."));
            }
        }
    }
    let is_socket = host.as_ref().is_some_and(|host| host.starts_with('/'));
    let (host, socket) = if is_socket { (None, host) } else { (host, None) };
    Ok((Connect { host, socket, port, user: dsn.user, ..Connect::default() }, dsn.database))
}

struct Database {
    server: Server,
    client: Program,
    name: String,
    /// What the dump was made of.
    from: String,
    may_replace: bool,
    /// What is in it came from an attempt of ours that failed.
    is_begun: Cell<bool>,
    notes: RefCell<Vec<String>>,
}

impl Database {
    /// None if it does not exist, else the number of things in it.
    fn content(&self) -> Result<Option<u64>> {
        let question = format!("SELECT 1 FROM pg_database WHERE datname = {}", quoted_text(&self.name));
        if self.server.ask_common(&self.client, "", 1, &question)?.is_empty() {
            return Ok(None);
        }
        let own = |catalog: &str, schema: &str, more: &str| {
            format!(
                "(SELECT count(*) FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{schema} \
                 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'{more})"
            )
        };
        let question = format!(
            "SELECT {} + {} + {} + (SELECT count(*) FROM pg_largeobject_metadata) + (SELECT count(*) FROM pg_namespace \
             WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public'))",
            own("pg_class", "relnamespace", ""),
            own("pg_proc", "pronamespace", ""),
            own("pg_type", "typnamespace", " AND o.typtype IN ('d', 'e', 'r')"),
        );
        let rows = self.server.ask(&self.client, &self.name, 1, &question)?;
        let count = rows.iter().flatten().next().and_then(|field| field.parse().ok());
        count.map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("{} does not count its tables", self.server.place()))
        })
    }

    /// Refuses a dump that would go into another database than the one that was named.
    fn check_head(&self, head: &[u8]) -> Result<()> {
        let head = &head[..head.len().min(HEAD_BYTES)];
        let leads_away =
            |line: &[u8]| line.starts_with(b"\\connect ") || line.starts_with(b"CREATE DATABASE ");
        if !head.split(|b| *b == b'\n').any(leads_away) {
            return Ok(());
        }
        let text = format!(
            "the dump of `{}` makes its own database and would not go into `{}`",
            self.from.escape_debug(),
            self.name.escape_debug()
        );
        Err(Error::new(ErrorKind::Invalid, text)
            .with_hint("It was made with `--create` in `extra_keys`; take it with --stdout."))
    }

    /// Makes the database, as it was; one that is there and empty is taken as it is.
    fn make(&self, head: &[u8]) -> Result<()> {
        let there = self.content()?;
        if there == Some(0) {
            return Ok(());
        }
        let mut defaults = Defaults::of_head(head);
        let common = self.server.common(&self.client, &self.name)?;
        if let Some(owner) = defaults.owner() {
            let question = format!("SELECT 1 FROM pg_roles WHERE rolname = {}", quoted_text(owner));
            if self.server.ask(&self.client, &common, 1, &question)?.is_empty() {
                let note = format!(
                    "there is no role `{}` to own `{}`",
                    owner.escape_debug(),
                    self.name.escape_debug()
                );
                self.notes.borrow_mut().push(note);
                defaults = defaults.without_owner();
            }
        }
        let tell = |statement: &str| self.server.ask(&self.client, &common, 1, statement).map(drop);
        if there.is_none() {
            return tell(&defaults.statement(&self.name));
        }
        // What is there goes only once the new one could be made: its locale may be unknown here.
        let name = quoted_name(&self.name);
        let stand_in = format!("nxs-restore-{}", std::process::id());
        tell(&defaults.statement(&stand_in))?;
        let stand_in = quoted_name(&stand_in);
        let taken = tell(&format!("DROP DATABASE {name}"));
        match taken.and_then(|()| tell(&format!("ALTER DATABASE {stand_in} RENAME TO {name}"))) {
            Ok(()) => Ok(()),
            Err(error) => {
                tell(&format!("DROP DATABASE {stand_in}"))?;
                Err(error)
            }
        }
    }
}

impl Receiver for Database {
    fn place(&self) -> String {
        format!("`{}` of {}", self.name.escape_debug(), self.server.place())
    }

    fn check(&self) -> Result<()> {
        match self.content()? {
            None | Some(0) => Ok(()),
            Some(_) if self.may_replace => Ok(()),
            Some(things) => {
                let text =
                    format!("{} is not empty: it holds {things} tables, functions and types", self.place());
                Err(Error::new(ErrorKind::Exists, text)
                    .with_hint("Name another database with --as, or let it go with --overwrite."))
            }
        }
    }

    fn receive(&self, plain: &mut dyn Read, cancel: &Cancel) -> Result<()> {
        let head = stream::head(plain)?;
        let is_archive = head.starts_with(custom::MAGIC);
        if !is_archive {
            self.check_head(&head)?;
        }
        if !self.is_begun.replace(true) {
            // Somebody may have been here since.
            self.check()?;
        }
        self.make(&head)?;
        let tool = if is_archive {
            let program = Program::fitting("pg_restore", &self.server.version(&self.client)?)?;
            self.server.tool(&program)?.arg("--exit-on-error").arg(database_arg(&self.name))
        } else {
            self.server.psql(&self.client, &self.name)?.args(["--output=/dev/null", "--file=-"])
        };
        stream::feed(tool, &head, plain, cancel).map_err(|error| self.server.judged(error))?;
        // A setting may forbid to write.
        let statements = Properties::of_head(&head, &self.from).statements(&self.name);
        if statements.is_empty() {
            return Ok(());
        }
        self.server.ask_common(&self.client, &self.name, 1, &statements.join("; ")).map(drop)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.take()
    }
}

/// Roles and tablespaces of a server.
struct Globals {
    server: Server,
    client: Program,
    /// Roles that are there get passwords and rights of the dump.
    may_alter: bool,
    met: RefCell<Vec<String>>,
}

impl Receiver for Globals {
    fn place(&self) -> String {
        self.server.place()
    }

    fn check(&self) -> Result<()> {
        There::ask(&self.server, &self.client).map(drop)
    }

    fn receive(&self, plain: &mut dyn Read, cancel: &Cancel) -> Result<()> {
        let mut statements = String::new();
        let read = plain.take(MAX_GLOBALS_BYTES + 1).read_to_string(&mut statements);
        let read = read.map_err(|e| Error::from_io("cannot read the dump", e))?;
        if read as u64 > MAX_GLOBALS_BYTES {
            return Err(Error::new(ErrorKind::Invalid, format!("{read} bytes are too many for roles")));
        }
        let there = There::ask(&self.server, &self.client)?;
        let (statements, met) = there.spared(&statements, self.may_alter);
        let common = self.server.common(&self.client, "")?;
        let tool = self.server.psql(&self.client, &common)?.args(["--output=/dev/null", "--file=-"]);
        stream::feed(tool, statements.as_bytes(), &mut std::io::empty(), cancel)
            .map_err(|error| self.server.judged(error))?;
        self.met.replace(met);
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let met = self.met.take();
        if met.is_empty() {
            return Vec::new();
        }
        let kept = if self.may_alter { "altered" } else { "left as they are; --overwrite alters roles" };
        vec![format!("there already, and {kept}: {}", met.join(", "))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_host_or_the_directory_of_a_socket() {
        let place = |text: &str| match place_of(text) {
            Ok((connect, database)) => {
                format!(
                    "{:?} {:?} {:?} {:?} {database:?}",
                    connect.user, connect.host, connect.socket, connect.port
                )
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(place("postgresql://u@h:1/d"), r#"Some("u") Some("h") None Some(1) Some("d")"#);
        let expected = r#"None None Some("/run/pg") Some(5433) Some("d")"#;
        assert_eq!(place("postgres:///d?host=/run/pg&port=5433"), expected);
        assert_eq!(place("postgresql://%2Frun%2Fpg:5433/d"), expected);
        assert_eq!(place("postgresql:///d?password=x"), "--into: `password=x` is not understood");
        assert_eq!(place("mysql://h/d"), "--into: backups of this job do not go into `mysql`");
    }
}
