//! Sources that cannot be read: files of others, and a disk that lost its end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use jiff::civil::date;

use crate::house::{House, Said};
use crate::judge::{Case, all, assert_unpacks, judge, problems};
use crate::mounts::{Mount, make_image, sh};
use crate::shelf::{self, Order, Shelf};
use crate::tree::{self, Tree};

const NOBODY: u32 = 65534;

/// Gives the house to a user without privileges, but for the source.
fn hand_over(house: &House) {
    fs::set_permissions(house.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(&house.storages[0]).unwrap();
    fs::write(house.path("nxs.log"), "").unwrap();
    for path in [house.root(), &house.storages[0], &house.path("nxs.log")] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // The program, where that user can reach it.
    sh("install", &["-m", "755", env!("CARGO_BIN_EXE_nxs-backup"), house.path("program").to_str().unwrap()]);
}

fn start_as_nobody(house: &House) -> Said {
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(house.path("program"));
    house.arguments(&mut command);
    chown(house.path("nxs.conf"), Some(NOBODY), Some(NOBODY)).unwrap();
    house.watch(&mut command, |_| None)
}

fn counts(said: &Said) -> (u64, u64) {
    let of = |name: &str| {
        all(&said.report, &["jobs", "targets"]).filter_map(|t| t["notes"][name].as_u64()).sum::<u64>()
    };
    (of("unreadable"), of("gap"))
}

#[test]
fn what_the_user_may_not_read_makes_gaps_and_the_rest_is_saved() {
    let house = House::new(256 << 10);
    let shop = house.shop();
    sh("chmod", &["-R", "a+rX", shop.to_str().unwrap()]);
    fs::write(shop.join("secret"), "of root").unwrap();
    fs::set_permissions(shop.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(shop.join("closed")).unwrap();
    fs::write(shop.join("closed/inside"), "x").unwrap();
    fs::set_permissions(shop.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    hand_over(&house);
    let mut tree = house.tree();
    tree.remove("/secret").unwrap();
    tree.remove("/closed/inside").unwrap();
    let said = start_as_nobody(&house);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(counts(&said), (2, 0), "{said:?}");
    for path in ["/secret: ", "/closed: "] {
        assert!(said.err.contains(&format!("{}{path}", shop.display())), "{path}: {}", said.err);
    }
    let (house, none) = (&house, BTreeSet::new());
    let dir = &house.storages[0];
    let case =
        Case { house, dir, before: &Shelf::new(), tree: Some(&tree), may_go: &none, order: Order::Settled };
    let shelf = judge(&case, Some(&said));
    assert_eq!((shelf.len(), shelf.values().filter(|b| b.is_complete()).count()), (1, 0));
}

#[test]
fn gaps_night_after_night_never_cost_the_newest_complete_backup() {
    let mut house = House::new(128 << 10);
    house.store = "{days: 2, weeks: 0, month: 0}";
    assert_eq!(house.start_at(date(2020, 11, 9).at(3, 0, 0, 0)).code, Some(0));
    sh("chmod", &["-R", "a+rX", house.shop().to_str().unwrap()]);
    fs::write(house.shop().join("secret"), "of root").unwrap();
    fs::set_permissions(house.shop().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    hand_over(&house);
    sh(
        "chown",
        &["-R", "65534:65534", house.storages[0].to_str().unwrap(), house.path("lock").to_str().unwrap()],
    );
    let mut shelf = shelf::read(&house.storages[0], Order::Settled);
    let complete: BTreeSet<String> = shelf.keys().cloned().collect();
    for n in 0..4 {
        let mut tree = house.tree();
        tree.remove("/secret").unwrap();
        let may_go = shelf.keys().filter(|k| !complete.contains(*k)).cloned().collect();
        let said = start_as_nobody(&house);
        assert_eq!(said.code, Some(3), "night {n}: {said:?}");
        let dir = &house.storages[0];
        let case = Case {
            house: &house,
            dir,
            before: &shelf,
            tree: Some(&tree),
            may_go: &may_go,
            order: Order::Settled,
        };
        shelf = judge(&case, Some(&said));
    }
    assert_eq!(shelf.len(), 3, "two nights, and the complete one in addition: {:?}", shelf.keys());
}

#[test]
fn a_target_or_a_storage_that_the_user_may_not_open_fails_the_run() {
    let house = House::new(64 << 10);
    hand_over(&house);
    fs::set_permissions(house.shop(), fs::Permissions::from_mode(0o700)).unwrap();
    let said = start_as_nobody(&house);
    assert_eq!(said.code, Some(1), "{said:?}");
    let none = BTreeSet::new();
    let case = Case {
        house: &house,
        dir: &house.storages[0],
        before: &Shelf::new(),
        tree: None,
        may_go: &none,
        order: Order::Settled,
    };
    judge(&case, Some(&said));
    sh("chmod", &["-R", "a+rX", house.shop().to_str().unwrap()]);
    chown(&house.storages[0], Some(0), Some(0)).unwrap();
    let said = start_as_nobody(&house);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(problems(&said.report).iter().any(|p| p.contains("Permission denied")), "{said:?}");
    judge(&case, Some(&said));
}

/// An ext4 image with ten files before and one beyond the place where it will end.
fn make_disk(image: &Path, mount_point: &Path) {
    make_image(image, 24 << 20);
    let _mount = Mount::image(image, mount_point, "rw");
    let site = mount_point.join("site");
    fs::create_dir(&site).unwrap();
    let data: Vec<u8> = (0..40_000u32).flat_map(u32::to_le_bytes).collect();
    for n in 0..10 {
        fs::write(site.join(format!("a{n}")), &data[n..]).unwrap();
        sh("sync", &["-f", site.to_str().unwrap()]);
    }
    let long: Vec<u8> = (0..4_500_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(site.join("b"), long).unwrap();
}

#[test]
fn a_disk_with_read_errors_makes_zero_padded_gaps_in_a_sound_archive() {
    let mut house = House::new(1024);
    let (image, disk) = (house.path("image"), house.path("disk"));
    make_disk(&image, &disk);
    house.glob = format!("{}/*/", disk.display());
    fs::remove_dir_all(house.path("www")).unwrap();
    let mount = Mount::image(&image, &disk, "ro");
    let whole = tree::read(&disk.join("site"));
    drop(mount);
    let _mount = Mount::image(&image, &disk, "ro");
    fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(12 << 20).unwrap();
    let bad = whole["/b"].bytes.len();
    assert!(fs::read(disk.join("site/b")).is_err(), "the disk is to be broken");

    let said = house.start();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(counts(&said), (0, 1), "{said:?}");
    assert!(said.err.contains("/site/b: "), "{}", said.err);

    let shelf = shelf::read(&house.storages[0], Order::Settled);
    let backup = shelf.iter().find(|(k, _)| k.starts_with("site/")).expect("what can be read is saved").1;
    assert!(!backup.is_complete());
    // Up to the first error it is what it was, and zeros from there on, to its length.
    let saved = member(&backup.archive, &disk.join("site/b"));
    assert_eq!(saved.len(), bad);
    let good = saved.iter().zip(&whole["/b"].bytes).take_while(|(a, b)| a == b).count();
    assert!(good >= 1 << 20, "only {good} bytes were saved");
    assert!(saved[good..].iter().all(|b| *b == 0), "no zeros after byte {good}");
    let mut tree: Tree = whole;
    tree.get_mut("/b").unwrap().bytes = saved;
    assert_unpacks(backup, &disk.join("site"), &tree);
    crate::judge::judge_words(&said);
}

/// The bytes of one member, by GNU tar.
fn member(archive: &Path, path: &Path) -> Vec<u8> {
    let name = path.strip_prefix("/").unwrap();
    let out = Command::new("tar").args(["-xzOf"]).arg(archive).arg("--").arg(name).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}
