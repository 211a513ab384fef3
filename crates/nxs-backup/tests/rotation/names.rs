//! Names at the limits, and the page that tells how to restore what has them.

use std::fs;
use std::process::Command;

use nxs_base::naming;
use nxs_base::ports::source::Target;
use nxs_base::ports::storage::PartTag;
use nxs_base::spec::Compression;

use crate::house::{Disk, Night, keep, keys, nights, target};

fn named(name: &str) -> Target {
    let safe = naming::glob_target(b"/srv/*", format!("/srv/{name}").as_bytes());
    Target { part: safe.part, file_stem: safe.stem, root: format!("/srv/{name}"), ..target(name) }
}

#[test]
fn targets_with_the_longest_names_are_saved_rotated_and_swept() {
    let disk = Disk::new();
    let mut house = disk.house(keep(2, 1, 1));
    let long = "n".repeat(255);
    house.targets = vec![named(&long), named(&format!("{}m", &long[..254])), named(&"ö".repeat(127))];
    for night in nights("2026-01-30", "2026-02-03") {
        house.good_night(&night);
        house.check();
    }
    assert_eq!(house.catalog().entries.len(), 9, "two days and the first for each");
    assert_eq!(house.table(), "daily: 02f 03f | weekly: 01l | monthly: 01f");
}

#[test]
fn an_uncommitted_archive_whose_partial_record_tells_only_a_digest_is_rolled_back() {
    let disk = Disk::new();
    let mut house = disk.house(keep(9, 9, 9));
    house.server = "a-host-with-a-rather-long-name".into();
    house.targets = vec![named(&"n".repeat(255))];
    house.good_night("2026-02-03T03:00");
    let all = keys(&*house.storage);
    let archive = all.iter().find(|k| k.ends_with(".tar")).unwrap();
    // As a run that died between publishing the archive and its record leaves it.
    let (dir, name) = archive.rsplit_once('/').unwrap();
    let torn = name.replace("02-03", "02-04");
    fs::copy(disk.path(archive), disk.path(&format!("{dir}/{torn}"))).unwrap();
    fs::write(disk.path(&format!("{dir}/{torn}.nxs.idx")), b"index").unwrap();
    let dead = PartTag { host: house.server.clone(), run_id: "dead".into() };
    let part = dead.part_name(&format!("{torn}.nxs.json"));
    assert!(part.len() <= 255 && part.starts_with(".~"), "{part}");
    fs::write(disk.path(&format!("{dir}/{part}")), b"half a record").unwrap();
    house.good_night("2026-02-05T03:00");
    let left = keys(&*house.storage);
    assert!(!left.iter().any(|k| k.contains("02-04")), "{left:?}");
    assert_eq!(house.catalog().entries.len(), 2);
    house.check();
}

#[test]
fn the_commands_of_restore_md_restore_what_lies_there_whatever_it_is_called() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("srv/x")).unwrap();
    fs::write(tree.path().join("srv/x/file"), b"restored").unwrap();
    let tar = Command::new("tar").arg("-cC").arg(tree.path()).args(["-f", "-", "srv"]).output().unwrap();
    assert!(tar.status.success());
    for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
        let disk = Disk::new();
        let mut house = disk.house(keep(9, 9, 9));
        house.compression = compression;
        house.targets =
            ["plain", "it's $(touch /tmp/x) `y` \"z\"", "-rf", "größe\nzwei", "a b/../c", &"n".repeat(255)]
                .map(named)
                .into();
        let told =
            house.night_of("2026-02-03T03:00", Night { content: tar.stdout.clone(), ..Night::default() });
        assert!(told.is_complete(), "{:?}", told.said);
        let page = fs::read_to_string(disk.path("RESTORE.md")).unwrap();
        let blocks: Vec<&str> =
            page.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
        assert_eq!(blocks.len(), house.targets.len(), "{page}");
        for block in blocks {
            let to = tempfile::tempdir().unwrap();
            let script = block.replace("/tmp/restore", to.path().join("here").to_str().unwrap());
            let done = Command::new("sh").arg("-c").arg(&script).current_dir(disk.root()).output().unwrap();
            assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(fs::read(to.path().join("here/srv/x/file")).unwrap(), b"restored", "{script}");
        }
    }
}
