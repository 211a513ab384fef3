//! Which source serves which job type: one exhaustive match, so that a new type cannot be forgotten.

use nxs_base::ports::source::Source;
use nxs_base::spec::job::SourceEntry;
use nxs_base::spec::{JobKind, SourceSpec};
use nxs_base::{Error, ErrorKind, Result};

use crate::files::FilesSource;

/// Opens one entry of `sources` of a job of type `kind`. Touches nothing yet.
/// [`ErrorKind::Unsupported`] for job types that this build lacks, [`ErrorKind::Invalid`] for excludes that cannot be
/// read.
pub fn open(entry: &SourceEntry, kind: JobKind) -> Result<Box<dyn Source>> {
    match (kind, &entry.spec) {
        (JobKind::DescFiles | JobKind::IncFiles, SourceSpec::Files(spec)) => {
            Ok(Box::new(FilesSource::new(spec.clone())?))
        }
        (
            JobKind::DescFiles
            | JobKind::IncFiles
            | JobKind::Mysql
            | JobKind::MysqlXtrabackup
            | JobKind::MariadbBackup
            | JobKind::Postgresql
            | JobKind::PostgresqlBasebackup
            | JobKind::Mongodb
            | JobKind::Redis
            | JobKind::External,
            SourceSpec::Files(_) | SourceSpec::Later,
        ) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("job type `{}`: this build does not have it yet", kind.name()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use nxs_base::spec::{Compression, FilesSource};

    use super::*;

    fn entry(spec: SourceSpec) -> SourceEntry {
        SourceEntry { index: 0, spec, compression: Compression::None }
    }

    #[test]
    fn file_jobs_open_and_all_others_say_that_this_build_lacks_them() {
        let files = FilesSource {
            targets: vec![],
            excludes: vec![],
            one_file_system: false,
            exclude_caches: false,
            exclude_if_present: vec![],
        };
        for kind in JobKind::ALL {
            let spec =
                if kind.group() == "files" { SourceSpec::Files(files.clone()) } else { SourceSpec::Later };
            match open(&entry(spec), kind) {
                Ok(_) => assert_eq!(kind.group(), "files"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unsupported);
                    let text = format!("job type `{}`: this build does not have it yet", kind.name());
                    assert_eq!(error.to_string(), text);
                }
            }
        }
    }
}
