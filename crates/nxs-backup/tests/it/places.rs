//! A local `backup_dir` that can be no directory: never empty, never well.

use crate::house::House;

#[test]
fn a_directory_that_is_a_file_or_below_one_is_an_error_with_a_hint_in_every_command() {
    let commands: [(&[&str], u8); 8] = [
        (&["test"], 10),
        (&["start"], 1),
        (&["ls"], 1),
        (&["ls", "sites", "--at", "2026-11-20"], 1),
        (&["find", "sites", "*"], 1),
        (&["verify"], 1),
        (&["restore", "sites", "--to", "~/to"], 1),
        (&["rotate", "--dry-run"], 1),
    ];
    for (is_below, file) in [(false, "backup"), (true, "disk")] {
        let house = House::with_sites();
        let config = house.read("nxs.conf");
        house.config(&config.replace("~/backup,", if is_below { "~/disk/a/backup," } else { "~/backup," }));
        house.write(file, "no directory");
        for (args, code) in commands {
            let args: Vec<String> = args.iter().map(|a| house.unmask(a)).collect();
            let answer = house.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((answer.code, answer.out.as_str()), (code, ""), "{args:?}: {answer:?}");
            let why = if is_below {
                "storage `local` cannot use the directory `~/disk/a/backup`: it lies below a file\n  \
                 hint: Set `backup_dir` to a directory, or move `~/disk` away.\n"
            } else {
                "storage `local` cannot use the directory `~/backup`: it is a file\n  \
                 hint: Set `backup_dir` to a directory, or move `~/backup` away.\n"
            };
            assert!(answer.err.contains(why), "{args:?}: {}", answer.err);
        }
        assert_eq!(house.read(file), "no directory");
    }
}
