//! What goes wrong around a dump: none of it ends green, none is published, nothing that ran for it stays behind, and
//! what was stored before is still there.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nxs_testkit::servers::comes_true;
use nxs_testkit::servers::mariadb::MariaDb;

use crate::house::{House, Said, source};

const ROWS: &str = "CREATE TABLE big (id INT PRIMARY KEY, what VARCHAR(400)) ENGINE=InnoDB; \
     INSERT INTO big SELECT seq, SHA2(seq, 512) FROM seq_1_to_20000";

/// A server with one database of some megabytes, and a house with one backup of it.
fn scene() -> (MariaDb, House) {
    let server = MariaDb::start();
    server.sql(&format!("CREATE DATABASE shop; USE shop; {ROWS}"));
    let house = House::new(&[source(&server, "[shop]", "")]);
    house.start();
    assert_eq!(house.archives(0).len(), 1);
    (server, house)
}

/// Runs, and holds the end against what a fault may do: an error that says `words`, no new object, nothing left running.
pub(crate) fn fails(house: &House, code: i32, words: &str) -> Said {
    let before = house.files(0);
    let said = house.run(&["start", "--json"]);
    judge(house, &said, code, words, &before);
    said
}

pub(crate) fn judge(house: &House, said: &Said, code: i32, words: &str, before: &[String]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.log.contains("ERROR ") && said.err.contains(words), "no `{words}` in {said:?}");
    assert_eq!(house.files(0), before, "{said:?}");
    for text in [&said.log, &said.err] {
        assert!(!text.contains("#0rd"), "the password is shown: {text}");
    }
    assert_eq!(house.left_running(), Vec::new(), "{said:?}");
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn what_a_server_refuses_is_told_with_its_reason() {
    let (server, mut house) = scene();
    let good = house.sources.clone();
    house.sources = vec![good[0].replace("db_user: backup", "db_user: nobody")];
    fails(&house, 1, "Access denied");
    house.sources = vec![good[0].replace("[shop]", "[no_such_db]")];
    fails(&house, 1, "there is no database `no_such_db`");
    house.sources = vec![good[0].replace("gzip: yes", "gzip: yes, excludes: ['*']")];
    fails(&house, 1, "no database is left to save");
    house.sources = vec![good[0].replace(&server.port().to_string(), "1")];
    fails(&house, 1, "127.0.0.1:1");
    house.sources = vec![good[0].replace("extra_keys: ''", "extra_keys: '--no-such-key'")];
    fails(&house, 1, "no-such-key");
    house.sources = vec![good[0].replace("extra_keys: ''", "extra_keys: '--result-file=/tmp/elsewhere'")];
    fails(&house, 1, "`--result-file` cannot be used here");
    house.sources = good.clone();
    let old = "mariadb-dump  Ver 10.19 Distrib 5.5.68-MariaDB, for debian-linux-gnu (x86_64)";
    house.wrap(
        "mariadb-dump",
        &format!("case \"$*\" in *--version*) echo '{old}';; *) exec \"$REAL\" \"$@\";; esac"),
    );
    fails(&house, 1, "is of version 5.5.68-MariaDB, older than the server's 10.");
    house.wrap("mariadb-dump", "exec \"$REAL\" \"$@\"");
    // One that is missing beside one that is there.
    house.sources = vec![good[0].replace("[shop]", "[shop, gone]")];
    let said = house.run(&["start", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("there is no database `gone`"), "{said:?}");
}

#[test]
fn a_dump_that_its_tool_cut_or_left_empty_is_never_published() {
    let (_server, house) = scene();
    // The rehearsal passes; only the dump itself goes wrong.
    let faults = [
        ("\"$REAL\" \"$@\" | head -c 100000", "was cut after 100000 bytes"),
        (
            "\"$REAL\" \"$@\" > \"$0.out\"; head -c -1 \"$0.out\"; rm \"$0.out\"",
            "its last line is not `-- Dump completed`",
        ),
        ("\"$REAL\" \"$@\" | sed '/^-- Dump completed/d'", "its last line is not `-- Dump completed`"),
        (":", "printed nothing"),
        ("\"$REAL\" \"$@\"; echo 'lost it' >&2; exit 3", "ended with exit status 3: lost it"),
        ("\"$REAL\" \"$@\" | head -c 300000; kill -9 $$", "ended with signal 9"),
        ("\"$REAL\" \"$@\"; sleep 1000 & exit 4", "ended with exit status 4"),
    ];
    for (fault, words) in faults {
        let script = format!("case \"$*\" in *--version*|*--no-data*) exec \"$REAL\" \"$@\";; esac\n{fault}");
        house.wrap("mariadb-dump", &script);
        fails(&house, 1, words);
    }
    house.wrap("mariadb-dump", "exec \"$REAL\" \"$@\"");
    let said = house.start();
    assert!(!said.log.contains("ERROR"), "{said:?}");
}

/// A dump that stands still in its middle: another session holds its last table.
struct Held<'a> {
    server: &'a MariaDb,
    session: Child,
}

impl<'a> Held<'a> {
    fn new(server: &'a MariaDb) -> Self {
        server.sql("CREATE TABLE IF NOT EXISTS shop.z (id INT) ENGINE=InnoDB");
        let session =
            server.client().arg("--unbuffered").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut held = Self { server, session: session.unwrap() };
        held.say("LOCK TABLES shop.z WRITE; SELECT 'locked';");
        let mut answer = [0; 7];
        held.session.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"locked\n");
        held
    }

    fn say(&mut self, statement: &str) {
        let stdin = self.session.stdin.as_mut().unwrap();
        stdin.write_all(statement.as_bytes()).and_then(|()| stdin.write_all(b"\n")).unwrap();
    }

    /// Waits until the dump stands before the table.
    fn wait(&self) {
        let question =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'";
        until("the dump to wait", || self.server.sql(question).trim() != "0");
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.session.kill().and_then(|()| self.session.wait()));
    }
}

/// Starts a run whose dump stands still, does `deed` to it, lets the table go, and says what came of it.
fn meddle(house: &House, server: &MariaDb, deed: impl FnOnce(&mut Held<'_>, &Child)) -> Said {
    let mut held = Held::new(server);
    let log = house.log().len();
    let child = house.command(&["start", "--json"]).spawn().unwrap();
    held.wait();
    deed(&mut held, &child);
    drop(held);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Said { code: output.status.code(), out: output.stdout, err, log: house.log()[log..].to_owned() }
}

/// The dump program of the house, with its command line and environment.
fn dump_of(house: &House) -> (u32, String) {
    let found = house.processes().into_iter().find(|(_, text)| text.contains("mariadb-dump"));
    found.expect("a dump runs")
}

#[test]
fn a_dump_that_dies_in_its_middle_is_torn_whoever_killed_it_and_its_password_cannot_be_seen() {
    let (server, house) = scene();
    let before = house.files(0);
    let said = meddle(&house, &server, |_, _| {
        let (pid, text) = dump_of(&house);
        assert!(
            text.contains("--single-transaction") && !text.contains("#0rd") && !text.contains("DB_PASSWORD"),
            "{text}"
        );
        kill("KILL", pid);
    });
    judge(&house, &said, 1, "`mariadb-dump` ended with signal 9", &before);
    // The table goes while the dump waits for it.
    let said = meddle(&house, &server, |held, _| {
        held.say("DROP TABLE shop.z; SELECT 'dropped';");
        let mut answer = [0; 8];
        held.session.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    });
    judge(&house, &said, 1, "`mariadb-dump` ended with exit status", &before);
    let said = meddle(&house, &server, |_, child| kill("TERM", child.id()));
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!((house.files(0), house.left_running()), (before.clone(), Vec::new()));
    let said = meddle(&house, &server, |_, child| kill("KILL", child.id()));
    assert_eq!(said.code, None);
    until("the dump to die with the program", || house.processes().is_empty());
    // The partial object of the dead run is swept by the next one.
    house.start();
    assert_eq!(house.files(0).iter().filter(|file| file.ends_with(".sql.gz")).count(), 2);
    assert!(!house.files(0).iter().any(|file| file.contains("nxs-part")));
}

#[test]
fn a_server_that_dies_in_mid_dump_leaves_nothing_half() {
    let (server, house) = scene();
    let before = house.files(0);
    let pid = server.id();
    let said = meddle(&house, &server, |_, _| kill("KILL", pid));
    judge(&house, &said, 1, "`mariadb-dump` ended with exit status", &before);
}

#[test]
fn a_storage_that_is_full_fails_alone_and_the_dump_goes_on_to_the_other() {
    let (_server, mut house) = scene();
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

#[test]
fn a_missing_tool_is_an_error_that_says_what_to_install() {
    let (_server, house) = scene();
    let before = house.files(0);
    let mut command = house.command(&["start", "--json"]);
    command.env("PATH", house.path("bin"));
    let said = house.finish(command);
    judge(&house, &said, 1, "neither `mariadb` nor `mysql` is there", &before);
    assert!(said.log.contains("mariadb-client"), "{said:?}");
}

#[test]
fn a_dump_that_shrank_is_warned_of_and_one_that_nearly_vanished_is_not_kept() {
    let (server, mut house) = scene();
    house.start();
    server.sql("DELETE FROM shop.big WHERE id > 8000");
    let said = house.start();
    assert!(said.log.contains("WARNING") && said.log.contains("less than 50 % of"), "{said:?}");
    server.sql("DROP TABLE shop.big");
    fails(&house, 1, "less than 10 % of");
    house.keys = "  shrink_error: 0\n".into();
    let said = house.start();
    assert!(said.log.contains("less than 50 % of"), "{said:?}");
}

pub(crate) fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap().success());
}

pub(crate) fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_true(Duration::from_secs(60), is_so), "waited in vain for {what}");
}
