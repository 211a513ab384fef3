//! The examples of docs/external-modules.md, word for word but for their paths and addresses: real servers are saved and
//! brought back by them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nxs_testkit::servers::etcd::Etcd;
use nxs_testkit::servers::run;

use crate::house::House;

const PAGE: &str = include_str!("../../../../docs/external-modules.md");
/// Where the page has its scripts.
const SCRIPTS: &str = "/usr/local/lib/nxs-backup/";

/// Writes the scripts of the page into the house, and gives its job the keys that the page gives to this one.
fn follow(job: &str, replaced: &[(&str, String)]) -> House {
    let mut house = House::of("external", &[]);
    let here = |text: &str| {
        let text = text.replace(SCRIPTS, &format!("{}/", house.path("bin").display()));
        let text = text.replace("/var/tmp/nxs-backup", &house.path("tmp").display().to_string());
        replaced.iter().fold(text, |text, (from, to)| text.replace(from, to))
    };
    for part in PAGE.split(&format!("\n`{SCRIPTS}")).skip(1) {
        let (name, rest) = part.split_once('`').unwrap();
        let script = rest.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
        let path = house.path("bin").join(name);
        fs::write(&path, here(script)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let block = PAGE.split_once(&format!("- job: {job}\n  type: external\n")).unwrap().1;
    let keys = here(block.split_once("  storages:\n").unwrap().0);
    house.keys = keys;
    house
}

#[test]
fn etcd_comes_back_from_the_snapshot_that_the_scripts_of_the_page_stream() {
    let server = Etcd::start();
    server.put("größe", "日本 \"quoted\"");
    (0..50).for_each(|n| server.put(&format!("/app/{n}"), &"x".repeat(n * 100)));
    let restored = tempfile::tempdir().unwrap();
    let data = restored.path().join("data");
    let house = follow(
        "etcd",
        &[("http://127.0.0.1:2379", server.url()), ("/var/lib/etcd/restored", data.display().to_string())],
    );
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
    let files = house.files(0);
    assert!(files[0].starts_with("daily/etcd_") && files[0].ends_with(".db.zst"), "{files:?}");
    assert_eq!(fs::read_dir(house.path("tmp")).unwrap().count(), 0, "nothing stays behind");
    let before = server.content();
    server.put("later", "not in the backup");
    let said = house.run(&["restore", "db"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(Etcd::start_on(&data).content(), before);
    // A server that is gone is told in the client's own words.
    drop(server);
    let said = house.run(&["start"]);
    assert_eq!((said.code, said.err.contains("is unhealthy")), (Some(1), true), "{said:?}");
    assert_eq!(house.files(0), files);
}

/// Everything in a database as text.
fn content(database: &Path) -> String {
    let output = run(Command::new("sqlite3").arg("-readonly").arg(database).arg(".dump"));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn sqlite_is_saved_while_it_is_written_and_comes_back_by_the_scripts_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("notes.db");
    let sql = "PRAGMA journal_mode=WAL; CREATE TABLE note (id INTEGER PRIMARY KEY, what TEXT, raw BLOB); \
               WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
               INSERT INTO note SELECT i, 'größe ' || i, randomblob(50) FROM n;";
    run(Command::new("sqlite3").arg(&database).arg(sql));
    let before = content(&database);
    // Somebody is in the middle of a change, which is not to be in the backup.
    let mut writer =
        Command::new("sqlite3").arg(&database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = std::io::BufReader::new(writer.stdout.take().unwrap());
    let statements = "BEGIN IMMEDIATE; DELETE FROM note WHERE id > 10; SELECT 'begun';\n";
    std::io::Write::write_all(writer.stdin.as_mut().unwrap(), statements.as_bytes()).unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut answers, &mut line).unwrap();
    assert_eq!(line, "begun\n");

    let mut house = follow("notes", &[("/srv/notes/notes.db", database.display().to_string())]);
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
    let files = house.files(0);
    assert!(files[0].starts_with("daily/db_") && files[0].ends_with(".db.zst"), "{files:?}");
    assert_eq!(fs::read_dir(house.path("tmp")).unwrap().count(), 0, "the copy is removed");
    std::io::Write::write_all(writer.stdin.as_mut().unwrap(), b"COMMIT;\n").unwrap();
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
    assert_ne!(content(&database), before);
    let said = house.run(&["restore", "db"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(content(&database), before);
    // The line for SQL.
    assert!(PAGE.contains("`dump_cmd: sqlite3 -readonly /srv/notes/notes.db .dump` with `stream: yes`"));
    house.keys = format!("  dump_cmd: sqlite3 -readonly {} .dump\n  stream: yes\n", database.display());
    house.start();
    let said = house.run(&["restore", "db", "--stdout"]);
    assert_eq!((said.code, String::from_utf8(said.out).unwrap()), (Some(0), before));
}
