//! Which stock program takes a dump, by the extension of its archive. For pages that people read; this program itself
//! goes by the type of the job.

use crate::shell::quoted;

/// How an archive is put back without this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// The client, which takes the plain dump on its standard input.
    client: &'static str,
    naming: Naming,
    /// The same for what belongs to a whole server (`@users`), and takes no name.
    of_server: &'static str,
    before: &'static str,
    before_of_server: &'static str,
}

/// How a client is told the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// The dump tells.
    No,
    /// By its name.
    Word,
    /// By its name, or by a connection string: what looks like one is taken for one.
    Libpq,
}

impl Feed {
    /// What has to be done before.
    pub fn before(&self, root: &str) -> &'static str {
        if root.starts_with('@') { self.before_of_server } else { self.before }
    }

    /// The command that takes the plain dump of the database `root`. What belongs to a whole server (`@users`) goes into
    /// no database.
    pub fn command(&self, root: &str) -> String {
        let looks_like_one = ["=", "postgresql://", "postgres://"].iter().any(|sign| root.contains(sign));
        let name = match self.naming {
            Naming::No => return self.client.to_owned(),
            _ if root.starts_with('@') => return self.of_server.to_owned(),
            Naming::Word if root.starts_with('-') => format!("-- {}", quoted(root)),
            Naming::Libpq if looks_like_one => quoted(&connection_string(root)),
            Naming::Word | Naming::Libpq => quoted(root),
        };
        format!("{} {name}", self.client)
    }
}

/// Names a database to a client of PostgreSQL, whatever it is called.
pub fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The commands that make a data directory of the streams of `mariadb-backup` or `xtrabackup` that `plains`, commands,
/// print: of a full copy, and of the increments that follow it. None for other archives.
pub fn data_directory(extension: &str, plains: &[String]) -> Option<String> {
    if extension != "xbstream" {
        return None;
    }
    let step = |(n, plain): (usize, &String)| {
        let (dir, over) = match n {
            0 => ("/tmp/restore".to_owned(), String::new()),
            n => (format!("/tmp/restore-{n}"), format!(" --incremental-dir=/tmp/restore-{n}")),
        };
        format!(
            "mkdir {dir} &&\n{plain} | mbstream -x -C {dir} &&\n\
             mariadb-backup --prepare --target-dir=/tmp/restore{over}"
        )
    };
    Some(plains.iter().enumerate().map(step).collect::<Vec<_>>().join(" &&\n"))
}

/// What is another for MySQL where there are increments.
pub const OF_MYSQLS_INCREMENTS: &str =
    "With `xtrabackup` each `--prepare` but the last one takes `--apply-log-only`, too.";

/// What makes a server of the directory that [`data_directory`] leaves.
pub const START_FROM_IT: &str = "Then stop the server, empty its data directory, and:\n\n```sh\n\
     mariadb-backup --copy-back --target-dir=/tmp/restore --datadir=/var/lib/mysql &&\n\
     chown -R mysql:mysql /var/lib/mysql\n```\n\nFor MySQL: `xbstream` and `xtrabackup`, of the version of the server.";

const GLOBALS: &str = "Before the databases. Roles that are there already are altered; that they cannot be made again does no harm.";

/// None for archives that `tar` unpacks, and for those that nobody here knows.
pub fn feed(extension: &str) -> Option<Feed> {
    match extension {
        "sql" => Some(Feed {
            client: "mariadb --default-character-set=utf8mb4",
            naming: Naming::Word,
            of_server: "mariadb --default-character-set=utf8mb4",
            before: "The database must exist (`CREATE DATABASE`); what it holds of the same names is replaced. `mysql` \
                     does as well as `mariadb`.",
            before_of_server: "After the databases: rights on tables and routines need them to be there. Accounts that are \
                     there already keep their passwords, and get what they lack of these rights.",
        }),
        "pgdump.sql" | "pgdump" => Some(Feed {
            client: "psql -X -v ON_ERROR_STOP=1 -d",
            naming: Naming::Libpq,
            of_server: "psql -X -d postgres",
            before: "The database must exist and be empty; the first line of the dump tells how it was made. The roles that \
                     own its tables must exist: those of `@globals` go first, and what that says of roles that are there \
                     already does no harm.",
            before_of_server: GLOBALS,
        }),
        "pgdump.custom" => Some(Feed {
            client: "pg_restore --exit-on-error -d",
            naming: Naming::Libpq,
            of_server: "pg_restore -d postgres",
            before: "The database must exist and be empty (`pg_restore --create -d postgres` makes it, under its own name). \
                     The roles that own its tables must exist: those of `@globals` go first.",
            before_of_server: GLOBALS,
        }),
        "mongodump" => Some(Feed {
            client: "mongorestore --archive",
            naming: Naming::No,
            of_server: "mongorestore --archive",
            before: "It goes to where it was, on the server that `--host` names; `--nsFrom` and `--nsTo` lead elsewhere, \
                     `--drop` replaces what is there. Files of version 2 hold bare documents: for them \
                     `mongorestore --db DATABASE --collection NAME -`.",
            before_of_server: "",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_so_that_no_client_takes_its_name_for_something_else() {
        let names = ["shop", "-dash", "it's", "a=b", "postgresql://h/x", "a='\\", "@users"];
        let commands = |extension: &str| names.map(|name| feed(extension).unwrap().command(name));
        assert_eq!(
            commands("sql").map(|command| command.replace("mariadb --default-character-set=utf8mb4", "m")),
            [
                "m 'shop'",
                "m -- '-dash'",
                r"m 'it'\''s'",
                "m 'a=b'",
                "m 'postgresql://h/x'",
                r"m 'a='\''\'",
                "m"
            ]
        );
        let [shop, dash, quote, equals, address, all, server] =
            commands("pgdump.sql").map(|command| command.replace("psql -X -v ON_ERROR_STOP=1 -d ", ""));
        assert_eq!([&shop, &dash, &quote], ["'shop'", "'-dash'", r"'it'\''s'"]);
        assert_eq!(equals, r"'dbname='\''a=b'\'''");
        assert_eq!(address, r"'dbname='\''postgresql://h/x'\'''");
        assert_eq!(all, r"'dbname='\''a=\'\''\\'\'''");
        assert_eq!(server, "psql -X -d postgres");
        assert_eq!(commands("mongodump")[0], "mongorestore --archive");
    }
}
