//! Rows of one entry of `sources`, for every job type. Reading them: [`crate::v2`].

use nxs_base::spec::JobKind as J;

use super::job::ALL_BUT_EXTERNAL;
use super::{Key, KeyType, NEW, Section, key, number};

const FILES: &[J] = &[J::DescFiles, J::IncFiles];
const SQL: &[J] = &[J::Mysql, J::Postgresql];
pub(super) const DATABASES: &[J] = &[
    J::Mysql,
    J::MysqlXtrabackup,
    J::MariadbBackup,
    J::Postgresql,
    J::PostgresqlBasebackup,
    J::Mongodb,
    J::Redis,
];
const PHYSICAL: &[J] = &[J::MysqlXtrabackup, J::MariadbBackup];
const DUMPED: &[J] =
    &[J::Mysql, J::MysqlXtrabackup, J::MariadbBackup, J::Postgresql, J::PostgresqlBasebackup, J::Mongodb];

const fn source(name: &'static str, kind: KeyType, doc: &'static str) -> Key {
    key(Section::Source, name, kind, doc)
}

pub(super) const KEYS: &[Key] = &[
    source("connect", KeyType::Mapping, "How the database is reached.").jobs(DATABASES).filled().example("{db_host: localhost, db_user: backup, db_password: 'FILE:/etc/nxs-backup/db.pass'}"),
    source("target", KeyType::List, "Globs of files and directories; each match is one backup.").aliases(&["targets"]).jobs(FILES).filled().example("[/var/www/*/]"),
    source("target", KeyType::List, "Names or globs of databases, or `all`.").aliases(&["targets"]).jobs(SQL).filled().example("[all]"),
    source("target_dbs", KeyType::List, "Names or globs of databases, or `all`.").jobs(&[J::Mongodb]).filled().example("[all]"),
    source("target_collections", KeyType::List, "Names or globs of collections in these databases, or `all`.").jobs(&[J::Mongodb]).filled().example("[all]"),
    source("excludes", KeyType::List, "What to leave out: paths relative to every target or absolute; globs and `**` work.").jobs(FILES).example("[bitrix/cache, '**/*.tmp']"),
    source("excludes", KeyType::List, "Databases to leave out, and tables as `database.table`; globs work. PostgreSQL: `database.schema.table`, too.").jobs(SQL).example("[information_schema, performance_schema, shop.cache_*]"),
    source("exclude_dbs", KeyType::List, "Databases to leave out; globs work.").jobs(&[J::Mongodb]).example("[admin]"),
    source("exclude_collections", KeyType::List, "Collections to leave out, of every database; globs work.").jobs(&[J::Mongodb]).example("[test]"),
    source("gzip", KeyType::Flag, "`yes` is gzip of level 4 (of 1 to 12; about as small as `gzip -6`), `no` is none. Required unless `compression` is set here, in the job or in `main`.").jobs(ALL_BUT_EXTERNAL).example("yes"),
    source("compression", KeyType::Compression, "Replaces `gzip`: `gzip`, `zstd`, `none`, `{gzip: 1…12}` or `{zstd: 1…19}`.").since(NEW).jobs(ALL_BUT_EXTERNAL).example("{zstd: 3}"),
    source("format", KeyType::Choice(&["plain", "custom"]), "How a dump is written: `plain` is SQL for `psql`; `custom` is for `pg_restore`, which can take single tables from it.").since(NEW).jobs(&[J::Postgresql]).default("plain").example("custom"),
    source("is_slave", KeyType::Flag, "Stop replication while dumping.").jobs(&[J::Mysql]).present().default("no").example("no"),
    source("is_slave", KeyType::Flag, "Stop replication meanwhile.").since(NEW).jobs(PHYSICAL).default("no").example("yes"),
    source("prepare", KeyType::Choice(&["on_restore", "yes"]), "When the copy of the data directory is made consistent: when it is restored, or at once in `tmp_dir`, which then needs room for all of it.").since(NEW).jobs(PHYSICAL).default("on_restore").example("on_restore"),
    source("incremental", KeyType::Mapping, "Store what changed since the last copy, and a full copy only every so many days. Not with `prepare: yes`.").since(NEW).jobs(PHYSICAL).example("{full_every: 7}"),
    key(Section::Incremental, "full_every", number(1, 365, "days"), "A full copy is made when the last one is so many days old; and on days of which a weekly or monthly copy is kept.").since(NEW).jobs(PHYSICAL).filled().example("7"),
    source("extra_keys", KeyType::Text, "Further arguments of the dump program.").aliases(&["special_keys"]).jobs(DUMPED).present().example("''"),
    source("archive_of", KeyType::Choice(&["collection", "database"]), "What one archive holds: a collection, as version 2 has it, or all of a database.").since(NEW).jobs(&[J::Mongodb]).default("collection").example("database"),
    source("jobs", number(1, 16, "collections"), "How many collections of one archive are read at once.").since(NEW).jobs(&[J::Mongodb]).default("4").example("8"),
    source("snapshot", KeyType::Flag, "Where the server is part of a replica set, read all collections as of one moment.").since(NEW).jobs(&[J::Mongodb]).default("yes").example("no"),
    source("tool", KeyType::Choice(&["native", "mongodump"]), "Who reads the server: this program, or the `mongodump` that is installed.").since(NEW).jobs(&[J::Mongodb]).default("native").example("mongodump"),
    source("one_file_system", KeyType::Flag, "Do not enter other file systems below a target.").since(NEW).jobs(FILES).default("no").example("yes"),
    source("exclude_caches", KeyType::Flag, "Save directories with a valid `CACHEDIR.TAG` without their content.").since(NEW).jobs(FILES).default("no").example("yes"),
    source("exclude_if_present", KeyType::List, "Save directories that hold an entry of one of these names without their content.").since(NEW).jobs(FILES).example("[.nobackup]"),
];
