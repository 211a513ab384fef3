//! One server: how its clients are told to reach it, and questions to it.
//!
//! The credentials go by an option file in memory that reads the host's own option files first, so that what the
//! configuration says wins over `~/.my.cnf`. Questions are asked by the server's own client, which knows every
//! authentication plugin and TLS.

use std::path::Path;

use nxs_base::ports::source::Cancel;
use nxs_base::secret::Secret;
use nxs_base::spec::{Connect, TlsMode};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::Tool;

use super::program::{Flavour, Program, Version};
use crate::registry::Surroundings;

/// Where a server listens that nobody told otherwise.
const PORT: u16 = 3306;
/// Upper bound of an answer.
const MAX_ANSWER_BYTES: usize = 256 << 20;

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) connect: Connect,
    pub(crate) around: Surroundings,
    /// Goes before all that the option files say, as flags of the programs.
    pub(crate) over: Vec<(&'static str, String)>,
    /// Option file that is read in the place of those of the host.
    pub(crate) config: Option<String>,
}

impl Server {
    pub(crate) fn new(connect: Connect, around: Surroundings) -> Self {
        Self { connect, around, over: Vec::new(), config: None }
    }

    /// Where it is, for messages and names; no secret.
    pub(crate) fn place(&self) -> String {
        let over = |name: &str| self.over.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let connect = &self.connect;
        let host = over("host").or(connect.host.as_ref().filter(|_| connect.option_file.is_none()));
        let port = over("port").cloned().or_else(|| connect.port.map(|port| port.to_string()));
        match (host, &connect.option_file, &connect.socket) {
            (Some(host), _, _) => format!("mysql://{host}:{}", port.as_deref().unwrap_or("3306")),
            (None, Some(file), _) => format!("the MySQL server of `{file}`"),
            (None, None, Some(socket)) => format!("the MySQL server at `{socket}`"),
            (None, None, None) => "the MySQL server of this host".to_owned(),
        }
    }

    /// `program` with all that it needs to reach the server.
    pub(crate) fn tool(&self, program: &Program) -> Result<Tool> {
        let mut tool = Tool::new(&program.path);
        let connect = &self.connect;
        // Options about option files have to come first.
        if let (Some(file), None) = (&connect.option_file, &self.config) {
            tool = tool.arg(format!("--defaults-extra-file={file}"));
        } else if *connect != Connect::default() || self.config.is_some() {
            let password =
                connect.password.as_ref().map(|password| (self.around.resolve)(password)).transpose()?;
            let options =
                options(connect, self.config.as_deref(), password.as_ref(), program.version.flavour);
            let file = tool.secret_file(&options)?;
            tool = tool.arg(format!("--defaults-file={file}"));
            if program.version.flavour == Flavour::Mysql {
                // Read after all others, even where one file alone was named.
                tool = tool.secret_env("MYSQL_TEST_LOGIN_FILE", Secret::new("/dev/null/none"));
            }
        }
        let over = |wanted: &str| self.over.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        if let (Some(host), Some(port)) = (over("host"), over("port"))
            && goes_by_port(host, port.parse().ok())
        {
            tool = tool.arg("--protocol=tcp");
        }
        Ok(tool.args(self.over.iter().map(|(name, value)| format!("--{name}={value}"))))
    }

    /// The rows of an answer, without names of columns. NULL is `NULL`.
    pub(crate) fn ask(&self, client: &Program, question: &str) -> Result<Vec<Vec<String>>> {
        self.run(client, question, &["--skip-column-names"])
    }

    /// The answer with the names of its columns as first row.
    pub(crate) fn ask_named(&self, client: &Program, question: &str) -> Result<Vec<Vec<String>>> {
        self.run(client, question, &["--column-names"])
    }

    /// Says something that has no answer.
    pub(crate) fn tell(&self, client: &Program, statement: &str) -> Result<()> {
        self.ask(client, statement).map(drop)
    }

    fn run(&self, client: &Program, question: &str, more: &[&str]) -> Result<Vec<Vec<String>>> {
        let tool =
            self.tool(client)?.args(["--batch", "--skip-raw", "--no-auto-rehash", "--connect-timeout=20"]);
        let tool =
            tool.arg("--default-character-set=utf8mb4").args(more).arg(format!("--execute={question}"));
        // Short questions: a cancelled run waits for them, so that nothing is left half told.
        let answer = tool.output(MAX_ANSWER_BYTES, &Cancel::new()).map_err(|e| self.judged(e))?;
        let text = String::from_utf8(answer).map_err(|_| {
            Error::new(ErrorKind::Corrupt, format!("{} answered with what is not UTF-8", self.place()))
        })?;
        Ok(text.lines().map(|line| line.split('\t').map(unescape).collect()).collect())
    }

    pub(crate) fn version(&self, client: &Program) -> Result<Version> {
        let rows = self.ask(client, "SELECT VERSION()")?;
        let text = rows.first().and_then(|row| row.first()).map_or("", String::as_str);
        Version::of_server(text).ok_or_else(|| {
            let text = format!("cannot read the version `{}` of {}", text.escape_debug(), self.place());
            Error::new(ErrorKind::Unsupported, text)
        })
    }

    /// Refuses an open connection where an encrypted one was asked for: MariaDB's clients go on without TLS if the server
    /// has none, unless they are to verify its certificate.
    pub(crate) fn check_encrypted(&self, client: &Program) -> Result<()> {
        if self.connect.option_file.is_some()
            || !matches!(self.connect.tls.mode, TlsMode::Required | TlsMode::Verified)
        {
            return Ok(());
        }
        let rows = self.ask(client, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")?;
        if rows.first().and_then(|row| row.get(1)).is_some_and(|cipher| !cipher.is_empty()) {
            return Ok(());
        }
        let text = format!("the way to {} is not encrypted (SSL), and `tls` asks for it", self.place());
        Err(Error::new(ErrorKind::Denied, text).with_hint("Give the server a certificate."))
    }

    /// Gives the failure of a client the kind and the hint that the server's error code asks for.
    pub(crate) fn judged(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Tool {
            return error;
        }
        let said = error.chain();
        let place = self.place();
        let (kind, hint) = match code(&said) {
            Some(1045 | 1698) => (ErrorKind::Denied, "Check `db_user` and `db_password`, or `auth_file`."),
            Some(1044 | 1142 | 1143 | 1227 | 1370 | 1410) => (
                ErrorKind::Denied,
                "The user lacks a right: docs/databases.md lists those that a dump needs.",
            ),
            Some(1049 | 1146) => (ErrorKind::NotFound, ""),
            Some(2002 | 2003 | 2005) => {
                (ErrorKind::Other, "Check `db_host`, `db_port` or `socket`, and that the server runs.")
            }
            _ => (ErrorKind::Tool, ""),
        };
        let judged = Error::new(kind, format!("{place}: {said}"));
        if hint.is_empty() { judged } else { judged.with_hint(hint) }
    }
}

/// The first error code of a client's words: `ERROR 1045 (28000)`, `Got error: 1045: `, `error: 'x' (1045)`.
pub(crate) fn code(said: &str) -> Option<u32> {
    let places = ["ERROR ", "Got error: ", " ("];
    places.iter().find_map(|before| {
        said.match_indices(before).find_map(|(at, _)| {
            let rest = &said[at + before.len()..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest[..digits].parse().ok().filter(|code| (1000..10_000).contains(code))
        })
    })
}

/// A name in a statement.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in a statement, whatever the server's mode makes of backslashes.
pub(crate) fn quoted_text(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let hex: String = text.bytes().map(|b| format!("{b:02X}")).collect();
    format!("CONVERT(0x{hex} USING utf8mb4)")
}

/// What `--batch` escapes.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('0') => out.push('\0'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}

/// Clients take `localhost` for the socket of the host's own server, whatever the port. Another port than the usual one
/// means another server.
fn goes_by_port(host: &str, port: Option<u16>) -> bool {
    host == "localhost" && port.is_some_and(|port| port != PORT)
}

/// The option file: those of the host, then ours.
fn options(connect: &Connect, config: Option<&str>, password: Option<&Secret>, client: Flavour) -> Secret {
    let mut text = String::new();
    let mut include = |file: &Path| text.push_str(&format!("!include {}\n", file.display()));
    match config {
        Some(file) => include(Path::new(file)),
        None => {
            let home = std::env::home_dir().map(|home| home.join(".my.cnf"));
            let files = ["/etc/my.cnf", "/etc/mysql/my.cnf"].map(|path| Some(Path::new(path).to_owned()));
            let files = files.into_iter().chain([home]).flatten().filter(|file| file.is_file());
            files.for_each(|file| include(&file));
        }
    }
    if let Some(file) = &connect.option_file {
        include(Path::new(file));
        return Secret::new(text);
    }
    text.push_str("[client]\n");
    let mut set = |name: &str, value: &str| text.push_str(&format!("{name}={}\n", quoted_option(value)));
    match (&connect.host, &connect.socket) {
        (Some(host), _) => {
            set("host", host);
            set("port", &connect.port.unwrap_or(PORT).to_string());
            if goes_by_port(host, connect.port) {
                set("protocol", "tcp");
            }
        }
        (None, Some(socket)) => {
            set("socket", socket);
            set("protocol", "socket");
        }
        (None, None) => {}
    }
    if let Some(user) = &connect.user {
        set("user", user);
    }
    if let Some(password) = password {
        set("password", password.expose());
    }
    for (name, file) in
        [("ssl-ca", &connect.tls.ca), ("ssl-cert", &connect.tls.cert), ("ssl-key", &connect.tls.key)]
    {
        if let Some(file) = file {
            set(name, file);
        }
    }
    let mode = match (connect.tls.mode, client) {
        (TlsMode::Client, _) => "",
        (TlsMode::Off, Flavour::Mariadb) => "skip-ssl\n",
        // Newer clients verify by themselves.
        (TlsMode::Required, Flavour::Mariadb) => "ssl\nskip-ssl-verify-server-cert\n",
        (TlsMode::Verified, Flavour::Mariadb) => "ssl\nssl-verify-server-cert\n",
        (TlsMode::Off, Flavour::Mysql) => "ssl-mode=DISABLED\n",
        (TlsMode::Required, Flavour::Mysql) => "ssl-mode=REQUIRED\n",
        (TlsMode::Verified, Flavour::Mysql) => "ssl-mode=VERIFY_IDENTITY\n",
    };
    text.push_str(mode);
    Secret::new(text)
}

/// A value of an option file; quotes, escapes and comment signs in it stay what they are.
fn quoted_option(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_errors_are_found_in_the_words_of_all_clients() {
        for (said, expected) in [
            ("`mariadb` ended with exit status 1: ERROR 1045 (28000): Access denied", Some(1045)),
            ("mysqldump: Got error: 2002: \"Can't connect (111)\" when trying to connect", Some(2002)),
            ("mysqldump: Couldn't execute 'SHOW EVENTS': Access denied for user 'x'@'y' (1044)", Some(1044)),
            ("ERROR at line 1: nothing (12)", None),
        ] {
            assert_eq!(code(said), expected, "{said}");
        }
    }

    #[test]
    fn what_a_batch_answer_escapes_comes_back() {
        assert_eq!(unescape(r"a\tb\nc\\d\0e"), "a\tb\nc\\d\0e");
        assert_eq!(quoted_name("a`b"), "`a``b`");
        assert_eq!(quoted_text("a'\\"), "CONVERT(0x61275C USING utf8mb4)");
    }

    #[test]
    fn options_of_the_configuration_come_after_those_of_the_host() {
        let connect = Connect {
            host: Some("db".into()),
            user: Some("me".into()),
            socket: Some("/unused".into()),
            ..Connect::default()
        };
        let text = options(&connect, None, Some(&Secret::new("a\"b\\c#d 'e")), Flavour::Mariadb);
        let (_, ours) = text.expose().split_once("[client]\n").unwrap();
        assert_eq!(ours, "host=\"db\"\nport=\"3306\"\nuser=\"me\"\npassword=\"a\\\"b\\\\c#d 'e\"\n");
        for (host, port, by_port) in
            [("localhost", 3307, true), ("localhost", 3306, false), ("db", 3307, false)]
        {
            let connect = Connect { host: Some(host.into()), port: Some(port), ..connect.clone() };
            let text = options(&connect, None, None, Flavour::Mariadb);
            assert_eq!(text.expose().contains("protocol=\"tcp\"\n"), by_port, "{host}:{port}");
        }
        let over_socket = Connect { host: None, ..connect };
        let text = options(&over_socket, None, None, Flavour::Mysql);
        assert!(text.expose().ends_with("[client]\nsocket=\"/unused\"\nprotocol=\"socket\"\nuser=\"me\"\n"));
    }
}
