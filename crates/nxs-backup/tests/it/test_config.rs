//! `test` and `-t`: verdict, places, notes on what this build lacks.

use nxs_base::ports::source::Source;
use nxs_base::spec::{JobKind, SourceEntry};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sources::registry::Surroundings;

use crate::house::{House, MAIN, SITES};

#[test]
fn a_sound_configuration_is_praised_and_explained_on_stderr_by_both_spellings() {
    let house = House::with_sites();
    for args in [&["-t"][..], &["test"]] {
        let answer = house.run(args);
        assert_eq!(answer.code, 0, "{answer:?}");
        assert_eq!(answer.out, "");
        assert_eq!(
            answer.err,
            "nxs-backup: The configuration file '~/nxs.conf' syntax is correct!\n\
             nxs-backup: job 'sites' (desc_files): 1 source to local\n"
        );
    }
}

#[test]
fn every_error_of_the_configuration_is_shown_with_its_place() {
    let house = House::new();
    house.config(&format!("{MAIN}  level_mesage: error\njobs:\n{SITES}  no_such_key: 1\n"));
    let answer = house.run(&["test"]);
    assert_eq!((answer.code, answer.out.as_str()), (10, ""), "{answer:?}");
    assert!(answer.err.contains("nxs-backup: ~/nxs.conf:9:3: error: main."), "{}", answer.err);
    assert!(answer.err.contains("level_mesage") && answer.err.contains("no_such_key"), "{}", answer.err);
    assert!(answer.err.ends_with("nxs-backup: The configuration file '~/nxs.conf' cannot be used!\n"));
}

#[test]
fn a_missing_file_is_a_configuration_error() {
    let answer = House::new().run(&["test"]);
    assert_eq!((answer.code, answer.out.as_str()), (10, ""));
    assert!(answer.err.starts_with("nxs-backup: ~/nxs.conf"), "{}", answer.err);
}

#[test]
fn what_this_build_cannot_run_yet_is_named_as_a_note() {
    let house = House::with_sites();
    let nfs = "  - {storage: nfs, enable: yes, backup_dir: /b, host: h, \
               store: {days: 1, weeks: 0, month: 0}}\n";
    house.config(&format!("{MAIN}jobs:\n{SITES}{nfs}"));
    let answer = house.run(&["test"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(
        answer.err.contains("nxs-backup: job 'sites' (desc_files): 1 source to nfs, local\n"),
        "{}",
        answer.err
    );
    assert!(answer.err.contains("nxs-backup: job 'sites': note: "), "{}", answer.err);
    assert!(answer.err.contains("nfs"), "{}", answer.err);
}

#[test]
fn the_flag_c_stands_before_or_after_the_command_and_flags_may_be_cut() {
    let house = House::with_sites();
    let file = house.path("nxs.conf");
    let file = file.to_str().unwrap();
    for args in [
        &["-c", file, "test"][..],
        &["test", "-c", file],
        &["test", "--config", file],
        &["--config", file, "test"],
        &["--conf", file, "-t"],
        &["-t", "-c", file],
        &["--test-config", "-c", file],
        &["start", "-c", file],
        &["start", "sites", "-c", file],
        &["start", "-c", file, "files"],
        &["-c", file, "ls", "sites"],
        &["ls", "-c", file],
        &["rotate", "-c", file, "--dry-run"],
    ] {
        let all: Vec<&str> = ["nxs-backup"].iter().chain(args).copied().collect();
        let answer = house.run_bare(&all, |_| ());
        assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
    }
}

#[test]
fn looking_neither_reads_secrets_nor_runs_commands() {
    let house = House::with_sites();
    let ftp = "  - {storage: ftp, enable: no, backup_dir: /b, host: h, user: u, store: {days: 1}, \
               password: 'CMD:touch ~/ran'}\n";
    let main = MAIN.replace("mail_from: root@localhost", "mail_from: 'CMD:touch ~/asked; echo x'");
    assert_ne!(main, MAIN);
    house.config(&format!("{main}  smtp_password: ENV:NXS_NO_SUCH_VARIABLE\njobs:\n{SITES}{ftp}"));
    assert_eq!(house.run(&["test"]).code, 0);
    assert!(!house.path("asked").exists(), "a plain value is left alone by `test`");
    for args in [&["ls"][..], &["start"], &["rotate", "--dry-run"]] {
        let answer = house.run(args);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{args:?}");
    }
    assert!(house.path("asked").exists());
    assert!(!house.path("ran").exists(), "the secret of a storage that is switched off");
}

#[test]
fn commands_in_a_file_that_others_can_write_are_refused() {
    let house = House::with_sites();
    let file = house.path("nxs.conf");
    house.config(&format!("{MAIN}  smtp_password: CMD:true\njobs:\n{SITES}"));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o620)).unwrap();
    for args in [&["test"][..], &["start"]] {
        let answer = house.run(args);
        assert_eq!(answer.code, 10, "{args:?}");
        let words = "main.smtp_password: `CMD:` is refused in a file that its group or others can write\n  \
                     hint: Take the right away with `chmod go-w`.\n";
        assert!(answer.err.contains(words), "{answer:?}");
    }
}

#[test]
fn what_only_the_host_can_tell_is_not_judged() {
    let house = House::new();
    house.config(&format!(
        "{MAIN}jobs:\n- job: db\n  type: mysql_xtrabackup\n  tmp_dir: /nonexistent/tmp\n  sources:\n  \
         - {{connect: {{db_user: u, db_password: p, path_to_conf: /nonexistent/my.cnf}}, gzip: no, extra_keys: ''}}\n  \
         storages:\n  - {{storage: local, enable: yes, backup_dir: /nonexistent/b, store: {{days: 1}}}}\n"
    ));
    let answer = house.run(&["test"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(!answer.err.contains("warning") && !answer.err.contains("my.cnf"), "{answer:?}");
}

fn refuse(_: &SourceEntry, _: JobKind, _: &Surroundings) -> Result<Box<dyn Source>> {
    Err(Error::new(ErrorKind::Invalid, "cannot read the exclude `[z-a]`").with_hint("Write `[a-z]`."))
}

#[test]
fn a_source_that_cannot_be_made_sense_of_is_an_error_of_the_configuration() {
    let house = House::with_sites();
    let answer = house.run_with(&["test"], |env| env.open_source = refuse);
    assert_eq!(answer.code, 10);
    assert_eq!(
        answer.err,
        "nxs-backup: job 'sites', source 0: error: cannot read the exclude `[z-a]`\n  hint: Write `[a-z]`.\n\
         nxs-backup: The configuration file '~/nxs.conf' cannot be used!\n"
    );
}
