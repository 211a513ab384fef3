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
fn feed(server: &MariaDb, database: &str, dump: &str) {
    let quoted = format!("`{}`", database.replace('`', "``"));
    server.sql(&format!("CREATE DATABASE {quoted}"));
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
    let house = House::new(&[source(&one, "all", ", excludes: [mysql]"), source(&two, "[shop]", "")]);
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{}", said.log);
    let fresh = MariaDb::start();
    for name in names.iter().filter(|name| **name != "shop") {
        let part = name.replace('/', "%2F");
        let dump = house.dump(&part);
        assert!(dump.trim_end().lines().last().unwrap().starts_with(MARKER), "{part}");
        feed(&fresh, name, &dump);
        assert_eq!(fresh.fingerprint(name), one.fingerprint(name), "{name}");
    }
    assert!(house.dump("empty").contains(MARKER));
    // Both servers have a `shop`; the second source has its number in the name.
    let files = house.files(0);
    let shops: Vec<&String> =
        files.iter().filter(|f| f.starts_with("shop/daily/") && f.ends_with(".sql.gz")).collect();
    assert_eq!(shops.len(), 2, "{files:?}");
    assert!(
        shops[0].starts_with("shop/daily/1-shop_") && shops[1].starts_with("shop/daily/shop_"),
        "{shops:?}"
    );
    let users = house.dump("@users");
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
