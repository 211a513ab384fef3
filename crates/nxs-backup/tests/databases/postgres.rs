//! `type: postgresql`: what is dumped, under which names, and that it comes back.

use std::fs;
use std::path::Path;
use std::process::Command;

use nxs_testkit::servers::postgres::{self, Postgres};

use crate::house::{House, Said};

/// Of everything that a database of today holds, a little.
pub(crate) const SHOP: &str = r#"
    CREATE EXTENSION pgcrypto;
    CREATE SCHEMA "odd ""schema""";
    CREATE TYPE mood AS ENUM ('sad', 'größe 🙂');
    CREATE DOMAIN plz AS text CHECK (VALUE ~ '^[0-9]{5}$');
    CREATE TABLE customer (id serial PRIMARY KEY, name text NOT NULL, code plz, feels mood, at timestamptz DEFAULT '2026-01-02 03:04:05+00');
    INSERT INTO customer (name, code, feels) SELECT 'kunde ' || n || E'\t\\ 🙂''"', '12345', 'größe 🙂' FROM generate_series(1, 500) n;
    CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner int REFERENCES customer ON DELETE CASCADE, price numeric(10, 2),
        gross numeric GENERATED ALWAYS AS (price * 1.19) STORED, raw bytea, doc jsonb, tags text[]);
    INSERT INTO item (owner, price, raw, doc, tags) SELECT n % 500 + 1, n, decode(md5(n::text), 'hex'), jsonb_build_object('n', n), ARRAY['a', NULL, 'ü'] FROM generate_series(1, 2000) n;
    CREATE INDEX ON item USING gin (doc);
    CREATE TABLE log (at date NOT NULL, what text) PARTITION BY RANGE (at);
    CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO log SELECT DATE '2025-06-01' + n, 'tag ' || n FROM generate_series(1, 400) n;
    CREATE VIEW cheap AS SELECT id, price FROM item WHERE price < 10;
    CREATE MATERIALIZED VIEW sums AS SELECT owner, sum(price) AS sum FROM item GROUP BY owner;
    CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES ('2026-05-05', TG_OP); RETURN NULL; END $$;
    CREATE TRIGGER noted AFTER DELETE ON item FOR EACH STATEMENT EXECUTE FUNCTION noted();
    CREATE SEQUENCE numbers START 1000 INCREMENT 7;
    SELECT nextval('numbers'), nextval('numbers');
    CREATE TABLE "odd ""schema"""."-t 'able" ("col ""umn" text);
    INSERT INTO "odd ""schema"""."-t 'able" VALUES (E'\\.'), ('\N'), (NULL), ('');
    SELECT lo_from_bytea(4711, decode(repeat('00ff10', 50000), 'hex'));
    COMMENT ON TABLE item IS 'it''s a ; comment';
    DELETE FROM item WHERE id = 7;
    REFRESH MATERIALIZED VIEW sums;
"#;

/// A server whose role owns what is in its databases.
pub(crate) fn fill(server: &Postgres, database: &str) {
    server.sql("postgres", &format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\"")));
    server.script(database, SHOP);
}

/// One entry of `sources` over the network.
pub(crate) fn source(server: &Postgres, more: &str) -> String {
    format!(
        "{{connect: {{db_host: 127.0.0.1, db_port: {}, db_user: {}, db_password: 'ENV:PG_PASSWORD'}}, gzip: yes{more}}}",
        server.port(),
        postgres::USER
    )
}

pub(crate) fn dumped(server: &Postgres, target: &str, more: &str) -> String {
    source(server, &format!(", target: {target}, extra_keys: ''{more}"))
}

pub(crate) fn house(sources: &[String]) -> House {
    House::of("postgresql", sources)
}

/// The newest archive of a part, as it is stored.
pub(crate) fn newest(house: &House, part: &str) -> std::path::PathBuf {
    let archives =
        house.files(0).into_iter().filter(|f| f.starts_with(&format!("{part}/")) && f.ends_with(".gz"));
    let paths = archives.map(|archive| house.storages[0].join(archive));
    paths.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap()
}

fn restored(house: &House, args: &[&str]) -> Said {
    let said = house.run(&[&["restore", "db"], args].concat());
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    said
}

/// Puts a stored dump into a new database with nothing but stock programs, as `RESTORE.md` says it.
fn feed(server: &Postgres, database: &str, archive: &Path) {
    let name = database.replace('"', "\"\"");
    server.sql("postgres", &format!("CREATE DATABASE \"{name}\" WITH TEMPLATE template0"));
    let plain =
        Command::new("gzip").arg("-dc").stdin(fs::File::open(archive).unwrap()).output().unwrap().stdout;
    server.script(database, &String::from_utf8(plain).unwrap());
}

#[test]
fn all_databases_of_two_servers_come_back_with_the_stock_client_as_they_were() {
    let (one, two) = (Postgres::start(), Postgres::start());
    let names =
        ["shop", "with space", "quote'\"s\\", "dots.in.it", "größe-日本", "-dash", "a/b", "per%cent", "a=b"];
    names.iter().for_each(|name| fill(&one, name));
    fill(&two, "shop");
    one.sql(
        "postgres",
        "CREATE ROLE reader NOLOGIN; CREATE ROLE web LOGIN PASSWORD 'x'; GRANT reader TO web",
    );
    let house =
        house(&[dumped(&one, "all", ", excludes: [postgres, template1]"), dumped(&two, "[shop]", "")]);
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{}", said.log);
    let files = house.files(0);
    let shops: Vec<&String> =
        files.iter().filter(|f| f.starts_with("shop/daily/") && f.ends_with(".pgdump.sql.gz")).collect();
    assert!(
        shops.len() == 2
            && shops[0].starts_with("shop/daily/1-shop_")
            && shops[1].starts_with("shop/daily/shop_"),
        "{files:?}"
    );
    let fresh = Postgres::start();
    fresh.script(
        "postgres",
        &house.text("@globals").replace("CREATE ROLE postgres;", "").replace("CREATE ROLE backup;", ""),
    );
    assert_eq!(fresh.sql("postgres", "SELECT pg_has_role('web', 'reader', 'member')"), "t\n");
    for name in names.iter().filter(|name| **name != "shop") {
        let part = name.replace('/', "%2F");
        feed(&fresh, name, &newest(&house, &part));
        assert_eq!(fresh.fingerprint(name), one.fingerprint(name), "{name}");
    }
    assert!(!files.iter().any(|f| f.starts_with("template") || f.starts_with("postgres/")), "{files:?}");
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let page = fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    assert!(page.contains("| psql -X -v ON_ERROR_STOP=1 -d 'with space'\n"), "{page}");
    assert!(page.contains(".pgdump.sql.gz | psql -X -d postgres\n"), "{page}");
}

#[test]
fn a_database_comes_back_under_another_name_as_it_was_made_and_over_nothing_that_is_there() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE ROLE boss");
    let made =
        "CREATE DATABASE shop OWNER boss ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    server.sql("postgres", made);
    server.script(
        "shop",
        "CREATE TABLE t (id int, b text); INSERT INTO t SELECT n, 'größe' FROM generate_series(1, 3000) n",
    );
    for format in ["plain", "custom"] {
        let house = house(&[dumped(&server, "all", &format!(", format: {format}, excludes: [postgres]"))]);
        house.start();
        let said = restored(&house, &["--target", "shop", "--as", "copy", "--dry-run"]);
        assert!(said.err.contains("would restore"), "{said:?}");
        assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'copy'"), "0\n");
        restored(&house, &["--target", "shop", "--as", "copy"]);
        assert_eq!(server.fingerprint("copy"), server.fingerprint("shop"), "{format}");
        let how = |name: &str| {
            let question =
                format!("SELECT encoding, datcollate, datctype FROM pg_database WHERE datname = '{name}'");
            server.sql("postgres", &question)
        };
        assert_eq!(how("copy"), how("shop"), "{format}");
        if format == "plain" {
            let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'copy'";
            assert_eq!(server.sql("postgres", owner), "boss\n");
        }
        let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("is not empty") && said.err.contains("--overwrite"), "{said:?}");
        server.sql("copy", "CREATE TABLE more (id int)");
        restored(&house, &["--target", "shop", "--as", "copy", "--overwrite"]);
        assert_eq!(server.fingerprint("copy"), server.fingerprint("shop"), "{format}");
        server.sql("postgres", "DROP DATABASE copy");
    }
}
