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

const PROPERTIES: &str = r#"
    ALTER DATABASE shop SET search_path TO "$user", public, app;
    ALTER DATABASE shop SET my.key TO 'it''s';
    ALTER DATABASE shop SET default_transaction_read_only TO off;
    ALTER DATABASE shop CONNECTION LIMIT 7;
    ALTER ROLE boss IN DATABASE shop SET work_mem TO '8MB';
    REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
    GRANT CREATE ON DATABASE shop TO backup WITH GRANT OPTION;
    COMMENT ON DATABASE shop IS 'it''s the shop';
"#;

#[test]
fn a_database_comes_back_under_another_name_as_it_was_made_and_over_nothing_that_is_there() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE ROLE boss");
    let made =
        "CREATE DATABASE shop OWNER boss ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    server.sql("postgres", made);
    server.script("shop", PROPERTIES);
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
            let properties = |name: &str| {
                let questions = [
                    "SELECT datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'NAME'",
                    "SELECT setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase \
                     WHERE datname = 'NAME' ORDER BY 1",
                    "SELECT grantee::regrole, privilege_type, is_grantable FROM pg_database, aclexplode(datacl) \
                     WHERE datname = 'NAME' ORDER BY 1, 2",
                ];
                questions.map(|question| server.sql("postgres", &question.replace("NAME", name)))
            };
            assert_eq!(properties("copy"), properties("shop"));
            assert!(properties("shop")[1].contains("my.key=it's"), "{:?}", properties("shop"));
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

#[test]
fn roles_and_databases_go_into_another_server_and_roles_that_are_there_keep_what_they_have() {
    let server = Postgres::start();
    server.sql(
        "postgres",
        "CREATE ROLE \"the boss\" LOGIN PASSWORD 'one'; CREATE ROLE reader PASSWORD 'two'; GRANT reader TO \"the boss\"",
    );
    fill(&server, "shop");
    server.sql("shop", "ALTER TABLE item OWNER TO \"the boss\"; GRANT SELECT ON customer TO reader");
    let house = house(&[dumped(&server, "all", ", excludes: [postgres]")]);
    house.start();
    let fresh = Postgres::start();
    fresh.sql("postgres", "CREATE ROLE reader LOGIN PASSWORD 'mine'");
    let address = |user: &str, name: &str| format!("postgresql://{user}@127.0.0.1:{}/{name}", fresh.port());
    let passwords = |server: &Postgres| {
        server.sql("postgres", "SELECT rolname, rolpassword, rolcanlogin FROM pg_authid WHERE rolname IN ('reader', 'the boss') ORDER BY 1")
    };
    // Without the roles nothing can belong to them.
    let into = address(postgres::USER, "copy");
    let said = house.run(&["restore", "db", "--target", "shop", "--into", &into]);
    assert!(said.code == Some(1) && said.err.contains("role \"the boss\" does not exist"), "{said:?}");
    assert!(said.err.contains("--target @globals"), "{said:?}");
    let before = passwords(&fresh);
    let said = restored(&house, &["--target", "@globals", "--into", &into]);
    assert!(said.err.contains("role \"reader\"") && said.err.contains("left as they are"), "{said:?}");
    assert!(passwords(&fresh).contains(before.trim()), "{}", passwords(&fresh));
    assert_eq!(fresh.sql("postgres", "SELECT pg_has_role('the boss', 'reader', 'member')"), "t\n");
    let said = restored(&house, &["--target", "@globals", "--into", &into, "--overwrite"]);
    assert!(said.err.contains("altered"), "{said:?}");
    assert_eq!(passwords(&fresh), passwords(&server));
    let said = house.run(&["restore", "db", "--target", "@globals", "--as", "x"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    // What the first attempt left is not empty.
    let said = house.run(&["restore", "db", "--target", "shop", "--into", &into]);
    assert!(said.code == Some(1) && said.err.contains("is not empty"), "{said:?}");
    restored(&house, &["--target", "shop", "--into", &into, "--overwrite"]);
    assert_eq!(fresh.fingerprint("copy"), server.fingerprint("shop"));
    // By the socket, without a password; and with one of its own.
    let socket =
        format!("postgresql://postgres@/odd%20name?host={}&port={}", fresh.socket().display(), fresh.port());
    restored(&house, &["--target", "shop", "--into", &socket]);
    assert_eq!(fresh.fingerprint("odd name"), server.fingerprint("shop"));
    fresh.sql("postgres", "CREATE ROLE other SUPERUSER LOGIN PASSWORD 'se cret'");
    let args = ["restore", "db", "--target", "shop", "--into", &address("other", "x")];
    let said = house.run(&args);
    assert!(said.code == Some(1) && said.err.contains("password authentication failed"), "{said:?}");
    assert!(!said.err.contains("#0rd"), "{said:?}");
    let mut command = house.command(&args);
    command.env("NXS_RESTORE_PASSWORD", "se cret");
    let said = house.finish(command);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn tables_are_left_out_with_their_partitions_and_what_may_not_be_read_is_an_error() {
    let server = Postgres::start();
    fill(&server, "shop");
    server.sql("shop", "CREATE SCHEMA other; CREATE TABLE other.cache_a (id int); CREATE TABLE cache_b (id int); CREATE TABLE cached (id int)");
    let mut house = house(&[dumped(
        &server,
        "[shop]",
        ", excludes: ['shop.other.cache_*', 'sh*.log', 'shop.*.cache_b']",
    )]);
    let said = house.start();
    assert!(said.log.contains("`shop`: 5 tables are left out"), "{said:?}");
    let text = house.text("shop");
    assert!(
        !text.contains("cache_")
            && !text.contains("TABLE public.log")
            && text.contains("TABLE public.cached")
    );
    // A user of its own, from no rights to all that are needed.
    server.sql("postgres", "CREATE ROLE little LOGIN PASSWORD 'x'");
    let connect =
        format!("{{db_host: 127.0.0.1, db_port: {}, db_user: little, db_password: x}}", server.port());
    let source =
        |target: &str| format!("{{connect: {connect}, target: {target}, gzip: yes, extra_keys: ''}}");
    house.sources = vec![source("[shop]")];
    let said = house.run(&["start"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("permission denied for") && said.err.contains("docs/databases.md"), "{said:?}");
    server.sql("shop", "GRANT pg_read_all_data TO little");
    let said = house.run(&["start"]);
    assert!(said.code == Some(1) && said.err.contains("permission denied for large object"), "{said:?}");
    server.sql("shop", "GRANT SELECT ON LARGE OBJECT 4711 TO little");
    house.sources = vec![source("all")];
    let said = house.run(&["start"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.log.contains("WARNING"), "{said:?}");
    assert!(house.newest("@globals").contains("PASSWORD 'SCRAM"));
    server.sql("shop", "REVOKE pg_read_all_data FROM little");
    house.sources = vec![source("all").replace("gzip", "excludes: [shop], gzip")];
    let said = house.run(&["start"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.log.contains("WARNING") && said.log.contains("oles are saved without their passwords"),
        "{said:?}"
    );
    let roles = house.newest("@globals");
    assert!(roles.contains("CREATE ROLE little;") && !roles.contains("SCRAM"), "{roles}");
}

#[test]
fn credentials_are_taken_from_the_configuration_before_those_of_the_home_directory() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE shop");
    let mut house = house(&[dumped(&server, "[shop]", "")]);
    let passwords = |text: &str| {
        let path = house.path("home/.pgpass");
        fs::write(&path, format!("*:*:*:*:{text}\n")).unwrap();
        Command::new("chmod").arg("600").arg(&path).status().unwrap();
    };
    passwords("wrong");
    house.start();
    passwords(&postgres::PASSWORD.replace('\\', "\\\\").replace(':', "\\:"));
    let connect = |keys: &str| {
        format!("{{connect: {{{keys}}}, target: [shop], gzip: yes, extra_keys: '--no-owner -O'}}")
    };
    let network = format!("db_host: 127.0.0.1, db_port: {}, db_user: backup", server.port());
    let by_socket = [
        format!("socket: {}, db_port: {}, db_user: postgres", server.socket().display(), server.port()),
        format!("socket: {}/.s.PGSQL.{}, db_user: postgres", server.socket().display(), server.port()),
    ];
    for keys in [&network, &by_socket[0], &by_socket[1]] {
        house.sources = vec![connect(keys)];
        house.start();
    }
}

#[test]
fn the_way_to_the_server_is_encrypted_where_that_is_asked_for() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE shop");
    let secure = |server: &Postgres, keys: &str| {
        dumped(server, "[shop]", "").replace("connect: {", &format!("connect: {{{keys}, "))
    };
    let mut house = house(&[secure(&server, "tls: required")]);
    let said = house.run(&["start"]);
    assert!(said.code == Some(1) && said.err.contains("does not support SSL"), "{said:?}");
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &path("key"), "-out", &path("crt")])
        .output()
        .unwrap();
    assert!(made.status.success());
    postgres::own(&dir.path().join("key"));
    let settings = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", path("crt")),
        format!("ssl_key_file={}", path("key")),
    ];
    let server = Postgres::start_with(&settings.each_ref().map(String::as_str));
    server.sql("postgres", "CREATE DATABASE shop");
    for (keys, code) in [
        ("tls: required".to_owned(), 0),
        (format!("tls: verified, tls_ca: {}", path("crt")), 0),
        ("tls: verified".to_owned(), 1),
        ("tls: off".to_owned(), 0),
    ] {
        house.sources = vec![secure(&server, &keys)];
        let said = house.run(&["start"]);
        assert_eq!(said.code, Some(code), "{keys}: {said:?}");
    }
}

#[test]
fn a_damaged_copy_is_replaced_by_the_next_one_and_what_was_there_goes_only_for_what_can_be_made() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql(
        "shop",
        "CREATE TABLE t AS SELECT n, sha512(n::text::bytea)::text AS what FROM generate_series(1, 20000) n",
    );
    let mut house = house(&[dumped(&server, "[shop]", "")]);
    house.storages.push(house.path("second"));
    house.start();
    let path = newest(&house, "shop");
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&path, bytes).unwrap();
    restored(&house, &["--target", "shop", "--as", "copy"]);
    assert_eq!(server.fingerprint("copy"), server.fingerprint("shop"));
    let said =
        house.run(&["restore", "db", "--target", "shop", "--from", "local", "--as", "copy", "--overwrite"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    // Somebody is in it; and a locale that this host does not have.
    restored(&house, &["--target", "shop", "--as", "kept"]);
    let mut session = server.client("kept").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let there = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'kept'";
    crate::faults::until("a session", || server.sql("postgres", there) == "1\n");
    let again = ["restore", "db", "--target", "shop", "--as", "kept", "--overwrite"];
    let said = house.run(&again);
    assert!(said.code == Some(1) && said.err.contains("being accessed by other users"), "{said:?}");
    session.kill().unwrap();
    session.wait().unwrap();
    let dir = house.storages[0].join("shop/daily");
    let odd = "-- CREATE DATABASE \"shop\" WITH TEMPLATE = template0 LC_COLLATE = 'no_SUCH.UTF-8' LC_CTYPE = 'C';\n";
    fs::write(dir.join("shop_2020-01-01_03-00.pgdump.sql"), odd).unwrap();
    let said = house.run(&[&again[..], &["--at", "2020-01-01 12:00", "--adopt"]].concat());
    assert!(said.code == Some(1) && said.err.contains("no_SUCH"), "{said:?}");
    assert_eq!(server.fingerprint("kept"), server.fingerprint("shop"));
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'nxs%'"), "0\n");
}

#[test]
fn dumps_of_version_2_are_restored_by_their_names() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE shop");
    let house = house(&[dumped(&server, "[shop]", "")]);
    let dir = house.storages[0].join("shop/daily");
    fs::create_dir_all(&dir).unwrap();
    for (day, extension) in [(1, "pgdump"), (2, "pgdump.sql")] {
        let path = dir.join(format!("shop_2020-01-0{day}_03-00.{extension}"));
        fs::write(&path, format!("CREATE TABLE old (day{day} int);\n")).unwrap();
    }
    house.start();
    for day in [1, 2] {
        let name = format!("older{day}");
        restored(&house, &["--target", "shop", "--at", &format!("2020-01-0{day} 12:00"), "--as", &name]);
        let question = "SELECT column_name FROM information_schema.columns WHERE table_name = 'old'";
        assert_eq!(server.sql(&name, question), format!("day{day}\n"));
    }
}

#[test]
fn a_standby_is_dumped_as_its_primary_is() {
    let primary = Postgres::start();
    fill(&primary, "shop");
    let copy = tempfile::tempdir().unwrap();
    let data = copy.path().join("data");
    let mut clone = primary.tool("pg_basebackup");
    clone.args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "-D"]).arg(&data);
    assert!(clone.status().unwrap().success());
    postgres::own(&data);
    let standby = Postgres::start_on(&data, &[]);
    assert_eq!(standby.sql("postgres", "SELECT pg_is_in_recovery()"), "t\n");
    let house = house(&[dumped(&standby, "all", ", excludes: [postgres]")]);
    let said = house.start();
    assert!(!said.log.contains("WARNING"), "{said:?}");
    let address = format!("postgresql://{}@127.0.0.1:{}/copy", postgres::USER, primary.port());
    restored(&house, &["--target", "shop", "--into", &address]);
    assert_eq!(primary.fingerprint("copy"), primary.fingerprint("shop"));
    let physical = House::of("postgresql_basebackup", &[source(&standby, ", extra_keys: ''")]);
    fs::set_permissions(physical.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    physical.start();
    let said = physical.run(&["restore", "db", "--to", physical.path("data").to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("as its manifest says"), "{said:?}");
}
