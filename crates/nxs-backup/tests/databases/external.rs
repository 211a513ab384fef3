//! Commands of the user's own: what they are told, what they may say, and that nothing is stored that they did not end
//! well.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use crate::faults::{fails, judge, kill, until};
use crate::house::{House, Said};

fn house(keys: &[&str]) -> House {
    let mut house = House::of("external", &[]);
    set(&mut house, keys);
    house
}

fn set(house: &mut House, keys: &[&str]) {
    house.keys = keys.iter().map(|key| format!("  {key}\n")).collect();
}

/// A key with a script as block of text.
fn script(key: &str, lines: &str) -> String {
    format!("{key}: |\n    {}", lines.replace('\n', "\n    "))
}

/// Prints the four keys of version 2.
fn described(path: &Path, basename: &str, extension: &str, gzip: bool) -> String {
    let path = path.display();
    format!(
        r#"echo '{{"full_path": "{path}", "basename": "{basename}", "extension": "{extension}", "gzip": {gzip}}}'"#
    )
}

/// Archives, by their names without date.
fn names(house: &House) -> Vec<String> {
    let files = house.files(0).into_iter().filter(|file| !file.contains(".nxs."));
    let split = |file: String| {
        let mut parts = file.rsplitn(3, '_');
        let (time, stem) = (parts.next().unwrap().to_owned(), parts.nth(1).unwrap().to_owned());
        (stem, time.split_once('.').unwrap().1.to_owned())
    };
    let mut names: Vec<String> = files.map(split).map(|(stem, ext)| format!("{stem} {ext}")).collect();
    names.sort();
    names
}

fn restored(house: &House) -> Vec<u8> {
    let said = house.run(&["restore", "db", "--stdout"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

#[test]
fn a_file_that_a_command_made_and_described_in_either_way_is_stored_under_its_name_and_removed() {
    let mut house = house(&[]);
    let made = house.path("made.zip");
    let make = format!("seq 100000 > {}", made.display());
    let command = script("dump_cmd", &format!("{make}\n{}", described(&made, "my shop", "zip", false)));
    set(&mut house, &[&command]);
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
    assert_eq!(names(&house), ["daily/my shop zip"]);
    assert!(!made.exists());
    let seq: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(restored(&house) == seq.as_bytes());
    let stored = house.storages[0].join(&house.files(0)[0]);
    assert!(fs::read(stored).unwrap() == seq.as_bytes(), "it is not compressed unless the job says so");
    assert_eq!(house.run(&["verify"]).code, Some(0));
    let page = fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    assert!(page.contains("cat 'daily/my shop_") && page.contains("> /tmp/restored\n"), "{page}");
    // What is compressed already is not compressed again, and comes back as it was before.
    let gzipped = format!("{make}\ngzip -c {0} > {0}.gz; rm {0}", made.display());
    let other = house.path("made.zip.gz");
    let command = script("dump_cmd", &format!("{gzipped}\n{}", described(&other, "shop", "sql", true)));
    set(&mut house, &[&command, "compression: zstd"]);
    house.start();
    assert_eq!(names(&house), ["daily/my shop zip", "daily/shop sql.gz"]);
    assert!(restored(&house) == seq.as_bytes() && !other.exists());
    // Version 3 knew one key.
    let command = format!("{make}\necho '{{\"full_path\": \"{}\"}}'", made.display());
    set(&mut house, &[&script("dump_cmd", &command), "compression: zstd"]);
    house.start();
    assert_eq!(names(&house), ["daily/made zip.zst", "daily/my shop zip", "daily/shop sql.gz"]);
    assert!(restored(&house) == seq.as_bytes() && !made.exists());
    assert_eq!(house.run(&["verify"]).code, Some(0));
}

#[test]
fn a_stream_goes_to_all_storages_under_the_name_that_came_before_it_and_into_the_restore_command() {
    let mut house = house(&[]);
    ["two", "three"].iter().for_each(|name| house.storages.push(house.path(name)));
    let taken = house.path("taken");
    let restore = format!("restore_cmd: 'cat > {0}; echo \"$NXS_JOB $NXS_AS\" > {0}.env'", taken.display());
    let json = r#"{"basename": "all of it", "extension": "cpio"}"#;
    let command =
        script("dump_cmd", &format!("echo '{json}' >&3\nseq 300000\necho \"$NXS_JOB $NXS_TMP_DIR $MINE\""));
    let tmp = format!("tmp_dir: {}", house.path("scratch").display());
    set(&mut house, &[&command, "stream: yes", "compression: zstd", &restore, &tmp]);
    let mut start = house.command(&["start"]);
    start.env("MINE", "inherited");
    let said = house.finish(start);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(names(&house), ["daily/all of it cpio.zst"]);
    for storage in 1..3 {
        assert_eq!(house.files(storage), house.files(0));
    }
    let out = String::from_utf8(restored(&house)).unwrap();
    assert!(
        out.ends_with(&format!("300000\ndb {} inherited\n", house.path("scratch").display())),
        "{}",
        &out[out.len() - 200..]
    );
    let said = house.run(&["restore", "db", "--as", "x y"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(fs::read_to_string(&taken).unwrap() == out);
    assert_eq!(fs::read_to_string(house.path("taken.env")).unwrap(), "db x y\n");
    // Without a description it has the name of the job; one that is compressed already stays as it is.
    set(&mut house, &["dump_cmd: seq 10", "stream: yes"]);
    house.start();
    set(
        &mut house,
        &["dump_cmd: \"echo '{\\\"gzip\\\": true}' >&3; seq 10 | gzip\"", "stream: yes", "compression: zstd"],
    );
    house.start();
    assert_eq!(names(&house), ["daily/all of it cpio.zst", "daily/db dump", "daily/db dump.gz"]);
    assert_eq!(String::from_utf8(restored(&house)).unwrap(), "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
    // The way back is judged by its end.
    set(
        &mut house,
        &["dump_cmd: seq 10", "stream: yes", "restore_cmd: 'cat > /dev/null; echo no room >&2; exit 4'"],
    );
    let said = house.run(&["restore", "db"]);
    assert_eq!(
        (said.code, said.err.contains("`restore_cmd` ended with exit status 4: no room")),
        (Some(1), true),
        "{said:?}"
    );
    set(&mut house, &["dump_cmd: seq 10", "stream: yes"]);
    let said = house.run(&["restore", "db"]);
    assert_eq!((said.code, said.err.contains("has no `restore_cmd`")), (Some(2), true), "{said:?}");
}

#[test]
fn backups_of_a_job_are_rotated_together_whatever_their_names_and_extensions() {
    let mut house = house(&[]);
    for (n, extension) in ["zip", "db", "tar.xz", "sql", "7z"].iter().enumerate() {
        let json = format!(r#"{{"basename": "b{n}", "extension": "{extension}"}}"#);
        set(&mut house, &[&script("dump_cmd", &format!("echo '{json}' >&3\necho {n}")), "stream: yes"]);
        house.start();
    }
    assert_eq!(names(&house), ["daily/b2 tar.xz", "daily/b3 sql", "daily/b4 7z"]);
    assert_eq!(restored(&house), b"4\n");
}

#[test]
fn what_version_2_left_under_the_name_that_the_command_tells_is_rotated_with_the_rest() {
    let mut house = house(&[
        "dump_cmd: \"echo '{\\\"basename\\\": \\\"old\\\", \\\"extension\\\": \\\"tar\\\"}' >&3; echo 1\"",
        "stream: yes",
    ]);
    let daily = house.storages[0].join("daily");
    fs::create_dir_all(&daily).unwrap();
    for name in [
        "old_2020-01-01_03-00.tar",
        "old_2020-01-02_03-00.tar",
        "old_2020-01-03_03-00.tar",
        "other_2020-01-03_03-00.tar",
    ] {
        fs::write(daily.join(name), name).unwrap();
    }
    house.start();
    let names = names(&house);
    assert_eq!(names, ["daily/old tar", "daily/old tar", "daily/old tar", "daily/other tar"]);
    assert!(!daily.join("old_2020-01-01_03-00.tar").exists());
    set(&mut house, &[]);
}

#[test]
fn a_command_that_is_only_to_be_run_stores_nothing() {
    let mut house = house(&["dump_cmd: seq 10", "stream: yes"]);
    house.start();
    let before = house.files(0);
    set(&mut house, &["dump_cmd: 'echo all is well; echo and more >&2'", "skip_backup_rotate: yes"]);
    let said = house.start();
    assert!(
        said.log.contains("`dump_cmd`: all is well") && said.log.contains("`dump_cmd`: and more"),
        "{said:?}"
    );
    assert!(!said.log.contains("WARNING") && house.files(0) == before, "{said:?}");
    set(&mut house, &["dump_cmd: 'echo lost it >&2; exit 3'", "skip_backup_rotate: yes"]);
    fails(&house, 1, "`dump_cmd` ended with exit status 3: lost it");
}

#[test]
fn complaints_are_warnings_unless_they_are_to_be_errors() {
    let mut house = house(&["dump_cmd: 'seq 10; echo careful >&2'", "stream: yes"]);
    let said = house.start();
    assert!(said.log.contains("WARNING") && said.log.contains("`dump_cmd`: careful"), "{said:?}");
    set(&mut house, &["dump_cmd: 'seq 10; echo careful >&2'", "stream: yes", "strict_stderr: yes"]);
    fails(&house, 1, "`dump_cmd` ended with 0, but said: careful");
    let made = house.path("made");
    let command =
        format!("seq 10 > {}\necho careful >&2\n{}", made.display(), described(&made, "a", "b", false));
    set(&mut house, &[&script("dump_cmd", &command), "strict_stderr: yes"]);
    fails(&house, 1, "`dump_cmd` ended with 0, but said: careful");
    assert!(made.exists(), "what is not stored stays");
}

#[test]
fn whatever_a_command_does_wrong_is_told_and_nothing_is_stored() {
    let mut house = house(&["dump_cmd: seq 10", "stream: yes"]);
    house.start();
    let path = |name: &str| house.path(name);
    let at = |name: &str| described(&path(name), "a", "db", false);
    fs::create_dir(path("dir")).unwrap();
    fs::write(path("file"), "x").unwrap();
    fs::write(path("empty"), "").unwrap();
    std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
    assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    let tmp = format!("tmp_dir: {}", path("scratch").display());
    let files: Vec<(String, &str)> = vec![
        ("echo nothing here >&2".into(), "described its archive by nothing; it said: nothing here"),
        ("echo done".into(), "by what is no JSON (expected value at line 1 column 1): `done`"),
        ("echo '{\"basename\": \"x\"}'".into(), "`full_path` is missing"),
        ("echo '{\"full_path\": \"/x\", \"gzip\": true}'".into(), "`basename`, `extension` is missing"),
        (at("gone"), "No such file"),
        (at("dir"), "is a directory"),
        (at("link"), "is a symbolic link"),
        (at("fifo"), "is no regular file"),
        (at("empty"), "is empty"),
        ("echo '{\"full_path\": \"file\"}'".into(), "is not an absolute path"),
        ("echo '{\"full_path\": \"/a/../b\"}'".into(), "is not an absolute path"),
        (at("file"), "is outside of `tmp_dir`"),
        (
            format!("{}\necho 'disk is full' >&2\nexit 9", at("file")),
            "ended with exit status 9: disk is full",
        ),
        (format!("{}\nkill -9 $$", at("file")), "`dump_cmd` ended with signal 9"),
        ("no-such-command".into(), "ended with exit status 127"),
        ("head -c 200000 /dev/zero".into(), "printed more than 65536 bytes"),
    ];
    let mut bad = files.into_iter().map(|(lines, words)| (lines, "stream: no", words)).collect::<Vec<_>>();
    bad.extend([
        (
            "seq 100000\necho 'server is gone' >&2\nexit 5".to_owned(),
            "stream: yes",
            "ended with exit status 5: server is gone",
        ),
        ("seq 100000\nkill -9 $$".to_owned(), "stream: yes", "`dump_cmd` ended with signal 9"),
        ("true".to_owned(), "stream: yes", "ended well, but printed nothing"),
        ("exec >&-".to_owned(), "stream: yes", "ended well, but printed nothing"),
        ("echo done >&3\nseq 10".to_owned(), "stream: yes", "by what is no JSON"),
        ("printf '{' >&3\nseq 10".to_owned(), "stream: yes", "in the middle of what it says on descriptor 3"),
        ("seq 10\nseq 100000 >&3".to_owned(), "stream: yes", "described its archive after it had begun it"),
        (
            "echo '{\"full_path\": \"/x\"}' >&3\nseq 10".to_owned(),
            "stream: yes",
            "the archive comes by standard output",
        ),
        (
            "echo '{\"extension\": \"a/b\"}' >&3\nseq 10".to_owned(),
            "stream: yes",
            "`extension` cannot be `a/b`",
        ),
        ("echo '{\"basename\": \"\"}' >&3\nseq 10".to_owned(), "stream: yes", "`basename` has to be a text"),
    ]);
    for (lines, stream, words) in bad {
        let keys = [script("dump_cmd", &lines), stream.to_owned(), tmp.clone()];
        house.keys = keys.iter().map(|key| format!("  {key}\n")).collect();
        fails(&house, 1, words);
    }
    for kept in ["dir", "file", "empty", "link"] {
        assert!(house.path(kept).symlink_metadata().is_ok(), "{kept} is gone");
    }
    assert_eq!(restored(&house), b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
}

/// Starts a run whose command stands still in its middle, does `deed` to it, and says what came of it.
fn meddle(house: &mut House, deed: impl FnOnce(&House, &Child)) -> Said {
    let gate = house.path("gate");
    set(
        house,
        &[
            &script("dump_cmd", &format!("seq 100000\necho x > {}\nexec sleep 1000", gate.display())),
            "stream: yes",
        ],
    );
    let log = house.log().len();
    let child = house.command(&["start", "--json"]).spawn().unwrap();
    until("the command to stand still", || gate.exists());
    deed(house, &child);
    let output = child.wait_with_output().unwrap();
    fs::remove_file(&gate).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Said { code: output.status.code(), out: output.stdout, err, log: house.log()[log..].to_owned() }
}

#[test]
fn a_command_that_is_killed_or_whose_run_ends_leaves_nothing() {
    let mut house = house(&["dump_cmd: seq 10", "stream: yes"]);
    house.start();
    let before = house.files(0);
    let said = meddle(&mut house, |house, _| {
        let running = house.processes().into_iter().find(|(_, text)| text.starts_with("sleep 1000"));
        kill("KILL", running.expect("the command runs").0);
    });
    judge(&house, &said, 1, "`dump_cmd` ended with signal 9", &before);
    let said = meddle(&mut house, |_, child| kill("TERM", child.id()));
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!((house.files(0), house.left_running()), (before.clone(), Vec::new()));
    let said = meddle(&mut house, |_, child| kill("KILL", child.id()));
    assert_eq!(said.code, None);
    until("the command to die with the program", || house.processes().is_empty());
    set(&mut house, &["dump_cmd: seq 10", "stream: yes"]);
    house.start();
    assert_eq!(names(&house).len(), 2);
}

#[test]
fn a_storage_that_is_full_fails_alone_and_the_file_is_removed_since_the_other_has_it() {
    let mut house = house(&[]);
    let small = house.path("small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(&small).status();
    assert!(mount.unwrap().success(), "cannot mount: this test needs root");
    house.storages.push(small.join("backup"));
    let made = house.path("made");
    let make = format!("seq 100000 > {}\n{}", made.display(), described(&made, "a", "db", false));
    set(&mut house, &[&script("dump_cmd", &make)]);
    let said = house.run(&["start", "--json"]);
    let left: Vec<String> = house.files(1).into_iter().filter(|file| file.contains(".db")).collect();
    // Where nobody has it, it stays.
    let whole = std::mem::replace(&mut house.storages, vec![small.join("backup")]);
    let lost = house.run(&["start", "--json"]);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    house.storages = whole;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.log.contains("No space left"), "{said:?}");
    assert_eq!((names(&house), left), (vec!["daily/a db".to_owned()], Vec::new()));
    assert_eq!(lost.code, Some(1), "{lost:?}");
    assert!(made.exists() && lost.log.contains("No space left"), "{lost:?}");
}
