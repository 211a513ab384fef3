//! Rows of one entry of `storages` and of its `store`. Reading them: [`crate::v2`].

use nxs_base::spec::StorageKind as S;

use super::{Key, KeyType, Section, key, number};

const HOSTED: &[S] = &[S::Scp, S::Ftp, S::Smb, S::Nfs, S::Webdav];
const WITH_USER: &[S] = &[S::Scp, S::Ftp, S::Smb, S::Webdav];
const WITH_PASSWORD: &[S] = &[S::Ftp, S::Smb, S::Webdav];
const COUNT: KeyType = number(0, 1_000_000, "backups");

const fn storage(name: &'static str, kind: KeyType, doc: &'static str) -> Key {
    key(Section::Storage, name, kind, doc)
}

const fn store(name: &'static str, doc: &'static str) -> Key {
    key(Section::Store, name, COUNT, doc).default("0")
}

pub(super) const KEYS: &[Key] = &[
    storage(
        "storage",
        KeyType::Text,
        "Kind of the storage: `local`, `scp`, `ftp`, `smb`, `nfs`, `webdav` or `s3`.",
    )
    .filled()
    .example("local"),
    storage("enable", KeyType::Flag, "Whether this storage is used.").present().example("yes"),
    storage("backup_dir", KeyType::Text, "Directory on the storage.")
        .filled()
        .example("/var/nxs-backup/files/desc/dump"),
    storage(
        "store",
        KeyType::Mapping,
        "How many backups each period keeps; required in all jobs but `inc_files`.",
    )
    .example("{days: 6, weeks: 4, month: 6}"),
    storage("host", KeyType::Text, "Host; for webdav its URL.")
        .storages(HOSTED)
        .reach()
        .example("backup.example.org"),
    storage("port", KeyType::Port, "Port; by default 22, 21, 445 or 443 by kind.")
        .storages(WITH_USER)
        .example("22"),
    storage("share", KeyType::Text, "Name of the share.").storages(&[S::Smb]).reach().example("backup"),
    storage("user", KeyType::Text, "User.").storages(WITH_USER).reach().example("backup"),
    storage("password", KeyType::Secret, "Password; for scp this or `path_to_key`.")
        .storages(&[S::Scp])
        .example("FILE:/etc/nxs-backup/storage.pass"),
    storage("password", KeyType::Secret, "Password.")
        .storages(WITH_PASSWORD)
        .reach()
        .example("FILE:/etc/nxs-backup/storage.pass"),
    storage("path_to_key", KeyType::Path, "Private key.")
        .storages(&[S::Scp])
        .example("/root/.ssh/id_ed25519"),
    storage("remote_mount_point", KeyType::Text, "Directory of the remote host that `backup_dir` lies in.")
        .since("2.1.11")
        .storages(&[S::Scp, S::Nfs])
        .example("/srv/backup"),
    storage("extra_keys", KeyType::Text, "Mount options.")
        .aliases(&["special_keys"])
        .storages(&[S::Nfs])
        .example("vers=4.2"),
    storage("bucket_name", KeyType::Text, "Name of the bucket.")
        .storages(&[S::S3])
        .reach()
        .example("backups"),
    storage("access_key_id", KeyType::Secret, "Access key.")
        .since("2.1.0")
        .storages(&[S::S3])
        .example("ENV:S3_ACCESS_KEY"),
    storage("secret_access_key", KeyType::Secret, "Secret key.")
        .since("2.1.0")
        .storages(&[S::S3])
        .example("ENV:S3_SECRET_KEY"),
    storage("s3fs_opts", KeyType::Text, "Options in the words of s3fs; the endpoint is `url=https://…`.")
        .since("2.1.0")
        .storages(&[S::S3])
        .example("-o url=https://s3.example.org"),
];

pub(super) const STORE: &[Key] = &[
    store("days", "Daily backups.").example("6"),
    store("weeks", "Weekly backups, made on Sundays.").example("4"),
    store("month", "Monthly backups, made on the 1st.").aliases(&["months"]).example("6"),
];
