//! What is generated loads, and is v2's template.

use super::*;

fn load(text: &str) -> crate::Loaded {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("main.conf");
    std::fs::write(dir.path().join("job.conf"), text).unwrap();
    std::fs::write(&main, "main: {server_name: s, admin_mail: a@b}\njobs: !include [job.conf]\n").unwrap();
    crate::load(&main, crate::Commands::Run)
}

/// As a user would who takes every `# ` away.
fn uncommented(text: &str) -> String {
    text.lines().map(|l| l.replacen("# ", "", 1) + "\n").collect()
}

#[test]
fn every_type_with_every_storage_loads() {
    for kind in JobKind::ALL {
        for storages in StorageKind::ALL.iter().map(std::slice::from_ref).chain([&StorageKind::ALL[..]]) {
            let text = generate(kind, storages);
            let loaded = load(&text);
            let spec = loaded.spec.unwrap_or_else(|| panic!("{text}\n{:#?}", loaded.diagnostics));
            assert_eq!(spec.jobs[0].kind, kind);
            assert_eq!(spec.jobs[0].storages.len(), storages.len());
        }
    }
}

#[test]
fn a_local_files_job_loads_without_a_word_and_all_its_new_keys_are_good() {
    let text = generate(JobKind::DescFiles, &[StorageKind::Local]);
    assert_eq!(load(&text).diagnostics, []);
    let loaded = load(&uncommented(&text).replace("gzip: no\n", "\n"));
    assert_eq!(loaded.diagnostics, [], "{}", uncommented(&text));
}

#[test]
fn new_keys_of_every_type_are_there_as_comments_that_load_when_taken_in() {
    for kind in JobKind::ALL {
        let text = generate(kind, &[StorageKind::Local]);
        let news =
            |section| keys::section(section).filter(|k| k.since == NEW && k.applies_to(What::Job(kind)));
        for key in news(Section::Job).chain(news(Section::Source)) {
            assert!(text.contains(&format!("# {}: {}", key.name, key.example)), "{kind:?} {}", key.name);
        }
        let loaded = load(&uncommented(&text));
        assert!(loaded.spec.is_some(), "{kind:?} {:#?}", loaded.diagnostics);
    }
}

#[test]
fn the_discrete_files_template_is_v2s() {
    let text = generate(JobKind::DescFiles, &[StorageKind::Local, StorageKind::Ftp]);
    let plain: String =
        text.lines().filter(|l| !l.trim_start().starts_with('#')).map(|l| format!("{l}\n")).collect();
    assert_eq!(
        plain,
        "  - job: PROJECT-desc-files
    type: desc_files
    tmp_dir: /var/nxs-backup/files/desc/dump_tmp

    sources:
    - target:
      - /var/www/*/data/
      excludes:
      - exclude1/exclude_file
      - exclude2
      - /var/www/exclude_3
      gzip: no

    storages:
    - storage: local
      enable: yes
      backup_dir: /var/nxs-backup/files/desc/dump
      store:
        days: 6
        weeks: 4
        month: 6
    - storage: ftp
      enable: yes
      host: ''
      user: ''
      password: ''
      backup_dir: /nxs-backup/files/desc/dump
      store:
        days: 6
        weeks: 4
        month: 6
"
    );
}

#[test]
fn names_and_directories_follow_v2s_special_cases() {
    for (kind, name, tmp, dir) in [
        (JobKind::IncFiles, "PROJECT-inc-files", "files/inc/dump_tmp", "files/inc\n"),
        (
            JobKind::PostgresqlBasebackup,
            "PROJECT-postgresql_basebackup",
            "databases/postgresql_basebackup/dump_tmp",
            "databases/postgresql_basebackup/dump\n",
        ),
        (JobKind::Mongodb, "PROJECT-mongodb", "databases/mongo/dump_tmp", "databases/mongodb/dump\n"),
        (
            JobKind::MysqlXtrabackup,
            "PROJECT-mysql-xtrabackup",
            "databases/mysql_xtrabackup/dump_tmp",
            "databases/mysql_xtrabackup/dump\n",
        ),
    ] {
        let text = generate(kind, &[StorageKind::S3]);
        assert!(text.starts_with(&format!("  - job: {name}\n")), "{text}");
        assert!(text.contains(&format!("tmp_dir: /var/nxs-backup/{tmp}\n")), "{text}");
        assert!(text.contains(&format!("backup_dir: /nxs-backup/{dir}")), "{text}");
        assert_eq!(text.contains("store:"), kind != JobKind::IncFiles);
    }
    let external = generate(JobKind::External, &[StorageKind::Local]);
    assert!(
        external.contains("backup_dir: /var/nxs-backup/external/dump\n") && !external.contains("tmp_dir")
    );
}

#[test]
fn every_type_with_all_storages_is_what_its_golden_says() {
    let dir = std::path::Path::new(crate::tests::ROOT).join("testdata/config/generated");
    for kind in JobKind::ALL {
        let path = dir.join(format!("{}.conf", kind.name()));
        crate::tests::golden(&path, &generate(kind, &StorageKind::ALL)).unwrap();
    }
}
