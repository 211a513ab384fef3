//! Rows of one entry of `storages` and of its `store`. Reading them: [`crate::v2`].

use nxs_base::spec::StorageKind as S;

use super::{Key, KeyType, NEW, Section, key, number};

const HOSTED: &[S] = &[S::Scp, S::Ftp, S::Smb, S::Nfs, S::Webdav];
const WITH_USER: &[S] = &[S::Scp, S::Ftp, S::Smb, S::Webdav];
const WITH_PASSWORD: &[S] = &[S::Ftp, S::Smb, S::Webdav];
const REMOTE: &[S] = &[S::Scp, S::Ftp, S::Smb, S::Nfs, S::Webdav, S::S3];
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
        .aliases(&["key_file"])
        .storages(&[S::Scp])
        .example("/root/.ssh/id_ed25519"),
    storage("passphrase", KeyType::Secret, "Passphrase of the private key.")
        .since(NEW)
        .storages(&[S::Scp])
        .example("FILE:/etc/nxs-backup/key.pass"),
    storage("agent", KeyType::Path, "Socket of an ssh-agent that holds the private key.")
        .since(NEW)
        .storages(&[S::Scp])
        .example("/run/ssh-agent.sock"),
    storage(
        "host_key",
        KeyType::Choice(&["strict", "accept-new", "off"]),
        "Key of the host: `strict` it must be known, `accept-new` a new one is remembered, `off` any will do.",
    )
    .since(NEW)
    .storages(&[S::Scp])
    .default("accept-new")
    .example("strict"),
    storage(
        "known_hosts",
        KeyType::Path,
        "File of known hosts; by default `~/.ssh/known_hosts`, and `/etc/ssh/ssh_known_hosts` is read too.",
    )
    .since(NEW)
    .storages(&[S::Scp])
    .example("/etc/nxs-backup/known_hosts"),
    storage(
        "tls",
        KeyType::Choice(&["no", "explicit", "implicit"]),
        "FTPS: `explicit` on the ordinary port, `implicit` from the first byte on (port 990).",
    )
    .since(NEW)
    .storages(&[S::Ftp])
    .default("no")
    .example("explicit"),
    storage("verify", KeyType::Flag, "Whether the certificate of the server is checked.")
        .since(NEW)
        .storages(&[S::Ftp])
        .default("yes")
        .example("yes"),
    storage("ca_file", KeyType::Path, "Certificates (PEM) to trust instead of those of the system.")
        .since(NEW)
        .storages(&[S::Ftp])
        .example("/etc/nxs-backup/ca.pem"),
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
    storage("rate_limit", KeyType::Rate, "Bytes per second, up and down each; `K`, `M`, `G` are powers of 1024.")
        .since(NEW)
        .example("10M"),
    storage(
        "connection_timeout",
        number(1, 3600, "seconds"),
        "How long a connection may take to be made, in seconds.",
    )
    .since(NEW)
    .storages(REMOTE)
    .default("10")
    .example("10"),
    storage(
        "idle_timeout",
        number(1, 86_400, "seconds"),
        "How long the other side may be silent while it is waited for, in seconds.",
    )
    .since(NEW)
    .storages(REMOTE)
    .default("120")
    .example("120"),
];

pub(super) const STORE: &[Key] = &[
    store("days", "Daily backups.").example("6"),
    store("weeks", "Weekly backups, made on Sundays.").example("4"),
    store("month", "Monthly backups, made on the 1st.").aliases(&["months"]).example("6"),
];
