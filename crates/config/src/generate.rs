//! Sample job files for `generate`, as v2's templates: one job of a type with one block per storage, and one
//! commented line for each key that v2 did not know. Writes no files.

use std::fmt::Write as _;

use nxs_base::spec::{JobKind, StorageKind};

use crate::keys::{self, NEW, Section, What};

#[cfg(test)]
mod tests;

/// The text of a job file: a list with one job, which loads as it is. Connections are empty and to be filled in;
/// every storage is enabled.
pub fn generate(kind: JobKind, storages: &[StorageKind]) -> String {
    let mut out = Lines(String::new());
    out.line(2, format_args!("- job: {}", job_name(kind)));
    out.line(4, format_args!("type: {}", kind.name()));
    if kind == JobKind::External {
        out.line(4, format_args!("dump_cmd: /path/to/command"));
    } else {
        out.line(4, format_args!("tmp_dir: {}", tmp_dir(kind)));
    }
    out.new_keys(4, Section::Job, kind);
    if kind != JobKind::External {
        out.line(0, format_args!(""));
        out.line(4, format_args!("sources:"));
        source(&mut out, kind);
    }
    out.line(0, format_args!(""));
    out.line(4, format_args!("storages:"));
    for storage in storages {
        storage_block(&mut out, kind, *storage);
    }
    out.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, indent: usize, text: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{:indent$}{text}", "").expect("writing to a string cannot fail");
    }

    fn block(&mut self, indent: usize, text: &str) {
        for line in text.lines() {
            self.line(indent, format_args!("{line}"));
        }
    }

    fn new_keys(&mut self, indent: usize, section: Section, kind: JobKind) {
        for key in keys::section(section).filter(|k| k.since == NEW && k.applies_to(What::Job(kind))) {
            self.line(indent, format_args!("# {}: {}    # {}", key.name, key.example, key.doc));
        }
    }
}

fn job_name(kind: JobKind) -> String {
    match kind {
        // v2's template keeps this underscore.
        JobKind::PostgresqlBasebackup => "PROJECT-postgresql_basebackup".to_owned(),
        kind => format!("PROJECT-{}", kind.name().replace('_', "-")),
    }
}

fn tmp_dir(kind: JobKind) -> String {
    let dir = match kind {
        JobKind::DescFiles => "files/desc",
        JobKind::IncFiles => "files/inc",
        JobKind::Mongodb => "databases/mongo",
        kind => return format!("/var/nxs-backup/databases/{}/dump_tmp", kind.name()),
    };
    format!("/var/nxs-backup/{dir}/dump_tmp")
}

fn backup_dir(kind: JobKind, storage: StorageKind) -> String {
    let dir = match kind {
        JobKind::DescFiles => "files/desc/dump".to_owned(),
        JobKind::IncFiles => "files/inc".to_owned(),
        JobKind::External => "external/dump".to_owned(),
        kind => format!("databases/{}/dump", kind.name()),
    };
    match storage {
        StorageKind::Local | StorageKind::Scp | StorageKind::Nfs => format!("/var/nxs-backup/{dir}"),
        _ => format!("/nxs-backup/{dir}"),
    }
}

fn source(out: &mut Lines, kind: JobKind) {
    let keys = match kind {
        JobKind::DescFiles | JobKind::IncFiles => {
            "target:\n- /var/www/*/data/\nexcludes:\n- exclude1/exclude_file\n- exclude2\n- /var/www/exclude_3\ngzip: no"
        }
        JobKind::Mysql => {
            "connect:\n  db_host: ''\n  db_port: ''\n  socket: ''\n  db_user: ''\n  db_password: ''\n  auth_file: ''\n\
             target:\n- all\nexcludes:\n- information_schema\n- performance_schema\n- mysql\n- sys\n\
             gzip: no\nis_slave: no\n\
             extra_keys: '--opt --add-drop-database --routines --comments --create-options --quote-names \
             --order-by-primary --hex-blob --single-transaction'"
        }
        JobKind::MysqlXtrabackup => {
            "connect:\n  db_user: ''\n  db_password: ''\n  path_to_conf: ''\n\
             gzip: no\nextra_keys: '--no-timestamp --compact --throttle=5 --stream=tar ./'"
        }
        JobKind::MariadbBackup => {
            "connect:\n  db_user: ''\n  db_password: ''\n  path_to_conf: ''\ngzip: no\nextra_keys: ''"
        }
        JobKind::Postgresql => {
            "connect:\n  db_host: ''\n  db_port: ''\n  db_user: ''\n  db_password: ''\n\
             target:\n- all\nexcludes:\n- template1\n- template0\ngzip: no\nextra_keys: ''"
        }
        JobKind::PostgresqlBasebackup => {
            "connect:\n  db_host: ''\n  db_port: ''\n  db_user: ''\n  db_password: ''\n\
             gzip: no\nextra_keys: '-x --format=tar -D -'"
        }
        JobKind::Mongodb => {
            "connect:\n  db_host: ''\n  db_port: ''\n  db_user: ''\n  db_password: ''\n\
             target_dbs:\n- all\nexclude_dbs:\n- admin\ntarget_collections:\n- all\nexclude_collections:\n- test\n\
             gzip: no\nextra_keys: ''"
        }
        JobKind::Redis => "connect:\n  db_host: ''\n  db_port: ''\n  socket: ''\n  db_password: ''\ngzip: no",
        JobKind::External => "",
    };
    for (i, line) in keys.lines().enumerate() {
        let dash = if i == 0 { "- " } else { "  " };
        out.line(4, format_args!("{dash}{line}"));
    }
    out.new_keys(6, Section::Source, kind);
}

fn storage_block(out: &mut Lines, kind: JobKind, storage: StorageKind) {
    out.line(4, format_args!("- storage: {}", storage.name()));
    out.line(6, format_args!("enable: yes"));
    let own = match storage {
        StorageKind::Local => "",
        StorageKind::Scp => "host: ''\nport: ''\nuser: ''\npassword: ''\npath_to_key: ''",
        StorageKind::Ftp => "host: ''\nuser: ''\npassword: ''",
        StorageKind::Smb => "host: ''\nport: ''\nshare: ''\nuser: ''\npassword: ''",
        StorageKind::Nfs => "host: ''\nextra_keys: ''",
        StorageKind::Webdav => "host: ''\nport: ''\nuser: ''\npassword: ''",
        StorageKind::S3 => {
            "bucket_name: ''\naccess_key_id: ''\nsecret_access_key: ''\n\
             s3fs_opts: '-o connect_timeout=10 -o multipart_size=50'"
        }
    };
    out.block(6, own);
    out.line(6, format_args!("backup_dir: {}", backup_dir(kind, storage)));
    if kind != JobKind::IncFiles {
        out.block(6, "store:\n  days: 6\n  weeks: 4\n  month: 6");
    }
}
