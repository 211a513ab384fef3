//! One entry of `sources`; what databases have beside it stands in `database`. Values of single keys: [`crate::read`].

use nxs_base::spec::{Compression, FilesSource, JobKind, SourceEntry, SourceSpec};

use super::{Inherited, database};
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
    let targets = source.list("target");
    if matches!(kind, JobKind::DescFiles | JobKind::IncFiles) {
        for target in targets.iter().filter(|t| !t.starts_with('/')) {
            read::relative(reader, source.at_of("target"), &source.path_of("target"), target);
        }
    }
    let spec = match kind {
        JobKind::DescFiles | JobKind::IncFiles => SourceSpec::Files(FilesSource {
            targets,
            excludes: source.list("excludes"),
            one_file_system: source.flag("one_file_system").unwrap_or(false),
            exclude_caches: source.flag("exclude_caches").unwrap_or(false),
            exclude_if_present: names(reader, &source),
        }),
        _ => database::read(reader, &source, kind),
    };
    let full_every = full_every(reader, &source, kind);
    Some(SourceEntry {
        index,
        spec,
        compression: compression(reader, &source, inherited.compression),
        full_every,
    })
}

/// After how many days a full copy is due, where there are increments between them.
fn full_every(reader: &mut Reader, source: &Fields<'_>, kind: JobKind) -> Option<u32> {
    let node = source.node("incremental").filter(|node| !node.is_unset())?;
    let path = source.path_of("incremental");
    let form = Form { section: Section::Incremental, what: What::Job(kind), strict: true };
    let incremental = Fields::open(reader, node, path.clone(), form)?;
    if source.text("prepare") == Some("yes") {
        let message = format!("{path}: contradicts `prepare: yes`");
        let hint = "A copy that was prepared takes no increments: set `prepare: on_restore`.";
        reader.diags.error_hint(source.at_of("incremental"), message, hint);
    }
    u32::try_from(incremental.number("full_every")?).ok()
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
