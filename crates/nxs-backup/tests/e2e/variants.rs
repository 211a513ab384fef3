//! The other compressions: a few days each, restored by `zstd -d | tar x`, by `tar x`, and by the program.

use std::collections::BTreeMap;
use std::fs;

use jiff::civil::date;

use crate::article::{assert_restored, house, run};
use crate::change::change;
use crate::house::MAIN;
use crate::{site, tools};

/// Both jobs save the same sites.
const JOBS: &str = "
- job: zstd-files
  type: desc_files
  compression: {zstd: 3}
  sources: [{target: ['~/www/*/'], excludes: [bitrix/backup, bitrix/cache, bitrix/managed_cache, bitrix/stack_cache, upload]}]
  storages: [{storage: local, enable: yes, backup_dir: ~/zstd, store: {days: 2, weeks: 1, month: 0}}]
- job: plain-files
  type: desc_files
  sources: [{target: ['~/www/*/'], gzip: no, excludes: [bitrix/backup, bitrix/cache, bitrix/managed_cache, bitrix/stack_cache, upload]}]
  storages: [{storage: local, enable: yes, backup_dir: ~/plain, store: {days: 2, weeks: 1, month: 0}}]
";

#[test]
fn zstd_and_uncompressed_backups_come_back_with_stock_tools_and_with_the_program() {
    let house = house();
    house.config(&format!("{MAIN}jobs:{JOBS}"));
    let www = house.path("www");
    site::make_all(&www);
    // From a Saturday to a Tuesday.
    let mut trees = BTreeMap::new();
    for day in 14..=17 {
        for site in ["site1", "site2"] {
            let root = www.join(site);
            change(&root, day, &site::snapshot(&root));
            trees.insert((site, day), site::snapshot(&root));
        }
        let answer = run(&house, date(2026, 11, day as i8).at(4, 0, 0, 0), &["start"]);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    let now = date(2026, 11, 17).at(12, 0, 0, 0);
    let tar = "tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf";
    let out = house.path("out");
    let to = out.to_str().unwrap();
    for site in ["site1", "site2"] {
        let name = |day: u64| format!("{site}_2026-11-{day}_04-00.tar");
        for (kept, day) in [("weekly", 15), ("daily", 16), ("daily", 17)] {
            let ways = [
                ("zstd", format!("zstd -dc {site}/{kept}/{}.zst | {tar} - -C {to}", name(day))),
                ("plain", format!("{tar} {site}/{kept}/{} -C {to}", name(day))),
            ];
            for (dir, command) in ways {
                fs::create_dir(&out).unwrap();
                tools::shell(&command, &house.path(dir));
                assert_restored(&trees[&(site, day)], &out, &www.join(site), &command);
                fs::remove_dir_all(&out).unwrap();
                let (job, at) = (format!("{dir}-files"), format!("2026-11-{day}"));
                let answer = run(&house, now, &["restore", &job, "--target", site, "--at", &at, "--to", to]);
                assert_eq!(answer.code, 0, "{answer:?}");
                assert_restored(&trees[&(site, day)], &out, &www.join(site), &format!("{job} {site} {at}"));
                fs::remove_dir_all(&out).unwrap();
            }
        }
        for (dir, suffix) in [("zstd", ".zst"), ("plain", "")] {
            assert!(!house.path(dir).join(format!("{site}/daily/{}{suffix}", name(14))).exists());
        }
    }
    let answer = run(&house, now, &["verify"]);
    assert_eq!((answer.code, answer.out.lines().count()), (0, 12), "{answer:?}");
}
