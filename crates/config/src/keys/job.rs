//! Rows of one job. Reading them: [`crate::v2`].

use nxs_base::spec::JobKind as J;

use super::source::DATABASES;
use super::{Key, KeyType, NEW, Section, key, number};

const fn job(name: &'static str, kind: KeyType, doc: &'static str) -> Key {
    key(Section::Job, name, kind, doc)
}

pub(super) const ALL_BUT_EXTERNAL: &[J] = &[
    J::DescFiles,
    J::IncFiles,
    J::Mysql,
    J::MysqlXtrabackup,
    J::MariadbBackup,
    J::Postgresql,
    J::PostgresqlBasebackup,
    J::Mongodb,
    J::Redis,
];

const DISCRETE: &[J] = &[
    J::DescFiles,
    J::Mysql,
    J::MysqlXtrabackup,
    J::MariadbBackup,
    J::Postgresql,
    J::PostgresqlBasebackup,
    J::Mongodb,
    J::Redis,
    J::External,
];

pub(super) const KEYS: &[Key] = &[
    job("job", KeyType::Text, "Name of the job; unique, and not `all`, `files`, `databases` or `external`.").filled().example("site-files"),
    job("type", KeyType::Text, "What is backed up.").filled().example("desc_files"),
    job("tmp_dir", KeyType::Path, "Directory for temporary files of the types that need them.").jobs(ALL_BUT_EXTERNAL).example("/var/nxs-backup/files/desc/dump_tmp"),
    job("tmp_dir", KeyType::Path, "Where the command may write; a file that it made elsewhere is refused then.").jobs(&[J::External]).example("/var/tmp/nxs-backup"),
    job("sources", KeyType::Mappings, "What to back up, one entry per source.").jobs(ALL_BUT_EXTERNAL).filled().example("[{target: [/var/www/*/], gzip: yes}]"),
    job("storages", KeyType::Mappings, "Where backups go.").filled().example("[{storage: local, enable: yes, backup_dir: /var/nxs-backup/files, store: {days: 6, weeks: 4, month: 6}}]"),
    job("dump_cmd", KeyType::Command, "Shell command that makes the backup and prints a JSON description of it.").jobs(&[J::External]).filled().example("/usr/local/bin/dump.sh"),
    job("skip_backup_rotate", KeyType::Flag, "Only run the command; nothing is delivered or rotated.").since("2.4.0").jobs(&[J::External]).default("no").example("no"),
    job("stream", KeyType::Flag, "The command writes the archive to its standard output, and may describe it on descriptor 3.").since(NEW).jobs(&[J::External]).default("no").example("yes"),
    job("strict_stderr", KeyType::Flag, "Whatever the command writes to its standard error is an error, as in v2, and no mere warning.").since(NEW).jobs(&[J::External]).default("no").example("yes"),
    job("restore_cmd", KeyType::Command, "Shell command that takes a backup on its standard input and puts it back.").since(NEW).jobs(&[J::External]).example("/usr/local/bin/restore.sh"),
    job("safety_backup", KeyType::Flag, "`yes` is `rotation: after`.").since("2.1.12").jobs(DISCRETE).default("no").example("yes"),
    job("deferred_copying_level", number(0, 9, ""), "v2's choice of when finished dumps are delivered; read, and without effect where nothing is staged.").since("2.2.0").jobs(DISCRETE).default("0").example("0"),
    job("inc_months_to_store", number(0, 12, "months"), "How many month directories are kept.").since("2.5.0").jobs(&[J::IncFiles]).default("12").example("12"),
    job("shrink_warning", number(0, 99, "percent"), "A dump smaller than this share of the median of the last seven of its target is a warning; 0 is none.").since(NEW).jobs(DATABASES).default("50").example("30"),
    job("shrink_error", number(0, 99, "percent"), "A dump smaller than this share of that median is an error, and is not kept; 0 is none.").since(NEW).jobs(DATABASES).default("10").example("0"),
    job("rotation", KeyType::Choice(&["auto", "before", "after"]), "When old backups go: `before` the new one is made, `after` it is complete, or `auto`: after it, unless it would not fit.").since(NEW).default("auto").example("auto"),
    job("compression", KeyType::Compression, "Compression of all sources that do not set their own.").since(NEW).jobs(ALL_BUT_EXTERNAL).example("{zstd: 3}"),
    job("compression", KeyType::Compression, "Compression of what the command made, unless its name says that it is compressed already.").since(NEW).jobs(&[J::External]).example("{zstd: 3}"),
    job("require", KeyType::Require, "How many enabled storages must get their copy for the job to be done: `all`, `any` or a number.").since(NEW).default("all").example("all"),
];
