//! Sources that are databases: `connect`, targets and arguments of the dump program. Values of single keys:
//! [`crate::read`].

use nxs_base::spec::{
    ArchiveOf, BasebackupSource, Connect, JobKind, MongodbSource, MysqlSource, PgFormat, PhysicalSource,
    PostgresSource, Prepare, RedisSource, Selection, SourceEntry, SourceSpec, Tls, TlsMode,
};

use crate::keys::{Section, What};
use crate::read::{Fields, Form, Reader};
use crate::tree::Node;

/// The settings of a source of this type.
pub(super) fn read(reader: &mut Reader, source: &Fields<'_>, kind: JobKind) -> SourceSpec {
    let connect = source.node("connect").filter(|node| !node.is_unset());
    let (connect, config_file) = connect
        .and_then(|node| read_connect(reader, node, source.path_of("connect"), kind))
        .unwrap_or_default();
    let extra_keys = extra_keys(reader, source);
    match kind {
        JobKind::Mysql => SourceSpec::Mysql(Box::new(MysqlSource {
            connect,
            databases: selection(source),
            is_slave: source.flag("is_slave").unwrap_or(false),
            extra_keys,
        })),
        JobKind::MysqlXtrabackup | JobKind::MariadbBackup => {
            let prepare = match source.text("prepare") {
                // The job tells the directory.
                Some("yes") => Prepare::In(String::new()),
                _ => Prepare::OnRestore,
            };
            SourceSpec::MysqlPhysical(Box::new(PhysicalSource {
                connect,
                config_file,
                prepare,
                is_slave: source.flag("is_slave").unwrap_or(false),
                extra_keys,
            }))
        }
        JobKind::Postgresql => SourceSpec::Postgres(Box::new(PostgresSource {
            connect,
            databases: selection(source),
            format: match source.text("format") {
                Some("custom") => PgFormat::Custom,
                _ => PgFormat::Plain,
            },
            extra_keys,
        })),
        JobKind::PostgresqlBasebackup => {
            SourceSpec::Basebackup(Box::new(BasebackupSource { connect, extra_keys }))
        }
        JobKind::Mongodb => {
            let selection = |targets: &str, excludes: &str| Selection {
                targets: source.list(targets),
                excludes: source.list(excludes),
            };
            SourceSpec::Mongodb(Box::new(MongodbSource {
                connect,
                databases: selection("target_dbs", "exclude_dbs"),
                collections: selection("target_collections", "exclude_collections"),
                archive_of: match source.text("archive_of") {
                    Some("database") => ArchiveOf::Database,
                    _ => ArchiveOf::Collection,
                },
                jobs: source.number("jobs").and_then(|jobs| u32::try_from(jobs).ok()).unwrap_or(0),
                snapshot: source.flag("snapshot").unwrap_or(true),
                by_tool: source.text("tool") == Some("mongodump"),
                extra_keys,
            }))
        }
        JobKind::Redis => SourceSpec::Redis(Box::new(RedisSource { connect })),
        _ => SourceSpec::Later,
    }
}

/// What is made ready at once needs a place for that.
pub(super) fn place_prepared(reader: &mut Reader, job: &Fields<'_>, sources: &mut [SourceEntry]) {
    for entry in sources {
        let SourceSpec::MysqlPhysical(spec) = &mut entry.spec else { continue };
        if spec.prepare == Prepare::OnRestore {
            continue;
        }
        match job.text("tmp_dir") {
            Some(dir) => spec.prepare = Prepare::In(dir.to_owned()),
            None => {
                let message = format!("{}[{}].prepare: needs `tmp_dir`", job.path_of("sources"), entry.index);
                let hint = "The whole data directory is copied there first; `on_restore` needs no room.";
                reader.diags.error_hint(&job.at, message, hint);
            }
        }
    }
}

fn selection(source: &Fields<'_>) -> Selection {
    Selection { targets: source.list("target"), excludes: source.list("excludes") }
}

/// Split by the rules of a shell, as v2 had it from one.
fn extra_keys(reader: &mut Reader, source: &Fields<'_>) -> Vec<String> {
    let Some(text) = source.text("extra_keys") else { return Vec::new() };
    shlex::split(text).unwrap_or_else(|| {
        let message = format!("{}: a quote is not closed", source.path_of("extra_keys"));
        reader.diags.error(source.at_of("extra_keys"), message);
        Vec::new()
    })
}

/// With the configuration file of the server, where there is one.
fn read_connect(
    reader: &mut Reader,
    node: &Node,
    path: String,
    kind: JobKind,
) -> Option<(Connect, Option<String>)> {
    let form = Form { section: Section::Connect, what: What::Job(kind), strict: true };
    let connect = Fields::open(reader, node, path, form)?;
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
    let text = |name: &str| connect.text(name).map(str::to_owned);
    let mode = match connect.text("tls") {
        Some("off") => TlsMode::Off,
        Some("required") => TlsMode::Required,
        Some("verified") => TlsMode::Verified,
        _ => TlsMode::Client,
    };
    let read = Connect {
        option_file: text("auth_file"),
        host: text("db_host"),
        port: connect.number("db_port").and_then(|port| u16::try_from(port).ok()),
        socket: text("socket"),
        user: text("db_user"),
        password: connect.secret("db_password"),
        auth_db: text("auth_db"),
        replica_set: text("replica_set"),
        tls: Tls { mode, ca: text("tls_ca"), cert: text("tls_cert"), key: text("tls_key") },
    };
    Some((read, text("path_to_conf")))
}
