//! One server: how its clients are told to reach it, and questions to it.
//!
//! All of it goes by the environment of the client, the password by a password file in memory. Questions are asked by
//! `psql`, which knows every authentication method and TLS.

use nxs_base::layout::stock;
use nxs_base::ports::source::Cancel;
use nxs_base::secret::{Secret, SecretRef};
use nxs_base::spec::{Connect, TlsMode};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::Tool;

use super::program::{Major, Program, Version};
use crate::registry::Surroundings;

/// Upper bound of an answer.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Databases that are there for those who want none in particular.
const COMMON: [&str; 2] = ["postgres", "template1"];

#[derive(Debug, Clone)]
pub(super) struct Server {
    connect: Connect,
    around: Surroundings,
}

impl Server {
    pub(super) fn new(connect: Connect, around: Surroundings) -> Self {
        Self { connect, around }
    }

    /// Where it is, for messages and names; no secret.
    pub(super) fn place(&self) -> String {
        let port = self.connect.port.unwrap_or(5432);
        match (&self.connect.host, &self.connect.socket) {
            (Some(host), _) => format!("postgresql://{host}:{port}"),
            (None, Some(socket)) => format!("the PostgreSQL server at `{socket}`"),
            (None, None) => "the PostgreSQL server of this host".to_owned(),
        }
    }

    /// `program` with all that it needs to reach the server; the database is the caller's matter.
    pub(super) fn tool(&self, program: &Program) -> Result<Tool> {
        let connect = &self.connect;
        let mut tool = Tool::new(&program.path).arg("--no-password");
        if let Some(password) = &connect.password {
            let line = password_line(&(self.around.resolve)(password)?)?;
            let file = tool.secret_file(&line)?;
            tool = tool.secret_env("PGPASSFILE", Secret::new(file));
        }
        let (directory, port) = match (&connect.host, &connect.socket) {
            (None, Some(socket)) => socket_place(socket, connect.port),
            _ => (None, connect.port),
        };
        let mode = match connect.tls.mode {
            TlsMode::Client => None,
            TlsMode::Off => Some("disable"),
            TlsMode::Required => Some("require"),
            TlsMode::Verified => Some("verify-full"),
        };
        let is_verified = connect.tls.mode == TlsMode::Verified;
        let system = (is_verified && program.major.is_from(16)).then(|| "system".to_owned());
        let variables = [
            ("PGHOST", connect.host.clone().or(directory)),
            ("PGPORT", port.map(|port| port.to_string())),
            ("PGUSER", connect.user.clone()),
            ("PGSSLMODE", mode.map(str::to_owned)),
            ("PGSSLROOTCERT", connect.tls.ca.clone().or(system)),
            ("PGSSLCERT", connect.tls.cert.clone()),
            ("PGSSLKEY", connect.tls.key.clone()),
            ("PGAPPNAME", Some("nxs-backup".to_owned())),
            ("PGCONNECT_TIMEOUT", Some("20".to_owned())),
            // What programs complain of is looked at.
            ("LC_ALL", Some("C".to_owned())),
        ];
        for (name, value) in variables {
            if let Some(value) = value {
                tool = tool.secret_env(name, Secret::new(value));
            }
        }
        Ok(tool)
    }

    /// The rows of an answer of `columns` columns each, from this database. NULL is empty.
    pub(super) fn ask(
        &self,
        client: &Program,
        database: &str,
        columns: usize,
        question: &str,
    ) -> Result<Vec<Vec<String>>> {
        let tool = self.psql(client, database)?.secret_env("PGCLIENTENCODING", Secret::new("UTF8"));
        let tool =
            tool.args(["--no-align", "--tuples-only", "--field-separator-zero", "--record-separator-zero"]);
        // Short questions: a cancelled run waits for them, so that nothing is left half told.
        let answer = tool.arg(format!("--command={question}")).output(MAX_ANSWER_BYTES, &Cancel::new());
        let text = String::from_utf8(answer.map_err(|e| self.judged(e))?).map_err(|_| {
            Error::new(ErrorKind::Corrupt, format!("{} answered with what is not UTF-8", self.place()))
        })?;
        let fields: Vec<&str> =
            text.strip_suffix('\0').map(|text| text.split('\0').collect()).unwrap_or_default();
        Ok(fields
            .chunks(columns.max(1))
            .map(|row| row.iter().map(|field| (*field).to_owned()).collect())
            .collect())
    }

    /// The same from any database of the server but this one.
    pub(super) fn ask_common(
        &self,
        client: &Program,
        but: &str,
        columns: usize,
        question: &str,
    ) -> Result<Vec<Vec<String>>> {
        let mut usable = COMMON.iter().filter(|database| **database != but);
        let first = usable.next().map_or("postgres", |database| *database);
        match (self.ask(client, first, columns, question), usable.next()) {
            (Err(error), Some(second)) if error.kind() == ErrorKind::NotFound => {
                self.ask(client, second, columns, question)
            }
            (answer, _) => answer,
        }
    }

    /// The first column of an answer on a connection for replication.
    pub(super) fn ask_replication(&self, client: &Program, question: &str) -> Result<Vec<String>> {
        let tool = self.tool(client)?.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        let tool = tool.args(["--no-align", "--tuples-only", "--dbname=replication=true"]);
        let answer = tool.arg(format!("--command={question}")).output(MAX_ANSWER_BYTES, &Cancel::new());
        let answer = answer.map_err(|e| self.judged(e))?;
        Ok(String::from_utf8_lossy(&answer).lines().map(str::to_owned).collect())
    }

    /// A database that is there for those who want none in particular, and is not this one.
    pub(super) fn common(&self, client: &Program, but: &str) -> Result<String> {
        let rows = self.ask_common(client, but, 1, "SELECT current_database()")?;
        Ok(rows.into_iter().flatten().next().unwrap_or_default())
    }

    /// The client that asks and feeds, on this database; it stops at the first error.
    pub(super) fn psql(&self, client: &Program, database: &str) -> Result<Tool> {
        let tool = self.tool(client)?.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        Ok(tool.arg(database_arg(database)))
    }

    pub(super) fn version(&self, client: &Program) -> Result<Version> {
        let question = "SELECT current_setting('server_version_num'), current_setting('server_version')";
        let rows = self.ask_common(client, "", 2, question)?;
        let row = rows.first().map(Vec::as_slice).unwrap_or_default();
        match row {
            [number, text] if number.parse::<u32>().is_ok() => {
                let major = Major::of_number(number.parse().unwrap_or_default());
                Ok(Version { major, text: text.clone() })
            }
            _ => {
                let text = format!("cannot read the version of {} from {row:?}", self.place());
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// Gives the failure of a client the kind and the hint that its words ask for.
    pub(super) fn judged(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Tool {
            return error;
        }
        let said = error.chain();
        let (kind, hint) = meaning(&said);
        let judged = Error::new(kind, format!("{}: {said}", self.place()));
        if hint.is_empty() { judged } else { judged.with_hint(hint) }
    }

    /// The same server, or the one that an address names.
    pub(super) fn instead(&mut self, place: Connect, password: Option<SecretRef>) {
        let user = place.user.or(self.connect.user.take());
        if place.host.is_some() || place.socket.is_some() {
            self.connect.host = place.host;
            self.connect.socket = place.socket;
            self.connect.port = place.port;
        } else {
            self.connect.port = place.port.or(self.connect.port);
        }
        self.connect.user = user;
        if let Some(password) = password.filter(|password| (self.around.resolve)(password).is_ok()) {
            self.connect.password = Some(password);
        }
    }
}

/// What a client complained of.
fn meaning(said: &str) -> (ErrorKind, &'static str) {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["password authentication failed", "no password supplied", "authentication failed for"]) {
        (ErrorKind::Denied, "Check `db_user` and `db_password`.")
    } else if has(&["no pg_hba.conf entry", "pg_hba.conf rejects"]) {
        (ErrorKind::Denied, "Let the user in by a line in pg_hba.conf of the server.")
    } else if has(&[
        "permission denied",
        "must be superuser",
        "must be owner",
        "must be a member",
        "privilege",
    ]) {
        (ErrorKind::Denied, "The user lacks a right: docs/databases.md lists those that are needed.")
    } else if said.contains("FATAL:  database \"") && said.contains("does not exist") {
        (ErrorKind::NotFound, "")
    } else if said.contains("FATAL:  role \"") && said.contains("does not exist") {
        (ErrorKind::Denied, "Check `db_user`.")
    } else if said.contains("role \"") && said.contains("does not exist") {
        (ErrorKind::Tool, "Put the roles back first: `restore JOB --target @globals --into …`.")
    } else if has(&["too many clients", "remaining connection slots", "too many connections"]) {
        (ErrorKind::Other, "The server takes no more connections; raise `max_connections`.")
    } else if has(&["being accessed by other users"]) {
        (ErrorKind::Other, "End the sessions of that database first.")
    } else if has(&[
        "Connection refused",
        "could not translate host name",
        "Is the server running",
        "timeout expired",
    ]) {
        (ErrorKind::Other, "Check `db_host`, `db_port` or `socket`, and that the server runs.")
    } else {
        (ErrorKind::Tool, "")
    }
}

/// `/run/postgresql` as it is; of `/run/postgresql/.s.PGSQL.5433` directory and port.
fn socket_place(socket: &str, port: Option<u16>) -> (Option<String>, Option<u16>) {
    match socket.rsplit_once("/.s.PGSQL.") {
        Some((directory, number)) => (Some(directory.to_owned()), number.parse().ok().or(port)),
        None => (Some(socket.to_owned()), port),
    }
}

/// A password file that fits every server.
fn password_line(password: &Secret) -> Result<Secret> {
    let password = password.expose();
    if password.contains(['\n', '\r', '\0']) {
        return Err(Error::new(
            ErrorKind::Invalid,
            "`db_password` holds a line break, and PostgreSQL's clients take none",
        ));
    }
    let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
    Ok(Secret::new(format!("*:*:*:*:{escaped}\n")))
}

/// The database by its very name, which would else be read as a whole address.
pub(super) fn database_arg(database: &str) -> String {
    format!("--dbname={}", stock::connection_string(database))
}

/// A name in a statement.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in a statement, whatever the server makes of backslashes.
pub(super) fn quoted_text(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted_for_statements_files_and_addresses() {
        assert_eq!(quoted_name("a\"b"), "\"a\"\"b\"");
        assert_eq!((quoted_text("a'b"), quoted_text("a\\'b")), ("'a''b'".into(), "E'a\\\\''b'".into()));
        assert_eq!(database_arg("a'b\\c=d"), "--dbname=dbname='a\\'b\\\\c=d'");
        assert_eq!(password_line(&Secret::new("p:a\\ b")).unwrap().expose(), "*:*:*:*:p\\:a\\\\ b\n");
        assert_eq!(password_line(&Secret::new("a\nb")).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_socket_is_a_directory_with_or_without_the_name_of_the_file() {
        assert_eq!(socket_place("/run/pg", Some(1)), (Some("/run/pg".into()), Some(1)));
        assert_eq!(socket_place("/run/pg/.s.PGSQL.5433", None), (Some("/run/pg".into()), Some(5433)));
    }

    #[test]
    fn what_clients_complain_of_gets_a_kind() {
        for (said, kind) in [
            ("psql: error: FATAL:  password authentication failed for user \"x\"", ErrorKind::Denied),
            ("psql: error: connection failed: FATAL:  database \"x\" does not exist", ErrorKind::NotFound),
            ("pg_dump: error: query failed: ERROR:  permission denied for table t", ErrorKind::Denied),
            ("FATAL:  sorry, too many clients already", ErrorKind::Other),
            ("ERROR:  role \"x\" does not exist", ErrorKind::Tool),
            ("anything", ErrorKind::Tool),
        ] {
            assert_eq!(meaning(said).0, kind, "{said}");
        }
    }
}
