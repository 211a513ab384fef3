//! `docs/format.md` is enough to read a backup: `testdata/format/read.py`, written from it, sees what was saved.
//!
//! The reader needs Python and `zstd`; without them the test fails.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use nxs_testkit::Rng;
use serde_json::Value;

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/format/read.py");

/// A tree with one of everything that the format has a rule for.
fn plant(root: &Path) {
    let path = |name: &[u8]| root.join(OsStr::from_bytes(name));
    let write = |name: &[u8], data: &[u8]| {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), data).unwrap();
    };
    write(b"a/b/index.html", b"<html></html>\n");
    write(b"a/b.txt", b"comes after what is below a/b");
    write(b"a/empty", b"");
    write(b"a/block", &[7; 512]);
    write(b"odd/line\nbreak \xff %41 \\x", b"odd");
    let long = ["d".repeat(90), "e".repeat(60), "f".repeat(80)].join("/");
    write(long.as_bytes(), b"fits into prefix and name, or not");
    let longer = ["g".repeat(200), "h".repeat(200)].join("/");
    write(longer.as_bytes(), b"needs a record");
    let mut noise = vec![0; 5 << 20];
    Rng::new(1).fill(&mut noise);
    write(b"m/noise", &noise);
    write(b"z/last", b"in the last frame");
    fs::hard_link(path(b"a/block"), path(b"z/block")).unwrap();
    fs::hard_link(path(b"a/block"), path(b"z/block again")).unwrap();
    symlink("../a/empty", path(b"z/link")).unwrap();
    symlink("nowhere/".repeat(20), path(b"z/long link")).unwrap();
    assert!(Command::new("mkfifo").arg(path(b"z/pipe")).status().unwrap().success());

    let sparse = File::create(path(b"m/sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"after a hole", 1 << 20).unwrap();
    let ends_in_data = File::create(path(b"m/sparse too")).unwrap();
    ends_in_data.write_all_at(b"begin", 0).unwrap();
    ends_in_data.write_all_at(b"end", (1 << 20) + 77).unwrap();

    let set = |name: &[u8], time| File::open(path(name)).unwrap().set_modified(time).unwrap();
    set(b"a/empty", SystemTime::UNIX_EPOCH - Duration::from_millis(1500));
    set(b"a/block", SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 120_000_000));
    set(b"a/b.txt", SystemTime::UNIX_EPOCH + Duration::from_secs(9_000_000_000));
    fs::set_permissions(path(b"a/b.txt"), fs::Permissions::from_mode(0o4711)).unwrap();
    // Where neither the file system nor the host knows attributes, there is nothing to save.
    let attribute = ["-n", "user.a=%3Db", "-v", "value"];
    drop(Command::new("setfattr").args(attribute).arg(path(b"a/b.txt")).status());
}

/// What a saved tree is, by member name.
fn look(path: &Path, found: &mut BTreeMap<Vec<u8>, Vec<String>>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let name = match kind {
        _ if kind.is_dir() => "dir",
        _ if kind.is_symlink() => "symlink",
        _ if kind.is_fifo() => "fifo",
        _ => "file",
    };
    let size = if kind.is_file() { meta.len() } else { 0 };
    let link = if kind.is_symlink() { fs::read_link(path).unwrap() } else { PathBuf::new() };
    let member = path.as_os_str().as_bytes().strip_prefix(b"/").unwrap().to_vec();
    let entry = [
        name.to_owned(),
        format!("{:o}", meta.mode() & 0o7777),
        format!("{} {}", meta.uid(), meta.gid()),
        size.to_string(),
        format!("{} {}", meta.mtime(), meta.mtime_nsec()),
        format!("{} {}", meta.ctime(), meta.ctime_nsec()),
        meta.ino().to_string(),
        link.to_str().unwrap().to_owned(),
    ];
    found.insert(member, entry.to_vec());
    if kind.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path(), found));
    }
}

/// The same of a line that the reader prints. Its text is latin-1.
fn told(line: &Value) -> (Vec<u8>, Vec<String>) {
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    let number = |key: &str| line[key].to_string();
    let time = |key: &str| format!("{} {}", line[key][0], line[key][1]);
    let path = text("path").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let entry = [
        text("kind"),
        format!("{:o}", line["mode"].as_u64().unwrap()),
        format!("{} {}", number("uid"), number("gid")),
        number("size"),
        time("mtime"),
        time("ctime"),
        number("ino"),
        text("link"),
    ];
    (path, entry.to_vec())
}

struct House(tempfile::TempDir);

impl House {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Saves `tree` and returns the archive.
    fn save(&self, compression: &str) -> PathBuf {
        let here = self.0.path().to_str().unwrap();
        let config = format!(
            "main:\n  server_name: web-01\n  admin_mail: root@localhost\n  client_mail: ['']\n  \
             mail_from: root@localhost\n  level_message: error\n  log_file: {here}/log\n  state_dir: {here}/state\n  \
             lock_file: {here}/lock\n  nice: 0\n  ionice: none\njobs:\n- job: tree\n  type: desc_files\n  \
             tmp_dir: {here}/tmp\n  sources:\n  - target: ['{here}/tree']\n    compression: {compression}\n  \
             storages:\n  - {{storage: local, enable: yes, backup_dir: '{here}/out', store: {{days: 2, weeks: 0, month: 0}}}}\n"
        );
        let file = self.path("nxs.conf");
        fs::write(&file, config).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_nxs-backup"));
        succeed(program.arg("-c").arg(&file).args(["start", "tree"]));
        let mut archives: Vec<PathBuf> = fs::read_dir(self.path("out/tree/daily"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.to_str().unwrap().contains(".nxs"))
            .collect();
        assert_eq!(archives.len(), 1, "{archives:?}");
        archives.remove(0)
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {:?}\n{stderr}", output.status);
    output
}

fn reader(archive: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-B", READER]).arg(archive);
    command
}

fn check(compression: &str) {
    let house = House(tempfile::tempdir().unwrap());
    plant(&house.path("tree"));
    let archive = house.save(compression);
    let mut wanted = BTreeMap::new();
    look(&house.path("tree"), &mut wanted);
    // Further names of a file are links to the first one.
    let tree = house.path("tree").to_str().unwrap().strip_prefix('/').unwrap().to_owned();
    for name in ["z/block", "z/block again"] {
        let entry = wanted.get_mut(format!("{tree}/{name}").as_bytes()).unwrap();
        entry[0] = "hardlink".into();
        entry[3] = "0".into();
        entry[7] = format!("{tree}/a/block");
    }

    let output = String::from_utf8(succeed(&mut reader(&archive)).stdout).unwrap();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (record, entries) = lines.split_first().unwrap();
    let found: BTreeMap<_, _> = entries.iter().map(told).collect();
    assert_eq!(found, wanted, "{compression}");
    assert_eq!((&record["job"], &record["completeness"]), (&"tree".into(), &"complete".into()));
    assert_eq!(record["root"], format!("/{tree}"));

    // One file is read out of the frames that hold it.
    for name in ["a/b/index.html", "m/sparse", "m/sparse too", "z/last"] {
        let output = succeed(reader(&archive).arg(format!("{tree}/{name}")));
        assert_eq!(output.stdout, fs::read(house.path("tree").join(name)).unwrap(), "{name}");
        let frames = String::from_utf8(output.stderr).unwrap();
        assert!(frames.starts_with("1 of ") && frames != "1 of 1 frames\n", "{name}: {frames}");
    }

    // The reader is strict: it would not pass over what it does not understand.
    for object in [archive.clone(), PathBuf::from(format!("{}.nxs.idx", archive.display()))] {
        let whole = fs::read(&object).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        fs::write(&object, damaged).unwrap();
        let output = reader(&archive).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("read.py: sha256 of the "), "{output:?}");
        assert_eq!(output.status.code(), Some(1));
        fs::write(&object, whole).unwrap();
    }
}

#[test]
fn a_plain_backup_is_read_by_the_page_alone() {
    check("none");
}

#[test]
fn a_gzip_backup_is_read_by_the_page_alone() {
    check("{gzip: 6}");
}

#[test]
fn a_zstd_backup_is_read_by_the_page_alone() {
    check("{zstd: 3}");
}

#[test]
fn the_golden_indexes_are_read_by_the_page_alone() {
    let testdata = Path::new(READER).parent().unwrap().parent().unwrap();
    let code = "import sys; sys.path.insert(0, sys.argv[1]); import read\n\
                for path in sys.argv[2:]: print(len(read.Index(open(path, 'rb').read()).entries))";
    let mut command = Command::new("python3");
    command.args(["-B", "-c", code]).arg(testdata.join("format"));
    command.args(["v1.idx", "v1-blocks.idx"].map(|name| testdata.join("index").join(name)));
    assert_eq!(String::from_utf8(succeed(&mut command).stdout).unwrap(), "7\n3000\n");
}
