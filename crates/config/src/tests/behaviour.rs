//! Single rules: files and rights, secrets, defaults, what wins over what.

use super::*;

const JOB: &str = "
- job: site
  type: desc_files
  sources:
  - target: [/srv/data]
    gzip: yes
  storages:
  - {storage: local, enable: yes, backup_dir: /b, store: {days: 1}}
";

fn with(main: &str) -> (Loaded, String) {
    let files = Files::new(&[(
        "main.conf",
        &format!("main:\n  server_name: s\n  admin_mail: a@b\n{main}jobs:\n{JOB}"),
    )]);
    let loaded = files.load();
    let said = files.said(&loaded);
    (loaded, said)
}

fn spec(loaded: Loaded) -> RunSpec {
    loaded.spec.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

#[test]
fn the_smb_placeholder_of_the_article_is_named_at_its_place() {
    let text = LARGE.replace("port: 445", "port: smb_port");
    let line = 1 + text.lines().position(|l| l.contains("smb_port")).unwrap();
    let column = 1 + text.lines().nth(line - 1).unwrap().find("smb_port").unwrap();
    let files = Files::new(&[
        ("main.conf", &format!("{MAIN}jobs: !include [conf.d/*.conf]\n")),
        ("conf.d/mysql.conf", &text),
    ]);
    let loaded = files.load();
    assert_eq!(
        files.said(&loaded),
        format!(
            "conf.d/mysql.conf:{line}:{column}: error: jobs[0].storages[0].port: `smb_port` is not a port number\n  \
             hint: A port is a number from 1 to 65535.\n"
        )
    );
    assert!(loaded.spec.is_none());
}

#[test]
fn defaults_are_those_of_v2_and_of_the_table() {
    let spec = spec(with("").0);
    assert_eq!(
        summary(&spec),
        "main s log /var/log/nxs-backup/nxs-backup.log state /var/lib/nxs-backup lock None wait None/30 legacy false nice 19 Idle\n\
         job site desc_files tmp None Auto All\n  \
         source 0 Gzip(4) [\"/srv/data\"] without [] one fs false caches false marks []\n  \
         storage local true /b 1/0/0 host None\n"
    );
}

#[test]
fn a_world_readable_file_with_passwords_is_warned_about_once() {
    let text = format!("{MAIN}jobs: !include [job.conf]\n");
    let files = Files::new(&[("main.conf", &text)]);
    files.write("job.conf", LARGE.as_bytes(), 0o644);
    let loaded = files.load();
    let line = 1 + LARGE.lines().position(|l| l.contains("password_1")).unwrap();
    let said = files.said(&loaded);
    assert!(said.starts_with(&format!("job.conf:{line}:")), "{said}");
    assert_eq!(
        said.matches("warning: this file holds passwords and everyone on this host can read it").count(),
        1
    );
    assert!(loaded.spec.is_some());
    files.write("job.conf", LARGE.as_bytes(), 0o640);
    assert_eq!(files.said(&files.load()), "");
    let elsewhere = LARGE
        .replace("smb_usr_pass", "FILE:/x")
        .replace("password_1", "ENV:P")
        .replace("password_2", "CMD:pass show x");
    files.write("job.conf", elsewhere.as_bytes(), 0o644);
    assert_eq!(files.said(&files.load()), "");
}

#[test]
fn commands_are_refused_in_files_that_others_can_write() {
    let job = "- job: e\n  type: external\n  dump_cmd: /bin/dump\n  storages:\n  - {storage: ftp, host: h, user: u, password: 'CMD:pass', enable: yes, backup_dir: /b, store: {days: 1}}\n";
    let files = Files::new(&[("main.conf", &format!("{MAIN}jobs: !include [job.conf]\n"))]);
    for (mode, errors) in [(0o640, 0), (0o660, 2), (0o646, 2)] {
        files.write("job.conf", job.as_bytes(), mode);
        let said = files.said(&files.load());
        assert_eq!(
            said.matches("is refused in a file that its group or others can write").count(),
            errors,
            "{said}"
        );
    }
}

#[test]
fn plain_values_come_from_variables_and_files() {
    let files = Files::new(&[("dir", "/var/b\n")]);
    let dir = files.path("dir").display().to_string();
    let (loaded, _) = with(&format!("  log_file: 'FILE:{dir}'\n  mail_from: ENV:CARGO_PKG_NAME\n"));
    assert_eq!(spec(loaded).main.log_file, "/var/b");
    let (loaded, said) = with(
        "  mail_from: ENV:NXS_NO_SUCH_VARIABLE\n  smtp_server: CMD:exit 3\n  smtp_port: FILE:relative\n",
    );
    assert_eq!(
        said,
        "main.conf:4:14: error: main.mail_from: environment variable `NXS_NO_SUCH_VARIABLE` is not set\n\
         main.conf:5:16: error: main.smtp_server: `exit`, run for a value, ended with exit status: 3\n\
         main.conf:6:14: error: main.smtp_port: `FILE:` needs an absolute path, found `relative`\n"
    );
    assert!(loaded.spec.is_none());
}

#[test]
fn secrets_are_not_read_while_loading() {
    let (loaded, said) = with("  smtp_password: ENV:NXS_NO_SUCH_VARIABLE\n");
    assert_eq!(said, "");
    assert!(loaded.spec.is_some());
}

#[test]
fn the_nearest_compression_wins() {
    for (main, job, source, expected) in [
        ("", "", "gzip: yes", Compression::Gzip(4)),
        ("", "", "gzip: no", Compression::None),
        ("", "", "gzip: ''\n    compression: gzip", Compression::Gzip(4)),
        ("", "", "compression: {zstd: 19}", Compression::Zstd(19)),
        ("", "", "gzip: no\n    compression: zstd", Compression::Zstd(3)),
        ("zstd", "", "excludes: []", Compression::Zstd(3)),
        ("zstd", "none", "excludes: []", Compression::None),
        ("zstd", "", "gzip: no", Compression::None),
        ("zstd", "{gzip: 9}", "gzip: yes", Compression::Gzip(9)),
        ("{gzip: 12}", "zstd", "compression: none", Compression::None),
    ] {
        let main = if main.is_empty() { String::new() } else { format!("  compression: {main}\n") };
        let job = if job.is_empty() { String::new() } else { format!("  compression: {job}\n") };
        let text = JOB.replace("gzip: yes", source).replace("  sources:", &format!("{job}  sources:"));
        let files = Files::new(&[(
            "main.conf",
            &format!("main:\n  server_name: s\n  admin_mail: a\n{main}jobs:\n{text}"),
        )]);
        let found = spec(files.load()).jobs[0].sources[0].compression;
        assert_eq!(found, expected, "{main}{job}{source}");
    }
}

#[test]
fn rotation_comes_from_the_job_or_main_and_safety_backup_is_after() {
    for (main, job, expected) in [
        ("", "", Rotation::Auto),
        ("  rotation: before\n", "", Rotation::Before),
        ("  rotation: before\n", "  rotation: auto\n", Rotation::Auto),
        ("  rotation: before\n", "  safety_backup: yes\n", Rotation::After),
        ("", "  safety_backup: no\n  rotation: before\n", Rotation::Before),
        ("", "  safety_backup: yes\n  rotation: after\n", Rotation::After),
    ] {
        let text = JOB.replace("  sources:", &format!("{job}  sources:"));
        let files = Files::new(&[(
            "main.conf",
            &format!("main:\n  server_name: s\n  admin_mail: a\n{main}jobs:\n{text}"),
        )]);
        assert_eq!(spec(files.load()).jobs[0].rotation, expected, "{main}{job}");
    }
}

#[test]
fn new_keys_of_main_and_jobs_are_read() {
    let (loaded, said) = with(
        "  nice: -5\n  ionice: best-effort:3\n  legacy_exit_codes: on\n  lock_file: /l\n  loop_timeout: '0'\n",
    );
    assert_eq!(said, "");
    let main = spec(loaded).main;
    assert_eq!((main.nice, main.ionice, main.legacy_exit_codes), (-5, IoNice::BestEffort(3), true));
    assert_eq!((main.lock_file.as_deref(), main.loop_timeout_secs), (Some("/l"), Some(0)));
    for (word, expected) in [("all", Require::All), ("any", Require::Any), ("2", Require::AtLeast(2))] {
        let (loaded, _) = job(&JOB.replace("  sources:", &format!("  require: {word}\n  sources:")));
        assert_eq!(spec(loaded).jobs[0].require, expected);
    }
}

#[test]
fn both_generations_of_types_and_keys_are_one() {
    for (old, kind) in [
        ("mysql_xtradb", JobKind::MysqlXtrabackup),
        ("mysql_xtrabackup", JobKind::MysqlXtrabackup),
        ("postgresql_hot", JobKind::PostgresqlBasebackup),
        ("files", JobKind::DescFiles),
        ("incr_files", JobKind::IncFiles),
    ] {
        let text = crate::generate(kind, &[nxs_base::spec::StorageKind::Local]).replace(kind.name(), old);
        let text = text
            .replace("extra_keys", "special_keys")
            .replace("target:", "targets:")
            .replace("month:", "months:");
        assert_eq!(spec(job(&text.replace(&format!("PROJECT-{old}"), "p")).0).jobs[0].kind, kind);
    }
    let top = format!("{MAIN}backup:\n{JOB}");
    assert_eq!(spec(Files::new(&[("main.conf", &top)]).load()).jobs.len(), 1);
}

#[test]
fn a_physical_copy_that_is_prepared_at_once_needs_a_place_and_takes_no_increments() {
    let text = crate::generate(JobKind::MariadbBackup, &[nxs_base::spec::StorageKind::Local]);
    let with = |key: &str| text.replace("      gzip: no\n", &format!("      gzip: no\n      {key}\n"));
    let (loaded, _) = job(&with("prepare: yes"));
    let tmp_dir = "/var/nxs-backup/databases/mariadb_backup/dump_tmp".to_owned();
    match &spec(loaded).jobs[0].sources[0].spec {
        SourceSpec::MysqlPhysical(physical) => assert_eq!(physical.prepare, Prepare::In(tmp_dir.clone())),
        other => panic!("{other:?}"),
    }
    let (loaded, said) = job(&with("prepare: yes").replace(&format!("    tmp_dir: {tmp_dir}\n"), ""));
    assert!(
        loaded.spec.is_none() && said.contains("jobs[0].sources[0].prepare: needs `tmp_dir`\n  hint: "),
        "{said}"
    );
    let (loaded, said) = job(&with("incremental: {full_every: 7}"));
    assert_eq!((spec(loaded).jobs[0].sources[0].full_every, said.contains("incremental")), (Some(7), false));
    for (keys, words) in [
        (
            "incremental: {full_every: 7}\n      prepare: yes",
            "incremental: contradicts `prepare: yes`\n  hint: A copy that was",
        ),
        ("incremental: {full_every: 0}", "incremental.full_every: `0` is"),
        ("incremental: {}", "incremental.full_every: this key is required"),
        ("incremental: {full: 7}", "incremental.full: unknown key"),
        ("incremental: yes", "incremental: needs a mapping"),
    ] {
        let (loaded, said) = job(&with(keys));
        assert!(loaded.spec.is_none() && said.contains(&format!("jobs[0].sources[0].{words}")), "{said}");
    }
}

#[test]
fn local_storages_come_last_and_names_are_unique() {
    let local = "{storage: local, enable: yes, backup_dir: /b, store: {days: 1}}";
    let more = format!(
        "{local}\n  - {local}\n  - {{storage: nfs, host: h, enable: no, backup_dir: /n, store: {{days: '2', weeks: ''}}}}\n"
    );
    let (loaded, said) = job(&JOB.replace(&format!("{local}\n"), &more));
    assert_eq!(said, "");
    let names: Vec<_> =
        spec(loaded).jobs.remove(0).storages.into_iter().map(|s| (s.name, s.enable)).collect();
    assert_eq!(names, [("nfs".into(), false), ("local".into(), true), ("local-2".into(), true)]);
}

#[test]
fn includes_are_sorted_nested_and_relative_to_their_file() {
    let job = |name: &str| JOB.replace("site", name);
    let files = Files::new(&[
        ("main.conf", "main: !include sub/main.yml\njobs: !include [conf.d/*.conf]\n"),
        ("sub/main.yml", "server_name: !import name\nadmin_mail: a@b\n"),
        ("sub/name", "'web-01'\n"),
        ("conf.d/b.conf", &job("b")),
        ("conf.d/a.conf", "!include [deeper/*]\n"),
        ("conf.d/c.conf", "# nothing\n"),
        ("conf.d/d.conf", ""),
        ("conf.d/.hidden.conf", "broken: ["),
        ("conf.d/deeper/2", &job("a2")),
        ("conf.d/deeper/10", &job("a10")),
    ]);
    let loaded = files.load();
    assert_eq!(files.said(&loaded), "");
    let spec = spec(loaded);
    assert_eq!(spec.main.server_name, "web-01");
    assert_eq!(spec.jobs.iter().map(|j| &*j.name).collect::<Vec<_>>(), ["a10", "a2", "b"]);
}

#[test]
fn an_empty_included_file_is_an_empty_list_in_both_forms() {
    for include in ["!include empty", "!include [empty]", "!include [none/*]"] {
        let files = Files::new(&[("main.conf", &format!("{MAIN}jobs: {include}\n")), ("empty", "")]);
        assert_eq!(spec(files.load()).jobs.len(), 0, "{include}");
    }
}

#[test]
fn include_cycles_and_unreadable_files_are_errors_where_they_are_named() {
    let files = Files::new(&[
        (
            "main.conf",
            &format!(
                "{MAIN}jobs: !include [a.conf, loop.conf, missing.conf, bytes, dir]\nx-1: !include gone\n"
            ),
        ),
        ("a.conf", "!include [b.conf]\n"),
        ("b.conf", "\n!include [a.conf]\n"),
        ("loop.conf", "!include main.conf\n"),
        ("dir/file", ""),
    ]);
    files.write("bytes", b"- job: a\n  \xe9t\xff", 0o640);
    let loaded = files.load();
    let said = files.said(&loaded);
    assert_eq!(
        said,
        "b.conf:2:11: error: `a.conf` includes itself, directly or through others\n\
         bytes:2:3: error: not UTF-8 text\n\
         loop.conf:1:10: error: `main.conf` includes itself, directly or through others\n\
         main.conf:2:36: warning: there is no file `missing.conf`\n\
         main.conf:2:57: error: cannot read `dir`: not a regular file\n\
         main.conf:3:15: error: cannot read `gone`: no such file\n"
    );
    assert_eq!(
        files.said(&load(&files.path("none.conf"), Commands::Run)),
        "none.conf: error: cannot read `none.conf`: no such file\n"
    );
}

#[test]
fn a_fifo_is_refused_instead_of_waited_for() {
    let files = Files::new(&[("main.conf", &format!("{MAIN}jobs: !include [pipe]\n"))]);
    let made = std::process::Command::new("mkfifo").arg(files.path("pipe")).status().unwrap();
    assert!(made.success());
    assert!(files.said(&files.load()).contains("cannot read `pipe`: not a regular file"));
}

#[test]
fn problems_of_all_files_are_reported_at_once() {
    let files = Files::new(&[
        ("main.conf", "main:\n  server_nam: x\njobs: !include [conf.d/*]\n"),
        ("conf.d/1", "- job: [\n"),
        ("conf.d/2", "- job: b\n  type: msql\n"),
        ("conf.d/3", "- joob: c\n"),
    ]);
    let loaded = files.load();
    let said = files.said(&loaded);
    for expected in [
        "main.conf:2:3: error: main.server_nam: unknown key\n  hint: Did you mean `server_name`?",
        "main.conf:2:3: error: main.admin_mail: this key is required",
        "conf.d/1:",
        "conf.d/2:2:9: error: jobs[0].type: `msql` is not a job type\n  hint: Did you mean `mysql`?",
        "conf.d/3:1:3: error: jobs[1].joob: unknown key\n  hint: Did you mean `job`?",
    ] {
        assert!(said.contains(expected), "{expected}\nnot in\n{said}");
    }
}

#[test]
fn three_versions_later_is_one_clear_error() {
    let files = Files::new(&[(
        "main.conf",
        "server_name: web-01\nproject_name: shop\nstorage_connects: []\ninclude_jobs_configs: [conf.d/*]\n",
    )]);
    assert_eq!(
        files.said(&files.load()),
        "main.conf:1:1: error: `server_name` belongs to nxs-backup v3, whose configuration this build does not read\n  \
         hint: A configuration has the top-level keys `main` and `jobs`; `nxs-backup generate` writes job files.\n"
    );
}

#[test]
fn an_include_without_a_match_is_a_warning_and_one_that_cannot_be_looked_at_an_error() {
    let files = Files::new(&[("main.conf", &format!("{MAIN}jobs: !include [conf.d/*.conf]\n"))]);
    let loaded = files.load();
    assert_eq!(
        files.said(&loaded),
        "main.conf:2:16: warning: jobs: there are none; nothing is backed up\n\
         main.conf:2:17: warning: no file matches `conf.d/*.conf`\n"
    );
    assert_eq!(spec(loaded).jobs.len(), 0);
    std::os::unix::fs::symlink("conf.d", files.path("conf.d")).unwrap();
    let loaded = files.load();
    let said = files.said(&loaded);
    assert!(said.starts_with("main.conf:2:17: error: cannot read the directory `conf.d`: "), "{said}");
    assert!(loaded.spec.is_none());
}

#[test]
fn a_value_that_comes_from_elsewhere_is_never_shown() {
    let files = Files::new(&[("shadow", "root:secret\n")]);
    let path = files.path("shadow").display().to_string();
    let (loaded, said) = with(&format!(
        "  smtp_port: FILE:{path}\n  smtp_ssl: FILE:{path}\n  ionice: FILE:{path}\n  log_file: FILE:{path}\n"
    ));
    assert!(loaded.spec.is_none());
    assert!(said.contains(&format!("`FILE:{path}` is not a port number")), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn commands_in_plain_values_are_run_unless_left_alone() {
    let files = Files::new(&[]);
    let path = files.path("ran").display().to_string();
    files.write(
        "main.conf",
        format!(
            "main:\n  server_name: CMD:echo web-07\n  admin_mail: a\n  loop_timeout: 'CMD:echo ran >> {path}; echo 60'\n\
             jobs: !include [none]\n"
        )
        .as_bytes(),
        0o640,
    );
    let left = load(&files.path("main.conf"), Commands::Leave);
    assert!(left.spec.is_some(), "{:?}", left.diagnostics);
    assert!(!files.path("ran").exists());
    let main = spec(files.load()).main;
    assert_eq!((main.server_name.as_str(), main.loop_timeout_secs), ("web-07", Some(60)));
    assert_eq!(std::fs::read_to_string(files.path("ran")).unwrap(), "ran\n");
}
