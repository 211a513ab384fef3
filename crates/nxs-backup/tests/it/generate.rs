//! `generate`: the file, its mode, the message, and that what was written is a valid configuration.

use std::os::unix::fs::PermissionsExt;

use nxs_base::spec::{JobKind, StorageKind};

use crate::house::{House, MAIN};

#[test]
fn a_job_file_is_written_privately_into_new_directories_and_replaces_what_was_there() {
    let house = House::new();
    house.write("conf.d/site.conf", "OLD CONTENT");
    let path = house.path("conf.d/site.conf");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    for name in ["conf.d/site.conf", "a/b/site.conf"] {
        let path = house.path(name);
        let answer =
            house.run(&["generate", "-T", "desc_files", "-S", "local", "scp", "-P", path.to_str().unwrap()]);
        let message = format!("nxs-backup: Successfully generated '~/{name}' configuration file!\n");
        assert_eq!((answer.code, answer.out.as_str(), answer.err), (0, "", message));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let text = house.read(name);
        assert!(text.contains("PROJECT-desc-files") && !text.contains("OLD CONTENT"), "{text}");
    }
}

#[test]
fn all_spellings_of_the_flags_work() {
    let house = House::new();
    for (kind, storages, path) in [
        ("-T", "-S", "-P"),
        ("--type", "--storages", "--path"),
        ("--backup-type", "--storage", "--out-path"),
        ("-T", "-S", "-O"),
    ] {
        let file = house.path("x.conf");
        let file = file.to_str().unwrap();
        let answer = house.run(&["generate", kind, "inc_files", storages, "local", "ftp", path, file]);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
}

#[test]
fn unknown_types_and_storages_are_usage_errors_that_list_what_there_is() {
    let house = House::new();
    let answer = house.run(&["generate", "-T", "oracle", "-S", "local", "-P", "/nowhere/x"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.starts_with("nxs-backup: `oracle` is not a type of job; there are: desc_files, inc_files")
    );
    let answer = house.run(&["generate", "-T", "mysql", "-S", "tape", "-P", "/nowhere/x"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.starts_with("nxs-backup: `tape` is not a type of storage; there are: local, scp"));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let house = House::new();
    house.write("file", "");
    let path = house.path("file/x.conf");
    let answer = house.run(&["generate", "-T", "mysql", "-S", "local", "-P", path.to_str().unwrap()]);
    assert_eq!(answer.code, 1);
    assert!(answer.err.starts_with("nxs-backup: cannot write `~/file/x.conf`: "), "{answer:?}");
}

#[test]
fn every_generated_file_passes_the_test_without_a_change() {
    let storages: Vec<&str> = StorageKind::ALL.iter().map(|k| k.name()).collect();
    for kind in JobKind::ALL {
        let house = House::new();
        house.config(&format!("{MAIN}jobs: !include [conf.d/*.conf]\n"));
        let path = house.path("conf.d/x.conf");
        let mut args = vec!["generate", "-T", kind.name(), "-P", path.to_str().unwrap(), "-S"];
        args.extend(&storages);
        assert_eq!(house.run(&args).code, 0);
        let answer = house.run(&["test"]);
        assert_eq!(answer.code, 0, "{}: {}\n{}", kind.name(), answer.err, house.read("conf.d/x.conf"));
    }
}
