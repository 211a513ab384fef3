//! What goes wrong around a physical backup: none of it ends green, none is published, nothing that ran for it stays
//! behind, and what was stored before is still there.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use nxs_testkit::Rng;
use nxs_testkit::servers::mariadb::MariaDb;

use crate::faults::{fails, judge, kill, until};
use crate::house::{House, Said};
use crate::physical::{archives, fingerprint, scene, source};

/// A server and a house with one backup of it.
fn kept() -> (MariaDb, House) {
    let (server, house) = scene();
    house.start();
    assert_eq!(archives(&house).len(), 1);
    (server, house)
}

#[test]
fn what_stands_in_the_way_is_told_with_its_reason() {
    let (server, mut house) = kept();
    let good = house.sources[0].clone();
    house.sources = vec![good.replace("db_user: backup", "db_user: nobody")];
    fails(&house, 1, "Access denied");
    house.sources = vec![good.replace("'ENV:DB_PASSWORD'", "wrong")];
    fails(&house, 1, "Access denied");
    house.sources = vec![good.replace(&server.port().to_string(), "1")];
    fails(&house, 1, "127.0.0.1:1");
    // A right that only the copy itself needs.
    server.sql("CREATE USER little@'127.0.0.1' IDENTIFIED BY ''; GRANT PROCESS ON *.* TO little@'127.0.0.1'");
    house.sources = vec![good.replace("db_user: backup, db_password: 'ENV:DB_PASSWORD'", "db_user: little")];
    fails(&house, 1, "RELOAD");
    house.sources = vec![good.replace("extra_keys: ''", "extra_keys: '--no-such-key'")];
    fails(&house, 1, "no-such-key");
    house.sources = vec![good.replace("connect: {", "connect: {path_to_conf: /nonexistent/my.cnf, ")];
    fails(&house, 1, "path_to_conf: there is no file `/nonexistent/my.cnf`");
    house.sources = vec![good];
    let says = |house: &House, line: &str| {
        house.wrap(
            "mariadb-backup",
            &format!("case \"$*\" in *--version*) echo '{line}';; *) exec \"$REAL\" \"$@\";; esac"),
        );
    };
    says(&house, "mariadb-backup based on MariaDB server 10.6.21-MariaDB debian-linux-gnu (x86_64)");
    fails(&house, 1, "is of version 10.6.21-MariaDB, older than the server's 10.");
    says(&house, "xtrabackup version 8.0.35-30 based on MySQL server 8.0.35 Linux (x86_64)");
    fails(&house, 1, "is of version 8.0.35-30, another maker's than the server's 10.");
    says(&house, "what?");
    fails(&house, 1, "cannot tell the version of");
}

#[test]
fn the_files_of_another_server_are_never_taken_for_those_of_the_one_that_was_asked() {
    let (server, mut house) = kept();
    // Files that are ahead; those that are behind are noticed by the tool itself.
    let other = MariaDb::start();
    other.sql(
        "SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0; SET GLOBAL innodb_max_dirty_pages_pct = 0; CREATE DATABASE shop; \
         CREATE TABLE shop.t (id INT PRIMARY KEY, what VARCHAR(300)) ENGINE=InnoDB; \
         INSERT INTO shop.t SELECT seq, CONCAT(SHA2(seq, 512), SHA2(seq + 1, 512)) FROM shop.seq_1_to_40000",
    );
    let lsn = |server: &MariaDb, what: &str| -> u64 {
        let question = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = ";
        server.sql(&format!("{question}'INNODB_LSN_{what}'")).trim().parse().unwrap()
    };
    until("a checkpoint", || lsn(&other, "LAST_CHECKPOINT") > lsn(&server, "CURRENT"));
    let good = house.sources[0].clone();
    let before = house.files(0);
    for more in ["", ", prepare: yes"] {
        house.sources = vec![good.replace("extra_keys: ''", &format!("extra_keys: ''{more}"))];
        // Where the run looks, the other's files lie in the place that the server tells: as on another host.
        let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).args([other.datadir(), server.datadir()]);
        let said = house.finish(within(&house, command));
        judge(&house, &said, 1, "is not the data directory of mysql://127.0.0.1", &before);
    }
    // Or there is nothing at all in that place.
    house.sources = vec![good.clone()];
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs none \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(server.datadir().parent().unwrap());
    let said = house.finish(within(&house, command));
    judge(&house, &said, 1, "is not on this host", &before);
    // The tool reads what the server tells, whatever it is told.
    let datadir = format!("extra_keys: '--datadir={}'", other.datadir().display());
    house.sources = vec![good.replace("extra_keys: ''", &datadir)];
    fails(&house, 1, "reads what the server tells");
}

/// `start` by another command that goes before it.
fn within(house: &House, mut command: Command) -> Command {
    let own = house.command(&["start", "--json"]);
    command.arg(own.get_program()).args(own.get_args());
    own.get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap());
    });
    command
}

#[test]
fn a_missing_tool_is_an_error_that_says_what_to_install() {
    let (_server, house) = kept();
    let before = house.files(0);
    let client = nxs_sys::child::find(&["mariadb"]).unwrap();
    std::os::unix::fs::symlink(client, house.path("bin/mariadb")).unwrap();
    let mut command = house.command(&["start", "--json"]);
    command.env("PATH", house.path("bin"));
    let said = house.finish(command);
    judge(&house, &said, 1, "`mariadb-backup`, which backs up MariaDB servers, is not there", &before);
    assert!(said.log.contains("Install the package mariadb-backup."), "{said:?}");
}

#[test]
fn files_that_may_not_be_read_are_told_before_anything_is_done() {
    let (server, house) = kept();
    let before = house.files(0);
    let set = |mode: &str| {
        assert!(Command::new("chmod").arg(mode).arg(server.datadir()).status().unwrap().success())
    };
    set("000");
    let mut command = Command::new("setpriv");
    // Root without the right to read everything.
    let taken = "-dac_override,-dac_read_search";
    command.args(["--bounding-set", taken, "--inh-caps", taken, "--"]);
    let said = house.finish(within(&house, command));
    set("700");
    judge(&house, &said, 1, "cannot read the data directory `", &before);
    assert!(said.log.contains("run as root, or as the user of the server"), "{said:?}");
}

#[test]
fn a_stream_that_its_tool_cut_damaged_or_left_empty_is_never_published() {
    let (_server, house) = kept();
    let whole = "\"$REAL\" \"$@\" > \"$0.out\" || exit; ";
    let chunk = "n=$(grep -abo XBSTCK01 \"$0.out\" | tail -";
    let faults = [
        (format!("{whole}head -c -1 \"$0.out\""), "the xbstream is cut"),
        (format!("{whole}head -c 3000001 \"$0.out\""), "the xbstream is cut"),
        (
            format!("{whole}{chunk}1 | cut -d: -f1); head -c \"$n\" \"$0.out\""),
            "have no end, `xtrabackup_info` among them",
        ),
        (
            format!("{whole}{chunk}2 | head -1 | cut -d: -f1); head -c \"$n\" \"$0.out\""),
            "has no `xtrabackup_info`",
        ),
        (format!("{whole}cat \"$0.out\"; echo more"), "something else where a chunk should begin"),
        (
            format!(
                "{whole}printf x | dd of=\"$0.out\" bs=1 seek=2000000 conv=notrunc 2>/dev/null; cat \"$0.out\""
            ),
            "with another checksum",
        ),
        (":".to_owned(), "printed nothing"),
        ("\"$REAL\" \"$@\"; echo 'lost it' >&2; exit 3".to_owned(), "ended with exit status 3: "),
        (
            "\"$REAL\" \"$@\" 2>/dev/null; echo fine >&2".to_owned(),
            "its last words are `fine`, not `completed OK!`",
        ),
        ("\"$REAL\" \"$@\" | head -c 3000000; kill -9 $$".to_owned(), "ended with signal 9"),
        ("\"$REAL\" \"$@\"; sleep 1000 & exit 4".to_owned(), "ended with exit status 4"),
    ];
    for (fault, words) in faults {
        house.wrap(
            "mariadb-backup",
            &format!("case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac\n{fault}"),
        );
        fails(&house, 1, words);
    }
    house.wrap("mariadb-backup", "exec \"$REAL\" \"$@\"");
    let said = house.start();
    assert!(!said.log.contains("ERROR"), "{said:?}");
}

/// Starts a backup of a house that reads slowly, does `deed` to it somewhere in its middle, and says what came of it.
pub(crate) fn meddle(house: &House, at: u64, deed: impl FnOnce(u32, &Child)) -> Said {
    let log = house.log().len();
    let child = house.command(&["start", "--json"]).spawn().unwrap();
    let tool = || {
        let found = house.processes();
        found
            .into_iter()
            .find(|(_, text)| text.contains("mariadb-backup") && text.contains("--stream=xbstream"))
    };
    until("the tool", || tool().is_some());
    let (pid, text) = tool().unwrap();
    assert!(!text.contains("#0rd") && !text.contains("DB_PASSWORD"), "{text}");
    until("the middle", || written(pid) >= at);
    deed(pid, &child);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Said { code: output.status.code(), out: output.stdout, err, log: house.log()[log..].to_owned() }
}

/// Bytes that a process has written; all of them once it is gone.
fn written(pid: u32) -> u64 {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap_or("18446744073709551615");
    line.parse().unwrap()
}

#[test]
fn whoever_dies_in_the_middle_of_a_backup_nothing_of_it_is_kept() {
    let (server, mut house) = kept();
    house.sources = vec![source(&server, "").replace("extra_keys: ''", "extra_keys: '--throttle=30'")];
    let before = house.files(0);
    let mut rng = Rng::new(7);
    let mut somewhere = || 100_000 + rng.below(8_000_000);
    let said = meddle(&house, somewhere(), |tool, _| kill("KILL", tool));
    judge(&house, &said, 1, "`mariadb-backup` ended with signal 9", &before);
    let said = meddle(&house, somewhere(), |_, child| kill("TERM", child.id()));
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!((house.files(0), house.left_running()), (before.clone(), Vec::new()));
    for _ in 0..3 {
        let said = meddle(&house, somewhere(), |_, child| kill("KILL", child.id()));
        assert_eq!(said.code, None);
        until("the tool to die with the program", || house.processes().is_empty());
    }
    let pid = server.id();
    let said = meddle(&house, somewhere(), |_, _| kill("KILL", pid));
    // What the dead runs left was swept by this one.
    judge(&house, &said, 1, "`mariadb-backup` ended with ", &before);
}

#[test]
fn a_storage_that_is_full_fails_alone_and_the_stream_goes_on_to_the_other() {
    let (_server, mut house) = kept();
    let small = house.path("small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(&small).status();
    assert!(mount.unwrap().success(), "cannot mount: this test needs root");
    house.storages.push(small.join("backup"));
    let said = house.run(&["start", "--json"]);
    let left: Vec<String> = house.files(1).into_iter().filter(|file| file.contains("xbstream")).collect();
    let kept = archives(&house).len();
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.log.contains("No space left"), "{said:?}");
    assert_eq!((kept, left, house.left_running()), (2, Vec::new(), Vec::new()));
}

#[test]
fn tables_that_are_made_changed_and_dropped_meanwhile_harm_no_backup() {
    let (server, mut house) = kept();
    house.sources = vec![source(&server, "").replace("extra_keys: ''", "extra_keys: '--throttle=60'")];
    let before = fingerprint(&server);
    let mut changes = String::from("CREATE DATABASE IF NOT EXISTS other; USE other; ");
    for n in 0..60 {
        changes += &format!(
            "CREATE TABLE t{n} (id INT PRIMARY KEY, w TEXT) ENGINE=InnoDB; INSERT INTO t{n} SELECT seq, MD5(seq) FROM seq_1_to_500; \
             ALTER TABLE t{n} ADD COLUMN x INT, ADD KEY (x); RENAME TABLE t{n} TO r{n}; TRUNCATE TABLE r{n}; \
             INSERT INTO r{n} (id) VALUES (1); "
        );
        if n % 2 == 0 {
            changes += &format!("DROP TABLE r{n}; ");
        }
    }
    let said = meddle(&house, 100_000, |_, _| {
        server.sql(&changes);
    });
    if said.code != Some(0) {
        judge(&house, &said, 1, "`mariadb-backup` ended with ", &house.files(0));
    }
    let place = house.path("data");
    let restored = house.run(&["restore", "db", "--to", place.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let restored = MariaDb::start_from(&place);
    assert_eq!(fingerprint(&restored), before);
    let bad = restored.sql(
        "SELECT CONCAT('CHECK TABLE other.', table_name, ';') FROM information_schema.tables WHERE table_schema = 'other'",
    );
    assert!(!restored.sql(&bad).lines().any(|line| !line.ends_with("\tOK")), "{bad}");
}
