//! A run under observation: the memory that the program itself held, without its children.

use std::fs;
use std::time::Duration;

use nxs_testkit::servers::comes_true;

use crate::house::{House, Said};

/// What the program may hold, whatever the size of a dump.
pub(crate) const MEMORY_KIB: u64 = 96 << 10;

/// Runs the program, which has to end well and may not hold more than [`MEMORY_KIB`] at any time.
pub(crate) fn run(house: &House, args: &[&str]) -> Said {
    let before = house.log().len();
    let child = house.command(args).spawn().unwrap();
    let id = child.id();
    // The high-water mark only rises; it is gone when the program has ended.
    let watcher = std::thread::spawn(move || {
        let mut highest = 0;
        let ended = comes_true(Duration::from_secs(600), || match high_water(id) {
            Some(kib) => {
                highest = kib;
                false
            }
            None => true,
        });
        assert!(ended, "the program goes on and on");
        highest
    });
    let output = child.wait_with_output().unwrap();
    let held = watcher.join().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let said =
        Said { code: output.status.code(), out: output.stdout, err, log: house.log()[before..].to_owned() };
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!((1..=MEMORY_KIB).contains(&held), "the program held {held} KiB");
    said
}

fn high_water(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
