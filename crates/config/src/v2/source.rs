//! One entry of `sources` with its `connect`. Values of single keys: [`crate::read`].

use nxs_base::spec::{Compression, FilesSource, JobKind, SourceEntry, SourceSpec};

use super::Inherited;
use crate::keys::{Section, What};
use crate::read::{self, Fields, Form, Reader};
use crate::tree::Node;

pub(super) fn read(
    reader: &mut Reader,
    node: &Node,
    path: String,
    (kind, index): (JobKind, usize),
    inherited: Inherited,
) -> Option<SourceEntry> {
    let form = Form { section: Section::Source, what: What::Job(kind), strict: true };
    let source = Fields::open(reader, node, path, form)?;
    if let Some(node) = source.node("connect").filter(|n| !n.is_unset()) {
        read_connect(reader, node, source.path_of("connect"), kind);
    }
    let targets = source.list("target");
    if matches!(kind, JobKind::DescFiles | JobKind::IncFiles) {
        for target in targets.iter().filter(|t| !t.starts_with('/')) {
            read::relative(reader, source.at_of("target"), &source.path_of("target"), target);
        }
    }
    if source.text("extra_keys").is_some_and(|text| shlex::split(text).is_none()) {
        let message = format!("{}: a quote is not closed", source.path_of("extra_keys"));
        reader.diags.error(source.at_of("extra_keys"), message);
    }
    let spec = match kind {
        JobKind::DescFiles | JobKind::IncFiles => SourceSpec::Files(FilesSource {
            targets,
            excludes: source.list("excludes"),
            one_file_system: source.flag("one_file_system").unwrap_or(false),
            exclude_caches: source.flag("exclude_caches").unwrap_or(false),
            exclude_if_present: names(reader, &source),
        }),
        _ => SourceSpec::Later,
    };
    Some(SourceEntry { index, spec, compression: compression(reader, &source, inherited.compression) })
}

/// `exclude_if_present` holds names, not paths.
fn names(reader: &mut Reader, source: &Fields<'_>) -> Vec<String> {
    let names = source.list("exclude_if_present");
    for name in &names {
        if name.contains('/') || name == "." || name == ".." {
            let path = source.path_of("exclude_if_present");
            let message = format!("{path}: `{}` is not the name of a directory entry", read::show(name));
            reader.diags.error(source.at_of("exclude_if_present"), message);
        }
    }
    names
}

/// The nearest setting wins; `gzip: yes` takes over the level of an outer `{gzip: LEVEL}`.
fn compression(reader: &mut Reader, source: &Fields<'_>, outer: Option<Compression>) -> Compression {
    let gzip = source.flag("gzip");
    if let Some(own) = source.compression("compression") {
        if gzip == Some(true) && !matches!(own, Compression::Gzip(_)) {
            let message = format!("{}: contradicts `gzip: yes`", source.path_of("compression"));
            reader.diags.error_hint(source.at_of("compression"), message, "Remove the key `gzip`.");
        }
        return own;
    }
    match (gzip, outer) {
        (Some(true), Some(Compression::Gzip(level))) => Compression::Gzip(level),
        (Some(true), _) => Compression::GZIP_DEFAULT,
        (Some(false), _) => Compression::None,
        (None, Some(outer)) => outer,
        (None, None) => {
            if !source.has("gzip") && !source.has("compression") {
                let message = format!("{}: this key is required", source.path_of("gzip"));
                reader.diags.error_hint(
                    &source.at,
                    message,
                    "`compression` does as well, here, in the job or in `main`.",
                );
            }
            Compression::None
        }
    }
}

fn read_connect(reader: &mut Reader, node: &Node, path: String, kind: JobKind) {
    let form = Form { section: Section::Connect, what: What::Job(kind), strict: true };
    let Some(connect) = Fields::open(reader, node, path, form) else { return };
    match kind {
        JobKind::Mongodb if connect.is_filled("db_user") != connect.is_filled("db_password") => {
            let message = format!("{}: needs both `db_user` and `db_password`, or neither", connect.path);
            reader.diags.error(&connect.at, message);
        }
        JobKind::Redis if !connect.has("db_host") && !connect.has("socket") => {
            reader.diags.error(&connect.at, format!("{}: needs `db_host` or `socket`", connect.path));
        }
        JobKind::Redis if !connect.is_filled("db_host") && !connect.is_filled("socket") => {
            let message =
                format!("{}: `db_host` and `socket` are empty; nothing can be reached", connect.path);
            reader.diags.warn(&connect.at, message);
        }
        _ => {}
    }
}
