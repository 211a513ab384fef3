//! A dump takes no room but on its storages: every byte that the program and all that it starts write to files, by system
//! call. Pipes, sockets and files in memory are no room.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use nxs_testkit::servers::mariadb::MariaDb;
use nxs_testkit::servers::postgres::{self, Postgres};

use crate::house::{House, source};

/// Everything by which bytes or room get into a file.
const CALLS: &str = "write,pwrite64,writev,pwritev,pwritev2,sendfile,splice,tee,copy_file_range,fallocate,ftruncate,truncate,\
                     mmap";
/// By which files are written without a call of these; nobody has them here.
const RINGS: &str = "io_uring_setup,io_setup";
/// Log, list of finished runs, and the like.
const OURS_BYTES: u64 = 64 << 10;
/// A dump is at least so large.
const DUMP_BYTES: u64 = 50 << 20;

/// Runs `start` and answers with the bytes that went into each file.
fn written(house: &House) -> BTreeMap<String, u64> {
    let traces = tempfile::tempdir().unwrap();
    let program = house.command(&["start"]);
    let mut strace = Command::new("strace");
    strace.args([
        "-ff",
        "--seccomp-bpf",
        "-qq",
        "-y",
        "-s",
        "0",
        "-e",
        "signal=none",
        "-e",
        &format!("trace={CALLS},{RINGS}"),
        "-e",
        &format!("inject={RINGS}:error=ENOSYS"),
        "-o",
    ]);
    strace.arg(traces.path().join("trace")).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        strace.env(name, value.unwrap());
    }
    let temporary = house.path("temporary");
    fs::create_dir(&temporary).unwrap();
    strace.env("TMPDIR", &temporary).stdin(Stdio::null());
    let output = strace.output().unwrap_or_else(|e| panic!("`strace`: {e}; `cargo xtask setup` brings it"));
    assert!(output.status.success(), "{output:?}");
    let mut bytes = BTreeMap::new();
    for trace in fs::read_dir(traces.path()).unwrap() {
        for line in String::from_utf8_lossy(&fs::read(trace.unwrap().path()).unwrap()).lines() {
            if let Some((path, more)) = of_call(line) {
                *bytes.entry(path.to_owned()).or_default() += more;
            }
        }
    }
    for dir in [temporary, house.path("tmp")] {
        assert!(!dir.exists() || fs::read_dir(&dir).unwrap().next().is_none(), "{}", dir.display());
    }
    bytes
}

/// The file that a call wrote to, and how much.
fn of_call(line: &str) -> Option<(&str, u64)> {
    let (call, rest) = line.split_once('(')?;
    let result = rest.rsplit_once(" = ")?.1;
    let number: u64 = result.split(' ').next()?.parse().unwrap_or(0);
    let args: Vec<&str> = rest.split(", ").collect();
    let (file, bytes) = match call {
        "splice" | "copy_file_range" => (args.get(2)?, number),
        "mmap" if rest.contains("MAP_SHARED") && rest.contains("PROT_WRITE") => {
            (args.get(4)?, args[1].parse().unwrap())
        }
        "mmap" => return None,
        "fallocate" if result.starts_with('0') => (
            args.first()?,
            args[3].trim_end_matches(|c: char| !c.is_ascii_digit()).split(')').next()?.parse().unwrap(),
        ),
        "ftruncate" | "fallocate" | "truncate" => return None,
        _ => (args.first()?, number),
    };
    let path = file.split_once('<')?.1.split_once('>')?.0;
    let is_file =
        path.starts_with('/') && !["/dev/", "/proc/", "/memfd:"].iter().any(|other| path.starts_with(other));
    is_file.then_some((path, bytes))
}

/// All that a run wrote lies on its storage.
fn judge(house: &House) {
    let bytes = written(house);
    let storage = format!("{}/", house.storages[0].display());
    let (stored, elsewhere): (Vec<_>, Vec<_>) =
        bytes.iter().partition(|(path, _)| path.starts_with(&storage));
    let sum = |files: &[(&String, &u64)]| files.iter().map(|(_, bytes)| **bytes).sum::<u64>();
    // As much as lies there: no call was missed.
    let lies: u64 =
        house.files(0).iter().map(|file| fs::metadata(house.storages[0].join(file)).unwrap().len()).sum();
    assert!(lies > DUMP_BYTES && sum(&stored) >= lies, "{lies} lie there: {stored:?}");
    assert!(sum(&elsewhere) <= OURS_BYTES, "{elsewhere:?}");
    let temporary = ["tmp", "temporary"].map(|name| house.path(name).display().to_string());
    assert!(
        !elsewhere.iter().any(|(path, _)| temporary.iter().any(|dir| path.starts_with(dir.as_str()))),
        "{elsewhere:?}"
    );
}

#[test]
fn dumps_of_mariadb_cold_and_hot_take_no_room_but_on_the_storage() {
    let server = MariaDb::start();
    server.sql(
        "CREATE DATABASE shop; USE shop; CREATE TABLE big (id INT PRIMARY KEY, what TEXT) ENGINE=InnoDB; \
         INSERT INTO big SELECT seq, REPEAT(SHA2(seq, 512), 8) FROM seq_1_to_55000",
    );
    let cold = source(&server, "[shop]", "").replace("gzip: yes", "gzip: no");
    judge(&House::new(std::slice::from_ref(&cold)));
    let hot = cold.replace("target: [shop], ", "").replace("is_slave: no, ", "");
    judge(&House::of("mariadb_backup", &[hot]));
}

#[test]
fn dumps_of_postgresql_cold_and_hot_take_no_room_but_on_the_storage() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE big AS SELECT n, repeat(sha512(n::text::bytea)::text, 8) AS what FROM generate_series(1, 55000) n");
    let connect = format!(
        "{{db_host: 127.0.0.1, db_port: {}, db_user: {}, db_password: 'ENV:PG_PASSWORD'}}",
        server.port(),
        postgres::USER
    );
    judge(&House::of(
        "postgresql",
        &[format!("{{connect: {connect}, target: [shop], gzip: no, extra_keys: ''}}")],
    ));
    judge(&House::of(
        "postgresql_basebackup",
        &[format!("{{connect: {connect}, gzip: no, extra_keys: ''}}")],
    ));
}
