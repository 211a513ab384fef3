//! The real program as a process: pipes that close, full disks, signals, priorities, the log on a stream.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};

use nxs_sys::lock::RunLock;

use crate::house::{House, MAIN, SITES};

fn program(house: &House, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nxs-backup"));
    command.arg("-c").arg(house.path("nxs.conf")).args(args).stdin(Stdio::null());
    command
}

/// One site, with locks of its own.
fn house(main: &str) -> House {
    let house = House::with_sites();
    house.config(
        &format!("{MAIN}  lock_file: ~/lock\n{main}jobs:\n{SITES}").replace(", weeks: 0", ", weeks: 1"),
    );
    house
}

fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let house = house("");
    assert!(program(&house, &["start"]).status().unwrap().success());
    for args in [&["ls"][..], &["ls", "--json"], &["help"], &["start", "--json"], &["rotate", "--dry-run"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program(&house, args);
        command.stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn stderr_that_went_away_does_not_stop_a_run() {
    let house = house("");
    std::fs::create_dir(house.path("www/other")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = program(&house, &["start", "--verbose"]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(house.log().ends_with("Stopping script.\n"), "{}", house.log());
}

#[test]
fn output_onto_a_full_disk_is_said_and_ends_with_1() {
    let house = house("");
    let mut command = program(&house, &["help"]);
    command.stdout(File::options().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("nxs-backup: cannot write to standard output: "), "{output:?}");
}

#[test]
fn the_log_may_be_the_standard_output_even_if_that_is_a_socket() {
    let house = house("");
    let config = format!("{MAIN}  lock_file: ~/lock\njobs:\n{SITES}").replace("~/nxs.log", "/dev/stdout");
    house.config(&config);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = program(&house, &["start"]);
    command.stdout(OwnedFd::from(theirs)).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    drop(command);
    let mut log = String::new();
    BufReader::new(ours).read_to_string(&mut log).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(log.starts_with("INFO [") && log.ends_with("Stopping script.\n"), "{log}");
}

#[test]
fn unusable_configuration_files_end_with_10_and_one_clear_sentence() {
    let house = House::new();
    house.write("latin1.conf", "");
    std::fs::write(house.path("latin1.conf"), b"main: caf\xe9\n").unwrap();
    std::os::unix::fs::symlink("nowhere", house.path("dangling.conf")).unwrap();
    std::os::unix::fs::symlink("round.conf", house.path("round.conf")).unwrap();
    std::fs::create_dir(house.path("dir.conf")).unwrap();
    for (name, words) in [
        ("dir.conf", "error: cannot read `~/dir.conf`: not a regular file"),
        ("missing.conf", "error: cannot read `~/missing.conf`: no such file"),
        ("dangling.conf", "error: cannot read `~/dangling.conf`: no such file"),
        ("round.conf", "error: cannot read `~/round.conf`: "),
        ("latin1.conf", ":1:10: error: not UTF-8 text"),
    ] {
        for command in [&["-t"][..], &["test"], &["start"], &["ls"], &["rotate", "--dry-run"]] {
            let mut all = Command::new(env!("CARGO_BIN_EXE_nxs-backup"));
            let output = run_in(&mut all, house.path(name).to_str().unwrap(), command);
            let said = house.mask(&text(&output.stderr));
            assert_eq!(output.status.code(), Some(10), "{name} {command:?}: {said}");
            assert!(said.starts_with(&format!("nxs-backup: ~/{name}")) && said.contains(words), "{said}");
            assert_eq!(text(&output.stdout), "");
        }
    }
}

fn run_in(command: &mut Command, config: &str, args: &[&str]) -> Output {
    command.args(args).args(["-c", config]).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_configuration_that_this_user_may_not_read_ends_with_10() {
    let house = house("");
    // Root may read everything, so the program runs as somebody else, from a place that everybody reaches.
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let copy = dir.path().join("nxs-backup");
    std::fs::copy(env!("CARGO_BIN_EXE_nxs-backup"), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    std::fs::write(dir.path().join("nxs.conf"), house.read("nxs.conf")).unwrap();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(dir.path().join("nxs.conf"), closed).unwrap();
    let mut command = Command::new(&copy);
    if rustix::process::geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
    }
    let output = run_in(&mut command, dir.path().join("nxs.conf").to_str().unwrap(), &["-t"]);
    assert_eq!(output.status.code(), Some(10), "{output:?}");
    assert!(text(&output.stderr).contains("nxs.conf`: permission denied\n"), "{output:?}");
}

/// A program that waits for the lock; its log can be read line by line as it is written.
fn waiting(house: &House) -> (Child, BufReader<File>, RunLock) {
    let made = Command::new("mkfifo").arg(house.path("nxs.log")).status().unwrap();
    assert!(made.success());
    let held = RunLock::acquire(&house.path("lock"), "the test").unwrap();
    let child = program(house, &["start"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(File::open(house.path("nxs.log")).unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.starts_with("WARNING [") && line.contains("Another run holds the lock"), "{line}");
    (child, log, held)
}

fn kill(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// The nice value and what `ionice` says.
fn priority(child: &Child) -> (i32, String) {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let nice = after_name.split_whitespace().nth(16).unwrap().parse().unwrap();
    let io = run(shell("ionice", &["-p", &child.id().to_string()]));
    (nice, text(&io.stdout).trim().to_owned())
}

fn shell(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args);
    command
}

#[test]
fn a_run_is_nice_19_and_idle_by_default_and_a_signal_ends_its_waiting() {
    for (keys, nice, io) in [
        ("", 19, "idle"),
        ("  nice: 15\n  ionice: best-effort:6\n", 15, "best-effort: prio 6"),
        ("  nice: '17'\n  ionice: {best-effort: 2}\n", 17, "best-effort: prio 2"),
    ] {
        let house = house(&format!("  loop_timeout: 3600\n  loop_interval: 3600\n{keys}"));
        let (child, mut log, _held) = waiting(&house);
        assert_eq!(priority(&child), (nice, io.to_owned()), "{keys}");
        kill(&child, "-TERM");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(
            rest.starts_with("ERROR [") && rest.contains("Script already is running! (process "),
            "{rest}"
        );
        assert!(!house.path("backup").exists());
    }
}

#[test]
fn a_run_that_waited_goes_on_when_the_lock_is_let_go() {
    let house = house("  loop_timeout: 3600\n  loop_interval: 1\n");
    let (child, mut log, held) = waiting(&house);
    drop(held);
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(rest.ends_with("Stopping script.\n"), "{rest}");
}

#[test]
fn ionice_none_leaves_the_disk_priority_as_it_is() {
    let house = house("  loop_timeout: 3600\n  loop_interval: 3600\n  ionice: none\n");
    let (mut child, log, _held) = waiting(&house);
    let (nice, io) = priority(&child);
    assert_eq!((nice, io.contains("idle")), (19, false), "{io}");
    drop(log);
    kill(&child, "-KILL");
    assert!(!child.wait().unwrap().success());
}
