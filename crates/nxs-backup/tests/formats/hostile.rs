//! Every parser survives twenty thousand mutations and more of valid input: no panic, no end that does not come, and no
//! memory for a size that is only claimed.
//!
//! Each test starts itself anew under a limit of its data segment and of time, and tries its cases there. The case
//! under way is kept in a file, so that a death by the limit can be told. A case that fails is saved and named.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use nxs_testkit::Rng;

use crate::mutate::{mutate, seal_tar};
use crate::seeds;
use crate::targets;

const CASES: u64 = 20_000;
/// Where a case takes a few microseconds.
const MANY_CASES: u64 = 5 * CASES;
const SEED: u64 = 0x6e78_735f_6964_7831;
/// Says in the second process which test is to be tried, and where the number of the case goes.
const ORDEAL: &str = "NXS_ORDEAL";
const PLACE: &str = "NXS_ORDEAL_CASE";
/// What the test binary takes for itself, threads and buffers of readers included.
const OWN_MIB: u64 = 32;
const MAX_SECONDS: &str = "300";

/// A parser, what it gets, and the memory that it may take.
struct Ordeal {
    name: &'static str,
    limit_mib: u64,
    cases: u64,
    seeds: fn() -> Vec<Vec<u8>>,
    finish: fn(&mut [u8], &mut Rng),
    run: fn(&[u8]),
}

impl Ordeal {
    fn case(&self, seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
        let mut rng = Rng::for_item(SEED, number);
        let mut data = mutate(seeds, &mut rng);
        (self.finish)(&mut data, &mut rng);
        data
    }

    fn try_all(&self, place: &Path) {
        let seeds = (self.seeds)();
        seeds.iter().for_each(|seed| (self.run)(seed));
        let file = File::create(place).unwrap();
        for number in 0..self.cases {
            file.write_all_at(&number.to_le_bytes(), 0).unwrap();
            let data = self.case(&seeds, number);
            if catch_unwind(AssertUnwindSafe(|| (self.run)(&data))).is_err() {
                panic!("case {number} of `{}`: {}", self.name, self.save(number, &data).display());
            }
        }
    }

    fn save(&self, number: u64, data: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("nxs-hostile-{}-{number}", self.name));
        fs::write(&path, data).unwrap();
        path
    }

    fn hold(&self) {
        if std::env::var_os(ORDEAL).is_some_and(|name| name == self.name) {
            return self.try_all(Path::new(&std::env::var_os(PLACE).unwrap()));
        }
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("case");
        let limit_kib = (self.limit_mib + OWN_MIB) << 10;
        let output = Command::new("timeout")
            .args([MAX_SECONDS, "sh", "-c", "ulimit -d \"$1\"; shift; exec \"$@\"", "sh"])
            .arg(limit_kib.to_string())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("hostile::{}", self.name), "--test-threads=1"])
            .env(ORDEAL, self.name)
            .env(PLACE, &place)
            .output()
            .unwrap();
        if output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains("1 passed"), "no test was run:\n{said}");
            let number = fs::read(&place).unwrap();
            assert_eq!(number, (self.cases - 1).to_le_bytes());
            return;
        }
        let number = fs::read(&place).ok().and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
        let saved = number.map(|n| self.save(n, &self.case(&(self.seeds)(), n)));
        panic!(
            "{} under {limit_kib} KiB, at case {number:?}, saved as {saved:?}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn as_it_is(_: &mut [u8], _: &mut Rng) {}

fn mostly_sealed(data: &mut [u8], rng: &mut Rng) {
    if rng.percent(80) {
        seal_tar(data);
    }
}

#[test]
#[should_panic(expected = "memory allocation of")]
fn a_parser_that_believes_a_size_is_caught() {
    Ordeal {
        name: "a_parser_that_believes_a_size_is_caught",
        limit_mib: 64,
        cases: 1,
        seeds: seeds::name,
        finish: as_it_is,
        run: |data| assert!(vec![0_u8; (100 << 20) + data.len()].ends_with(b"\0")),
    }
    .hold();
}

macro_rules! ordeals {
    ($($name:ident: $limit_mib:expr, $cases:expr, $finish:expr;)*) => {
        $(#[test]
        fn $name() {
            Ordeal {
                name: stringify!($name),
                limit_mib: $limit_mib,
                cases: $cases,
                seeds: seeds::$name,
                finish: $finish,
                run: targets::$name,
            }
            .hold();
        })*
    };
}

ordeals! {
    tar: 64, MANY_CASES, mostly_sealed;
    xbstream: 64, MANY_CASES, as_it_is;
    mongodump: 64, MANY_CASES, as_it_is;
    frames_gzip: 64, CASES, as_it_is;
    // The window of a foreign stream: as much as `zstd -d` allows it.
    frames_zstd: 160, CASES, as_it_is;
    frames_by_table: 64, CASES, as_it_is;
    // A directory of blocks and its paths may have 64 MiB each.
    index: 160, CASES, as_it_is;
    index_blocks: 160, CASES, as_it_is;
    record: 64, MANY_CASES, as_it_is;
    adoption: 64, MANY_CASES, as_it_is;
    config: 64, CASES, as_it_is;
    name: 64, MANY_CASES, as_it_is;
    // Blocks of four levels at once.
    state: 160, CASES, as_it_is;
    inc_state: 64, MANY_CASES, as_it_is;
    reindex: 160, CASES, mostly_sealed;
}
