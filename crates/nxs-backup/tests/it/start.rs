//! `start`: silence in cron, log lines, the lock, exit codes, panics, cancelling.

use std::sync::atomic::{AtomicUsize, Ordering};

use nxs_base::Result;
use nxs_base::ports::source::{Cancel, DumpReport, Sink, Source, Target};
use nxs_base::spec::{JobKind, SourceEntry};
use nxs_sources::registry::Surroundings;
use nxs_sys::lock::RunLock;

use crate::house::{House, MAIN, SITES};

/// A second job with its own directories.
fn other(name: &str) -> String {
    SITES.replace("sites", name).replace("~/backup", &format!("~/backup-{name}"))
}

#[test]
fn a_good_run_in_cron_is_silent_and_leaves_v2s_log_lines() {
    let house = House::with_sites();
    let answer = house.run(&["start"]);
    assert_eq!((answer.code, answer.out.as_str(), answer.err.as_str()), (0, "", ""), "{}", house.log());
    assert_eq!(
        house.log(),
        "\
INFO [2026-11-20 03:00:00]: Starting script.

INFO [2026-11-20 03:00:00]: Starting files block backup.
INFO [sites] [2026-11-20 03:00:00]: Starting backup for job 'sites'.
INFO [sites] [2026-11-20 03:00:00]: Successfully created '~/backup/shop/daily/shop_2026-11-20_03-00.tar.gz' file in tmp directory.
INFO [sites] [2026-11-20 03:00:00]: Successfully moved 'daily' file '~/backup/shop/daily/shop_2026-11-20_03-00.tar.gz' -> '~/backup/shop/daily' on 'local' storage.
INFO [sites] [2026-11-20 03:00:00]: Finishing backup for job 'sites'.
INFO [2026-11-20 03:00:00]: Finishing files block backup.
INFO [2026-11-20 03:00:00]: Stopping script.
"
    );
    assert!(house.path("backup/shop/daily/shop_2026-11-20_03-00.tar.gz").is_file());
}

#[test]
fn json_gives_the_report_on_stdout() {
    let house = House::with_sites();
    let answer = house.run(&["start", "sites", "--json"]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    let report: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!((report["outcome"].as_str(), report["exit_code"].as_u64()), (Some("complete"), Some(0)));
    let target = &report["jobs"][0]["targets"][0];
    assert_eq!(target["copies"][0]["storage"], "local");
    assert_eq!(target["files"], 2);
}

#[test]
fn verbose_shows_the_log_lines_on_stderr_too() {
    let house = House::with_sites();
    let answer = house.run(&["start", "--verbose"]);
    assert_eq!((answer.code, answer.err), (0, house.log()));
}

#[test]
fn on_a_terminal_a_run_moves_and_ends_with_a_line_per_job() {
    let mut house = House::with_sites();
    house.is_terminal = true;
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 0);
    assert!(answer.err.contains("\r\x1b[Ksites"), "{:?}", answer.err);
    assert!(answer.err.contains("nxs-backup: job 'sites': complete, 1 target, "), "{:?}", answer.err);
}

#[test]
fn an_unknown_job_ends_with_2_and_the_allowed_names_and_no_log() {
    let house = House::with_sites();
    let answer = house.run(&["start", "sitse"]);
    assert_eq!(answer.code, 2);
    assert_eq!(
        answer.err,
        "nxs-backup: there is no job `sitse`\n\
         nxs-backup: allowed names: all, files, databases, external, sites\n"
    );
    assert_eq!(house.log(), "");
}

#[test]
fn a_bad_configuration_ends_with_10_and_starts_nothing() {
    let house = House::with_sites();
    house.config(&format!("{MAIN}jobs:\n{SITES}  no_such_key: 1\n"));
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 10);
    assert!(answer.err.contains("nxs-backup: ~/nxs.conf:18:3: error: "), "{}", answer.err);
    assert!(!house.path("backup").exists());
    assert_eq!(house.log(), "");
}

#[test]
fn a_held_lock_ends_with_11_and_v2s_sentence_in_log_and_on_stderr() {
    let house = House::with_sites();
    let _held = RunLock::acquire(&house.path("lock"), "the other one").unwrap();
    let answer = house.run(&["start"]);
    let says = format!("Script already is running! (process {} the other one)\n", std::process::id());
    assert_eq!((answer.code, answer.err), (11, format!("nxs-backup: {says}")));
    assert_eq!(house.log(), format!("ERROR [2026-11-20 03:00:00]: {says}"));
    assert!(!house.path("backup").exists());
}

static PAUSES: AtomicUsize = AtomicUsize::new(0);

#[test]
fn loop_timeout_waits_with_a_warning_and_then_gives_up() {
    let house = House::with_sites();
    house.config(&format!("{MAIN}  loop_timeout: 70\n  loop_interval: 30\njobs:\n{SITES}"));
    let _held = RunLock::acquire(&house.path("lock"), "").unwrap();
    let answer = house.run_with(&["start"], |env| {
        env.pause = |time| {
            PAUSES.fetch_add(usize::try_from(time.as_secs()).unwrap(), Ordering::SeqCst);
        };
    });
    assert_eq!(answer.code, 11);
    assert_eq!(PAUSES.load(Ordering::SeqCst), 70, "seconds");
    let by = format!("(process {})", std::process::id());
    assert_eq!(
        house.log(),
        format!(
            "WARNING [2026-11-20 03:00:00]: Another run holds the lock {by}; waiting for up to 70 s.\n\
             ERROR [2026-11-20 03:00:00]: Script already is running! {by}\n"
        )
    );
}

#[test]
fn lock_file_moves_the_lock() {
    let house = House::with_sites();
    house.config(&format!("{MAIN}  lock_file: ~/run/own.lock\njobs:\n{SITES}"));
    let _held = RunLock::acquire(&house.path("lock"), "").unwrap();
    assert_eq!(house.run(&["start"]).code, 0);
    assert!(house.path("run/own.lock").exists());
}

#[test]
fn a_log_that_cannot_be_opened_is_said_and_its_lines_go_to_stderr_while_the_backup_is_made() {
    let house = House::with_sites();
    std::fs::create_dir(house.path("nxs.log")).unwrap();
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 0);
    assert!(answer.err.starts_with("nxs-backup: cannot open the log file `~/nxs.log`: "), "{}", answer.err);
    let lines = answer.err.matches("INFO [sites] [2026-11-20 03:00:00]: Starting backup for job 'sites'.\n");
    assert_eq!(lines.count(), 1, "{}", answer.err);
    assert!(house.path("backup/shop/daily/shop_2026-11-20_03-00.tar.gz").is_file());
}

#[test]
fn a_log_on_a_full_disk_is_said_once_and_the_backup_is_made() {
    let house = House::with_sites();
    house.config(&format!("{MAIN}jobs:\n{SITES}").replace("~/nxs.log", "/dev/full"));
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 0);
    assert_eq!(
        answer.err.matches("nxs-backup: cannot write to the log file `/dev/full`: ").count(),
        1,
        "{answer:?}"
    );
    assert!(house.path("backup/shop/daily/shop_2026-11-20_03-00.tar.gz").is_file());
}

#[test]
fn the_directory_of_the_log_is_made() {
    let house = House::with_sites();
    house.config(&format!("{MAIN}jobs:\n{SITES}").replace("~/nxs.log", "~/var/log/nxs.log"));
    assert_eq!(house.run(&["start"]).code, 0);
    assert!(house.read("var/log/nxs.log").ends_with("Stopping script.\n"));
}

#[test]
fn warnings_of_the_configuration_go_to_the_log_and_not_into_the_mail_of_cron() {
    let mut house = House::with_sites();
    let sites = SITES.replace("    gzip: yes\n", "    gzip: yes\n    is_slave: no\n");
    house.config(&format!("{MAIN}jobs:\n{sites}"));
    let answer = house.run(&["start"]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    let words =
        "~/nxs.conf:16:5: warning: jobs[0].sources[0].is_slave: has no effect for jobs of type `desc_files`";
    let line = format!("WARNING [2026-11-20 03:00:00]: {words}\n");
    assert!(house.log().starts_with(&line), "{}", house.log());
    for args in [&["ls"][..], &["rotate", "--dry-run"]] {
        assert_eq!(house.run(args).err, "", "{args:?}");
    }
    house.is_terminal = true;
    assert!(house.run(&["start"]).err.starts_with(&format!("nxs-backup: {words}\n")));
}

#[test]
fn a_configuration_without_a_job_is_no_success() {
    let house = House::new();
    house.config(&format!("{MAIN}jobs: !include [conf.d/*.conf]\n"));
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 1);
    assert_eq!(answer.err, "nxs-backup: The configuration has no jobs: nothing is backed up.\n");
    assert!(
        house
            .log()
            .ends_with("ERROR [2026-11-20 03:00:00]: The configuration has no jobs: nothing is backed up.\n")
    );
}

#[test]
fn an_empty_group_is_well() {
    let house = House::with_sites();
    let answer = house.run(&["start", "databases"]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
}

#[test]
fn the_lock_of_version_2_is_honoured_and_named() {
    let house = House::with_sites();
    let answer = house.run_with(&["start"], |env| {
        env.v2_lock = || Err(nxs_sys::lock::LockError::Held { holder: String::new() });
    });
    let says = "Script already is running! (version 2 of nxs-backup)\n";
    assert_eq!((answer.code, answer.err), (11, format!("nxs-backup: {says}")));
    assert_eq!(house.run(&["start"]).code, 0, "our own lock was let go");
}

#[test]
fn a_glob_without_a_match_is_an_error_in_log_stderr_and_code() {
    let house = House::with_sites();
    std::fs::remove_dir_all(house.path("www")).unwrap();
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 1);
    assert!(answer.err.starts_with("nxs-backup: job 'sites': "), "{}", answer.err);
    assert!(answer.err.contains("~/www/*/"), "{}", answer.err);
    assert!(
        answer.err.ends_with(
            "nxs-backup: 1 of 1 jobs not complete: exit code 1 (failed); the log is '~/nxs.log'\n"
        ),
        "{}",
        answer.err
    );
    assert_eq!(house.log().matches("ERROR [sites]").count(), 1, "{}", house.log());
}

#[test]
fn one_bad_job_beside_a_good_one_is_partial() {
    let house = House::with_sites();
    let bad = other("bad").replace("~/www/*/", "~/nothing/*/");
    house.config(&format!("{MAIN}jobs:\n{bad}{SITES}"));
    let answer = house.run(&["start", "files"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(
        answer.err.ends_with("1 of 2 jobs not complete: exit code 3 (partial); the log is '~/nxs.log'\n")
    );
}

#[test]
fn a_storage_that_this_build_lacks_beside_a_good_one_is_partial() {
    let house = House::with_sites();
    let ftp = "  - {storage: ftp, enable: yes, backup_dir: /b, host: h, user: u, password: p, \
               store: {days: 1, weeks: 0, month: 0}}\n";
    house.config(&format!("{MAIN}jobs:\n{SITES}{ftp}"));
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(house.path("backup/shop/daily/shop_2026-11-20_03-00.tar.gz").is_file());
    assert_eq!(house.log().matches("ERROR [sites]").count(), 1, "{}", house.log());
}

#[test]
fn no_backup_day_is_well_and_logged_as_v2_did() {
    let house = House::with_sites();
    let sites = SITES.replace("days: 2, weeks: 0", "days: 0, weeks: 1");
    house.config(&format!("{MAIN}jobs:\n{sites}"));
    let answer = house.run(&["start"]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    let line = "INFO [sites] [2026-11-20 03:00:00]: According to the backup plan today new backups are not created \
                in this job.\n";
    assert!(house.log().contains(line), "{}", house.log());
}

#[test]
fn legacy_exit_codes_make_a_failed_backup_0_and_a_held_lock_1() {
    let house = House::with_sites();
    std::fs::remove_dir_all(house.path("www")).unwrap();
    house.config(&format!("{MAIN}  legacy_exit_codes: yes\njobs:\n{SITES}"));
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 0);
    assert!(answer.err.contains("exit code 1 (failed)"), "{}", answer.err);
    let _held = RunLock::acquire(&house.path("lock"), "").unwrap();
    assert_eq!(house.run(&["start"]).code, 1);
}

/// A source that breaks a rule of the house.
struct Panics;

impl Source for Panics {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        panic!("an invariant\nis gone")
    }

    fn probe(&self, _: &Target) -> Result<()> {
        Ok(())
    }

    fn dump(&self, _: &Target, _: &mut dyn Sink, _: &Cancel) -> Result<DumpReport> {
        Ok(DumpReport::default())
    }
}

fn open_panicking_for_inc(
    entry: &SourceEntry,
    kind: JobKind,
    around: &Surroundings,
) -> Result<Box<dyn Source>> {
    if entry.compression == nxs_base::spec::Compression::None {
        return Ok(Box::new(Panics));
    }
    nxs_sources::registry::open(entry, kind, around)
}

#[test]
fn a_panic_ends_its_job_alone_and_the_run_with_101() {
    let house = House::with_sites();
    let bad = other("bad").replace("gzip: yes", "gzip: no");
    house.config(&format!("{MAIN}jobs:\n{bad}{SITES}"));
    let answer = house.run_with(&["start"], |env| env.open_source = open_panicking_for_inc);
    assert_eq!(answer.code, 101);
    assert!(
        answer.err.starts_with(
            "nxs-backup: job 'bad': the program broke one of its own rules in this job (a bug, please report it): \
             an invariant\\nis gone\n"
        ),
        "{}",
        answer.err
    );
    assert!(house.log().contains("ERROR [bad] [2026-11-20 03:00:00]: The program broke"), "{}", house.log());
    assert!(house.path("backup/shop/daily/shop_2026-11-20_03-00.tar.gz").is_file());
    assert_eq!(house.run(&["start", "sites"]).code, 0, "the lock was let go");
}

#[test]
fn a_cancelled_run_ends_with_130_and_publishes_nothing() {
    let house = House::with_sites();
    house.cancel.cancel();
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 130);
    assert!(answer.err.contains("the run was cancelled: exit code 130 (cancelled)"), "{}", answer.err);
    assert!(house.log().contains("ERROR [2026-11-20 03:00:00]: The run was cancelled by a signal.\n"));
    assert!(!house.path("backup").exists());
}

#[test]
fn a_job_never_saves_its_own_backups() {
    let mut house = House::new();
    house.write("www/f", "x");
    house.config(&format!(
        "{MAIN}jobs:\n{}",
        SITES.replace("~/www/*/", "~/").replace("~/backup", "'~/var/[backup]*'")
    ));
    for day in 20..23 {
        house.now = jiff::civil::date(2026, 11, day).at(3, 0, 0, 0);
        let answer = house.run(&["start", "--json"]);
        assert_eq!(answer.code, 0, "{}", answer.err);
    }
    let answer = house.run(&["restore", "sites", "--dry-run"]);
    assert!(answer.out.contains("/www/f\n"), "{}", answer.out);
    assert!(!answer.out.contains(".tar") && !answer.out.contains("nxs-part"), "{}", answer.out);
}
