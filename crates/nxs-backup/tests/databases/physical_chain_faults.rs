//! What goes wrong with increments of physical backups: none that is not whole is published, and a chain with a hole is
//! told as such.

use std::fs;

use nxs_testkit::servers::mariadb::MariaDb;

use crate::faults::{fails, judge, kill, until};
use crate::house::House;
use crate::physical::{house, scene, source};
use crate::physical_chain::{assert_same, points, print, shape};
use crate::physical_faults::meddle;

/// A server and a house with a full copy and an increment of it, by the real program.
fn chain(keys: &str) -> (MariaDb, House) {
    let (server, _) = scene();
    let mut house = house(&server, "");
    let of_keys = format!("extra_keys: '{keys}'");
    house.sources =
        vec![source(&server, ", incremental: {full_every: 7}").replace("extra_keys: ''", &of_keys)];
    house.start();
    server.sql("UPDATE shop.item SET what = MD5(id) WHERE id % 50 = 0");
    house.start();
    assert_eq!(shape(&points(&house, "local")), "fi");
    (server, house)
}

#[test]
fn whoever_dies_in_the_middle_of_an_increment_nothing_of_it_is_kept_and_the_next_one_is_right() {
    let (server, house) = chain("--throttle=60");
    let before = house.files(0);
    server.sql("UPDATE shop.item SET what = SHA2(id, 512)");
    let said = meddle(&house, 10_000, |tool, _| kill("KILL", tool));
    judge(&house, &said, 1, "`mariadb-backup` ended with signal 9", &before);
    let said = meddle(&house, 10_000, |_, child| kill("TERM", child.id()));
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!((house.files(0), house.left_running()), (before.clone(), Vec::new()));
    let said = meddle(&house, 10_000, |_, child| kill("KILL", child.id()));
    assert_eq!(said.code, None);
    until("the tool to die with the program", || house.processes().is_empty());
    house.start();
    assert_eq!(shape(&points(&house, "local")), "fii");
    let place = house.path("data");
    let said = house.run(&["restore", "db", "--to", place.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_same(&print(&MariaDb::start_from(&place)), &print(&server), "restored");
}

#[test]
fn an_increment_that_its_tool_cut_or_that_is_none_is_never_published() {
    let (_server, house) = chain("");
    let whole = "\"$REAL\" \"$@\" > \"$0.out\" || exit; ";
    let without = "for a in \"$@\"; do shift; case \"$a\" in --incremental-lsn=*) ;; *) set -- \"$@\" \"$a\";; esac; done; ";
    let other = "for a in \"$@\"; do shift; case \"$a\" in --incremental-lsn=*) a=--incremental-lsn=$((${a#*=} - 1));; esac; \
                 set -- \"$@\" \"$a\"; done; ";
    let faults = [
        (format!("{whole}head -c -1 \"$0.out\""), "the xbstream is cut"),
        (":".to_owned(), "printed nothing"),
        (
            format!("{without} exec \"$REAL\" \"$@\""),
            "the stream is `full-backuped` from LSN 0, not `incremental`",
        ),
        (format!("{other} exec \"$REAL\" \"$@\""), "the stream is `incremental` from LSN "),
        ("\"$REAL\" \"$@\"; echo 'lost it' >&2; exit 3".to_owned(), "ended with exit status 3: "),
    ];
    for (fault, words) in faults {
        house.wrap(
            "mariadb-backup",
            &format!("case \"$*\" in *--version*) exec \"$REAL\" \"$@\";; esac\n{fault}"),
        );
        fails(&house, 1, words);
    }
}

#[test]
fn a_chain_with_a_hole_is_told_and_the_newest_whole_point_is_offered() {
    let (server, mut house) = chain("");
    house.start();
    let all = points(&house, "local");
    assert_eq!(shape(&all), "fii");
    let page = fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    assert!(page.contains("and 2 increments over it"), "{page}");
    // One part alone is nothing to be piped anywhere; the full copy is.
    let said = house.run(&["restore", "db", "--stdout"]);
    assert!(
        said.code == Some(2) && said.err.contains("is an increment, which alone is no backup"),
        "{said:?}"
    );
    let said = house.run(&["restore", "db", "--stdout", "--at", &all[0].local]);
    assert!(said.code == Some(0) && said.out.starts_with(b"XBSTCK01"), "{said:?}");
    // Damage in the middle.
    let middle = house.storages[0].join(&all[1].key);
    let good = fs::read(&middle).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 0x55;
    fs::write(&middle, &bad).unwrap();
    let verified = house.run(&["verify"]);
    let told = String::from_utf8_lossy(&verified.out).into_owned();
    assert_eq!(verified.code, Some(3), "{verified:?}");
    assert!(told.contains(&format!("DAMAGED: job 'db', storage 'local', {}", all[1].key)), "{told}");
    assert!(told.contains(&format!("BROKEN CHAIN: job 'db', storage 'local', {}", all[2].key)), "{told}");
    let place = house.path("data");
    let to = place.to_str().unwrap();
    let said = house.run(&["restore", "db", "--to", to]);
    assert!(said.code == Some(1) && said.err.contains(&all[1].key) && !place.exists(), "{said:?}");
    // The middle is gone.
    fs::remove_file(&middle).unwrap();
    fs::remove_file(house.storages[0].join(format!("{}.nxs.json", all[1].key))).unwrap();
    let name = all[1].key.strip_prefix("daily/").unwrap();
    for args in [&["restore", "db", "--to", to][..], &["restore", "db", "--to", to, "--dry-run"]] {
        let said = house.run(args);
        assert!(said.code == Some(1) && !place.exists(), "{said:?}");
        assert!(said.err.contains(&format!("needs `{name}`, which is missing")), "{said:?}");
        assert!(said.err.contains(&format!("whole: --at '{}'", all[0].local)), "{said:?}");
    }
    let state: Vec<String> = points(&house, "local").into_iter().map(|point| point.state).collect();
    assert_eq!(state, ["complete", "broken chain"]);
    let said = house.run(&["restore", "db", "--to", to, "--at", &all[0].local]);
    assert_eq!(said.code, Some(0), "{said:?}");
    // The next run goes on from what is whole.
    let said = house.start();
    assert!(said.log.contains("WARNING") && said.log.contains("nor gone on with"), "{said:?}");
    let full = all[0].key.strip_prefix("daily/").unwrap();
    assert!(said.log.contains(&format!("an increment that follows `{full}`")), "{said:?}");
    let place = house.path("again");
    let said = house.run(&["restore", "db", "--to", place.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_same(&print(&MariaDb::start_from(&place)), &print(&server), "restored");
    // Another storage has the whole chain: that one is taken.
    house.storages.push(house.path("second"));
    house.start();
    house.start();
    let first = points(&house, "local");
    let lost = &first[first.len() - 2].key;
    fs::remove_file(house.storages[0].join(lost)).unwrap();
    fs::remove_file(house.storages[0].join(format!("{lost}.nxs.json"))).unwrap();
    let place = house.path("third");
    let said = house.run(&["restore", "db", "--to", place.to_str().unwrap()]);
    assert!(said.code == Some(0) && said.err.contains("on 'local-2'"), "{said:?}");
    assert_same(&print(&MariaDb::start_from(&place)), &print(&server), "restored");
}
