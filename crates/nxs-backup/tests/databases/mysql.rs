//! MariaDB by `type: mysql`: what is dumped, under which names, and that it comes back.

use std::fs;

use nxs_testkit::servers::mariadb::MariaDb;

use crate::house::{House, MARKER, source};

/// Tables of two engines, a view, a trigger, a routine, an event, and rows that have to be escaped.
const SHOP: &str = "
    CREATE TABLE item (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT, blob_ LONGBLOB) ENGINE=InnoDB;
    INSERT INTO item (name, blob_) VALUES ('größe 🙂', 0x000A0D1A275C22FF), ('tab\\t', NULL), ('', '');
    INSERT INTO item (name) SELECT CONCAT('row ', seq) FROM seq_1_to_2000;
    CREATE TABLE log (at DATETIME, what VARCHAR(20), was INT) ENGINE=InnoDB;
    CREATE VIEW cheap AS SELECT id, name FROM item WHERE id < 10;
    CREATE TRIGGER noted AFTER DELETE ON item FOR EACH ROW INSERT INTO log VALUES (NOW(), 'deleted', OLD.id);
    CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;
    CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO DELETE FROM log;";

fn fill(server: &MariaDb, database: &str) {
    let quoted = format!("`{}`", database.replace('`', "``"));
    server.sql(&format!("CREATE DATABASE {quoted}; USE {quoted}; {SHOP}"));
    // The dump program itself cannot dump events of such a database (docs/limitations.md).
    if database.contains('\'') {
        server.sql(&format!("USE {quoted}; DROP EVENT nightly"));
    }
}

/// Puts a dump into a new database with nothing but the stock client.
fn feed(server: &MariaDb, database: &str, dump: &[u8]) {
    let quoted = format!("`{}`", database.replace('`', "``"));
    if !database.is_empty() {
        server.sql(&format!("CREATE DATABASE {quoted}"));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), dump).unwrap();
    let mut client = server.client();
    client.arg(format!("--database={database}")).stdin(fs::File::open(file.path()).unwrap());
    let output = client.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn all_databases_of_two_servers_come_back_with_the_stock_client_as_they_were() {
    let (one, two) = (MariaDb::start(), MariaDb::start());
    let names = ["shop", "with space", "quote'\"`s", "dots.in.it", "größe-日本", "-dash", "a/b", "per%cent"];
    names.iter().for_each(|name| fill(&one, name));
    fill(&two, "shop");
    one.sql("CREATE DATABASE empty");
    one.sql("CREATE USER web@'10.%' IDENTIFIED BY 'x'; GRANT SELECT ON shop.* TO web@'10.%'");
    one.sql("CREATE ROLE reader; GRANT SELECT ON *.* TO reader; CREATE USER boss@localhost; GRANT reader TO boss@localhost");
    let house = House::new(&[source(&one, "all", ", excludes: [mysql]"), source(&two, "[shop]", "")]);
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{}", said.log);
    assert!(
        said.log.contains("Successfully created 'with space' database dump in tmp directory.\n"),
        "{}",
        said.log
    );
    let fresh = MariaDb::start();
    for name in names.iter().filter(|name| **name != "shop") {
        let part = name.replace('/', "%2F");
        let dump = house.dump(&part);
        assert!(house.text(&part).trim_end().lines().last().unwrap().starts_with(MARKER), "{part}");
        feed(&fresh, name, &dump);
        assert_eq!(fresh.fingerprint(name), one.fingerprint(name), "{name}");
    }
    assert!(house.text("empty").contains(MARKER));
    // Both servers have a `shop`; the second source has its number in the name.
    let files = house.files(0);
    let shops: Vec<&String> =
        files.iter().filter(|f| f.starts_with("shop/daily/") && f.ends_with(".sql.gz")).collect();
    assert_eq!(shops.len(), 2, "{files:?}");
    assert!(
        shops[0].starts_with("shop/daily/1-shop_") && shops[1].starts_with("shop/daily/shop_"),
        "{shops:?}"
    );
    let users = house.text("@users");
    assert!(users.contains("GRANT SELECT ON `shop`.* TO `web`@`10.%`;\n"), "{users}");
    assert!(
        !files
            .iter()
            .any(|f| f.contains("information_schema") || f.starts_with("mysql") || f.starts_with("sys"))
    );
    // What goes with every backup.
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let page = fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    assert!(page.contains("| mariadb --default-character-set=utf8mb4 'with space'\n"), "{page}");
    assert!(
        page.contains("utf8mb4 -- '-dash'\n")
            && page.contains(".sql.gz | mariadb --default-character-set=utf8mb4\n"),
        "{page}"
    );
}

#[test]
fn tables_are_left_out_and_the_log_says_how_a_database_was_dumped() {
    let server = MariaDb::start();
    fill(&server, "shop");
    server.sql("CREATE TABLE shop.cache_a (id INT); CREATE TABLE shop.`cache b` (id INT); CREATE TABLE shop.cached (id INT)");
    let house = House::new(&[source(&server, "[shop]", ", excludes: ['shop.cache_*', 'sh*.cache b']")]);
    let said = house.start();
    assert!(
        said.log.contains("`shop` is dumped in one transaction")
            && said.log.contains("2 tables are left out"),
        "{said:?}"
    );
    let text = house.text("shop");
    assert!(!text.contains("cache_a") && !text.contains("cache b") && text.contains("`cached`"));
    server.sql("ALTER TABLE shop.log ENGINE=MyISAM");
    let said = house.start();
    assert!(
        said.log.contains("`shop` is locked for writing while it is dumped, because of `log` (MyISAM)"),
        "{said:?}"
    );
    let asked = source(&server, "[shop]", "")
        .replace("extra_keys: ''", "extra_keys: '--single-transaction --skip-events'");
    let house = House::new(&[asked]);
    let said = house.start();
    assert!(said.log.contains("WARNING") && said.log.contains("does not cover `log` (MyISAM)"), "{said:?}");
    assert!(!house.text("shop").contains("nightly") && house.text("shop").contains("FUNCTION `twice`"));
}

#[test]
fn history_comes_back_and_what_the_server_itself_does_not_tell_is_warned_of() {
    let server = MariaDb::start();
    server.sql(
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT, what TEXT) ENGINE=InnoDB WITH SYSTEM VERSIONING; \
         INSERT INTO t VALUES (1, 'old'), (2, 'gone'); UPDATE t SET what = 'new'; DELETE FROM t WHERE id = 2; \
         CREATE TABLE plain (kind ENUM('größe'), `set` SET('a', 'ü'))",
    );
    let house = House::new(&[source(&server, "[shop]", "")]);
    let said = house.start();
    assert!(!said.log.contains("WARNING"), "{said:?}");
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let rows = |database: &str| {
        server.sql(&format!(
            "SELECT *, row_start, row_end FROM {database}.t FOR SYSTEM_TIME ALL ORDER BY row_end, id"
        ))
    };
    assert_eq!(rows("copy"), rows("shop"));
    assert_eq!(rows("copy").lines().count(), 4);
    server.sql("CREATE TABLE shop.odd (kind ENUM('a', 'b 🙂'))");
    let said = house.start();
    assert!(
        said.log.contains("WARNING") && said.log.contains("ENUM or SET `odd`.`kind` have a `?`"),
        "{said:?}"
    );
}

#[test]
fn what_a_user_may_not_see_is_warned_of_and_what_it_may_not_read_is_an_error() {
    let server = MariaDb::start();
    fill(&server, "shop");
    server.sql("CREATE USER little@'127.0.0.1' IDENTIFIED BY ''; GRANT SELECT, EVENT ON shop.* TO little@'127.0.0.1'");
    let connect = format!("{{db_host: 127.0.0.1, db_port: {}, db_user: little}}", server.port());
    let rest = "target: [shop], gzip: yes, is_slave: no, extra_keys: ''}";
    let house = House::new(&[format!("{{connect: {connect}, {rest}")]);
    let said = house.run(&["start"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("SHOW VIEW") && said.err.contains("docs/databases.md"), "{said:?}");
    server.sql("GRANT SHOW VIEW ON shop.* TO little@'127.0.0.1'");
    let said = house.start();
    assert!(
        said.log.contains("may not see triggers") && said.log.contains("may not see all routines"),
        "{said:?}"
    );
    server.sql(
        "GRANT TRIGGER ON shop.* TO little@'127.0.0.1'; GRANT SELECT ON mysql.proc TO little@'127.0.0.1'",
    );
    let said = house.start();
    assert!(!said.log.contains("WARNING"), "{said:?}");
    let text = house.newest("shop");
    for part in ["TRIGGER noted AFTER DELETE", "FUNCTION `twice`", "EVENT `nightly`"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn credentials_are_taken_from_the_configuration_before_those_of_the_home_directory() {
    let server = MariaDb::start();
    server.sql("CREATE DATABASE shop");
    let mut house = House::new(&[source(&server, "[shop]", "")]);
    fs::write(house.path("home/.my.cnf"), "[client]\nuser=nobody\npassword=wrong\nport=1\n").unwrap();
    house.start();
    // By the socket.
    let socket =
        format!("{{socket: {}, db_user: backup, db_password: 'ENV:DB_PASSWORD'}}", server.socket().display());
    let rest = ", target: [shop], gzip: yes, is_slave: no, extra_keys: ''}";
    house.sources = vec![format!("{{connect: {socket}{rest}")];
    house.start();
    // By an option file of the administrator's.
    let options = house.path("auth.cnf");
    let text = format!("[client]\nuser=root\nsocket={}\n", server.socket().display());
    fs::write(&options, text).unwrap();
    fs::remove_file(house.path("home/.my.cnf")).unwrap();
    house.sources = vec![format!("{{connect: {{auth_file: {}, db_host: unused}}{rest}", options.display())];
    house.start();
    assert_eq!(house.files(0).iter().filter(|f| f.ends_with(".sql.gz")).count(), 3);
}

#[test]
fn the_way_to_the_server_is_encrypted_where_that_is_asked_for() {
    let server = MariaDb::start();
    server.sql("CREATE DATABASE shop");
    // This server has no certificate.
    let secure = |mode: &str| {
        source(&server, "[shop]", "").replace("connect: {", &format!("connect: {{tls: {mode}, "))
    };
    let mut house = House::new(&[]);
    for mode in ["required", "verified"] {
        house.sources = vec![secure(mode)];
        let said = house.run(&["start"]);
        assert_eq!(said.code, Some(1), "{mode}: {said:?}");
        assert!(said.err.contains("SSL"), "{mode}: {said:?}");
    }
    house.sources = vec![secure("off")];
    house.start();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &path("key"), "-out", &path("crt")])
        .output()
        .unwrap();
    assert!(made.status.success());
    let server =
        MariaDb::start_with(&[&format!("--ssl-cert={}", path("crt")), &format!("--ssl-key={}", path("key"))]);
    server.sql("CREATE DATABASE shop; ALTER USER backup@'127.0.0.1' REQUIRE SSL");
    let secure =
        |keys: &str| source(&server, "[shop]", "").replace("connect: {", &format!("connect: {{{keys}, "));
    house.sources = vec![secure("tls: required")];
    house.start();
    house.sources = vec![secure(&format!("tls: verified, tls_ca: {}", path("crt")))];
    house.start();
    house.sources = vec![secure("tls: verified")];
    let said = house.run(&["start"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    house.sources = vec![secure("tls: off")];
    assert_eq!(house.run(&["start"]).code, Some(1));
}
