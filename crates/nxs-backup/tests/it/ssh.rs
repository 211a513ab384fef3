//! Jobs with a local storage and a real SSH server, by the commands of a user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::civil::{Date, date};
use nxs_testkit::servers::{SshServer, run};

use crate::house::{House, MAIN, SITES};

/// The storage below `dir` of the server, which nobody knows yet.
fn storage(server: &SshServer, dir: &str) -> String {
    format!(
        "  - {{storage: scp, enable: yes, backup_dir: {}, host: 127.0.0.1, port: {}, user: {}, \
         path_to_key: {}, known_hosts: ~/known_hosts, store: {{days: 2, weeks: 1, month: 1}}}}\n",
        server.root.join(dir).display(),
        server.port,
        server.user,
        server.key.display(),
    )
}

fn start(house: &mut House, day: Date) {
    house.now = day.at(3, 0, 0, 0);
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 0, "{day}: {answer:?}\n{}", house.log());
}

fn names(dir: &Path, end: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|n| n.ends_with(end)).collect();
    names.sort();
    names
}

fn restore(house: &House, job: &str, at: &str, to: &str) -> PathBuf {
    let to = house.path(to);
    let args = ["restore", job, "--from", "scp", "--at", at, "--to", to.to_str().unwrap()];
    let answer = house.run(&args);
    assert_eq!(answer.code, 0, "{answer:?}");
    to.join(house.path("www/shop").strip_prefix("/").unwrap())
}

#[test]
fn a_backup_goes_to_an_ssh_server_as_well_and_comes_back_from_there_alone() {
    let server = SshServer::start();
    let mut house = House::with_sites();
    house.config(&format!("{MAIN}jobs:\n{SITES}{}", storage(&server, "backups/web")));
    // From a Saturday over the 1st of the month, a Sunday.
    for day in 0..5 {
        let day = date(2026, 10, 31).checked_add(jiff::ToSpan::days(day)).unwrap();
        house.write("www/shop/index.html", &format!("of {day}"));
        start(&mut house, day);
    }
    let stored = server.root.join("backups/web/shop");
    assert_eq!(
        names(&stored.join("daily"), ".tar.gz"),
        ["shop_2026-11-03_03-00.tar.gz", "shop_2026-11-04_03-00.tar.gz"]
    );
    let first = "shop_2026-11-01_03-00.tar.gz";
    assert!(fs::symlink_metadata(stored.join("monthly").join(first)).unwrap().is_file());
    let link = fs::read_link(stored.join("weekly").join(first)).unwrap();
    assert_eq!(link.to_str(), Some(format!("../monthly/{first}").as_str()));
    assert_eq!(fs::read_to_string(house.path("known_hosts")).unwrap().lines().count(), 1);

    let verified = house.run(&["verify", "sites"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    fs::remove_dir_all(house.path("backup")).unwrap();
    let listed = house.run(&["ls", "sites"]);
    assert!(listed.code == 0 && listed.out.contains("2026-11-03 03:00"), "{listed:?}");
    let found = restore(&house, "sites", "2026-11-01", "out");
    assert_eq!(fs::read_to_string(found.join("index.html")).unwrap(), "of 2026-11-01");

    // With stock programs alone, as the page on the storage says.
    let page = fs::read_to_string(server.root.join("backups/web/RESTORE.md")).unwrap();
    let fetch = page.lines().find(|line| line.contains("sftp -P")).unwrap().trim_end_matches(" &&");
    let fetch =
        fetch.replace("sftp ", &format!("sftp -o UserKnownHostsFile={} ", server.known_hosts.display()));
    let dir = house.path("by-hand");
    fs::create_dir(&dir).unwrap();
    run(Command::new("sh").args(["-c", &fetch]).current_dir(&dir));
    let fetched = dir.join("shop/daily/shop_2026-11-04_03-00.tar.gz");
    run(Command::new("tar").arg("-xzf").arg(fetched).arg("-C").arg(&dir));
    let unpacked = dir.join(house.path("www/shop/index.html").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(unpacked).unwrap(), "of 2026-11-04");
}

#[test]
fn increments_go_to_an_ssh_server_as_well_and_every_day_comes_back_from_there_alone() {
    let server = SshServer::start();
    let mut house = House::with_sites();
    let scp = storage(&server, "backups/inc").replace(", store: {days: 2, weeks: 1, month: 1}", "");
    house.config(&format!(
        "{MAIN}jobs:\n- job: shop\n  type: inc_files\n  sources:\n  - target: ['~/www/*/']\n    gzip: yes\n  storages:\n  \
         - {{storage: local, enable: yes, backup_dir: ~/backup}}\n{scp}"
    ));
    // Year, day, month, day, decade, day.
    let days = [
        date(2026, 10, 30),
        date(2026, 10, 31),
        date(2026, 11, 1),
        date(2026, 11, 2),
        date(2026, 11, 11),
        date(2026, 11, 12),
    ];
    for day in days {
        house.write("www/shop/index.html", &format!("of {day}"));
        house.write(&format!("www/shop/{day}.txt"), "new");
        start(&mut house, day);
    }
    let verified = house.run(&["verify", "shop"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    fs::remove_dir_all(house.path("backup")).unwrap();
    fs::remove_dir_all(house.path("state")).unwrap();
    for (n, day) in days.iter().enumerate() {
        let found = restore(&house, "shop", &day.to_string(), &format!("out{n}"));
        assert_eq!(fs::read_to_string(found.join("index.html")).unwrap(), format!("of {day}"));
        assert_eq!(names(&found, ".txt").len(), n + 1);
    }
}

#[test]
fn a_server_that_is_down_is_named_and_the_local_copy_is_made() {
    let mut server = SshServer::start();
    let mut house = House::with_sites();
    house.config(&format!("{MAIN}jobs:\n{SITES}{}", storage(&server, "backups/web")));
    start(&mut house, date(2026, 11, 20));
    server.kill();
    house.now = date(2026, 11, 21).at(3, 0, 0, 0);
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(house.log().contains(&format!("127.0.0.1:{}", server.port)), "{}", house.log());
    assert!(house.path("backup/shop/daily/shop_2026-11-21_03-00.tar.gz").is_file());

    server.run();
    start(&mut house, date(2026, 11, 22));
    let names = names(&server.root.join("backups/web/shop/daily"), "");
    assert!(names.iter().all(|n| !n.contains("nxs-part") && !n.contains("2026-11-21")), "{names:?}");
    assert!(names.iter().any(|n| n == "shop_2026-11-22_03-00.tar.gz"), "{names:?}");
}

#[test]
fn a_password_from_a_file_is_never_shown() {
    let server = SshServer::start();
    let mut house = House::with_sites();
    house.write("pass", "wr0ng-pass\n");
    let key = format!("path_to_key: {}", server.key.display());
    let scp = storage(&server, "backups/web").replace(&key, "password: 'FILE:~/pass'");
    house.config(&format!("{MAIN}jobs:\n{SITES}{scp}"));
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    let all = format!("{answer:?}{}", house.log());
    assert!(!all.contains("wr0ng-pass") && all.contains("it does not accept the password"), "{all}");
    house.write("pass", &format!("{}\n", server.password));
    start(&mut house, date(2026, 11, 22));
}
