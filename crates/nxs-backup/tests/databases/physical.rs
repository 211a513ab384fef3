//! Physical backups of MariaDB: a server that starts from what was restored, under writes that go on meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nxs_testkit::servers::mariadb::{self, MariaDb};
use nxs_testkit::servers::{run, wait_until};

use crate::house::House;

/// Tables of four engines, and two that are written together.
const SHOP: &str = "CREATE DATABASE shop; USE shop; \
    CREATE TABLE item (id INT PRIMARY KEY, what VARCHAR(200)) ENGINE=InnoDB; \
    INSERT INTO item SELECT seq, SHA2(seq, 512) FROM seq_1_to_20000; \
    CREATE TABLE old (id INT, what TEXT) ENGINE=MyISAM; INSERT INTO old SELECT seq, MD5(seq) FROM seq_1_to_500; \
    CREATE TABLE aria (id INT, what TEXT) ENGINE=Aria; INSERT INTO aria SELECT seq, MD5(seq) FROM seq_1_to_500; \
    CREATE TABLE note (id INT NOT NULL, what TEXT NOT NULL) ENGINE=CSV; INSERT INTO note VALUES (1, 'größe 🙂'); \
    CREATE TABLE paid (n INT PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE sent (n INT PRIMARY KEY) ENGINE=InnoDB; \
    CREATE DATABASE `größe a.b-c`; CREATE TABLE `größe a.b-c`.`t / ü` (id INT) ENGINE=InnoDB; \
    INSERT INTO `größe a.b-c`.`t / ü` VALUES (7)";

/// One entry of `sources` over the network.
pub(crate) fn source(server: &MariaDb, more: &str) -> String {
    format!(
        "{{connect: {{db_host: 127.0.0.1, db_port: {}, db_user: {}, db_password: 'ENV:DB_PASSWORD'}}, gzip: yes, \
         extra_keys: ''{more}}}",
        server.port(),
        mariadb::USER
    )
}

pub(crate) fn house(server: &MariaDb, more: &str) -> House {
    let mut house = House::new(&[source(server, more)]);
    house.kind = "mariadb_backup";
    house
}

pub(crate) fn scene() -> (MariaDb, House) {
    let server = MariaDb::start();
    server.sql(SHOP);
    let house = house(&server, "");
    (server, house)
}

/// The archives, the oldest first.
pub(crate) fn archives(house: &House) -> Vec<PathBuf> {
    let files = house.files(0).into_iter().filter(|file| !file.contains(".nxs"));
    let mut paths: Vec<PathBuf> = files.map(|file| house.storages[0].join(file)).collect();
    paths.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    paths
}

/// A client that pays and sends in one transaction, over and over.
pub(crate) struct Writer(Child);

impl Writer {
    pub(crate) fn start(server: &MariaDb) -> Self {
        let procedure = "CREATE PROCEDURE shop.busy() BEGIN DECLARE i INT DEFAULT \
             (SELECT COALESCE(MAX(n), 0) FROM shop.paid); WHILE i < 100000000 DO SET i = i + 1; START TRANSACTION; \
             INSERT INTO shop.paid VALUES (i); INSERT INTO shop.sent VALUES (i); COMMIT; END WHILE; END //";
        let mut client = server.client();
        run(client.arg("--delimiter=//").arg(format!("--execute={procedure}")));
        let mut client = server.client();
        let child = client.arg("--execute=CALL shop.busy()").stdin(Stdio::null()).spawn().unwrap();
        wait_until("writes", &server.log(), || {
            server.sql("SELECT COUNT(*) > 50 FROM shop.sent").trim() == "1"
        });
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// What must be as it was, whatever was written meanwhile.
pub(crate) fn fingerprint(server: &MariaDb) -> String {
    server.sql(
        "CHECKSUM TABLE shop.item, shop.old, shop.aria, shop.note, `größe a.b-c`.`t / ü`; \
         SELECT user, host FROM mysql.user ORDER BY 1, 2",
    )
}

/// The two tables that were written together agree, and are not older than the start of the backup.
pub(crate) fn check_paid(restored: &MariaDb, at_least: u64) {
    let rows = restored.sql(
        "SELECT COUNT(*) FROM shop.paid; SELECT COUNT(*) FROM shop.sent; \
         SELECT COUNT(*) FROM shop.paid JOIN shop.sent USING (n)",
    );
    let counts: Vec<u64> = rows.lines().map(|line| line.parse().unwrap()).collect();
    assert!(counts[0] >= at_least && counts[0] == counts[1] && counts[1] == counts[2], "{counts:?}");
}

pub(crate) fn paid(server: &MariaDb) -> u64 {
    server.sql("SELECT COUNT(*) FROM shop.paid").trim().parse().unwrap()
}

/// Runs a line of `RESTORE.md` as a person would.
pub(crate) fn shell(dir: &Path, line: &str) {
    let output = Command::new("sh").args(["-ec", line]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_server_starts_from_the_stock_commands_of_the_page_and_nothing_was_half_written() {
    let (server, house) = scene();
    let before = fingerprint(&server);
    let writer = Writer::start(&server);
    let at_least = paid(&server);
    let said = house.start();
    assert!(paid(&server) > at_least, "writes went on");
    drop(writer);
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
    assert!(said.log.contains("`mariadb-backup` 10.") && said.log.contains("up to LSN "), "{said:?}");
    assert!(!house.path("tmp").exists(), "nothing goes by a temporary directory");
    // v2's layout: no part, the period, the name of what has none.
    let files = house.files(0);
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].starts_with("daily/mariadb_backup_") && files[0].ends_with(".xbstream.gz"), "{files:?}");
    let page = fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    let commands = page.split("```sh\n").find(|part| part.starts_with("mkdir /tmp/restore &&\n")).unwrap();
    let commands = commands.split("\n```").next().unwrap();
    let place = house.path("restored");
    shell(&house.storages[0], &commands.replace("/tmp/restore", &place.display().to_string()));
    let restored = MariaDb::start_from(&place);
    assert_eq!(fingerprint(&restored), before);
    check_paid(&restored, at_least);
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn old_keys_and_old_names_of_the_type_are_understood() {
    let (server, mut house) = scene();
    let old = source(&server, "")
        .replace("extra_keys: ''", "extra_keys: '--no-timestamp --compact --stream=tar ./'");
    house.sources = vec![old.clone()];
    for kind in ["mysql_xtrabackup", "mysql_xtradb"] {
        house.kind = kind;
        let said = house.start();
        for words in ["`--no-timestamp` means nothing", "`--stream=tar` is `--stream=xbstream` today"] {
            assert!(said.log.contains("WARNING") && said.log.contains(words), "{said:?}");
        }
    }
    assert!(archives(&house).iter().all(|path| path.to_str().unwrap().contains("/daily/xtrabackup_")));
    let refused = [
        ("--target-dir=/tmp/x", "--target-dir"),
        ("--stream=qpress", "qpress"),
        ("--password=pw", "--password"),
    ];
    for (key, words) in refused {
        house.sources = vec![old.replace("--compact", key)];
        for args in [&["start"][..], &["test"]] {
            let said = house.run(args);
            assert!(matches!(said.code, Some(1 | 10)) && said.err.contains(words), "{said:?}");
        }
    }
}

#[test]
fn the_server_is_found_by_its_socket_and_by_its_configuration_file() {
    let (server, mut house) = scene();
    let rest = "gzip: yes, extra_keys: ''}";
    let connect =
        format!("socket: {}, db_user: backup, db_password: 'ENV:DB_PASSWORD'", server.socket().display());
    house.sources = vec![format!("{{connect: {{{connect}}}, {rest}")];
    house.start();
    // As v2 was told: the file of the server.
    let conf = house.path("my.cnf");
    let text =
        format!("[mysqld]\ndatadir={}\nsocket={}\n", server.datadir().display(), server.socket().display());
    fs::write(&conf, text).unwrap();
    let connect =
        format!("path_to_conf: {}, db_user: backup, db_password: 'ENV:DB_PASSWORD'", conf.display());
    house.sources = vec![format!("{{connect: {{{connect}}}, {rest}")];
    house.start();
    let options = house.path("auth.cnf");
    let text = format!("[client]\nuser=root\nsocket={}\n", server.socket().display());
    fs::write(&options, text).unwrap();
    house.sources = vec![format!("{{connect: {{auth_file: {}}}, {rest}", options.display())];
    house.start();
    assert_eq!(archives(&house).len(), 3);
}

#[test]
fn the_way_to_the_server_is_encrypted_where_that_is_asked_for() {
    let plain = MariaDb::start();
    let mut house = house(&plain, "");
    let secure = |server: &MariaDb, keys: &str| {
        source(server, "").replace("connect: {", &format!("connect: {{{keys}, "))
    };
    house.sources = vec![secure(&plain, "tls: required")];
    let said = house.run(&["start"]);
    assert!(said.code == Some(1) && said.err.contains("SSL"), "{said:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"]);
    run(make.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &path("key"), "-out", &path("crt")]));
    let server =
        MariaDb::start_with(&[&format!("--ssl-cert={}", path("crt")), &format!("--ssl-key={}", path("key"))]);
    server.sql("ALTER USER backup@'127.0.0.1' REQUIRE SSL");
    for keys in ["tls: required", &format!("tls: verified, tls_ca: {}", path("crt"))] {
        house.sources = vec![secure(&server, keys)];
        house.start();
    }
    for keys in ["tls: verified", "tls: off"] {
        house.sources = vec![secure(&server, keys)];
        let said = house.run(&["start"]);
        assert_eq!(said.code, Some(1), "{keys}: {said:?}");
    }
    assert_eq!(archives(&house).len(), 2);
}
