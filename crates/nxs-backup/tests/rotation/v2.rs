//! Trees as version 2 left them: whole files, absolute symbolic links, no records.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use crate::house::Disk;

/// Puts the archives of a row of a table (`daily: 28f 29l | weekly: 29f`) below `part`, as version 2 names them. A day
/// of the form `08-01` gives its month, else it is of `month`.
pub(crate) fn tree(disk: &Disk, part: &str, stem: &str, month: &str, row: &str) {
    let mut links = Vec::new();
    let mut real = std::collections::BTreeMap::new();
    for cells in row.split(" | ") {
        let (period, days) = cells.split_once(": ").unwrap();
        for cell in days.split(' ') {
            let (day, letter) = cell.split_at(cell.len() - 1);
            let date =
                if day.contains('-') { format!("{}-{day}", &month[..4]) } else { format!("{month}-{day}") };
            let key = format!("{part}/{period}/{stem}_{date}_03-00.tar");
            fs::create_dir_all(disk.path(&key).parent().unwrap()).unwrap();
            if letter == "f" {
                file(disk, &key, format!("v2 {date}").as_bytes(), &date);
                real.insert(date, key);
            } else {
                links.push((key, date));
            }
        }
    }
    for (key, date) in links {
        symlink(disk.path(&real[&date]), disk.path(&key)).unwrap();
    }
}

/// A file with the time of that day.
pub(crate) fn file(disk: &Disk, key: &str, content: &[u8], date: &str) {
    let path = disk.path(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let at: jiff::civil::Date = date.parse().unwrap();
    let sec = at.at(3, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
    let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(sec).unwrap());
    fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
}
