//! The way back: a plain dump into one database of a server, by the server's own client.

use std::io::Read;

use nxs_base::ports::source::{Cancel, Receiver};
use nxs_base::secret::SecretRef;
use nxs_base::spec::{Connect, MysqlSource as MysqlSpec};
use nxs_base::{Error, ErrorKind, Result};

use super::program::Program;
use super::server::{Server, quoted_name, quoted_text};
use super::{SYSTEM, USERS, defaults};
use crate::dsn::Dsn;
use crate::registry::{Destination, Surroundings};
use crate::stream;

/// Variable with the password for `--into`; without it that of the job is taken.
const PASSWORD: &str = "NXS_RESTORE_PASSWORD";
/// Bytes at the start of a dump in which it would name its own database.
const HEAD_BYTES: usize = 16 << 10;

struct Database {
    server: Server,
    client: Program,
    name: String,
    /// What the dump was made of.
    from: String,
    may_replace: bool,
}

/// Asks nobody anything yet.
pub(super) fn open(spec: &MysqlSpec, to: &Destination, around: Surroundings) -> Result<Box<dyn Receiver>> {
    if to.root == USERS {
        let text = "users and grants are not put back as a whole";
        return Err(Error::new(ErrorKind::Invalid, text)
            .with_hint("Take them with --stdout, choose, and feed them to the client."));
    }
    let mut server = Server::new(spec.connect.clone(), around);
    let mut name = to.name.clone();
    if let Some(dsn) = &to.dsn {
        let dsn = Dsn::parse(dsn, &["mysql", "mariadb"])?;
        server.over.extend(dsn.host.map(|host| ("host", host)));
        server.over.extend(dsn.port.map(|port| ("port", port.to_string())));
        server.over.extend(dsn.user.map(|user| ("user", user)));
        // The socket of the job's server is not that of another one.
        server.connect.socket = None;
        name = name.or(dsn.database);
        let given = SecretRef::Env(PASSWORD.to_owned());
        if (server.around.resolve)(&given).is_ok() {
            let tls = server.connect.tls.clone();
            server.connect = Connect { password: Some(given), tls, ..Connect::default() };
        }
    }
    let name = name.unwrap_or_else(|| to.root.clone());
    if name.is_empty() || SYSTEM.contains(&name.as_str()) {
        let text = format!("a dump cannot be put into `{}`", name.escape_debug());
        return Err(Error::new(ErrorKind::Invalid, text).with_hint("Name another database."));
    }
    let client = Program::client()?;
    Ok(Box::new(Database { server, client, name, from: to.root.clone(), may_replace: to.may_replace }))
}

impl Database {
    /// None if it does not exist, else the number of things in it.
    fn content(&self) -> Result<Option<u64>> {
        let name = quoted_text(&self.name);
        let count = |table: &str, column: &str| {
            format!(
                "(SELECT COUNT(*) FROM information_schema.{table} WHERE {column} = {name} AND BINARY {column} = {name})"
            )
        };
        let things = [("tables", "table_schema"), ("routines", "routine_schema"), ("events", "event_schema")];
        let things = things.map(|(table, column)| count(table, column)).join(" + ");
        let question = format!("SELECT {}, {things}", count("schemata", "schema_name"));
        let rows = self.server.ask(&self.client, &question)?;
        let numbers: Vec<u64> = rows.iter().flatten().filter_map(|field| field.parse().ok()).collect();
        match numbers.as_slice() {
            [0, _] => Ok(None),
            [_, things] => Ok(Some(*things)),
            _ => Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} does not count its tables", self.server.place()),
            )),
        }
    }

    /// Refuses a dump that would go into another database than the one that was named.
    fn check_head(&self, head: &[u8]) -> Result<()> {
        if self.name == self.from {
            return Ok(());
        }
        let head = &head[..head.len().min(HEAD_BYTES)];
        let leads_away = |line: &[u8]| line.starts_with(b"USE `") || line.starts_with(b"CREATE DATABASE ");
        if !head.split(|b| *b == b'\n').any(leads_away) {
            return Ok(());
        }
        let text =
            format!("the dump names its own database and would not go into `{}`", self.name.escape_debug());
        Err(Error::new(ErrorKind::Invalid, text)
            .with_hint("It was made with `--databases` in `extra_keys`; take it with --stdout."))
    }
}

impl Receiver for Database {
    fn place(&self) -> String {
        format!("`{}` of {}", self.name.escape_debug(), self.server.place())
    }

    fn check(&self) -> Result<()> {
        self.server.check_encrypted(&self.client)?;
        match self.content()? {
            None | Some(0) => Ok(()),
            Some(_) if self.may_replace => Ok(()),
            Some(things) => {
                let text =
                    format!("{} is not empty: it holds {things} tables, routines and events", self.place());
                Err(Error::new(ErrorKind::Exists, text)
                    .with_hint("Name another database with --as, or let it go with --overwrite."))
            }
        }
    }

    fn receive(&self, plain: &mut dyn Read, cancel: &Cancel) -> Result<()> {
        let head = stream::head(plain)?;
        self.check_head(&head)?;
        let (name, clause) = (quoted_name(&self.name), defaults::clause(&head));
        self.server
            .tell(&self.client, &format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}{clause}"))?;
        let tool = self.server.tool(&self.client)?;
        let tool = tool.args(["--batch", "--no-auto-rehash", "--max-allowed-packet=1G"]);
        let tool = tool.arg("--default-character-set=utf8mb4").arg(format!("--database={}", self.name));
        stream::feed(tool, &head, plain, cancel).map_err(|error| self.server.judged(error))
    }
}
