//! Places and names through the year, as v2 has them.

use jiff::civil::date;

use crate::world::{JOB, World};

fn listing(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    let root = world.backups();
    let mut waiting = vec![root.clone()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if meta.is_dir() {
                waiting.push(path);
            } else if meta.is_symlink() {
                let to = std::fs::read_link(&path).unwrap();
                assert!(to.is_relative() && path.exists(), "{name} leads to {}", to.display());
                lines.push(format!("{name} l"));
            } else if name.ends_with(".tar.gz") {
                lines.push(name);
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn the_first_month_lies_as_with_v2() {
    let mut world = World::new(JOB, date(2018, 7, 28));
    std::fs::write(world.tree().join("f"), "x").unwrap();
    for _ in 0..16 {
        world.backup();
        world.pass(1);
    }
    let of = |text: &str| text.replace('@', "shop/2018/");
    let mut expected: Vec<String> = [
        "@month_07/daily/day_21/shop_2018-07-28_03-00.tar.gz l",
        "@month_07/daily/day_21/shop_2018-07-29_03-00.tar.gz",
        "@month_07/daily/day_21/shop_2018-07-30_03-00.tar.gz",
        "@month_07/daily/day_21/shop_2018-07-31_03-00.tar.gz",
        "@month_07/monthly/shop_2018-07-28_03-00.tar.gz l",
        "@month_08/daily/day_11/shop_2018-08-11_03-00.tar.gz",
        "@month_08/daily/day_11/shop_2018-08-12_03-00.tar.gz",
        "@month_08/monthly/shop_2018-08-01_03-00.tar.gz",
        "@year/shop_2018-07-28_03-00.tar.gz",
    ]
    .iter()
    .map(|t| of(t))
    .collect();
    expected
        .extend((2..=10).map(|d| of(&format!("@month_08/daily/day_01/shop_2018-08-{d:02}_03-00.tar.gz"))));
    expected.sort();
    assert_eq!(listing(&world), expected);
    let log = world.house.log();
    assert_eq!(log.matches("Successfully created full-backup '~/backup/shop/2018/year/").count(), 1);
    assert_eq!(log.matches("Successfully created incremental '~/backup/shop/2018/month_0").count(), 15);
}
