//! MariaDB servers for tests: started from a template that is made once per process, asked through the stock client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{free_port, run, wait_until};

/// The user that tests back up with, and its password: one that has to be quoted everywhere.
pub const USER: &str = "backup";
pub const PASSWORD: &str = "p\"a'ss \\w#0rd";

/// A running server.
#[derive(Debug)]
pub struct MariaDb {
    dir: TempDir,
    port: u16,
    process: Child,
}

/// A data directory that was never started.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let dir = TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.arg(format!("--datadir={}/data", dir.path().display())).args(user_args());
        install.args(["--innodb-log-file-size=8M", "--innodb-fast-shutdown=0"]);
        // Servers that start clear up what lies in the common one.
        let tmp = dir.path().join("tmp");
        fs::create_dir(&tmp).expect("a directory");
        run(install.env("TMPDIR", tmp));
        dir
    });
    dir.path()
}

/// The server asks for it where root starts it.
fn user_args() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &["--user=root"] } else { &[] }
}

impl MariaDb {
    /// A fresh server with the user of the tests, who may do everything.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        run(Command::new("cp").arg("-a").args([template().join("data"), dir.path().join("data")]));
        let server = Self::run_in(dir, args);
        let password = PASSWORD.replace('\\', "\\\\").replace('\'', "\\'");
        for host in ["localhost", "127.0.0.1"] {
            server.sql(&format!(
                "CREATE USER '{USER}'@'{host}' IDENTIFIED BY '{password}'; \
                 GRANT ALL ON *.* TO '{USER}'@'{host}' WITH GRANT OPTION"
            ));
        }
        server
    }

    /// A server over a data directory that somebody made, which is moved away from there.
    pub fn start_from(data: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        run(Command::new("mv").args([data, &dir.path().join("data")]));
        Self::run_in(dir, &[])
    }

    fn run_in(dir: TempDir, args: &[&str]) -> Self {
        let port = free_port();
        let process = Self::spawn(dir.path(), port, args);
        let server = Self { dir, port, process };
        server.wait();
        server
    }

    fn spawn(dir: &Path, port: u16, args: &[&str]) -> Child {
        let path = |name: &str| dir.join(name).display().to_string();
        let log = fs::File::create(dir.join("log")).expect("a log");
        fs::create_dir_all(dir.join("tmp")).expect("a directory");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "mariadbd", "--no-defaults"]).args(user_args());
        command.args([
            &format!("--datadir={}", path("data")),
            &format!("--socket={}", path("s.sock")),
            &format!("--pid-file={}", path("pid")),
            // Servers clear theirs up when they start.
            &format!("--tmpdir={}", path("tmp")),
            &format!("--port={port}"),
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-use-native-aio=0",
            "--event-scheduler=ON",
            "--max-allowed-packet=256M",
        ]);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("setpriv starts (`cargo xtask setup`)")
    }

    fn wait(&self) {
        let asks = || {
            let client = self.client().arg("--execute=SELECT 1").output();
            client.is_ok_and(|output| output.status.success())
        };
        wait_until("a MariaDB server", &self.log(), asks);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn datadir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s.sock")
    }

    /// What the server says of itself.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The stock client as root.
    pub fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        client.arg("--default-character-set=utf8mb4").arg(format!("--socket={}", self.socket().display()));
        client
    }

    /// Runs statements as root and answers with what came back, rows as lines.
    pub fn sql(&self, statements: &str) -> String {
        let output = run(self.client().arg(format!("--execute={statements}")));
        String::from_utf8(output.stdout).expect("answers in UTF-8")
    }

    /// Everything of a database that can be compared: its definitions, and a checksum of every table.
    pub fn fingerprint(&self, database: &str) -> String {
        let mut dump = Command::new("mariadb-dump");
        dump.args(["--no-defaults", "--user=root", "--no-data", "--routines", "--events", "--triggers"]);
        dump.args(["--skip-comments", "--skip-lock-tables", "--default-character-set=utf8mb4"]);
        dump.arg(format!("--socket={}", self.socket().display())).args(["--", database]);
        let mut print = String::from_utf8_lossy(&run(&mut dump).stdout).into_owned();
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let hex: String = database.bytes().map(|b| format!("{b:02X}")).collect();
        let names = self.sql(&format!(
            "SELECT HEX(table_name) FROM information_schema.tables \
             WHERE table_schema = CONVERT(0x{hex} USING utf8mb4) AND table_type = 'BASE TABLE' ORDER BY table_name"
        ));
        for name in names.lines() {
            let bytes: Vec<u8> = (0..name.len() / 2)
                .map(|i| u8::from_str_radix(&name[2 * i..2 * i + 2], 16).expect("hex digits"))
                .collect();
            let table = String::from_utf8(bytes).expect("names in UTF-8");
            let place = format!("{}.{}", quoted(database), quoted(&table));
            // What `CHECKSUM TABLE` says of one with such a trigger differs from server to server, whatever is in it.
            let triggers = self.sql(&format!(
                "SELECT COUNT(*) FROM information_schema.triggers WHERE event_object_schema = CONVERT(0x{hex} USING utf8mb4) \
                 AND event_object_table = CONVERT(0x{name} USING utf8mb4) AND action_timing = 'BEFORE'"
            ));
            let sum = if triggers == "0\n" {
                self.sql(&format!("CHECKSUM TABLE {place}"))
            } else {
                self.digest(&place, &hex, name)
            };
            let sum = sum.rsplit('\t').next().unwrap_or_default();
            print.push_str(&format!("checksum of {table}: {sum}"));
        }
        print
    }

    /// Of all rows in order. The names of database and table are in hex.
    fn digest(&self, place: &str, database: &str, table: &str) -> String {
        let columns = self.sql(&format!(
            "SELECT GROUP_CONCAT(CONCAT('COALESCE(HEX(CAST(`', REPLACE(column_name, '`', '``'), '` AS BINARY)), \\'N\\')') \
             ORDER BY ordinal_position SEPARATOR ', ') FROM information_schema.columns \
             WHERE table_schema = CONVERT(0x{database} USING utf8mb4) AND table_name = CONVERT(0x{table} USING utf8mb4)"
        ));
        self.sql(&format!(
            "SET group_concat_max_len = 1 << 30; SELECT MD5(GROUP_CONCAT(m ORDER BY m)) \
             FROM (SELECT MD5(CONCAT_WS('|', {})) AS m FROM {place}) AS r",
            columns.trim_end()
        ))
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as an administrator does, and starts it anew over the same files.
    pub fn restart(&mut self) {
        run(self.client().arg("--execute=SHUTDOWN"));
        self.process.wait().expect("a child can be waited for");
        self.process = Self::spawn(self.dir.path(), self.port, &[]);
        self.wait();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().expect("a child can be killed");
        self.process.wait().expect("a child can be waited for");
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.process.kill().and_then(|()| self.process.wait()));
    }
}
