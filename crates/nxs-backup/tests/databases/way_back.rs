//! `restore` of dumps: to a pipe, into the server that they came from, and into another one.

use std::fs;

use nxs_testkit::servers::mariadb::{MariaDb, USER};

use crate::house::{House, MARKER, source};

fn scene() -> (MariaDb, House) {
    let server = MariaDb::start();
    server.sql(
        "CREATE DATABASE shop CHARACTER SET latin1 COLLATE latin1_german1_ci; USE shop; CREATE TABLE t (id INT PRIMARY KEY, b BLOB) ENGINE=InnoDB; \
         INSERT INTO t SELECT seq, SHA2(seq, 512) FROM seq_1_to_5000; CREATE VIEW v AS SELECT id FROM t; \
         CREATE FUNCTION f(n INT) RETURNS INT DETERMINISTIC RETURN n; CREATE DATABASE other",
    );
    let house = House::new(&[source(&server, "all", "")]);
    house.start();
    (server, house)
}

#[test]
fn a_dump_comes_out_plain_and_what_is_not_clear_is_refused() {
    let (_server, house) = scene();
    let said = house.run(&["restore", "db", "--target", "shop", "--stdout"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out == house.dump("shop"));
    let said = house.run(&["restore", "db", "--stdout"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("`@users`, `other`, `shop`") || said.err.contains("3 targets"), "{said:?}");
    let said = house.run(&["restore", "db", "--target", "shop", "--to", house.path("out").to_str().unwrap()]);
    assert!(said.err.contains("is a dump of a database"), "{said:?}");
    let said = house.run(&["restore", "db", "--target", "@users", "--as", "x"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let said = house.run(&["restore", "db", "--target", "shop", "--into", "mysql://u:secret@h/x"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let said = house.run(&["restore", "db", "--list", "--target", "shop"]);
    let line = String::from_utf8(said.out).unwrap();
    assert!(line.contains("\tshop\tlocal\tshop/daily/shop_") && line.lines().count() == 1, "{line}");
}

#[test]
fn a_dump_goes_into_another_name_and_another_server_and_over_nothing_that_is_there() {
    let (server, house) = scene();
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy", "--dry-run"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("would restore") && !server.sql("SHOW DATABASES").contains("copy"), "{said:?}");
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(server.fingerprint("copy"), server.fingerprint("shop").replace("`shop`.", "`copy`."));
    let created = |name: &str| server.sql(&format!("SHOW CREATE DATABASE {name}")).replace(name, "");
    assert_eq!(created("copy"), created("shop"));
    assert!(created("copy").contains("latin1_german1_ci"));
    // What is there stays, unless it is said that it may go.
    server.sql("DROP TABLE shop.t; CREATE TABLE shop.new (id INT)");
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "shop"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("is not empty") && said.err.contains("--overwrite"), "{said:?}");
    assert!(server.sql("SHOW TABLES FROM shop").contains("new"));
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "shop", "--overwrite"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(server.sql("SHOW TABLES FROM shop"), "t\nv\n");
    // Into another server, with the password of the job, and into an empty database that exists.
    let fresh = MariaDb::start();
    fresh.sql("CREATE DATABASE target");
    let address = format!("mysql://{USER}@127.0.0.1:{}/target", fresh.port());
    let said = house.run(&["restore", "db", "--target", "shop", "--into", &address]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains(&format!("to `target` of mysql://127.0.0.1:{}", fresh.port())), "{said:?}");
    assert_eq!(fresh.fingerprint("target"), server.fingerprint("shop").replace("`shop`.", "`target`."));
    let said = house.run(&["restore", "db", "--target", "shop", "--into", &address.replace(USER, "nobody")]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("Access denied") && !said.err.contains("#0rd"), "{said:?}");
}

#[test]
fn another_server_may_have_another_password() {
    let (server, house) = scene();
    let fresh = MariaDb::start();
    fresh.sql("CREATE USER other@'127.0.0.1' IDENTIFIED BY 'se cret'; GRANT ALL ON *.* TO other@'127.0.0.1'");
    let address = format!("mysql://other@127.0.0.1:{}", fresh.port());
    let args = ["restore", "db", "--target", "shop", "--as", "odd `name'", "--into", &address];
    let said = house.run(&args);
    assert!(said.code == Some(1) && said.err.contains("Access denied"), "{said:?}");
    let mut command = house.command(&args);
    command.env("NXS_RESTORE_PASSWORD", "se cret");
    let said = house.finish(command);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        fresh.fingerprint("odd `name'").replace("`odd ``name'`.", "`shop`."),
        server.fingerprint("shop")
    );
}

#[test]
fn dumps_of_version_2_are_rotated_and_restored_by_their_names() {
    let server = MariaDb::start();
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT) ENGINE=InnoDB");
    let house = House::new(&[source(&server, "all", "")]);
    let dir = house.storages[0].join("shop/daily");
    fs::create_dir_all(&dir).unwrap();
    for day in 1..=3 {
        let text = format!("CREATE TABLE old (day{day} INT);\n");
        let path = dir.join(format!("shop_2020-01-0{day}_03-00.sql"));
        fs::write(&path, text).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_577_847_600 + 86_400 * day);
        fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    house.start();
    let files = house.files(0);
    assert!(
        !files.iter().any(|f| f.contains("2020-01-01")) && files.iter().any(|f| f.contains("2020-01-02")),
        "{files:?}"
    );
    let said = house.run(&["restore", "db", "--target", "shop", "--at", "2020-01-02 12:00", "--stdout"]);
    assert_eq!(
        (said.code, said.out.as_slice()),
        (Some(0), &b"CREATE TABLE old (day2 INT);\n"[..]),
        "{said:?}"
    );
    let said = house.run(&["restore", "db", "--target", "shop", "--at", "2020-01-02 12:00", "--as", "older"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(server.sql("SHOW COLUMNS FROM older.old").split('\t').next(), Some("day2"));
    // In dumps there are no paths.
    for args in [&["ls", "db", "--at", "2030-01-01", "--target", "shop"][..], &["index", "rebuild", "db"]] {
        let said = house.run(args);
        assert!(!said.err.contains("tar"), "{args:?}: {said:?}");
    }
}

#[test]
fn damage_is_found_and_another_copy_is_taken_where_that_is_still_possible() {
    let (server, mut house) = scene();
    house.storages.push(house.path("second"));
    house.start();
    let archives = house.files(0).into_iter().filter(|f| f.starts_with("shop/") && f.ends_with(".sql.gz"));
    let paths = archives.map(|archive| house.storages[0].join(archive));
    let path = paths.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&path, bytes).unwrap();
    let verified = house.run(&["verify", "--target", "shop"]);
    assert_eq!(verified.code, Some(3), "{verified:?}");
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(server.fingerprint("copy"), server.fingerprint("shop").replace("`shop`.", "`copy`."));
    let said = house.run(&["restore", "db", "--target", "shop", "--from", "local", "--stdout"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let said = house.run(&["restore", "db", "--target", "shop", "--from", "local-2", "--stdout"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(String::from_utf8_lossy(&said.out).contains(MARKER));
}
