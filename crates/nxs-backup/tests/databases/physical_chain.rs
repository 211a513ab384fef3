//! Chains of physical backups over days that pass: each day comes back as it was, whatever was written in between, and
//! rotation leaves every chain whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::ToSpan;
use jiff::civil::{DateTime, date};
use nxs_testkit::servers::mariadb::{self, MariaDb};
use serde_json::Value;

use crate::house::{House, Said};
use crate::physical::{house, scene, shell, source};

/// A Monday.
pub(crate) const FIRST: DateTime = date(2026, 3, 2).at(3, 0, 0, 0);

/// What a day does to the server; the days go round.
const DAYS: [&str; 8] = [
    "UPDATE shop.item SET what = REVERSE(what) WHERE id % 7 = 0; INSERT INTO shop.old VALUES (1000, 'more'); \
     INSERT INTO shop.note VALUES (2, 'zweite')",
    "CREATE TABLE shop.fresh (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT, KEY (what(20))) ENGINE=InnoDB; \
     INSERT INTO shop.fresh SELECT seq, SHA2(seq, 512) FROM shop.seq_1_to_3000; CREATE DATABASE other; \
     CREATE TABLE other.t (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO other.t VALUES (1), (2)",
    "ALTER TABLE shop.item ADD COLUMN extra INT DEFAULT 7, ADD KEY (extra), ALGORITHM=COPY; \
     RENAME TABLE shop.fresh TO shop.renamed; DROP TABLE shop.old; DELETE FROM shop.renamed WHERE id % 3 = 0",
    "DO 1",
    "TRUNCATE TABLE shop.aria; DROP DATABASE other; CREATE USER IF NOT EXISTS someone@localhost; \
     CREATE TABLE shop.old (id INT, what TEXT) ENGINE=MyISAM; INSERT INTO shop.old VALUES (1, 'new')",
    "OPTIMIZE TABLE shop.item; UPDATE shop.item SET extra = id; \
     CREATE OR REPLACE TABLE shop.paid (n INT PRIMARY KEY, note TEXT) ENGINE=InnoDB ROW_FORMAT=COMPRESSED; \
     INSERT INTO shop.paid SELECT seq, MD5(seq) FROM shop.seq_1_to_2000",
    "CREATE OR REPLACE VIEW shop.v AS SELECT COUNT(*) FROM shop.item; \
     CREATE OR REPLACE PROCEDURE shop.p() SELECT 1; DROP TABLE IF EXISTS shop.renamed",
    "ALTER TABLE shop.item DROP COLUMN extra; INSERT INTO shop.item SELECT seq, MD5(seq) FROM shop.seq_30000_to_34000",
];

/// A house whose jobs run in this process, with increments.
pub(crate) fn chained(server: &MariaDb, full_every: u32) -> House {
    let mut house = house(server, "");
    house.sources = vec![chained_source(&house, server, full_every)];
    house
}

pub(crate) fn chained_source(house: &House, server: &MariaDb, full_every: u32) -> String {
    let secret = house.path("secret");
    fs::write(&secret, mariadb::PASSWORD).unwrap();
    source(server, &format!(", incremental: {{full_every: {full_every}}}"))
        .replace("ENV:DB_PASSWORD", &format!("FILE:{}", secret.display()))
}

/// All that there is: definitions, and a checksum of every table.
pub(crate) fn print(server: &MariaDb) -> String {
    let names = server.sql(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN \
         ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1",
    );
    let prints: String = names.lines().map(|name| format!("{name}:\n{}", server.fingerprint(name))).collect();
    prints + &server.sql("SELECT user, host FROM mysql.user ORDER BY 1, 2")
}

/// Panics with the first line in which two prints differ.
pub(crate) fn assert_same(found: &str, expected: &str, what: &str) {
    let differ = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(found == expected, "{what}: {differ:?}");
}

/// `start` at a moment, which has to end well.
pub(crate) fn start_at(house: &House, at: DateTime) -> Said {
    let said = house.run_at(at, &["start"]);
    assert_eq!(said.code, Some(0), "{at}: {said:?}");
    said
}

/// One line of `ls` and what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) key: String,
    pub(crate) local: String,
    pub(crate) level: String,
    pub(crate) state: String,
    pub(crate) parents: Vec<String>,
}

/// What lies on a storage, the oldest first.
pub(crate) fn points(house: &House, storage: &str) -> Vec<Point> {
    let said = house.run_at(FIRST, &["ls", "--json"]);
    let list: Value = serde_json::from_slice(&said.out).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let point = |row: &Value| Point {
        key: text(&row["key"]),
        local: text(&row["local"]),
        level: text(&row["level"]),
        state: text(&row["state"]),
        parents: row["parents"].as_array().unwrap().iter().map(text).collect(),
    };
    let rows = list["backups"].as_array().unwrap().iter();
    rows.filter(|row| text(&row["storage"]) == storage).map(point).collect()
}

/// `f` and `i` for full copies and increments.
pub(crate) fn shape(points: &[Point]) -> String {
    points.iter().map(|point| point.level.get(..1).unwrap_or("-")).collect()
}

/// Restores a point and starts a server from it.
pub(crate) fn restored(house: &House, at: &str, more: &[&str]) -> MariaDb {
    let place = house.path("data");
    let args = [&["restore", "db", "--at", at, "--to", place.to_str().unwrap()], more].concat();
    let said = house.run_at(FIRST.checked_add(3.years()).unwrap(), &args);
    assert_eq!(said.code, Some(0), "{at}: {said:?}");
    assert!(!place.join(".nxs-increment").exists() && !place.join(".nxs-restore").exists());
    MariaDb::start_from(&place)
}

#[test]
fn each_day_of_a_chain_comes_back_as_it_was_and_a_full_copy_is_made_when_one_is_due() {
    let (server, _) = scene();
    let mut house = chained(&server, 5);
    house.store = "{days: 20, weeks: 0, month: 0}";
    let mut days = BTreeMap::new();
    for (n, statements) in DAYS.iter().enumerate() {
        server.sql(statements);
        let at = FIRST.checked_add((n as i64).days()).unwrap();
        let said = start_at(&house, at);
        assert!(!said.log.contains("WARNING"), "{said:?}");
        let words = match n {
            0 => "a full copy, since there is none before it that is whole",
            5 => "a full copy, since the last one is 5 days old",
            _ => "an increment that follows `mariadb_backup_2026-03-",
        };
        assert!(said.log.contains(words), "{n}: {said:?}");
        days.insert(at.strftime("%Y-%m-%d %H:%M:%S").to_string(), print(&server));
    }
    let points = points(&house, "local");
    assert_eq!(shape(&points), "fiiiifii");
    for (n, point) in points.iter().enumerate() {
        let first = if n < 5 { 0 } else { 5 };
        let before: Vec<String> = points[first..n].iter().rev().map(|p| p.key.clone()).collect();
        assert_eq!((point.state.as_str(), &point.parents), ("complete", &before), "{n}");
    }
    // What did not change is not stored again.
    let size = |n: usize| fs::metadata(house.storages[0].join(&points[n].key)).unwrap().len();
    assert!(size(3) * 2 < size(0), "{} of {}", size(3), size(0));
    let table = String::from_utf8(house.run_at(FIRST, &["ls"]).out).unwrap();
    assert!(table.contains("daily (full) ") && table.contains("daily (increment 4) "), "{table}");
    let verified = house.run_at(FIRST, &["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    for (at, expected) in &days {
        let restored = restored(&house, at, &[]);
        assert_same(&print(&restored), expected, at);
        let bad = restored.sql("CHECK TABLE shop.item, shop.paid, shop.sent EXTENDED");
        assert_eq!(bad.matches("\tOK\n").count(), 3, "{bad}");
    }
    by_stock_commands(&house, days.values().next_back().unwrap());
}

/// The commands of the page, as a person runs them.
fn by_stock_commands(house: &House, expected: &str) {
    let page = fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    assert!(page.contains("and 2 increments over it") && page.contains("--apply-log-only"), "{page}");
    let commands = page.split("```sh\n").nth(1).unwrap().split("\n```").next().unwrap();
    let place = house.path("by-hand");
    shell(&house.storages[0], &commands.replace("/tmp/restore", place.to_str().unwrap()));
    assert_same(&print(&MariaDb::start_from(&place)), expected, "by hand");
}

#[test]
fn forty_days_of_rotation_leave_every_chain_whole() {
    let server = MariaDb::start();
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, what TEXT) ENGINE=InnoDB");
    let mut house = chained(&server, 6);
    house.store = "{days: 3, weeks: 2, month: 1}";
    let mut prints = BTreeMap::new();
    for n in 0..40 {
        server.sql(&format!(
            "INSERT INTO shop.t VALUES ({n}, SHA2({n}, 512)); UPDATE shop.t SET what = MD5(id + {n})"
        ));
        let at = FIRST.checked_add(n.days()).unwrap();
        let said = start_at(&house, at);
        assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
        prints.insert(at.strftime("%Y-%m-%d %H:%M:%S").to_string(), print(&server));
        let points = points(&house, "local");
        let kept: Vec<&str> = points.iter().map(|point| point.local.as_str()).collect();
        assert!(points.iter().all(|point| point.state == "complete"), "{at}: {points:?}");
        assert!(prints.keys().rev().take(3).all(|day| kept.contains(&day.as_str())), "{at}: {kept:?}");
        assert!(points.len() <= 3 + 2 + 1 + 5, "{at}: {kept:?}");
        let is_longer = |point: &&Point| !point.key.starts_with("daily/");
        assert!(points.iter().filter(is_longer).all(|point| point.level == "full"), "{points:?}");
    }
    let points = points(&house, "local");
    let rehearsed = house.run_at(FIRST.checked_add(39.days()).unwrap(), &["rotate", "--dry-run"]);
    let rehearsed = String::from_utf8(rehearsed.out).unwrap();
    assert!(
        rehearsed.contains("needed by a kept increment") && !rehearsed.contains("  drop  "),
        "{rehearsed}"
    );
    assert_eq!(house.run_at(FIRST, &["verify"]).code, Some(0));
    assert!(points.iter().any(|point| point.level == "increment"), "{points:?}");
    for point in &points {
        assert_same(&print(&restored(&house, &point.local, &[])), &prints[&point.local], &point.local);
    }
}

#[test]
fn a_full_copy_is_made_whenever_the_log_of_the_last_one_does_not_go_on() {
    let (mut server, _) = scene();
    let mut house = chained(&server, 30);
    house.store = "{days: 30, weeks: 0, month: 0}";
    let mut day = FIRST;
    let mut next = |house: &House, words: &str| {
        let said = start_at(house, day);
        assert!(said.log.contains(words), "no `{words}` in {said:?}");
        day = day.checked_add(1.day()).unwrap();
        said
    };
    next(&house, "a full copy, since there is none before it");
    next(&house, "an increment that follows `mariadb_backup_2026-03-02_03-00.xbstream.gz`");
    next(&house, "an increment that follows `mariadb_backup_2026-03-03_03-00.xbstream.gz`");
    // The newest goes: the one before it is as good.
    let remove = |key: &str| {
        fs::remove_file(house.storages[0].join(key)).unwrap();
        fs::remove_file(house.storages[0].join(format!("{key}.nxs.json"))).unwrap();
    };
    remove("daily/mariadb_backup_2026-03-04_03-00.xbstream.gz");
    next(&house, "an increment that follows `mariadb_backup_2026-03-03_03-00.xbstream.gz`");
    assert_same(&print(&restored(&house, "2026-03-05 03:00", &[])), &print(&server), "after a hole");
    // What all others follow goes.
    remove("daily/mariadb_backup_2026-03-02_03-00.xbstream.gz");
    let said = next(&house, "a full copy, since there is none before it");
    assert!(
        said.log.contains("needs `mariadb_backup_2026-03-02_03-00.xbstream.gz`, which is missing"),
        "{said:?}"
    );
    next(&house, "an increment that follows `mariadb_backup_2026-03-06");
    server.restart();
    next(&house, "a full copy, since the server was started anew");
    next(&house, "an increment that follows `mariadb_backup_2026-03-08");
    let before = house.sources[0].clone();
    house.sources = vec![before.replace("extra_keys: ''", "extra_keys: '--parallel=2'")];
    next(&house, "a full copy, since the server, its data directory or `extra_keys` is not the same");
    next(&house, "an increment that follows");
    house.sources = vec![before.replace("extra_keys: ''", "extra_keys: '--databases=shop'")];
    next(&house, "a full copy, since nothing is known of where the log");
    // Another server in its place.
    let other = MariaDb::start();
    house.sources = vec![chained_source(&house, &other, 30)];
    next(&house, "a full copy, since the server, its data directory");
    other.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT) ENGINE=InnoDB; INSERT INTO shop.t VALUES (4)",
    );
    next(&house, "an increment that follows `mariadb_backup_2026-03-13");
    let restored = restored(&house, "2026-03-14 03:00", &[]);
    assert_same(&print(&restored), &print(&other), "the other server");
}

#[test]
fn storages_with_different_histories_get_an_increment_that_is_right_for_both() {
    let (server, _) = scene();
    let mut house = chained(&server, 30);
    house.store = "{days: 30, weeks: 0, month: 0}";
    house.storages.push(house.path("second"));
    let mut day = FIRST;
    let mut prints = BTreeMap::new();
    let mut next = |house: &House, code: i32, statements: &str| {
        server.sql(statements);
        let said = house.run_at(day, &["start"]);
        assert_eq!(said.code, Some(code), "{said:?}");
        prints.insert(day.strftime("%Y-%m-%d %H:%M:%S").to_string(), print(&server));
        day = day.checked_add(1.day()).unwrap();
        said
    };
    next(&house, 0, "DO 1");
    next(&house, 0, DAYS[0]);
    // The second one is down for a night.
    let (second, away) = (house.path("second"), house.path("away"));
    fs::rename(&second, &away).unwrap();
    fs::write(&second, "no directory").unwrap();
    next(&house, 3, DAYS[1]);
    fs::remove_file(&second).unwrap();
    fs::rename(&away, &second).unwrap();
    let said = next(&house, 0, DAYS[2]);
    assert!(said.log.contains("an increment that follows `mariadb_backup_2026-03-03_03-00"), "{said:?}");
    let said = next(&house, 0, DAYS[4]);
    assert!(said.log.contains("an increment that follows `mariadb_backup_2026-03-05_03-00"), "{said:?}");
    assert_eq!(shape(&points(&house, "local")), "fiiii");
    assert_eq!(shape(&points(&house, "local-2")), "fiii");
    for (at, expected) in &prints {
        assert_same(&print(&restored(&house, at, &["--from", "local"])), expected, at);
    }
    for at in ["2026-03-03 03:00:00", "2026-03-05 03:00:00", "2026-03-06 03:00:00"] {
        assert_same(&print(&restored(&house, at, &["--from", "local-2"])), &prints[at], at);
    }
    // A storage that is new has nothing to go on from.
    house.storages.push(house.path("third"));
    let said = start_at(&house, FIRST.checked_add(10.days()).unwrap());
    assert!(
        said.log.contains("a full copy, since there is none before it that is whole on every storage"),
        "{said:?}"
    );
    assert!(Path::new(&house.path("third/daily")).is_dir());
}
