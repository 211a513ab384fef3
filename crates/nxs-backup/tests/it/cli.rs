//! The command line itself: help, version, usage errors, the table of exit codes.

use crate::house::House;

#[test]
fn without_a_command_the_help_is_printed_and_all_is_well() {
    let answer = House::new().run_bare(&["nxs-backup"], |_| ());
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    for command in ["start", "test", "generate", "ls", "find", "restore", "verify", "rotate", "index", "help"]
    {
        assert!(answer.out.contains(&format!("\n  {command} ")), "{command} in:\n{}", answer.out);
    }
}

#[test]
fn version_is_printed_by_both_spellings() {
    for flag in ["-v", "--version"] {
        let answer = House::new().run_bare(&["nxs-backup", flag], |_| ());
        assert_eq!((answer.code, answer.out.as_str(), answer.err.as_str()), (0, "nxs-backup 4.0.0\n", ""));
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_why_on_stderr() {
    for args in [
        &["nxs-backup", "frobnicate"][..],
        &["nxs-backup", "start", "--no-such-flag"],
        &["nxs-backup", "generate", "-T", "desc_files"],
        &["nxs-backup", "restore", "x", "--delete", "--to", "/x"],
        &["nxs-backup", "verify", "--sample", "0"],
        &["nxs-backup", "-t", "start"],
        &["nxs-backup", "help", "frobnicate"],
    ] {
        let answer = House::new().run_bare(args, |_| ());
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{args:?}: {answer:?}");
        assert!(answer.err.starts_with("nxs-backup: "), "{args:?}: {answer:?}");
    }
}

#[test]
fn a_restore_that_does_not_say_where_to_ends_with_2() {
    let house = House::with_sites();
    let answer = house.run(&["restore", "sites"]);
    assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{answer:?}");
    assert!(answer.err.contains("--to DIR or --in-place"), "{answer:?}");
}

#[test]
fn help_of_a_command_is_its_own() {
    let answer = House::new().run_bare(&["nxs-backup", "help", "restore"], |_| ());
    assert_eq!(answer.code, 0);
    assert!(answer.out.contains("--in-place") && answer.out.contains("--strip"), "{}", answer.out);
}

#[test]
fn the_exit_codes_are_printed_and_the_manual_has_the_same_table() {
    let answer = House::new().run_bare(&["nxs-backup", "help", "exit-codes"], |_| ());
    assert_eq!(answer.code, 0);
    for code in ["    0  complete", "    1  failed", "    2  usage", "    3  partial", "   10  configuration"]
    {
        assert!(answer.out.contains(code), "{code} in:\n{}", answer.out);
    }
    for code in ["   11  locked", "  101  bug", "  130  cancelled"] {
        assert!(answer.out.contains(code), "{code} in:\n{}", answer.out);
    }
    let page = House::new().run_bare(&["nxs-backup", "help", "exit-codes", "--markdown"], |_| ()).out;
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/exit-codes.md");
    assert_eq!(std::fs::read_to_string(manual).unwrap(), page);
}
