//! `test` and `-t`: verdict, places, notes on what this build lacks.

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
    let ftp = "  - {storage: ftp, enable: yes, backup_dir: /b, host: h, user: u, password: p, \
               store: {days: 1, weeks: 0, month: 0}}\n";
    house.config(&format!("{MAIN}jobs:\n{SITES}{ftp}"));
    let answer = house.run(&["test"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(
        answer.err.contains("nxs-backup: job 'sites' (desc_files): 1 source to ftp, local\n"),
        "{}",
        answer.err
    );
    assert!(answer.err.contains("nxs-backup: job 'sites': note: "), "{}", answer.err);
    assert!(answer.err.contains("ftp"), "{}", answer.err);
}
