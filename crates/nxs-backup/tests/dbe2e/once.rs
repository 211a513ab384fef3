//! However many storages there are, the source is read once: how often the dump program was started, and what its server saw.

use std::fs;

use nxs_testkit::servers::mariadb::MariaDb;
use nxs_testkit::servers::postgres::{self, Postgres};

use crate::house::{House, source};

/// A house with three storages, whose dump program notes each start.
fn house(kind: &'static str, source: &str, tool: &str) -> House {
    let mut house = House::of(kind, &[source.to_owned()]);
    house.storages = ["one", "two", "three"].map(|name| house.path(name)).to_vec();
    house.wrap(tool, "echo \"$*\" >> \"$0.said\"; exec \"$REAL\" \"$@\"");
    house
}

/// Starts of the tool that read data.
fn starts(house: &House, tool: &str) -> usize {
    let said = fs::read_to_string(house.path("bin").join(format!("{tool}.said"))).unwrap();
    said.lines().filter(|line| !line.contains("--version") && !line.contains("--no-data")).count()
}

/// All three storages hold the same, byte by byte.
fn three_of_one(house: &House) {
    let [one, two, three] = [0, 1, 2].map(|n| house.archives(n));
    assert!(!one.is_empty());
    for (part, archive) in &one {
        let bytes = fs::read(archive).unwrap();
        for other in [&two, &three] {
            assert!(fs::read(&other[part]).unwrap() == bytes, "{part}");
        }
    }
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn mariadb_is_read_once_for_three_storages() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("general.log");
    let server = MariaDb::start_with(&["--general-log=1", &format!("--general-log-file={}", log.display())]);
    server.sql(
        "CREATE DATABASE shop; USE shop; CREATE TABLE big (id INT PRIMARY KEY, what TEXT) ENGINE=InnoDB; \
         INSERT INTO big SELECT seq, REPEAT(SHA2(seq, 512), 4) FROM seq_1_to_20000; CREATE TABLE small (id INT) ENGINE=InnoDB",
    );
    let sent = || -> u64 {
        let row = server.sql("SHOW GLOBAL STATUS LIKE 'Bytes_sent'");
        row.trim().rsplit('\t').next().unwrap().parse().unwrap()
    };
    let cold = source(&server, "[shop]", "");
    let house = house("mysql", &cold, "mariadb-dump");
    let (before, log_before) = (sent(), fs::metadata(&log).unwrap().len());
    house.start();
    let bytes = sent() - before;
    three_of_one(&house);
    assert_eq!(starts(&house, "mariadb-dump"), 1);
    let plain = house.dump("shop").len() as u64;
    assert!(
        plain > 9 << 20 && bytes < plain + (1 << 20),
        "the server sent {bytes} bytes for a dump of {plain}"
    );
    let asked = fs::read(&log).unwrap().split_off(usize::try_from(log_before).unwrap());
    let asked = String::from_utf8_lossy(&asked).into_owned();
    for table in ["big", "small"] {
        let reads = asked
            .lines()
            .filter(|line| line.contains("SQL_NO_CACHE") && line.contains(&format!("FROM `{table}`")))
            .count();
        assert_eq!(reads, 1, "{table}");
    }
    let hot = cold.replace("target: [shop], ", "").replace("is_slave: no, ", "");
    let house = self::house("mariadb_backup", &hot, "mariadb-backup");
    house.start();
    three_of_one(&house);
    assert_eq!(starts(&house, "mariadb-backup"), 1);
}

#[test]
fn postgresql_is_read_once_for_three_storages() {
    let server = Postgres::start_with(&["log_statement=all", "log_replication_commands=on"]);
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE big AS SELECT n, sha512(n::text::bytea) AS what FROM generate_series(1, 20000) n; CREATE TABLE small (id int)");
    let log = || fs::read_to_string(server.log()).unwrap();
    let connect = format!(
        "{{db_host: 127.0.0.1, db_port: {}, db_user: {}, db_password: 'ENV:PG_PASSWORD'}}",
        server.port(),
        postgres::USER
    );
    let house = house(
        "postgresql",
        &format!("{{connect: {connect}, target: [shop], gzip: yes, extra_keys: ''}}"),
        "pg_dump",
    );
    house.start();
    three_of_one(&house);
    assert_eq!(starts(&house, "pg_dump"), 1);
    for table in ["big", "small"] {
        assert_eq!(log().matches(&format!("COPY public.{table} (")).count(), 1, "{table}");
    }
    let house = self::house(
        "postgresql_basebackup",
        &format!("{{connect: {connect}, gzip: yes, extra_keys: ''}}"),
        "pg_basebackup",
    );
    house.start();
    three_of_one(&house);
    assert_eq!(starts(&house, "pg_basebackup"), 1);
    assert_eq!(log().matches("received replication command: BASE_BACKUP").count(), 1);
}
