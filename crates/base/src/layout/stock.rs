//! Which stock program takes a dump, by the extension of its archive. For pages that people read; this program itself
//! goes by the type of the job.

/// How an archive is put back without this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// The client, which takes the plain dump on its standard input.
    pub client: &'static str,
    /// The name of the database follows.
    pub wants_name: bool,
    /// The same for what belongs to a whole server (`@users`), and takes no name.
    pub of_server: &'static str,
    /// What keeps a name that opens with a dash from being a key.
    pub guard: &'static str,
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
            wants_name: true,
            of_server: "mariadb --default-character-set=utf8mb4",
            guard: "-- ",
            before: "The database must exist (`CREATE DATABASE`); what it holds of the same names is replaced. `mysql` \
                     does as well as `mariadb`.",
        }),
        "pgdump.sql" | "pgdump" => Some(Feed {
            client: "psql -X -v ON_ERROR_STOP=1 -d",
            wants_name: true,
            of_server: "psql -X -d postgres",
            guard: "",
            before: "The database must exist and be empty; the first line of the dump tells how it was made. The roles that \
                     own its tables must exist: those of `@globals` go first, and what that says of roles that are there \
                     already does no harm.",
        }),
        "pgdump.custom" => Some(Feed {
            client: "pg_restore --exit-on-error -d",
            wants_name: true,
            of_server: "pg_restore -d postgres",
            guard: "",
            before: "The database must exist and be empty (`pg_restore --create -d postgres` makes it, under its own name). \
                     The roles that own its tables must exist: those of `@globals` go first.",
        }),
        "mongodump" => Some(Feed {
            client: "mongorestore --archive",
            of_server: "mongorestore --archive",
            guard: "",
            wants_name: false,
            before: "It goes to where it was, on the server that `--host` names; `--nsFrom` and `--nsTo` lead elsewhere, \
                     `--drop` replaces what is there. Files of version 2 hold bare documents: for them \
                     `mongorestore --db DATABASE --collection NAME -`.",
        }),
        _ => None,
    }
}

/// What is to be done with what `tar` unpacked, where that is no tree of files: told by the first part of the name of its
/// archive. Empty where nothing is.
pub fn after_unpacking(stem: &str) -> &'static str {
    let bare = stem
        .split_once('-')
        .filter(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()))
        .map_or(stem, |(_, rest)| rest);
    match bare {
        "postgresq_hot" => {
            "This is a data directory of PostgreSQL. `/tmp/restore` has to be empty before; then:\n\n\
             ```sh\nchown postgres:postgres /tmp/restore && chmod 700 /tmp/restore\n\
             pg_verifybackup /tmp/restore   # of the server's version: /usr/lib/postgresql/*/bin\n\
             # as the user postgres, with `restore_command` set if WAL beyond the backup is wanted:\n\
             pg_ctl -D /tmp/restore start\n```\n"
        }
        "xtrabackup" | "mariadb_backup" => {
            "This is a data directory of MariaDB or MySQL; `/tmp/restore` has to be empty before. Where \
             `xtrabackup_checkpoints` in it says `full-backuped`, make it consistent: \
             `mariadb-backup --prepare --target-dir=/tmp/restore`, for MySQL `xtrabackup` with the same arguments. Then stop \
             the server, empty its data directory, and:\n\n\
             ```sh\nmariadb-backup --copy-back --target-dir=/tmp/restore --datadir=/var/lib/mysql &&\n\
             chown -R mysql:mysql /var/lib/mysql\n```\n"
        }
        _ => "",
    }
}
