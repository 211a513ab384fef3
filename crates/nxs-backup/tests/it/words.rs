//! Names that others chose, in the log, on stderr and in lists; and the words of the manual about JSON.

use std::collections::BTreeSet;

use crate::house::{House, MAIN, SITES};

#[test]
fn names_of_tenants_stay_one_line_and_never_reach_the_terminal_as_commands() {
    let mut house = House::with_sites();
    house.is_terminal = true;
    house.write("www/evil\nERROR [x] [2026-01-01 00:00:00]: forged\u{1b}[2J\u{7}/index.html", "x");
    let answer = house.run(&["start", "--verbose"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let log = house.log();
    assert!(log.contains("forged"), "{log}");
    for line in log.lines().filter(|l| !l.is_empty()) {
        assert!(line.starts_with("INFO ["), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    for text in [answer.err, house.run(&["ls"]).out, house.run(&["rotate", "--dry-run"]).out] {
        let bare = text.replace("\r\u{1b}[K", "");
        assert!(bare.contains("forged"), "{bare:?}");
        assert!(!bare.contains(['\u{1b}', '\u{7}', '\r']), "{bare:?}");
        assert!(!bare.contains("\nERROR"), "{bare:?}");
    }
}

/// All keys of all objects.
fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_json_stands_in_the_manual() {
    let manual = include_str!("../../../../docs/cli.md");
    let mut house = House::with_sites();
    let ftp =
        "  - {storage: ftp, enable: yes, backup_dir: /b, host: h, user: u, password: p, store: {days: 1}}\n";
    house.config(&format!("{MAIN}jobs:\n{SITES}{ftp}"));
    let mut found = BTreeSet::new();
    for day in 18..=20 {
        house.now = jiff::civil::date(2026, 11, day).at(3, 0, 0, 0);
        let report = house.run(&["start", "--json"]).out;
        keys(&serde_json::from_str(&report).unwrap(), &mut found);
    }
    keys(&serde_json::from_str(&house.run(&["ls", "--json"]).out).unwrap(), &mut found);
    for key in ["dropped", "reason", "hint", "periods", "outcome", "exit_code"] {
        assert!(found.contains(key), "{key} in {found:?}");
    }
    for key in found {
        assert!(manual.contains(&format!("`{key}`")), "`{key}` is missing in docs/cli.md");
    }
}

#[test]
fn every_command_stands_in_the_manual() {
    let manual = include_str!("../../../../docs/cli.md");
    let help = House::new().run_bare(&["nxs-backup", "help"], |_| ()).out;
    let commands = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"find") && names.contains(&"index") && names.len() >= 10, "{names:?}");
    for command in names {
        assert!(manual.contains(&format!("| `{command}")), "{command}");
    }
}
