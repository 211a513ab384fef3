//! No room left: at every page and every inode of the need of a run, with every order of rotation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::civil::date;

use crate::house::{House, Said};
use crate::judge::{Case, judge, problems};
use crate::mounts::{Mount, sh};
use crate::shelf::{self, Order, Shelf};

const PAGE: u64 = 4096;
const TOO_MUCH: &str = "too much room from the beginning";

struct Scene {
    house: House,
    /// Where the first backup was made; copied to each file system.
    history: PathBuf,
    before: Shelf,
    mount_point: PathBuf,
}

impl Scene {
    /// A house with one backup of an earlier day.
    fn new(rotation: &'static str, store: &'static str) -> Self {
        let mut house = House::new(48 << 10);
        house.store = store;
        house.rotation = rotation;
        assert_eq!(house.start_at(date(2020, 11, 9).at(3, 0, 0, 0)).code, Some(0));
        let (history, mount_point) = (house.path("history"), house.path("mnt"));
        sh("mv", &[house.path("backup").to_str().unwrap(), history.to_str().unwrap()]);
        let before = shelf::read(&history, Order::Settled);
        house.storages = vec![mount_point.join("backup")];
        house.touch("second");
        Self { house, history, before, mount_point }
    }

    fn mount(&self, options: &str) -> Mount {
        let mount = Mount::tmpfs(&self.mount_point, options);
        sh("cp", &["-a", self.history.to_str().unwrap(), self.dir().to_str().unwrap()]);
        mount
    }

    fn dir(&self) -> &Path {
        &self.house.storages[0]
    }

    fn case<'a>(&'a self, tree: &'a crate::tree::Tree, may_go: &'a BTreeSet<String>) -> Case<'a> {
        let (house, dir, before) = (&self.house, self.dir(), &self.before);
        Case { house, dir, before, tree: Some(tree), may_go, order: Order::Settled }
    }

    /// Runs on file systems from just what lies there on, one step larger each time, until two runs in a row are
    /// complete; each is followed by one with enough room. `step` gives the options of the n-th size. Returns how many
    /// failed: where the old copy goes first, the new one may fit into just its pages.
    fn sweep(
        &self,
        step: impl Fn(u64) -> String,
        may_go: &BTreeSet<String>,
        mut each: impl FnMut(&Said, &Shelf),
    ) -> u32 {
        let tree = self.house.tree();
        let (mut failed, mut complete) = (0, 0);
        for n in 0..200 {
            let mount = self.mount(&step(n));
            let said = self.house.start();
            println!("{}: {:?} {:?}", step(n), said.code, problems(&said.report));
            let after = judge(&self.case(&tree, may_go), Some(&said));
            each(&said, &after);
            mount.remount("size=64m,nr_inodes=10000");
            let next = self.house.start();
            assert_eq!(next.code, Some(0), "{next:?}");
            let all: BTreeSet<String> = after.keys().cloned().collect();
            let case = Case { before: &after, may_go: &all, ..self.case(&tree, may_go) };
            judge(&case, Some(&next));
            drop(mount);
            match said.code {
                Some(0) => complete += 1,
                _ => {
                    (failed, complete) = (failed + 1, 0);
                    let says = problems(&said.report).join("\n");
                    assert!(says.contains("No space left on device"), "{says}");
                }
            }
            if complete == 2 {
                return failed;
            }
        }
        panic!("never enough room");
    }

    /// Bytes and inodes that the history takes.
    fn used(&self) -> (u64, u64) {
        let mount = self.mount("size=64m");
        (mount.used_bytes(), mount.used_inodes())
    }
}

fn names(shelf: &Shelf) -> BTreeSet<String> {
    shelf.keys().cloned().collect()
}

#[test]
fn a_disk_that_is_full_at_any_page_of_archive_index_or_record_costs_nothing_that_was_there() {
    let scene = Scene::new("after", "{days: 1, weeks: 0, month: 0}");
    let (used, _) = scene.used();
    let pages = used.div_ceil(PAGE);
    let failed = scene.sweep(
        |n| format!("size={}", (pages + n) * PAGE),
        &names(&scene.before),
        |said, after| {
            if problems(&said.report).iter().any(|p| p.contains("cannot write `shop/")) {
                assert_eq!((said.code, after.len()), (Some(1), 1), "{said:?}");
                assert!(!said.log.contains("old"), "nothing is dropped after a failure: {}", said.log);
            }
        },
    );
    assert!(failed > 0, "{TOO_MUCH}");
}

#[test]
fn a_disk_without_inodes_for_archive_index_record_or_link_costs_nothing_that_was_there() {
    let scene = Scene::new("after", "{days: 1, weeks: 0, month: 0}");
    let (_, used) = scene.used();
    let failed =
        scene.sweep(|n| format!("size=64m,nr_inodes={}", used + n), &names(&scene.before), |_, _| ());
    assert!(failed > 0, "{TOO_MUCH}");
}

#[test]
fn a_disk_with_room_for_one_copy_drops_first_says_so_and_never_after_a_failure() {
    let scene = Scene::new("auto", "{days: 1, weeks: 0, month: 0}");
    let (used, _) = scene.used();
    let pages = used.div_ceil(PAGE);
    let mut dropped_first = 0;
    scene.sweep(
        |n| format!("size={}", (pages + n) * PAGE),
        &names(&scene.before),
        |said, after| {
            if said.log.contains("no complete copy exists until this run ends") {
                dropped_first += 1;
                assert_eq!(after.len(), 1, "it went and the new one did not come: {said:?}");
            }
        },
    );
    assert!(dropped_first > 0, "room for one copy alone was never met");
}

#[test]
fn a_disk_where_the_only_copy_went_first_and_the_new_one_is_larger_says_so() {
    let scene = Scene::new("auto", "{days: 1, weeks: 0, month: 0}");
    let mut grown = vec![0; 6 * PAGE as usize];
    nxs_testkit::Rng::new(3).fill(&mut grown);
    std::fs::write(scene.house.shop().join("grown"), grown).unwrap();
    let (used, _) = scene.used();
    let pages = used.div_ceil(PAGE);
    let mut lost = 0;
    scene.sweep(
        |n| format!("size={}", (pages + n) * PAGE),
        &names(&scene.before),
        |said, after| {
            if after.is_empty() {
                lost += 1;
                assert_eq!(said.code, Some(1), "{said:?}");
                assert!(said.log.contains("no complete copy exists until this run ends"), "{}", said.log);
            }
        },
    );
    assert!(lost > 0, "the case that the rule is for was never met");
}

#[test]
fn where_two_copies_are_kept_and_the_second_does_not_fit_the_first_stays() {
    let scene = Scene::new("auto", "{days: 2, weeks: 0, month: 0}");
    let (used, _) = scene.used();
    let pages = used.div_ceil(PAGE);
    let failed = scene.sweep(|n| format!("size={}", (pages + n) * PAGE), &BTreeSet::new(), |_, _| ());
    assert!(failed > 0, "{TOO_MUCH}");
}
