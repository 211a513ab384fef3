//! The way back of physical backups: into an empty directory that a server starts from, and what is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nxs_testkit::servers::mariadb::MariaDb;

use crate::faults::{fails, kill, until};
use crate::house::House;
use crate::physical::{Writer, archives, check_paid, fingerprint, paid, scene, shell, source};
use crate::replica::{applies, pair};

/// `restore` into a directory, which has to go well.
fn restore(house: &House, more: &[&str], to: &std::path::Path) {
    let said = house.run(&[&["restore", "db", "--to", to.to_str().unwrap()], more].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_server_starts_from_a_restored_directory_with_all_that_was_committed() {
    let (server, house) = scene();
    let before = fingerprint(&server);
    let writer = Writer::start(&server);
    let at_least = paid(&server);
    house.start();
    drop(writer);
    let place = house.path("data");
    let listed = house.run(&["restore", "db", "--list"]);
    assert!(String::from_utf8_lossy(&listed.out).contains("\tmariadb_backup\tlocal\tdaily/"), "{listed:?}");
    let said = house.run(&["restore", "db", "--to", place.to_str().unwrap(), "--dry-run"]);
    assert!(
        said.code == Some(0) && said.err.contains("would restore 'mariadb_backup'") && !place.exists(),
        "{said:?}"
    );
    restore(&house, &["--target", "mariadb_backup"], &place);
    // The files are the server's, whose user the package made; nothing of the work is left.
    let user = Command::new("id").args(["-u", "mysql"]).output().unwrap();
    let user: u32 = String::from_utf8(user.stdout).unwrap().trim().parse().unwrap();
    for name in ["", "ibdata1", "mysql", "shop/item.ibd"] {
        assert_eq!(fs::metadata(place.join(name)).unwrap().uid(), user, "{name}");
    }
    assert!(!place.join(".nxs-restore").exists());
    let restored = MariaDb::start_from(&place);
    assert_eq!(fingerprint(&restored), before);
    check_paid(&restored, at_least);
    assert!(
        restored.sql("CHECK TABLE shop.item, shop.paid, shop.old EXTENDED").matches("\tOK\n").count() == 3
    );
    // What is there is never written over.
    fs::create_dir(&place).unwrap();
    fs::write(place.join("mine"), "x").unwrap();
    let said = house.run(&["restore", "db", "--to", place.to_str().unwrap()]);
    assert!(said.code == Some(1) && said.err.contains("is not empty: it holds 1 entries"), "{said:?}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    for args in [&["--as", "x"][..], &["--into", "mysql://h/x"], &["--in-place"]] {
        let said = house.run(&[&["restore", "db"], args].concat());
        assert!(said.code == Some(2) && said.err.contains("--to DIR"), "{args:?}: {said:?}");
    }
    // The stream itself, as stock tools take it.
    let said = house.run(&["restore", "db", "--stdout"]);
    let plain = Command::new("gzip").arg("-dc").arg(&archives(&house)[0]).output().unwrap().stdout;
    assert!(said.code == Some(0) && said.out == plain && plain.starts_with(b"XBSTCK01"));
}

#[test]
fn a_restore_that_fails_leaves_nothing_and_another_copy_is_taken_for_a_damaged_one() {
    let (server, mut house) = scene();
    house.storages.push(house.path("second"));
    house.start();
    let path = archives(&house).remove(0);
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&path, &bytes).unwrap();
    let place = house.path("data");
    let to = place.to_str().unwrap();
    let said = house.run(&["restore", "db", "--to", to, "--from", "local"]);
    assert!(said.code == Some(1) && !place.exists(), "{said:?}");
    restore(&house, &[], &place);
    let restored = MariaDb::start_from(&place);
    assert_eq!(fingerprint(&restored), fingerprint(&server));
    fs::write(&path, good).unwrap();
    let pass = "case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac\n";
    let faults = [
        ("echo 'broken page' >&2; exit 1", "ended with exit status 1: broken page"),
        ("\"$REAL\" \"$@\" 2>/dev/null", "its last words are nothing"),
        ("kill -9 $$", "ended with signal 9"),
    ];
    for (fault, words) in faults {
        house.wrap("mariadb-backup", &format!("{pass}{fault}"));
        let said = house.run(&["restore", "db", "--to", to]);
        assert!(said.code == Some(1) && said.err.contains(words), "{said:?}");
        assert!(!place.exists() && house.left_running().is_empty());
    }
    fs::create_dir(&place).unwrap();
    let said = house.run(&["restore", "db", "--to", to]);
    assert!(said.code == Some(1) && fs::read_dir(&place).unwrap().next().is_none(), "{said:?}");
    let old = "echo 'mariadb-backup based on MariaDB server 10.6.2-MariaDB debian-linux-gnu (x86_64)'";
    house.wrap("mariadb-backup", old);
    let said = house.run(&["restore", "db", "--to", to]);
    assert!(said.code == Some(1) && said.err.contains("cannot prepare what version 10."), "{said:?}");
}

#[test]
fn what_is_prepared_at_once_is_a_tar_that_a_server_starts_from_and_its_room_is_given_back() {
    let (server, mut house) = scene();
    let before = fingerprint(&server);
    house.sources = vec![source(&server, ", prepare: yes")];
    let writer = Writer::start(&server);
    let at_least = paid(&server);
    let said = house.start();
    drop(writer);
    assert!(said.log.contains("was prepared in `"), "{said:?}");
    let empty = |house: &House| fs::read_dir(house.path("tmp")).unwrap().next().is_none();
    assert!(empty(&house));
    let archive = archives(&house).remove(0);
    assert!(
        archive.to_str().unwrap().contains("/daily/mariadb_backup_") && archive.extension().unwrap() == "gz"
    );
    assert!(archive.file_stem().unwrap().to_str().unwrap().ends_with(".tar"));
    let page = fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    assert!(
        page.contains("This is a data directory of MariaDB") && page.contains(".tar.gz -C /tmp/restore"),
        "{page}"
    );
    // By `tar` alone, and by the program.
    let place = house.path("by-tar");
    fs::create_dir(&place).unwrap();
    shell(&place, &format!("tar -xzf {}", archive.display()));
    let restored = MariaDb::start_from(&place);
    assert_eq!(fingerprint(&restored), before);
    check_paid(&restored, at_least);
    drop(restored);
    let place = house.path("data");
    restore(&house, &[], &place);
    let restored = MariaDb::start_from(&place);
    assert_eq!(fingerprint(&restored), before);
    check_paid(&restored, at_least);
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    // Errors give the room back, and so does the next run after one that was killed.
    let pass = "case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac\n";
    for (fault, words) in [
        ("\"$REAL\" \"$@\" && exit 3", "ended with exit status 3"),
        ("case \"$*\" in *--prepare*) exit 4;; esac; exec \"$REAL\" \"$@\"", "ended with exit status 4"),
    ] {
        house.wrap("mariadb-backup", &format!("{pass}{fault}"));
        fails(&house, 1, words);
        assert!(empty(&house), "{words}");
    }
    house.wrap("mariadb-backup", &format!("{pass}\"$REAL\" \"$@\"; touch \"$0.half\"; exec sleep 1000"));
    let mut child = house.command(&["start"]).spawn().unwrap();
    until("the copy", || house.path("bin/mariadb-backup.half").exists());
    kill("KILL", child.id());
    child.wait().unwrap();
    until("the end of the tool", || house.processes().is_empty());
    assert!(!empty(&house));
    house.wrap("mariadb-backup", "exec \"$REAL\" \"$@\"");
    let said = house.start();
    assert!(empty(&house) && said.log.contains("that runs that died left in"), "{said:?}");
}

#[test]
fn a_tar_of_version_2_is_prepared_on_its_way_back() {
    let (server, mut house) = scene();
    house.kind = "mysql_xtrabackup";
    house.start();
    // As `innobackupex --stream=tar` left it: the same files, not prepared.
    let stream = archives(&house).remove(0);
    let unpacked = house.path("unpacked");
    fs::create_dir(&unpacked).unwrap();
    shell(&unpacked, &format!("gzip -dc {} | mbstream -x", stream.display()));
    let daily = house.path("old/daily");
    fs::create_dir_all(&daily).unwrap();
    shell(&unpacked, &format!("tar -czf {}/xtrabackup_2020-01-02_03-00.tar.gz .", daily.display()));
    house.storages = vec![house.path("old")];
    let place = house.path("data");
    let listed = house.run(&["restore", "db", "--list"]);
    assert!(listed.code == Some(0) && !listed.out.is_empty(), "{listed:?}");
    restore(&house, &["--adopt"], &place);
    assert_eq!(fingerprint(&MariaDb::start_from(&place)), fingerprint(&server));
}

#[test]
fn a_replica_stands_still_meanwhile_and_its_position_is_in_the_backup() {
    let (_primary, replica) = pair();
    let mut house = House::new(&[source(&replica, ", is_slave: yes")]);
    house.kind = "mariadb_backup";
    let status = format!(
        "case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac\n\
         mariadb --no-defaults -uroot -S '{}' -NBe 'SHOW ALL SLAVES STATUS' >> \"$0.status\"; exec \"$REAL\" \"$@\"",
        replica.socket().display()
    );
    house.wrap("mariadb-backup", &status);
    house.start();
    let seen = fs::read_to_string(house.path("bin/mariadb-backup.status")).unwrap();
    assert!(seen.contains("\tYes\tNo\t") && applies(&replica), "{seen}");
    let listed = format!(
        "gzip -dc {} | mbstream -x && grep -q . xtrabackup_slave_info",
        archives(&house)[0].display()
    );
    shell(house.path("home").as_path(), &listed);
    house.wrap("mariadb-backup", "case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac; exit 2");
    fails(&house, 1, "ended with exit status 2");
    assert!(applies(&replica));
}

#[test]
fn two_servers_of_one_job_are_two_backups_and_each_comes_back_by_its_number() {
    let (one, mut house) = scene();
    let two = MariaDb::start();
    two.sql(
        "CREATE DATABASE other; CREATE TABLE other.t (id INT) ENGINE=InnoDB; INSERT INTO other.t VALUES (42)",
    );
    house.sources.push(source(&two, ""));
    house.start();
    house.start();
    assert_eq!(archives(&house).len(), 4);
    let place = house.path("data");
    let said = house.run(&["restore", "db", "--to", place.to_str().unwrap()]);
    assert!(said.code == Some(2) && said.err.contains("--source"), "{said:?}");
    restore(&house, &["--source", "1"], &place);
    assert_eq!(MariaDb::start_from(&place).sql("SELECT id FROM other.t"), "42\n");
    restore(&house, &["--source", "0"], &place);
    assert_eq!(fingerprint(&MariaDb::start_from(&place)), fingerprint(&one));
}
