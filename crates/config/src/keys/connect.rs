//! Rows of `connect`, for every database type. Reading them: [`crate::v2`].

use nxs_base::spec::JobKind as J;

use super::{Key, KeyType, NEW, Section, key};

const PHYSICAL: &[J] = &[J::MysqlXtrabackup, J::MariadbBackup];
const NETWORK: &[J] =
    &[J::Mysql, J::MysqlXtrabackup, J::MariadbBackup, J::Postgresql, J::PostgresqlBasebackup, J::Redis];
const WITH_PORT: &[J] = &[
    J::Mysql,
    J::MysqlXtrabackup,
    J::MariadbBackup,
    J::Postgresql,
    J::PostgresqlBasebackup,
    J::Mongodb,
    J::Redis,
];
const WITH_USER: &[J] = WITH_PORT;
const WITH_PASSWORD: &[J] = WITH_PORT;

const WITH_TLS: &[J] = WITH_PORT;

const fn connect(name: &'static str, kind: KeyType, doc: &'static str) -> Key {
    key(Section::Connect, name, kind, doc)
}

pub(super) const KEYS: &[Key] = &[
    connect("db_host", KeyType::Text, "Host of the database.").jobs(NETWORK).example("localhost"),
    connect("db_host", KeyType::Text, "Host of the database.")
        .jobs(&[J::Mongodb])
        .reach()
        .example("localhost"),
    connect("db_port", KeyType::Port, "Port of the database; by default 3306, 5432, 27017 or 6379 by type.")
        .jobs(WITH_PORT)
        .example("3306"),
    connect("socket", KeyType::Path, "Unix socket of the database.")
        .jobs(&[J::Mysql, J::MysqlXtrabackup, J::MariadbBackup, J::Redis])
        .example("/run/mysqld/mysqld.sock"),
    connect("socket", KeyType::Path, "Unix socket of the server, or the directory that it is in.")
        .since(NEW)
        .jobs(&[J::Postgresql, J::PostgresqlBasebackup])
        .example("/run/postgresql"),
    connect("db_user", KeyType::Text, "User.").jobs(WITH_USER).example("backup"),
    connect("db_password", KeyType::Secret, "Password.")
        .jobs(WITH_PASSWORD)
        .example("FILE:/etc/nxs-backup/db.pass"),
    connect("auth_db", KeyType::Text, "The database that knows the user.")
        .since(NEW)
        .jobs(&[J::Mongodb])
        .default("admin")
        .example("admin"),
    connect(
        "replica_set",
        KeyType::Text,
        "Name of the replica set: the primary is asked, and `db_host` may be a list, with commas. Without it the host \
         itself is asked, whatever it is.",
    )
    .since(NEW)
    .jobs(&[J::Mongodb])
    .example("rs0"),
    connect(
        "auth_file",
        KeyType::Path,
        "Option file with the credentials; goes before `db_host`, that before `socket`.",
    )
    .jobs(&[J::Mysql, J::MysqlXtrabackup, J::MariadbBackup])
    .example("/root/.my.cnf"),
    connect(
        "tls",
        KeyType::Choice(&["client", "off", "required", "verified"]),
        "Encryption on the way to the server: as the client does it by itself, `off`, `required` whoever answers, or \
         `verified`: with a certificate that fits the host.",
    )
    .since(NEW)
    .jobs(WITH_TLS)
    .default("client")
    .example("verified"),
    connect("tls_ca", KeyType::Path, "Certificates that are trusted.")
        .since(NEW)
        .jobs(WITH_TLS)
        .example("/etc/ssl/db-ca.pem"),
    connect("tls_cert", KeyType::Path, "Certificate that is shown to the server.")
        .since(NEW)
        .jobs(WITH_TLS)
        .example("/etc/ssl/backup.pem"),
    connect("tls_key", KeyType::Path, "Key of that certificate.")
        .since(NEW)
        .jobs(WITH_TLS)
        .example("/etc/ssl/backup.key"),
    connect(
        "path_to_conf",
        KeyType::Path,
        "Configuration file of the server; without it those of the host are read.",
    )
    .jobs(PHYSICAL)
    .example("/etc/mysql/my.cnf"),
];
