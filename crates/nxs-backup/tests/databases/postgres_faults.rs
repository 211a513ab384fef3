//! What goes wrong around a dump of PostgreSQL: none of it ends green, none is published, nothing that ran for it stays
//! behind, and what was stored before is still there.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use nxs_testkit::servers::postgres::{PASSWORD, Postgres};

use crate::faults::{judge, kill, until};
use crate::house::{House, Said};
use crate::postgres::{dumped, house, source};

const BIG: &str = "CREATE TABLE big AS SELECT n, sha512(n::text::bytea)::text AS what FROM generate_series(1, 20000) n; \
     CREATE TABLE z (id int); INSERT INTO z VALUES (1)";

/// A server with one database of some megabytes, and a house with one backup of it.
fn scene(more: &str) -> (Postgres, House) {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", BIG);
    let house = house(&[dumped(&server, "[shop]", more)]);
    house.start();
    assert_eq!(house.archives(0).len(), 1);
    (server, house)
}

fn fails(house: &House, words: &str) -> Said {
    let before = house.files(0);
    let said = house.run(&["start", "--json"]);
    judge(house, &said, 1, words, &before);
    said
}

#[test]
fn what_a_server_refuses_is_told_with_its_reason() {
    let (server, mut house) = scene("");
    let good = house.sources.clone();
    let changes = [
        ("db_user: backup", "db_user: nobody", "password authentication failed"),
        ("[shop]", "[no_such_db]", "there is no database `no_such_db`"),
        ("gzip: yes", "gzip: yes, excludes: ['*']", "no database is left to save"),
        (&server.port().to_string(), "1", "127.0.0.1:1"),
        ("extra_keys: ''", "extra_keys: '--no-such-key'", "no-such-key"),
        ("extra_keys: ''", "extra_keys: '-xf /tmp/elsewhere'", "`--file` cannot be used here"),
        ("extra_keys: ''", "extra_keys: 'postgres'", "`postgres` is no key"),
    ];
    for (old, new, words) in changes {
        house.sources = vec![good[0].replace(old, new)];
        fails(&house, words);
    }
    // One that is missing beside one that is there.
    house.sources = vec![good[0].replace("[shop]", "[shop, gone]")];
    let said = house.run(&["start", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("there is no database `gone`"), "{said:?}");
    let tested = house.run(&["test"]);
    assert_eq!(tested.code, Some(0), "{tested:?}");
}

#[test]
fn a_dump_that_its_tool_cut_or_left_empty_is_never_published() {
    let (server, mut house) = scene("");
    let cut = "\"$REAL\" \"$@\" > \"$0.out\"; head -c -1 \"$0.out\"; rm \"$0.out\"";
    let faults = [
        ("\"$REAL\" \"$@\" | head -c 100000", "was cut after 100000 bytes"),
        (cut, "does not end with `-- PostgreSQL database dump complete`"),
        (
            "\"$REAL\" \"$@\" | sed '/dump complete/d'",
            "does not end with `-- PostgreSQL database dump complete`",
        ),
        (":", "printed nothing"),
        ("\"$REAL\" \"$@\"; echo 'lost it' >&2; exit 3", "ended with exit status 3: lost it"),
        ("\"$REAL\" \"$@\" | head -c 300000; kill -9 $$", "ended with signal 9"),
        ("\"$REAL\" \"$@\"; sleep 1000 & exit 4", "ended with exit status 4"),
    ];
    let wrap = |house: &House, tool: &str, fault: &str| {
        house.wrap(tool, &format!("case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac\n{fault}"));
    };
    for (fault, words) in faults {
        wrap(&house, "pg_dump", fault);
        fails(&house, words);
    }
    wrap(&house, "pg_dump", "exec \"$REAL\" \"$@\"");
    let said = house.start();
    assert!(!said.log.contains("ERROR"), "{said:?}");
    // The other format, which has no last line.
    house.sources = vec![dumped(&server, "[shop]", ", format: custom")];
    house.start();
    for (fault, words) in [
        (cut, "was cut: "),
        ("\"$REAL\" \"$@\" | head -c 100000", "was cut: 0 of 2 tables"),
        ("\"$REAL\" \"$@\" | head -c 900", "was cut: "),
        ("\"$REAL\" \"$@\" | tail -c +2", "does not open with `PGDMP`"),
        ("\"$REAL\" \"$@\"; printf x", "is damaged"),
        (":", "printed nothing"),
    ] {
        wrap(&house, "pg_dump", fault);
        fails(&house, words);
    }
    for keys in ["--section=pre-data", "--schema-only", "-t z", "--data-only", "-v"] {
        wrap(&house, "pg_dump", "exec \"$REAL\" \"$@\"");
        house.keys = "  shrink_error: 0\n".into();
        house.sources = vec![
            dumped(&server, "[shop]", ", format: custom")
                .replace("extra_keys: ''", &format!("extra_keys: '{keys}'")),
        ];
        house.start();
    }
    // Roles.
    house.sources = vec![
        dumped(&server, "all", ", excludes: [shop, postgres]")
            .replace("excludes: [shop, postgres]", "excludes: [shop]"),
    ];
    wrap(&house, "pg_dumpall", cut);
    let said = house.run(&["start", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.err.contains("does not end with `-- PostgreSQL database cluster dump complete`"),
        "{said:?}"
    );
    assert!(!house.files(0).iter().any(|file| file.starts_with("@globals")), "{said:?}");
}

/// A dump that stands still behind all data of its first table.
struct Held<'a> {
    server: &'a Postgres,
    session: Child,
}

impl<'a> Held<'a> {
    fn new(server: &'a Postgres, hold: &str) -> Self {
        let session = server.client("shop").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut held = Self { server, session: session.unwrap() };
        held.say(&format!("{hold}; SELECT 'locked';"));
        held
    }

    fn say(&mut self, statement: &str) {
        let stdin = self.session.stdin.as_mut().unwrap();
        stdin.write_all(statement.as_bytes()).and_then(|()| stdin.write_all(b"\n")).unwrap();
        let mut answer = [0; 1];
        let mut said = String::new();
        while !said.ends_with("locked\n") {
            self.session.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
            said.push(char::from(answer[0]));
        }
    }

    /// Waits until somebody waits for a lock.
    fn wait(&self) {
        let question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        until("the dump to wait", || self.server.sql("postgres", question).trim() != "0");
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.session.kill().and_then(|()| self.session.wait()));
    }
}

/// Starts a run whose dump stands still, does `deed` to it, lets it go on, and says what came of it.
fn meddle(house: &House, server: &Postgres, hold: &str, deed: impl FnOnce(&mut Held<'_>, &Child)) -> Said {
    let mut held = Held::new(server, hold);
    let log = house.log().len();
    let child = house.command(&["start", "--json"]).spawn().unwrap();
    held.wait();
    deed(&mut held, &child);
    drop(held);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Said { code: output.status.code(), out: output.stdout, err, log: house.log()[log..].to_owned() }
}

const IN_THE_MIDDLE: &str = "SELECT pg_advisory_lock(42)";

/// A scene whose table `z` is read only while nobody holds a lock.
fn slow_scene() -> (Postgres, House) {
    let (server, mut house) = scene("");
    server.sql("shop", &format!("CREATE ROLE little LOGIN PASSWORD '{}'; GRANT SELECT ON big, z TO little; \
        CREATE FUNCTION held() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END $$; \
        ALTER TABLE z ENABLE ROW LEVEL SECURITY; CREATE POLICY slow ON z USING (held())", PASSWORD.replace('\'', "''")));
    house.sources[0] = house.sources[0]
        .replace("db_user: backup", "db_user: little")
        .replace("extra_keys: ''", "extra_keys: '--enable-row-security'");
    let said = house.start();
    assert!(said.log.contains("only the rows that the user may see"), "{said:?}");
    (server, house)
}

#[test]
fn a_dump_that_dies_in_its_middle_is_torn_whoever_killed_it_and_its_password_cannot_be_seen() {
    let (server, house) = slow_scene();
    let before = house.files(0);
    let said = meddle(&house, &server, IN_THE_MIDDLE, |_, _| {
        let found = house
            .processes()
            .into_iter()
            .find(|(_, text)| text.contains("pg_dump") && !text.contains("nxs.conf"));
        let (pid, text) = found.expect("a dump runs");
        assert!(
            !text.contains("#0rd") && !text.contains("PG_PASSWORD") && !text.contains("PGPASSWORD"),
            "{text}"
        );
        kill("KILL", pid);
    });
    judge(&house, &said, 1, "`pg_dump` ended with signal 9", &before);
    let said = meddle(&house, &server, IN_THE_MIDDLE, |_, _| {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'little'";
        assert_eq!(server.sql("postgres", end), "1\n");
    });
    judge(&house, &said, 1, "`pg_dump` ended with exit status 1", &before);
    // The table goes while the dump waits for it.
    let hold = "BEGIN; LOCK TABLE z IN ACCESS EXCLUSIVE MODE";
    server.sql("shop", "CREATE TABLE zz (id int); GRANT SELECT ON zz TO little");
    let said = meddle(&house, &server, &hold.replace(" z ", " zz "), |held, _| {
        held.say("DROP TABLE zz; COMMIT; SELECT 'locked';")
    });
    judge(&house, &said, 1, "`pg_dump` ended with exit status 1", &before);
    let said = meddle(&house, &server, IN_THE_MIDDLE, |_, child| kill("TERM", child.id()));
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!((house.files(0), house.left_running()), (before.clone(), Vec::new()));
    let said = meddle(&house, &server, IN_THE_MIDDLE, |_, child| kill("KILL", child.id()));
    assert_eq!(said.code, None);
    until("the dump to die with the program", || house.processes().is_empty());
    house.start();
    assert_eq!(house.files(0).iter().filter(|file| file.ends_with(".sql.gz")).count(), 3);
    assert!(!house.files(0).iter().any(|file| file.contains("nxs-part")));
}

#[test]
fn a_server_that_dies_in_mid_dump_leaves_nothing_half() {
    let (server, house) = slow_scene();
    let before = house.files(0);
    let pid = server.id();
    let said = meddle(&house, &server, IN_THE_MIDDLE, |_, _| {
        // Who holds the dump up must not be the first to go: it would go on, and might end before the server does.
        let holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted";
        kill("STOP", server.sql("postgres", holder).trim().parse().unwrap());
        kill("QUIT", pid);
    });
    judge(&house, &said, 1, "`pg_dump` ended with exit status 1", &before);
}

#[test]
fn a_server_that_takes_no_more_connections_is_told_so() {
    let server = Postgres::start_with(&["max_connections=4", "superuser_reserved_connections=0"]);
    server.sql("postgres", "CREATE DATABASE shop");
    let house = house(&[dumped(&server, "[shop]", "")]);
    house.start();
    let sessions: Vec<Held<'_>> = (0..4).map(|_| Held::new(&server, "SELECT 1")).collect();
    fails(&house, "too many clients already");
    drop(sessions);
    until("the sessions to end", || house.run(&["start"]).code == Some(0));
}

#[test]
fn a_storage_that_is_full_fails_alone_and_the_dump_goes_on_to_the_other() {
    let (_server, mut house) = scene("");
    let small = house.path("small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(&small).status();
    assert!(mount.unwrap().success(), "cannot mount: this test needs root");
    house.storages.push(small.join("backup"));
    let said = house.run(&["start", "--json"]);
    let left: Vec<String> = house.files(1).into_iter().filter(|file| file.contains(".sql")).collect();
    let kept = house.files(0).iter().filter(|file| file.ends_with(".sql.gz")).count();
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.log.contains("No space left"), "{said:?}");
    assert_eq!((kept, left, house.left_running()), (2, Vec::new(), Vec::new()));
}

/// The program where no client of the host can be found but those of the house.
fn bare(house: &House) -> Said {
    let inner = house.command(&["start", "--json"]);
    let mut command = Command::new("/usr/bin/unshare");
    let script = "mount -t tmpfs none /usr/lib/postgresql && PATH=\"$0\" exec \"$@\"";
    command.args(["--mount", "/bin/sh", "-c", script]).arg(house.path("bin")).arg(inner.get_program());
    command
        .args(inner.get_args())
        .env("HOME", house.path("home"))
        .env("PG_PASSWORD", PASSWORD)
        .env("TZ", "UTC");
    command.stdin(Stdio::null());
    house.finish(command)
}

#[test]
fn a_missing_tool_and_one_older_than_the_server_are_errors_that_say_what_to_install() {
    let (_server, house) = scene("");
    let before = house.files(0);
    // Without `PATH`, versions are found where packages put them.
    let mut command = house.command(&["start", "--json"]);
    command.env("PATH", house.path("bin"));
    let said = house.finish(command);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = bare(&house);
    let before = if house.files(0).len() > before.len() { house.files(0) } else { before };
    judge(&house, &said, 1, "`psql` is not there", &before);
    assert!(said.log.contains("`postgresql-client`"), "{said:?}");
    let real = house.path("bin/psql");
    fs::copy("/usr/lib/postgresql/15/bin/psql", &real).unwrap();
    let old = house.path("bin/pg_dump");
    fs::write(&old, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 13.1 (Debian 13.1-1)'\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let said = bare(&house);
    judge(&house, &said, 1, "is of version 13.1 (Debian 13.1-1), older than the server's 15.", &before);
    assert!(said.log.contains("postgresql-client-15"), "{said:?}");
    // One that fits beside it is taken instead.
    house.start();
}

#[test]
fn a_dump_that_nearly_vanished_is_not_kept() {
    let (server, mut house) = scene("");
    house.start();
    server.sql("shop", "DROP TABLE big");
    fails(&house, "less than 10 % of");
    house.keys = "  shrink_error: 0\n".into();
    assert!(house.start().log.contains("less than 50 % of"));
}

#[test]
fn a_copy_of_a_server_that_is_cut_or_cannot_be_one_stream_is_never_published() {
    let server = Postgres::start();
    let mut house = House::of("postgresql_basebackup", &[source(&server, ", extra_keys: ''")]);
    house.start();
    let good = house.sources.clone();
    for (fault, words) in [
        ("\"$REAL\" \"$@\" | head -c -1", "was cut in or after `backup_manifest`"),
        ("\"$REAL\" \"$@\" | head -c 1000000", "was cut in or after"),
        ("\"$REAL\" \"$@\" --no-manifest", "ends with `pg_wal/"),
        (":", "printed nothing"),
        ("\"$REAL\" \"$@\" | tail -c +2", "no tar archive"),
        ("\"$REAL\" \"$@\"; exit 3", "ended with exit status 3"),
    ] {
        house.wrap(
            "pg_basebackup",
            &format!("case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac\n{fault}"),
        );
        fails(&house, words);
    }
    house.wrap("pg_basebackup", "exec \"$REAL\" \"$@\"");
    server.sql("postgres", "CREATE ROLE little LOGIN PASSWORD 'x'");
    let keys = [
        ("db_user: backup", "db_user: nobody", "password authentication failed"),
        ("extra_keys: ''", "extra_keys: '-D /tmp/elsewhere'", "`-D /tmp/elsewhere` cannot be used here"),
        ("extra_keys: ''", "extra_keys: '-R'", "`--write-recovery-conf` cannot be used here"),
        (
            "db_user: backup, db_password: 'ENV:PG_PASSWORD'",
            "db_user: little, db_password: x",
            "must be superuser or replication role",
        ),
    ];
    for (old, new, words) in keys {
        house.sources = vec![good[0].replace(old, new)];
        fails(&house, words);
    }
    // In its middle: a slow one, whose server dies.
    house.sources = vec![good[0].replace("extra_keys: ''", "extra_keys: '--max-rate=32'")];
    let before = house.files(0);
    let log = house.log().len();
    let child = house.command(&["start", "--json"]).spawn().unwrap();
    let question = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE backup_streamed > 0";
    until("the copy to be under way", || server.sql("postgres", question).trim() == "1");
    kill("QUIT", server.id());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let said =
        Said { code: output.status.code(), out: output.stdout, err, log: house.log()[log..].to_owned() };
    judge(&house, &said, 1, "`pg_basebackup` ended with exit status 1", &before);
    // Tablespaces, by one who may ask for them and by one who may not.
    let server = Postgres::start();
    let place = server.socket().join("space");
    fs::create_dir(&place).unwrap();
    nxs_testkit::servers::postgres::own(&place);
    server.sql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    server.sql("postgres", "CREATE ROLE little LOGIN REPLICATION PASSWORD 'x'; REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC");
    house.sources = vec![source(&server, ", extra_keys: ''")];
    fails(&house, "has tablespaces (`fast`), and a single stream");
    house.sources = vec![
        house.sources[0]
            .replace("db_user: backup, db_password: 'ENV:PG_PASSWORD'", "db_user: little, db_password: x"),
    ];
    fails(&house, "has tablespaces, and a single stream");
    server.sql("postgres", "DROP TABLESPACE fast");
    house.start();
}
