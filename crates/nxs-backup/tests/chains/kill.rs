//! SIGKILL of a real process before each operation that changes a storage, and within each stream, of runs that make
//! each level on two storages whose chains differ.

use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::{env, fs};

use jiff::civil::DateTime;
use nxs_backup::app::{self, Env};
use nxs_base::Result;
use nxs_base::ports::source::Cancel;
use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, PartTag, Pending, Storage};
use nxs_base::spec::StorageSpec;

use crate::house::Still;
use crate::levels::{DAYS, Levels};
use crate::scene::open_source;
use crate::shelf::{self, assert_kept};

/// Tells the process that is to be killed: directory, moment, number of the run, operation, whether in its stream.
const CHILD: &str = "NXS_TEST_CHILD";

/// Bytes of a stream after which it is cut off.
const CUT: usize = 100;

static AT: AtomicU64 = AtomicU64::new(0);
static IN_STREAM: AtomicBool = AtomicBool::new(false);
/// The operations so far.
static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn die() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("nobody survives that");
}

/// Notes the operation; whether the stream of this one is to be cut off.
fn step(name: &str) -> bool {
    let number = {
        let mut done = DONE.lock().unwrap();
        done.push(name.to_owned());
        done.len() as u64
    };
    let is_due = number == AT.load(Ordering::SeqCst);
    let is_in_stream = IN_STREAM.load(Ordering::SeqCst);
    if is_due && !is_in_stream {
        die();
    }
    is_due && is_in_stream
}

/// Counts what changes the storage, and ends the process at one of these.
struct Deadly(Arc<dyn Storage>);

struct DeadlyPending(Box<dyn Pending>, String);

impl Pending for DeadlyPending {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn commit(self: Box<Self>) -> Result<()> {
        step(&format!("commit {}", self.1));
        self.0.commit()
    }
}

struct Cut<'a>(&'a mut dyn Read, usize);

impl Read for Cut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1 == 0 {
            die();
        }
        let most = buffer.len().min(self.1);
        let n = self.0.read(&mut buffer[..most])?;
        self.1 -= n;
        Ok(n)
    }
}

impl Storage for Deadly {
    fn label(&self) -> &str {
        self.0.label()
    }

    fn caps(&self) -> Caps {
        self.0.caps()
    }

    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        let is_cut = step(&format!("stage {key}"));
        let mut cut = Cut(data, if is_cut { CUT } else { usize::MAX });
        let pending = self.0.stage(key, tag, &mut cut)?;
        Ok(Box::new(DeadlyPending(pending, key.to_string())))
    }

    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()> {
        step(&format!("replace {key}"));
        self.0.put_replace(key, tag, data)
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>> {
        self.0.get(key, range)
    }

    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        self.0.list(dir, each)
    }

    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.0.stat(key)
    }

    fn delete(&self, key: &ObjectKey) -> Result<()> {
        step(&format!("delete {key}"));
        self.0.delete(key)
    }

    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        step(&format!("rename {from}"));
        self.0.rename(from, to)
    }

    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        step(&format!("link {key}"));
        self.0.link(key, target)
    }

    fn is_dangling(&self, key: &ObjectKey) -> Result<bool> {
        self.0.is_dangling(key)
    }

    fn is_part_live(&self, key: &ObjectKey) -> bool {
        self.0.is_part_live(key)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.0.free_bytes()
    }
}

fn open_storage(spec: &StorageSpec) -> Result<Arc<dyn Storage>> {
    Ok(Arc::new(Deadly(nxs_storages::registry::open(spec, nxs_config::secrets::resolve)?)))
}

/// What the process does that is to be killed. If nobody killed it, tells its operations.
fn be_the_child(text: &str) {
    let [root, now, run, at, in_stream] = text.split('|').collect::<Vec<_>>()[..] else { panic!("{text}") };
    AT.store(at.parse().unwrap(), Ordering::SeqCst);
    IN_STREAM.store(in_stream == "true", Ordering::SeqCst);
    let root = std::path::PathBuf::from(root);
    let now: DateTime = now.parse().unwrap();
    let env = Env {
        clock: Box::new(Still(now)),
        host: "web-01".into(),
        run_id: run.to_owned(),
        lower_priority: false,
        lock_path: root.join("lock"),
        v2_lock: || Ok(None),
        open_storage,
        open_source,
        ..Env::system(Cancel::new()).unwrap()
    };
    let code = app::run(["nxs-backup", "-c", root.join("nxs.conf").to_str().unwrap(), "start"], &env);
    assert_eq!(code, 0);
    fs::write(root.join("operations"), DONE.lock().unwrap().join("\n")).unwrap();
}

/// Runs the child; whether it was killed.
fn run_child(levels: &Levels, at: u64, in_stream: bool) -> bool {
    let house = &levels.world.house;
    let text = format!(
        "{}|{}|{:016x}|{at}|{in_stream}",
        house.root().display(),
        house.now,
        0xdead_0000_u64.wrapping_add(at)
    );
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::a_run_killed_at_any_step_is_undone_or_ended_by_the_next_one"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, text)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.signal() == Some(9), "{status:?}");
    !status.success()
}

#[test]
fn a_run_killed_at_any_step_is_undone_or_ended_by_the_next_one() {
    if let Ok(text) = env::var(CHILD) {
        return be_the_child(&text);
    }
    for (level, day) in DAYS {
        let mut levels = Levels::new("after", level);
        let clean = levels.clean(level, day);
        levels.lay_out_anew(&[0, 1]);
        assert!(!run_child(&levels, u64::MAX, false));
        let operations = fs::read_to_string(levels.world.house.path("operations")).unwrap();
        let operations: Vec<&str> = operations.lines().collect();
        for named in ["stage", "commit", "replace"] {
            assert!(operations.iter().any(|o| o.starts_with(named)), "{level}: {operations:#?}");
        }
        // The streams of both storages go side by side, so the numbers are those of this run, give or take.
        for (number, operation) in operations.iter().enumerate() {
            for in_stream in [false, true] {
                if in_stream && !operation.starts_with("stage") {
                    continue;
                }
                let what = format!("{level}, killed at `{operation}`, {in_stream}");
                levels.lay_out_anew(&[0, 1]);
                levels.world.set_day(day);
                levels.touch();
                let now = levels.world.house.now;
                levels.world.points.insert(now, levels.world.snapshot());
                assert!(run_child(&levels, number as u64 + 1, in_stream), "{what}: it lived");
                for storage in [0, 1] {
                    let after = shelf::read(&levels.world.dir(storage), false, &what);
                    assert_kept(&levels.before[storage], &clean[storage], &after, &what);
                }
                levels.next_day(&clean, number % 6 == 0, &what);
            }
        }
    }
}
