//! What goes wrong around a dump of MongoDB: none of it ends green, none is published, and what was stored before is
//! still there.

use std::fs;
use std::process::Command;

use nxs_testkit::servers::mongo::{self, Mongo, read_archive};

use crate::house::{House, Said};
use crate::mongo::{house, source};

const BIG: &str = "put('shop', 'big', [{'_id': i, 'what': hashlib.sha512(b'%d' % i).hexdigest() * 3} for i in range(4000)])";
const SHOP: &str = "target_dbs: [shop], target_collections: [all]";

/// A server with one collection of some answers, and a house with one backup of it.
fn scene() -> (Mongo, House) {
    let server = Mongo::start();
    server.say(BIG);
    let house = house(&[source(&server, SHOP)]);
    house.start();
    assert_eq!(house.archives(0).len(), 1);
    (server, house)
}

/// Runs, and holds the end against what a fault may do: an error that says `words`, no new object.
fn fails(house: &House, code: i32, words: &str) -> Said {
    let before = house.files(0);
    let said = house.run(&["start", "--json"]);
    judge(house, &said, code, words, &before);
    said
}

fn judge(house: &House, said: &Said, code: i32, words: &str, before: &[String]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.log.contains("ERROR ") && said.err.contains(words), "no `{words}` in {said:?}");
    assert_eq!(house.files(0), before, "{said:?}");
    for text in [&said.log, &said.err] {
        assert!(!text.contains("#0rd"), "the password is shown: {text}");
    }
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn what_a_server_refuses_is_told_with_its_reason() {
    let (server, mut house) = scene();
    let good = house.sources[0].clone();
    let mut with = |from: &str, to: &str, words: &str| {
        house.sources = vec![good.replace(from, to)];
        fails(&house, 1, words);
    };
    with("db_user: backup", "db_user: nobody", "Authentication failed");
    with("ENV:DB_PASSWORD", "wrong", "Authentication failed");
    with("target_dbs: [shop]", "target_dbs: [gone]", "there is no database `gone`");
    with("target_dbs: [shop]", "target_dbs: [all], exclude_dbs: ['*']", "no database is left to save");
    with(
        "target_collections: [all]",
        "target_collections: [gone]",
        "there is no collection `gone` in any of the databases",
    );
    with(
        "target_collections: [all]",
        "target_collections: [all], exclude_collections: [big]",
        "nothing of `shop` is left to save",
    );
    with("extra_keys: ''", "extra_keys: '--query={}'", "`--query` is an argument of `mongodump`");
    with("extra_keys: ''", "extra_keys: '--out=/tmp/x'", "`--out` cannot be used here");
    with("gzip: yes", "gzip: yes, tool: mongodump", "`mongodump` is not there");
    with(&format!("db_port: {}", server.port()), "db_port: 1", "mongodb://127.0.0.1:1");
    // One that is missing beside one that is there.
    house.sources = vec![good.replace("[shop]", "[shop, gone]")];
    let said = house.run(&["start", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("there is no database `gone`"), "{said:?}");
}

#[test]
fn a_server_that_is_too_old_or_has_no_connection_to_spare_is_named() {
    let old = Mongo::start_with(&["--user", mongo::USER, "--password", mongo::PASSWORD, "--wire", "6"]);
    let said = house(&[source(&old, SHOP)]).run(&["start", "--json"]);
    assert!(said.code == Some(1) && said.err.contains("wire version"), "{said:?}");
    let full =
        Mongo::start_with(&["--user", mongo::USER, "--password", mongo::PASSWORD, "--connections", "1"]);
    let said = house(&[source(&full, SHOP)]).run(&["start", "--json"]);
    assert!(said.code == Some(1) && said.err.contains("cannot log in to mongodb://"), "{said:?}");
}

#[test]
fn a_collection_that_goes_or_cannot_be_read_on_in_its_middle_is_torn() {
    let (server, house) = scene();
    let faults = [
        ("error", "cannot read `shop.big` of mongodb://127.0.0.1:"),
        ("close", "cannot read `shop.big` of mongodb://127.0.0.1:"),
        ("drop", "`shop.big` was dropped while it was read"),
        ("anew", "`shop.big` was dropped while it was read"),
    ];
    for (fault, words) in faults {
        server.say(&format!("cmd('admin', {{'fault': {fault:?}, 'coll': 'big'}})"));
        fails(&house, 1, words);
        server.say("cmd('shop', {'insert': 'big', 'documents': []}); cmd('shop', {'drop': 'big'})");
        server.say(BIG);
    }
    house.start();
    // It goes between the list and its first document.
    server.say(
        "cmd('admin', {'fault': 'drop', 'coll': 'big', 'at': 'find'}); put('shop', 'other', [{'_id': 1}])",
    );
    let said = house.run(&["start", "--json"]);
    assert!(said.code == Some(3) && said.err.contains("shop.big"), "{said:?}");
}

#[test]
fn a_server_that_dies_in_mid_dump_leaves_nothing_half() {
    let (server, house) = scene();
    server.say("cmd('admin', {'fault': 'die', 'coll': 'big'})");
    let before = house.files(0);
    let said = house.run(&["start", "--json"]);
    judge(&house, &said, 1, "cannot read `shop.big` of mongodb://127.0.0.1:", &before);
}

/// Starts a run whose dump stands still in the middle of `big`, does `deed`, and lets the server answer again.
fn meddle(house: &House, server: &Mongo, deed: impl FnOnce(u32)) -> Said {
    server.say("cmd('admin', {'fault': 'hold', 'coll': 'big'})");
    let log = house.log().len();
    let child = house.command(&["start", "--json"]).spawn().unwrap();
    server.say("assert cmd('admin', {'waitheld': 1})['held']");
    deed(child.id());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Said { code: output.status.code(), out: output.stdout, err, log: house.log()[log..].to_owned() }
}

#[test]
fn a_run_that_is_stopped_does_not_wait_for_a_server_that_says_nothing() {
    let (server, house) = scene();
    let before = house.files(0);
    let said = meddle(&house, &server, |pid| {
        assert!(Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status().unwrap().success());
    });
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!(house.files(0), before);
    server.say("cmd('admin', {'release': 1})");
}

#[test]
fn a_replica_set_is_read_as_of_one_moment_and_a_past_that_it_forgot_is_an_error() {
    let server = Mongo::start_with(&["--replset", "rs0"]);
    server.say(BIG);
    server.say("put('shop', 'late', [{'_id': 1, 'is': 'old'}]); put('shop', 'gone', [{'_id': 1}])");
    let plain =
        source(&server, SHOP).replace("db_user: backup, db_password: 'ENV:DB_PASSWORD'", "replica_set: rs0");
    let mut house = house(&[plain.replace("gzip: yes", "gzip: yes, archive_of: database, jobs: 1")]);
    let said = meddle(&house, &server, |_| {
        server.say(
            "put('shop', 'late', [{'_id': 2}]); put('shop', 'big', [{'_id': 'new'}])
cmd('shop', {'delete': 'late', 'deletes': [{'q': {'_id': 1}, 'limit': 1}]}); cmd('admin', {'release': 1})",
        );
    });
    assert_eq!(said.code, Some(0), "{said:?}");
    let found = read_archive(&house.dump("shop"));
    let of = |name: &str| {
        found.lines().find(|line| line.starts_with(&format!("shop {name} "))).unwrap().to_owned()
    };
    assert!(of("big").starts_with("shop big 4000 ") && of("gone").starts_with("shop gone 1 "), "{found}");
    let digest =
        server.say("print(hashlib.sha256(bson.encode({'_id': 1, 'is': 'old'})).hexdigest(), end='')");
    assert!(of("late").starts_with(&format!("shop late 1 {digest} ")), "{found}");
    server.say("cmd('admin', {'fault': 'none', 'forgotten': True})");
    let said = fails(&house, 1, "older than the oldest available timestamp");
    assert!(said.err.contains("set `snapshot: no`"), "{said:?}");
    house.sources[0] = house.sources[0].replace("jobs: 1", "jobs: 1, snapshot: no");
    house.start();
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
    let left: Vec<String> = house.files(1).into_iter().filter(|file| file.contains(".mongodump")).collect();
    let kept = house.files(0).iter().filter(|file| file.ends_with(".mongodump.gz")).count();
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.log.contains("No space left"), "{said:?}");
    assert_eq!((kept, left), (2, Vec::new()));
}

#[test]
fn an_archive_of_the_stock_program_counts_only_if_it_is_whole_and_its_password_cannot_be_seen() {
    let (server, mut house) = scene();
    let archive = house.path("archive");
    fs::write(&archive, house.dump("shop/big")).unwrap();
    house.sources[0] = house.sources[0].replace("gzip: yes", "gzip: yes, tool: mongodump");
    // No package has the real one: this one gives what that would give, and notes how it was asked.
    let tool = |deed: &str| {
        let path = house.path("bin").join("mongodump");
        let (archive, notes) = (archive.display(), house.path("notes").display().to_string());
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in --version) echo 'mongodump version: 100.9.4'; exit;; esac\n\
             echo \"$@\" > {notes}\nfor a; do case $a in --config=*) cat \"${{a#--config=}}\" >> {notes};; esac; done\n\
             A={archive}\n{deed}\n"
        );
        fs::write(&path, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
    };
    for (deed, words) in [
        ("head -c 100000 $A", "this is no whole archive of `mongodump`"),
        ("head -c -4 $A", "this is no whole archive of `mongodump`"),
        (":", "printed nothing"),
        ("cat $A; echo 'Failed: lost it' >&2; exit 1", "Failed: lost it"),
        ("cat $A; kill -9 $$", "ended with signal 9"),
        ("tr '5' '6' < $A", "this is no whole archive of `mongodump`"),
    ] {
        tool(deed);
        fails(&house, 1, words);
    }
    tool("cat $A");
    house.start();
    let notes = fs::read_to_string(house.path("notes")).unwrap();
    let (arguments, config) = notes.split_once('\n').unwrap();
    let wanted =
        format!("--host=127.0.0.1 --port={} --username=backup --authenticationDatabase=admin", server.port());
    assert!(
        arguments.starts_with(&wanted) && arguments.ends_with("--db=shop --collection=big"),
        "{arguments}"
    );
    assert!(!arguments.contains("#0rd") && arguments.contains("--archive --quiet"), "{arguments}");
    assert_eq!(config, "password: \"p\\\"a'ss \\\\w#0rd@:/\"\n");
}
