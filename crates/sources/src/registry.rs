//! Which source serves which job type: one exhaustive match, so that a new type cannot be forgotten.

use std::path::{Path, PathBuf};

use nxs_base::ports::source::{Receiver, Source};
use nxs_base::record::Tool;
use nxs_base::secret::{Secret, SecretRef};
use nxs_base::spec::job::SourceEntry;
use nxs_base::spec::{JobKind, SourceSpec};
use nxs_base::{Error, ErrorKind, Result};

use crate::external::ExternalSource;
use crate::files::FilesSource;
#[cfg(feature = "mongodb")]
use crate::mongodb::MongodbSource;
use crate::mysql::MysqlSource;
use crate::mysql_physical::MysqlPhysical;
use crate::postgres::PostgresSource;
use crate::postgres::basebackup::{self, BasebackupSource};
use crate::redis::RedisSource;

/// What sources get from the program, beside their own settings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Reads what a reference to a secret leads to. Called on first use.
    pub resolve: fn(&SecretRef) -> Result<Secret>,
    /// Where a source may leave word for the next run.
    pub state_dir: PathBuf,
}

/// Where a dump is put back.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    /// Another server than the job's: `mysql://user@host:port/NAME`.
    pub dsn: Option<String>,
    /// Another name than that of the address, or of what was saved.
    pub name: Option<String>,
    /// An empty directory instead of a database.
    pub dir: Option<PathBuf>,
    /// What was saved: the database.
    pub root: String,
    /// The programs that made the backup, as its record has them.
    pub made_by: Vec<Tool>,
    /// What is there already may go.
    pub may_replace: bool,
}

/// Opens one entry of `sources` of a job of type `kind`. Touches nothing yet.
/// [`ErrorKind::Unsupported`] for job types that this build lacks, [`ErrorKind::Invalid`] for excludes or arguments that
/// cannot be used.
pub fn open(entry: &SourceEntry, kind: JobKind, around: &Surroundings) -> Result<Box<dyn Source>> {
    match &entry.spec {
        SourceSpec::Files(spec) => Ok(Box::new(FilesSource::new(spec.clone())?)),
        SourceSpec::Mysql(spec) => {
            Ok(Box::new(MysqlSource::new((**spec).clone(), entry.index, around.clone())?))
        }
        SourceSpec::MysqlPhysical(spec) => {
            Ok(Box::new(MysqlPhysical::new((**spec).clone(), kind, around.clone())?))
        }
        SourceSpec::Postgres(spec) => {
            Ok(Box::new(PostgresSource::new((**spec).clone(), entry.index, around.clone())?))
        }
        SourceSpec::Basebackup(spec) => {
            Ok(Box::new(BasebackupSource::new((**spec).clone(), entry.index, around.clone())?))
        }
        #[cfg(feature = "mongodb")]
        SourceSpec::Mongodb(spec) => {
            Ok(Box::new(MongodbSource::new((**spec).clone(), entry.index, around.clone())?))
        }
        #[cfg(not(feature = "mongodb"))]
        SourceSpec::Mongodb(_) => Err(lacking(kind)),
        SourceSpec::Redis(spec) => Ok(Box::new(RedisSource::new((**spec).clone(), around.clone()))),
        SourceSpec::External(spec) => Ok(Box::new(ExternalSource::new((**spec).clone()))),
        SourceSpec::Later => Err(lacking(kind)),
    }
}

/// Opens the place where a dump of this entry of `sources` can be put back. Asks nobody anything yet.
pub fn open_receiver(
    entry: &SourceEntry,
    kind: JobKind,
    to: &Destination,
    around: &Surroundings,
) -> Result<Box<dyn Receiver>> {
    match &entry.spec {
        SourceSpec::Mysql(spec) => MysqlSource::receiver(spec, to, around.clone()),
        SourceSpec::Postgres(spec) => PostgresSource::receiver(spec, to, around.clone()),
        SourceSpec::Basebackup(_) => {
            let text = format!("backups of a `{}` job are data directories of a server", kind.name());
            Err(Error::new(ErrorKind::Invalid, text).with_hint("Say where with --to DIR."))
        }
        #[cfg(feature = "mongodb")]
        SourceSpec::Mongodb(spec) => MongodbSource::receiver(spec, to, around.clone()),
        #[cfg(not(feature = "mongodb"))]
        SourceSpec::Mongodb(_) => Err(lacking(kind)),
        SourceSpec::Redis(_) => {
            let text = "an RDB is a file that a server starts from, and goes into no running one";
            Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("Stop a server, and put it into its directory: --stdout > dump.rdb."))
        }
        SourceSpec::External(spec) => ExternalSource::receiver(spec, to),
        SourceSpec::MysqlPhysical(_) => MysqlPhysical::receiver(to),
        SourceSpec::Files(_) => {
            let text = format!("backups of a `{}` job are files, and go into a directory", kind.name());
            Err(Error::new(ErrorKind::Invalid, text).with_hint("Say where with --to DIR."))
        }
        SourceSpec::Later => Err(lacking(kind)),
    }
}

/// Finishes a directory into which a tree of this entry of `sources` was restored whole. Says what was done.
pub fn settle(entry: &SourceEntry, dir: &Path) -> Result<Vec<String>> {
    match &entry.spec {
        SourceSpec::Basebackup(_) => basebackup::settle(dir),
        SourceSpec::Files(_)
        | SourceSpec::Mysql(_)
        | SourceSpec::Mongodb(_)
        | SourceSpec::MysqlPhysical(_)
        | SourceSpec::Postgres(_)
        | SourceSpec::Redis(_)
        | SourceSpec::External(_)
        | SourceSpec::Later => Ok(Vec::new()),
    }
}

fn lacking(kind: JobKind) -> Error {
    Error::new(ErrorKind::Unsupported, format!("job type `{}`: this build does not have it yet", kind.name()))
}

#[cfg(test)]
mod tests {
    use nxs_base::spec::{Compression, FilesSource};

    use super::*;

    #[test]
    fn every_type_that_has_settings_opens_and_all_others_say_that_this_build_lacks_them() {
        let files = FilesSource {
            targets: vec![],
            excludes: vec![],
            one_file_system: false,
            exclude_caches: false,
            exclude_if_present: vec![],
        };
        let around =
            Surroundings { resolve: |_| panic!("nothing is asked yet"), state_dir: "/nowhere".into() };
        for kind in JobKind::ALL {
            let spec = match kind {
                JobKind::DescFiles | JobKind::IncFiles => SourceSpec::Files(files.clone()),
                JobKind::Mysql => SourceSpec::Mysql(Box::default()),
                JobKind::MysqlXtrabackup | JobKind::MariadbBackup => {
                    SourceSpec::MysqlPhysical(Box::default())
                }
                JobKind::Postgresql => SourceSpec::Postgres(Box::default()),
                JobKind::PostgresqlBasebackup => SourceSpec::Basebackup(Box::default()),
                #[cfg(feature = "mongodb")]
                JobKind::Mongodb => SourceSpec::Mongodb(Box::default()),
                JobKind::Redis => SourceSpec::Redis(Box::default()),
                JobKind::External => SourceSpec::External(Box::default()),
                #[cfg(not(feature = "mongodb"))]
                JobKind::Mongodb => SourceSpec::Later,
            };
            let is_later = spec == SourceSpec::Later;
            match open(
                &SourceEntry { index: 0, spec, compression: Compression::None, full_every: None },
                kind,
                &around,
            ) {
                Ok(_) => assert!(!is_later, "{kind:?}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unsupported);
                    let text = format!("job type `{}`: this build does not have it yet", kind.name());
                    assert_eq!(error.to_string(), text);
                }
            }
        }
    }
}
