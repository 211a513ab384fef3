//! PostgreSQL servers for tests: started from a template that is made once per process, asked through the stock client.
//! The server does not run as root: where a test does, it runs as the user of the package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{free_port, run, wait_until};

/// The user that tests back up with, and its password: one that has to be quoted everywhere.
pub const USER: &str = "backup";
pub const PASSWORD: &str = "p\"a'ss \\w:#0rd";
/// Of the package: not even its version is in `PATH`.
const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    dir: TempDir,
    port: u16,
    process: Child,
}

/// A program of the server, as the user that it runs as, which dies with the thread that started it.
fn program(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        // Another user clears what `--pdeathsig` sets.
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "setpriv"]);
    }
    command.args(["--pdeathsig", "KILL"]).arg(Path::new(BIN).join(name));
    command.current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}

/// A directory that the server may use, in one that it may pass.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    own(dir.path());
    dir
}

/// Gives something to the user of the server.
pub fn own(path: &Path) {
    if rustix::process::geteuid().is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(path));
    }
}

/// A data directory that was never started.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let dir = TEMPLATE.get_or_init(|| {
        let dir = directory();
        let mut install = program("initdb");
        install.args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]);
        install.args(["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--wal-segsize=1"]);
        install.arg(format!("--pgdata={}/data", dir.path().display()));
        run(&mut install);
        dir
    });
    dir.path()
}

impl Postgres {
    /// A fresh server with the user of the tests, who may do everything.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further settings, each `name=value`.
    pub fn start_with(settings: &[&str]) -> Self {
        let dir = directory();
        run(Command::new("cp").arg("-a").args([template().join("data"), dir.path().join("data")]));
        let server = Self::serve(dir, settings);
        server.sql(
            "postgres",
            &format!(
                "CREATE ROLE {USER} SUPERUSER REPLICATION LOGIN PASSWORD '{}'",
                PASSWORD.replace('\'', "''")
            ),
        );
        server
    }

    /// A server on a data directory that is there: a restored one, or that of a standby.
    pub fn start_on(data: &Path, settings: &[&str]) -> Self {
        let dir = directory();
        run(Command::new("cp").arg("-a").args([data, &dir.path().join("data")]));
        Self::serve(dir, settings)
    }

    fn serve(dir: TempDir, settings: &[&str]) -> Self {
        let port = free_port();
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let mut command = program("postgres");
        command.arg("-D").arg(dir.path().join("data"));
        let own = [
            format!("port={port}"),
            format!("unix_socket_directories={}", dir.path().display()),
            "listen_addresses=127.0.0.1".to_owned(),
            "fsync=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "max_wal_size=64MB".to_owned(),
            "min_wal_size=4MB".to_owned(),
            "wal_keep_size=32MB".to_owned(),
            "max_connections=20".to_owned(),
            "restart_after_crash=off".to_owned(),
        ];
        for setting in own.iter().map(String::as_str).chain(settings.iter().copied()) {
            command.args(["-c", setting]);
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let process = process.expect("setpriv starts (`cargo xtask setup`)");
        let server = Self { dir, port, process };
        let ready = || {
            let said = server.client("postgres").arg("--command=SELECT 1").output();
            said.is_ok_and(|output| output.status.success())
        };
        wait_until("a PostgreSQL server", &server.log(), ready);
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What the server says of itself.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// One of the stock clients on this server, as the superuser.
    pub fn tool(&self, name: &str) -> Command {
        let mut tool = Command::new(name);
        tool.env("PGHOST", self.socket()).env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        tool.env("LC_ALL", "C.UTF-8").env("PGCLIENTENCODING", "UTF8");
        tool
    }

    /// `psql` on a database, which stops at the first error.
    pub fn client(&self, database: &str) -> Command {
        let mut client = self.tool("psql");
        client.args(["-XqAt", "--set=ON_ERROR_STOP=1"]).env("PGDATABASE", database);
        client
    }

    /// Runs statements and answers with what came back, rows as lines.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = run(self.client(database).arg(format!("--command={statements}")));
        String::from_utf8(output.stdout).expect("answers in UTF-8")
    }

    /// Runs a script with all that `psql` knows.
    pub fn script(&self, database: &str, script: &str) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), script).expect("a script");
        run(self.client(database).arg("--output=/dev/null").arg(format!("--file={}", file.path().display())));
    }

    /// Everything of a database that can be compared: its definitions, a checksum of the rows of every table, where every
    /// sequence stands, and large objects.
    pub fn fingerprint(&self, database: &str) -> String {
        let mut dump = self.tool("pg_dump");
        dump.args(["--schema-only"]).env("PGDATABASE", database);
        let text = String::from_utf8(run(&mut dump).stdout).expect("a dump in UTF-8");
        let lines =
            text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        let mut print = lines.collect::<Vec<_>>().join("\n");
        let queries = self.sql(
            database,
            "SELECT format('SELECT %L, count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM %I.%I t', \
             c.relname, n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
             ORDER BY n.nspname, c.relname",
        );
        for query in queries.split_inclusive('\n').filter(|query| !query.trim().is_empty()) {
            print.push_str(&self.sql(database, query));
        }
        print.push_str(&self.sql(database, "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"));
        let objects = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid";
        print.push_str(&self.sql(database, objects));
        print
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, without a word to its clients (`pg_ctl stop -m immediate`).
    pub fn kill(&mut self) {
        // It may have ended by itself; a server that dies so clears its memory up.
        drop(Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).output());
        drop(self.process.wait());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
