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

/// The commands that make a data directory of the stream of `mariadb-backup` or `xtrabackup` that `plain`, a command,
/// prints; none for other archives.
pub fn data_directory(extension: &str, plain: &str) -> Option<String> {
    (extension == "xbstream").then(|| {
        format!(
            "mkdir /tmp/restore &&\n{plain} | mbstream -x -C /tmp/restore &&\n\
             mariadb-backup --prepare --target-dir=/tmp/restore"
        )
    })
}

/// What makes a server of the directory that [`data_directory`] leaves.
pub const START_FROM_IT: &str = "Then stop the server, empty its data directory, and:\n\n```sh\n\
     mariadb-backup --copy-back --target-dir=/tmp/restore --datadir=/var/lib/mysql &&\n\
     chown -R mysql:mysql /var/lib/mysql\n```\n\nFor MySQL: `xbstream` and `xtrabackup`, of the version of the server.";

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
