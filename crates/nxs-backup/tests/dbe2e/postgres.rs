//! A job of version 2 over a PostgreSQL server with all that is in it, and a hot copy of the server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nxs_testkit::servers::postgres::{self, Postgres};
use nxs_testkit::servers::run;

use crate::house::House;
use crate::{package, page, site, watch};

/// What version 2 made as a template, filled in.
const JOB: &str = "\
- job: PROJECT-postgresql
  type: postgresql
  tmp_dir: /var/nxs-backup/databases/postgresql/dump_tmp
  sources:
  - connect:
      db_host: localhost
      db_port: 5432
      db_user: backup
      db_password: 'ENV:PG_PASSWORD'
    target:
    - all
    excludes:
    - template1
    - template0
    gzip: yes
    extra_keys: ''
  storages:
  - storage: local
    enable: yes
    backup_dir: /var/nxs-backup/databases/postgresql/dump
    store:
      days: 6
      weeks: 4
      month: 6
";
/// Of which the names are no less than their content: `=` makes others of it.
const DATABASES: [&str; 5] = ["bench", "zabbix", "größe's \"zoo\"\\", "a=b", "-dash"];
const ZOO: &str = include_str!("zoo_pg.sql");
const PEOPLE: &str = "
    CREATE ROLE reader NOLOGIN; CREATE ROLE writer; CREATE ROLE boss LOGIN CREATEDB CREATEROLE PASSWORD 'it''s' VALID UNTIL '2037-01-01';
    CREATE ROLE \"größe ü\" LOGIN CONNECTION LIMIT 7 NOINHERIT BYPASSRLS;
    GRANT reader TO writer WITH ADMIN OPTION; GRANT writer, pg_monitor TO \"größe ü\";
    ALTER ROLE writer SET search_path TO public, pg_catalog; COMMENT ON ROLE writer IS 'it''s 🙂'";
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

fn start() -> Postgres {
    // Without this level a server warns of publications.
    Postgres::start_with(&["shared_buffers=64MB", "max_wal_size=512MB", "wal_level=logical"])
}

fn server() -> Postgres {
    let server = start();
    server.script("postgres", PEOPLE);
    for database in DATABASES {
        server.sql("postgres", &format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\"")));
    }
    let [bench, zabbix, zoo, equals, dash] = DATABASES;
    // A hundred and forty megabytes, with their foreign keys.
    run(server.tool(&format!("{PROGRAMS}/pgbench")).args([
        "--initialize",
        "--quiet",
        "--scale=14",
        "--foreign-keys",
        bench,
    ]));
    package::feed(|| server.client(zabbix), &package::zabbix("pgsql"));
    let (texts, others) = site::contents();
    let mut script = format!("{ZOO}\nCREATE TABLE text (id int PRIMARY KEY, what text);\n");
    for (table, paths) in [("bytes", &others), ("text", &texts)] {
        for (n, path) in paths.iter().enumerate() {
            let read = format!("pg_read_binary_file('{}')", path.display());
            let value = if table == "text" { format!("convert_from({read}, 'UTF8')") } else { read };
            script += &format!("INSERT INTO {table} VALUES ({n}, {value});\n");
        }
    }
    server.script(zoo, &script);
    server.script(equals, "CREATE TABLE t AS SELECT n FROM generate_series(1, 100) n");
    server.script(dash, "CREATE TABLE t AS SELECT n FROM generate_series(1, 200) n");
    server
}

/// Everybody's role.
fn people(server: &Postgres) -> String {
    server.sql(
        "postgres",
        "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, \
         rolpassword, rolvaliduntil, shobj_description(oid, 'pg_authid') FROM pg_authid ORDER BY 1; \
         SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members ORDER BY roleid::regrole::text, member::regrole::text; \
         SELECT setrole::regrole, setconfig FROM pg_db_role_setting WHERE setdatabase = 0 ORDER BY setrole::regrole::text",
    )
}

struct Print(String);

impl Print {
    fn of(server: &Postgres, database: &str) -> Self {
        let made = "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = current_database()";
        Self(server.sql(database, made) + &server.fingerprint(database))
    }

    #[track_caller]
    fn assert_same(&self, server: &Postgres, database: &str, what: &str) {
        let is = Self::of(server, database).0;
        let differing = self.0.lines().zip(is.lines()).find(|(a, b)| a != b);
        assert!(self.0 == is, "{what}: `{database}` differs: {differing:?}");
    }
}

#[test]
fn a_job_of_version_2_and_a_hot_copy_of_its_server_come_back_whole() {
    let server = server();
    let prints = DATABASES.map(|database| Print::of(&server, database));
    for part in [
        "FOREIGN KEY",
        "ATTACH PARTITION",
        "GENERATED ALWAYS",
        "TRIGGER",
        "MATERIALIZED VIEW",
        "FUNCTION",
        "PROCEDURE",
        "POLICY",
        "🙂",
    ] {
        assert!(prints[2].0.contains(part), "no {part}");
    }
    the_job(&server, &prints);
    hot_copy(&server, &prints);
}

fn the_job(server: &Postgres, prints: &[Print; 5]) {
    let mut house = House::new(&[]);
    let job =
        JOB.replace("/var/nxs-backup/databases/postgresql/dump_tmp", house.path("tmp").to_str().unwrap());
    let job = job.replace("/var/nxs-backup/databases/postgresql/dump", house.storages[0].to_str().unwrap());
    house.file = Some(job.replace("5432", &server.port().to_string()));
    let said = watch::run(&house, &["start", "--json"]);
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");

    let fresh = start();
    let restore = |args: &[&str]| {
        let said = house.run(&[&["restore", "PROJECT-postgresql"], args].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    let into = format!("postgresql://{}@localhost:{}", postgres::USER, fresh.port());
    restore(&["--target", "@globals", "--into", &into, "--overwrite"]);
    assert_eq!(people(&fresh), people(server));
    for (database, print) in DATABASES.iter().zip(prints) {
        // One of them looks like a key.
        restore(&[&format!("--target={database}"), "--into", &into]);
        print.assert_same(&fresh, database, "by the program");
    }
    drop(fresh);
    let fresh = start();
    let environment = |shell: &mut Command| {
        shell.env("PGHOST", fresh.socket()).env("PGPORT", fresh.port().to_string()).env("PGUSER", "postgres");
    };
    for command in page::commands(&house.storages[0], "@globals") {
        page::run(&house.storages[0], &command, environment);
    }
    assert_eq!(people(&fresh), people(server));
    for (database, print) in DATABASES.iter().zip(prints) {
        // The page: the first line of the dump tells how it was made.
        let part = database;
        let head = Command::new("sh")
            .arg("-c")
            .arg("gzip -dc \"$0\" | head -n 1")
            .arg(&house.archives(0)[*part])
            .output()
            .unwrap();
        let head = String::from_utf8(head.stdout).unwrap();
        fresh.sql("postgres", head.strip_prefix("-- ").unwrap());
        for command in page::commands(&house.storages[0], database) {
            assert_eq!(page::run(&house.storages[0], &command, environment), "", "{command}");
        }
        print.assert_same(&fresh, database, "by the page");
    }
}

fn hot_copy(server: &Postgres, prints: &[Print; 5]) {
    let source = format!(
        "{{connect: {{db_host: localhost, db_port: {}, db_user: {}, db_password: 'ENV:PG_PASSWORD'}}, gzip: yes, extra_keys: ''}}",
        server.port(),
        postgres::USER
    );
    let house = House::of("postgresql_basebackup", &[source]);
    // Another user has to get there.
    fs::set_permissions(house.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    watch::run(&house, &["start"]);
    let compare = |data: &Path, what: &str| {
        let restored = Postgres::start_on(data, &[]);
        for (database, print) in DATABASES.iter().zip(prints) {
            print.assert_same(&restored, database, what);
        }
        assert_eq!(people(&restored), people(server));
        fs::remove_dir_all(data).unwrap();
    };
    let data = house.path("data");
    let said = house.run(&["restore", "db", "--to", data.to_str().unwrap()]);
    assert!(said.code == Some(0) && said.err.contains("as its manifest says"), "{said:?}");
    compare(&data, "a hot copy by the program");
    // The last line of the page starts a server; this one is started in its place.
    for command in page::commands(&house.storages[0], &format!("postgresql://localhost:{}", server.port())) {
        let command = command.replace("/tmp/restore", data.to_str().unwrap());
        let command =
            command.lines().filter(|line| !line.starts_with("pg_ctl")).collect::<Vec<_>>().join("\n");
        page::run(&house.storages[0], &command, |shell| {
            shell.env("PATH", format!("{}:{PROGRAMS}", std::env::var("PATH").unwrap()));
        });
    }
    compare(&data, "a hot copy by the page");
}
