//! One entry of `storages` with its `store`. Values of single keys: [`crate::read`].

use std::time::Duration;

use nxs_base::spec::storage::{
    FtpSettings, FtpTls, HostKey, NfsSettings, S3Settings, ScpSettings, SmbSettings, WebdavSettings,
};
use nxs_base::spec::{JobKind, Retention, StorageKind, StorageSettings, StorageSpec, Traffic};

use crate::keys::{Section, What};
use crate::read::{self, Fields, Form, Reader, show};
use crate::tree::{Node, Value};

/// What people call a storage, and its name here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("ssh", "scp"),
    ("sftp", "scp"),
    ("sshfs", "scp"),
    ("samba", "smb"),
    ("cifs", "smb"),
    ("dav", "webdav"),
    ("minio", "s3"),
    ("aws", "s3"),
    ("file", "local"),
    ("disk", "local"),
];

/// The name is the kind; the job numbers further storages of one kind.
pub(super) fn read(
    reader: &mut Reader,
    node: &Node,
    path: String,
    job: Option<JobKind>,
) -> Option<StorageSpec> {
    let kind = kind(reader, node, &path);
    // v2 never looks into a storage that is switched off.
    let strict = !switched_off(node);
    let form = Form { section: Section::Storage, what: kind.map_or(What::Any, What::Storage), strict };
    let storage = Fields::open(reader, node, path, form)?;
    let retention = read_store(reader, &storage, job, strict);
    let kind = kind?;
    let backup_dir = storage.text("backup_dir").unwrap_or_default().to_owned();
    if kind == StorageKind::Local && !backup_dir.is_empty() && !backup_dir.starts_with('/') {
        read::relative(reader, storage.at_of("backup_dir"), &storage.path_of("backup_dir"), &backup_dir);
    }
    if kind == StorageKind::Scp && strict {
        check_login(reader, &storage);
    }
    if let Some(mount) = storage.text("remote_mount_point").filter(|m| !backup_dir.starts_with(*m)) {
        let message = format!(
            "{}: `backup_dir` does not lie in `{}`",
            storage.path_of("remote_mount_point"),
            show(mount)
        );
        reader.diags.error(storage.at_of("remote_mount_point"), message);
    }
    Some(StorageSpec {
        name: kind.name().to_owned(),
        enable: storage.flag("enable").unwrap_or(false),
        backup_dir,
        retention,
        settings: settings(&storage, kind),
        traffic: traffic(&storage),
    })
}

fn settings(storage: &Fields<'_>, kind: StorageKind) -> StorageSettings {
    let text = |name: &str| storage.text(name).unwrap_or_default().to_owned();
    let maybe = |name: &str| storage.text(name).map(str::to_owned);
    let port = |default: u16| storage.number("port").and_then(|n| u16::try_from(n).ok()).unwrap_or(default);
    match kind {
        StorageKind::Local => StorageSettings::Local,
        StorageKind::Scp => StorageSettings::Scp(ScpSettings {
            host: text("host"),
            port: port(22),
            user: text("user"),
            password: storage.secret("password"),
            key_file: maybe("path_to_key"),
            passphrase: storage.secret("passphrase"),
            agent: maybe("agent"),
            host_key: match storage.text("host_key") {
                Some("strict") => HostKey::Strict,
                Some("off") => HostKey::Off,
                _ => HostKey::AcceptNew,
            },
            known_hosts: maybe("known_hosts"),
        }),
        StorageKind::Ftp => {
            let tls = match storage.text("tls") {
                Some("explicit") => FtpTls::Explicit,
                Some("implicit") => FtpTls::Implicit,
                _ => FtpTls::No,
            };
            StorageSettings::Ftp(FtpSettings {
                host: text("host"),
                port: port(if tls == FtpTls::Implicit { 990 } else { 21 }),
                user: text("user"),
                password: storage.secret("password"),
                tls,
                verify: storage.flag("verify").unwrap_or(true),
                ca_file: maybe("ca_file"),
            })
        }
        StorageKind::Smb => StorageSettings::Smb(SmbSettings {
            host: text("host"),
            port: port(445),
            share: text("share"),
            user: text("user"),
            password: storage.secret("password"),
        }),
        StorageKind::Nfs => {
            StorageSettings::Nfs(NfsSettings { host: text("host"), options: maybe("extra_keys") })
        }
        StorageKind::Webdav => StorageSettings::Webdav(WebdavSettings {
            url: text("host"),
            port: storage.number("port").and_then(|n| u16::try_from(n).ok()),
            user: text("user"),
            password: storage.secret("password"),
        }),
        StorageKind::S3 => StorageSettings::S3(S3Settings {
            bucket: text("bucket_name"),
            access_key: storage.secret("access_key_id"),
            secret_key: storage.secret("secret_access_key"),
            s3fs_options: maybe("s3fs_opts"),
        }),
    }
}

fn traffic(storage: &Fields<'_>) -> Traffic {
    let seconds = |name: &str| storage.number(name).and_then(|n| u64::try_from(n).ok());
    Traffic {
        rate_limit: storage.rate("rate_limit"),
        connect_timeout: Duration::from_secs(seconds("connection_timeout").unwrap_or(Traffic::CONNECT_SECS)),
        idle_timeout: Duration::from_secs(seconds("idle_timeout").unwrap_or(Traffic::IDLE_SECS)),
        ..Traffic::default()
    }
}

fn kind(reader: &mut Reader, node: &Node, path: &str) -> Option<StorageKind> {
    let value = entry(node, "storage")?;
    let Value::Scalar { text, .. } = &value.value else { return None };
    let kind = StorageKind::ALL.into_iter().find(|k| k.name() == text);
    if kind.is_none() && !value.is_unset() {
        let message = format!("{path}.storage: `{}` is not a storage", show(text));
        let all = StorageKind::ALL.map(StorageKind::name);
        let other = OTHER_WORDS.iter().find(|(word, _)| *word == text.to_lowercase()).map(|(_, name)| *name);
        let hint = match other.or_else(|| read::meant(text, all.into_iter())) {
            Some(name) => format!("Did you mean `{name}`?"),
            None => format!("Known are {}.", read::backticked(&all)),
        };
        reader.diags.error_hint(&value.at, message, hint);
    }
    kind
}

fn switched_off(node: &Node) -> bool {
    match entry(node, "enable").map(|n| &n.value) {
        Some(Value::Scalar { text, .. }) => read::flag(text) == Some(false),
        _ => false,
    }
}

fn entry<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|e| e.key == name).map(|e| &e.value)
}

fn read_store(reader: &mut Reader, storage: &Fields<'_>, job: Option<JobKind>, strict: bool) -> Retention {
    let needed = job.is_some_and(|kind| kind != JobKind::IncFiles);
    let path = storage.path_of("store");
    let say = |reader: &mut Reader, at: &crate::tree::At, words: &str| {
        let message = format!("{path}: {words}");
        match strict {
            true => reader.diags.error(at, message),
            false => reader.diags.warn(at, message),
        }
    };
    let Some(node) = storage.node("store") else {
        if needed {
            say(reader, &storage.at, "this key is required");
        }
        return Retention::default();
    };
    if node.is_unset() {
        if needed {
            say(reader, &node.at, "says nothing to keep; set `days`, `weeks` or `month`");
        }
        return Retention::default();
    }
    let form = Form { section: Section::Store, what: What::Any, strict };
    let errors_before = reader.diags.count();
    let Some(store) = Fields::open(reader, node, path.clone(), form) else { return Retention::default() };
    let count = |name: &str| store.number(name).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let retention = Retention { days: count("days"), weeks: count("weeks"), months: count("month") };
    if needed && retention == Retention::default() && reader.diags.count() == errors_before {
        say(reader, &node.at, "says nothing to keep; set `days`, `weeks` or `month`");
    }
    retention
}

fn check_login(reader: &mut Reader, storage: &Fields<'_>) {
    const WAYS: [&str; 3] = ["password", "path_to_key", "agent"];
    if !WAYS.iter().any(|way| storage.has(way)) {
        reader.diags.error(&storage.at, format!("{}: needs `password` or `path_to_key`", storage.path));
    } else if !WAYS.iter().any(|way| storage.is_filled(way)) {
        let message =
            format!("{}: `password` and `path_to_key` are empty; nothing can be reached", storage.path);
        reader.diags.warn(&storage.at, message);
    }
}
