//! Whole log lines, compared with v2's.

use jiff::civil::date;
use jiff::tz::TimeZone;
use nxs_base::ErrorKind;
use nxs_base::spec::storage::NfsSettings;
use nxs_base::spec::{JobKind, Retention, StorageSettings, StorageSpec, Traffic};

use super::*;

fn lines(events: &[Event<'_>]) -> String {
    let now = date(2026, 11, 20).at(3, 0, 5, 0).to_zoned(TimeZone::UTC).unwrap();
    let storage = |name: &str, settings| StorageSpec {
        name: name.into(),
        enable: true,
        backup_dir: "/b".into(),
        retention: Retention::default(),
        settings,
        traffic: Traffic::default(),
    };
    let job = JobSpec {
        name: "sites".into(),
        kind: JobKind::DescFiles,
        tmp_dir: None,
        sources: vec![],
        storages: vec![
            storage("local-2", StorageSettings::Local),
            storage("nfs", StorageSettings::Nfs(NfsSettings { host: "vault".into(), options: None })),
        ],
        rotation: nxs_base::spec::Rotation::Auto,
        months_to_store: 12,
        require: nxs_base::spec::Require::All,
        floor: None,
    };
    let messages = Messages::new(&[job]);
    events.iter().filter_map(|e| messages.entry(e)).map(|e| e.line(&now)).collect()
}

#[test]
fn milestones_are_those_of_v2() {
    let job = "sites";
    let got = lines(&[
        Event::RunStarted,
        Event::BlockStarted { group: "files" },
        Event::JobStarted { job },
        Event::TargetStarted { job, target: "a" },
        Event::ArtefactMade { job, target: "a", path: "/tmp/a_2026-11-20_03-00.tar.gz" },
        Event::CopyMade {
            job,
            period: "daily",
            file: "/tmp/a.tar.gz",
            dir: "/b/a/daily",
            storage: "local-2",
        },
        Event::CopyMade { job, period: "weekly", file: "/tmp/a.tar.gz", dir: "/b/a/weekly", storage: "nfs" },
        Event::DroppedOld { job, period: "daily", dir: "/b/a/daily", storage: "local-2" },
        Event::NoBackupDay { job },
        Event::JobFinished { job },
        Event::BlockFinished { group: "files" },
        Event::RunFinished,
    ]);
    assert_eq!(
        got,
        "\
INFO [2026-11-20 03:00:05]: Starting script.

INFO [2026-11-20 03:00:05]: Starting files block backup.
INFO [sites] [2026-11-20 03:00:05]: Starting backup for job 'sites'.
INFO [sites] [2026-11-20 03:00:05]: Successfully created '/tmp/a_2026-11-20_03-00.tar.gz' file in tmp directory.
INFO [sites] [2026-11-20 03:00:05]: Successfully moved 'daily' file '/tmp/a.tar.gz' -> '/b/a/daily' on 'local' storage.
INFO [sites] [2026-11-20 03:00:05]: Successfully copied 'weekly' file '/tmp/a.tar.gz' -> '/b/a/weekly' directory on 'nfs' storage(vault).
INFO [sites] [2026-11-20 03:00:05]: Successfully deleted old 'daily' files in directory '/b/a/daily' on 'local' storage.
INFO [sites] [2026-11-20 03:00:05]: According to the backup plan today new backups are not created in this job.
INFO [sites] [2026-11-20 03:00:05]: Finishing backup for job 'sites'.
INFO [2026-11-20 03:00:05]: Finishing files block backup.
INFO [2026-11-20 03:00:05]: Stopping script.
"
    );
}

#[test]
fn problems_are_errors_with_their_hint_and_gaps_too_but_live_files_are_not() {
    let job = "sites";
    let problem = Problem {
        kind: ErrorKind::Full,
        message: "cannot write `/b/x`: no space left on device".into(),
        hint: Some("Free some space.".into()),
    };
    let note = |kind| Note { kind, path: "var/a".into(), reason: "why".into() };
    let got = lines(&[
        Event::Failed { job, problem: &problem },
        Event::Noted { job, target: "a", note: &note(NoteKind::Unreadable) },
        Event::Noted { job, target: "a", note: &note(NoteKind::Racy) },
        Event::Warned { job, message: "storage `ftp` lags" },
    ]);
    assert_eq!(
        got,
        "\
ERROR [sites] [2026-11-20 03:00:05]: Cannot write `/b/x`: no space left on device. hint: Free some space.
ERROR [sites] [2026-11-20 03:00:05]: Can't read: 'var/a' of target 'a': why.
INFO [sites] [2026-11-20 03:00:05]: Changed while it was read: 'var/a' of target 'a': why.
WARNING [sites] [2026-11-20 03:00:05]: Storage `ftp` lags.
"
    );
}

#[test]
fn text_of_others_cannot_forge_a_line_or_reach_the_terminal() {
    let got = lines(&[Event::Info {
        job: "a\nb",
        message: "evil\nERROR [x] [2026-11-20 03:00:05]: forged\u{1b}[2J\u{202e}ä.",
    }]);
    assert_eq!(
        got,
        "INFO [a\\nb] [2026-11-20 03:00:05]: Evil\\nERROR [x] [2026-11-20 03:00:05]: forged\\u{1b}[2J\\u{202e}ä.\n"
    );
}
