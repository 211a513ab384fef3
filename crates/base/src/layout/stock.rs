//! Which stock program takes a dump, by the extension of its archive. For pages that people read; this program itself
//! goes by the type of the job.

/// How an archive is put back without this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// The client, which takes the plain dump on its standard input; the name of the database follows.
    pub client: &'static str,
    /// What has to be done before.
    pub before: &'static str,
}

/// None for archives that `tar` unpacks, and for those that nobody here knows.
pub fn feed(extension: &str) -> Option<Feed> {
    match extension {
        "sql" => Some(Feed {
            client: "mariadb --default-character-set=utf8mb4",
            before: "The database must exist (`CREATE DATABASE`); what it holds of the same names is replaced. `mysql` \
                     does as well as `mariadb`.",
        }),
        _ => None,
    }
}
