//! One entry of `storages` with its `store`. Values of single keys: [`crate::read`].

use nxs_base::spec::{JobKind, Retention, StorageKind, StorageSpec};

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
        kind,
        name: kind.name().to_owned(),
        enable: storage.flag("enable").unwrap_or(false),
        backup_dir,
        retention,
        host: storage.text("host").map(str::to_owned),
    })
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
    if !storage.has("password") && !storage.has("path_to_key") {
        reader.diags.error(&storage.at, format!("{}: needs `password` or `path_to_key`", storage.path));
    } else if !storage.is_filled("password") && !storage.is_filled("path_to_key") {
        let message =
            format!("{}: `password` and `path_to_key` are empty; nothing can be reached", storage.path);
        reader.diags.warn(&storage.at, message);
    }
}
