//! `index rebuild`, for our own archives.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::civil::date;
use nxs_testkit::history::History;

use crate::old::turn;
use crate::world::{JOB, World, files};

fn indexes(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = files(&world.backups()).into_iter().filter(|p| p.extension().is_some_and(|e| e == "idx"));
    all.map(|p| (p.clone(), std::fs::read(&p).unwrap())).collect()
}

/// Days of a random history.
fn live(job: &str, seed: u64, days: u32) -> World {
    let mut world = World::new(job, date(2025, 12, 25));
    // The archive tells of these files too.
    world.has_racy_rule = seed.is_multiple_of(2);
    let mut history = History::new(&world.tree(), seed);
    history.change(60).unwrap();
    for _ in 0..days {
        world.backup();
        history.change(6).unwrap();
        world.pass(1);
    }
    world
}

#[test]
fn a_rebuilt_index_is_the_one_that_was_lost_byte_for_byte() {
    let _turn = turn();
    for (seed, compression) in [(1, "gzip: yes"), (2, "gzip: no"), (3, "compression: zstd")] {
        let mut world = live(&JOB.replace("gzip: yes", compression), seed, 20);
        let before = indexes(&world);
        assert_eq!(before.len(), 20);
        for (number, path) in before.keys().enumerate() {
            match number % 3 {
                0 => std::fs::remove_file(path).unwrap(),
                1 => std::fs::write(path, &before[path][..before[path].len() / 2]).unwrap(),
                _ => {
                    let mut bytes = before[path].clone();
                    bytes[10] ^= 0xff;
                    std::fs::write(path, bytes).unwrap();
                }
            }
        }
        let answer = world.run(&["index", "rebuild", "uploads"]);
        assert_eq!(answer.code, 0, "{compression}: {}{}", answer.out, answer.err);
        assert!(answer.out.lines().all(|l| l.starts_with("rebuilt: ")), "{}", answer.out);
        assert_eq!(indexes(&world), before, "{compression}");
        let answer = world.run(&["verify"]);
        assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    }
}

#[test]
fn without_any_index_every_point_still_comes_back() {
    let _turn = turn();
    let mut world = live(JOB, 5, 14);
    for path in indexes(&world).keys() {
        std::fs::remove_file(path).unwrap();
    }
    let first = crate::old::moments(&world.points)[0];
    for at in crate::old::moments(&world.points) {
        let (found, answer) = world.restore(at);
        assert_eq!(answer.code, 0, "{at}: {}", answer.err);
        // A full needs none; of an increment it is told.
        let is_full = at == first || (at.month(), at.day()) == (1, 1);
        assert_eq!(answer.err.contains("has no index"), !is_full, "{at}: {}", answer.err);
        world.points[&at].assert_same(&found, &format!("{at}"));
    }
}

#[test]
fn one_target_or_moment_is_rebuilt_with_what_it_needs() {
    let _turn = turn();
    let mut world = live(JOB, 6, 12);
    let before = indexes(&world);
    before.keys().for_each(|path| std::fs::remove_file(path).unwrap());
    let answer = world.run(&["index", "rebuild", "uploads", "--at", "2026-01-05"]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    let made: Vec<String> = answer.out.lines().map(|l| l.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(made, ["shop_2026-01-01_03-00.tar.gz", "shop_2026-01-05_03-00.tar.gz"]);
    assert_eq!(world.run(&["index", "rebuild", "uploads", "--target", "other"]).code, 1);
    assert_eq!(world.run(&["index", "rebuild", "uploads", "--storage", "other"]).code, 2);
    assert_eq!(world.run(&["index", "rebuild", "other"]).code, 2);
    // An archive that is damaged gives no index.
    let archive = crate::world::files(&world.backups())
        .into_iter()
        .find(|p| p.ends_with("shop_2025-12-25_03-00.tar.gz"));
    let archive = archive.unwrap();
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&archive, bytes).unwrap();
    let answer = world.run(&["index", "rebuild", "uploads"]);
    assert_eq!(answer.code, 3, "{}{}", answer.out, answer.err);
    assert!(answer.out.contains("FAILED: "), "{}", answer.out);
}
