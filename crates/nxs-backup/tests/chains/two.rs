//! Several storages and several targets: histories of their own, one walk, as few archives as there are parents.

use std::fs;

use jiff::civil::date;

use crate::scene::{Setup, World};

fn two() -> Setup {
    Setup { storages: vec!["left", "right"], ..Setup::default() }
}

fn write(world: &World, name: &str, text: &str) {
    let path = world.tree().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Ids of the newest backup on both.
fn newest(world: &World) -> [String; 2] {
    [0, 1].map(|s| world.record(s, world.house.now).1["id"].as_str().unwrap().to_owned())
}

fn level(world: &World, storage: usize) -> String {
    world.record(storage, world.house.now).1["level"].as_str().unwrap().to_owned()
}

#[test]
fn a_storage_that_was_down_for_a_week_goes_on_from_its_own_parents_in_the_same_walk() {
    let mut world = World::new(two(), date(2026, 4, 28));
    write(&world, "a/first", "1");
    world.backup();
    assert_eq!(world.walks(), [1], "a full for both");
    assert_eq!(newest(&world)[0], newest(&world)[1]);
    for day in 29..=30 {
        world.set_day(date(2026, 4, day));
        write(&world, "a/changing", &day.to_string());
        world.backup();
        assert_eq!(world.walks(), [1]);
    }
    world.set_down(1, true);
    for day in 1..=7 {
        world.set_day(date(2026, 5, day));
        write(&world, "a/changing", &format!("May {day}"));
        write(&world, &format!("b/{day}"), "new");
        let answer = world.attempt();
        assert_eq!(answer.code, 3, "{answer:?}");
        assert_eq!(world.walks(), [1]);
        let now = world.house.now;
        world.check_ours(0, now);
    }
    world.set_down(1, false);
    world.set_day(date(2026, 5, 8));
    fs::remove_file(world.tree().join("b/3")).unwrap();
    world.backup();
    assert_eq!(world.walks(), [2], "one walk, two archives");
    assert_eq!([level(&world, 0), level(&world, 1)], ["day", "month"]);
    assert_ne!(newest(&world)[0], newest(&world)[1]);
    for storage in [0, 1] {
        let now = world.house.now;
        world.check(storage, now);
    }
    // The months differ for good; decades are made against each.
    world.set_day(date(2026, 5, 11));
    write(&world, "c", "x");
    world.backup();
    assert_eq!(world.walks(), [2]);
    // A new month is made against the full that both have.
    world.set_day(date(2026, 6, 1));
    write(&world, "c", "y");
    world.backup();
    assert_eq!(world.walks(), [1]);
    assert_eq!(newest(&world)[0], newest(&world)[1]);
    assert_eq!(world.kept(1).len() + 7, world.kept(0).len(), "one storage is a subset of the other");
    for storage in [0, 1] {
        world.check_all(storage);
    }
}

#[test]
fn a_storage_that_joins_later_begins_with_a_full_and_the_other_goes_on() {
    let mut world = World::new(Setup::default(), date(2026, 4, 3));
    write(&world, "a", "1");
    world.backup();
    world.pass(1);
    world.configure(|setup| setup.storages = vec!["backup", "second"]);
    write(&world, "b", "2");
    world.backup();
    assert_eq!(world.walks(), [1, 2]);
    assert_eq!([level(&world, 0), level(&world, 1)], ["day", "year"]);
    for storage in [0, 1] {
        world.check_all(storage);
        let now = world.house.now;
        world.check(storage, now);
    }
}

#[test]
fn targets_of_one_glob_appear_disappear_and_turn_into_files() {
    let setup = Setup { target: "~/www/*", ..Setup::default() };
    let mut world = World::new(setup, date(2026, 4, 3));
    let root = world.house.path("www");
    let (shop, blog, wiki) = (root.join("shop"), root.join("blog"), root.join("wiki"));
    let put = |path: &std::path::Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let run = |world: &mut World| {
        let answer = world.start_by(None);
        assert_eq!(answer.code, 0, "{answer:?}");
        let at = world.house.now;
        world.pass(1);
        (at, at.strftime("%Y-%m-%d %H:%M:%S").to_string())
    };
    let tree = nxs_testkit::snapshot::Snapshot::take;
    put(&shop.join("a"), "1");
    put(&blog.join("b"), "2");
    let first = run(&mut world);
    let (shop_1, blog_1) = (tree(&shop), tree(&blog));
    // One goes, one comes.
    fs::rename(&blog, world.house.path("elsewhere")).unwrap();
    put(&wiki.join("c/d"), "3");
    let second = run(&mut world);
    let wiki_2 = tree(&wiki);
    // It comes back with other files; a directory becomes a file, and a directory again.
    put(&blog.join("new"), "4");
    fs::remove_dir_all(&wiki).unwrap();
    put(&wiki, "a file now");
    let third = run(&mut world);
    let (blog_3, wiki_3) = (tree(&blog), tree(&wiki));
    fs::remove_file(&wiki).unwrap();
    put(&wiki.join("c/e"), "5");
    let fourth = run(&mut world);
    let wiki_4 = tree(&wiki);

    let levels: Vec<String> =
        world.records(0).values().map(|(_, r)| format!("{} {}", r["target"], r["level"])).collect();
    let fulls = levels.iter().filter(|l| l.contains("year")).count();
    assert_eq!(fulls, 3, "{levels:?}");
    for (root, (at, moment), should) in [
        (&shop, &first, &shop_1),
        (&shop, &fourth, &shop_1),
        (&blog, &first, &blog_1),
        // While it was gone, its newest backup is the one before.
        (&blog, &second, &blog_1),
        (&blog, &third, &blog_3),
        (&wiki, &second, &wiki_2),
        (&wiki, &third, &wiki_3),
        (&wiki, &fourth, &wiki_4),
    ] {
        let what = format!("{} at {moment}", root.display());
        should.assert_same(&world.restored_of(0, root, moment), &what);
        // GNU tar puts no file where the target itself was a directory: it says so and does nothing.
        let is_swapped = root == &wiki && moment == &third.1;
        let is_gone = root == &blog && moment == &second.1;
        if !is_swapped && !is_gone {
            should.assert_same(&world.untarred_of(0, root, *at), &format!("{what}, by GNU tar"));
        }
    }
    world.verify(0);
}
