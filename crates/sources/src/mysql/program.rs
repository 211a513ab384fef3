//! The client programs of MariaDB and MySQL: which is there, which version it is, and whether it fits a server.

use nxs_base::ports::source::Cancel;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::{self, Tool};
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    Mariadb,
    Mysql,
}

impl Flavour {
    fn of(text: &str) -> Self {
        if text.contains("MariaDB") { Self::Mariadb } else { Self::Mysql }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "MariaDB",
            Self::Mysql => "MySQL",
        }
    }
}

/// Of a server or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) flavour: Flavour,
    pub(crate) numbers: (u32, u32, u32),
    /// `10.11.6-MariaDB`.
    pub(crate) text: String,
}

impl Version {
    /// From what a server answers to `SELECT VERSION()`.
    pub(crate) fn of_server(text: &str) -> Option<Self> {
        Some(Self { flavour: Flavour::of(text), numbers: numbers(text)?, text: text.to_owned() })
    }

    /// From what a program prints for `--version`, in the words of any generation: `Ver 10.19 Distrib 10.11.6-MariaDB,`
    /// `from 11.4.2-MariaDB, client 10.19`, `Ver 8.0.36 for Linux`.
    fn of_program(line: &str) -> Option<Self> {
        let after = |word: &str| line.split_once(word).map(|(_, rest)| rest.trim_start());
        let rest = after("Distrib ").or_else(|| after(" from ")).or_else(|| after("Ver "))?;
        let text = rest.split([' ', ',']).next()?;
        Some(Self { flavour: Flavour::of(line), numbers: numbers(text)?, text: text.to_owned() })
    }
}

fn numbers(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
}

impl Program {
    /// The client that asks and feeds.
    pub(crate) fn client() -> Result<Self> {
        Self::first(&["mariadb", "mysql"])
    }

    /// The dump program: that of the server's own kind first.
    pub(crate) fn dump(server: Flavour) -> Result<Self> {
        match server {
            Flavour::Mariadb => Self::first(&["mariadb-dump", "mysqldump"]),
            Flavour::Mysql => Self::first(&["mysqldump", "mariadb-dump"]),
        }
    }

    fn first(names: &[&str]) -> Result<Self> {
        let Some(path) = child::find(names) else {
            let text = format!("neither `{}` is there", names.join("` nor `"));
            return Err(Error::new(ErrorKind::Tool, text).with_hint(
                "Install the client programs, on Debian `mariadb-client` or `default-mysql-client`.",
            ));
        };
        let said = Tool::new(&path).args(["--no-defaults", "--version"]).output(64 << 10, &Cancel::new())?;
        let said = String::from_utf8_lossy(&said);
        let Some(version) = Version::of_program(&said) else {
            let text = format!(
                "cannot tell the version of `{}` from `{}`",
                path.display(),
                said.trim().escape_debug()
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        Ok(Self { path, version })
    }

    /// Refuses a dump program that is older than the server: it would leave out what it does not know.
    pub(crate) fn check_fits(&self, server: &Version) -> Result<()> {
        let is_older = self.version.flavour == server.flavour && self.version.numbers.0 < server.numbers.0;
        if !is_older {
            return Ok(());
        }
        let text = format!(
            "`{}` is of version {}, older than the server's {}",
            self.path.display(),
            self.version.text,
            server.text
        );
        let hint =
            format!("Install client programs of {} {} or later.", server.flavour.name(), server.numbers.0);
        Err(Error::new(ErrorKind::Unsupported, text).with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_words_of_every_generation() {
        let table = [
            ("mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", Flavour::Mysql, (5, 7, 44)),
            (
                "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)",
                Flavour::Mysql,
                (8, 0, 36),
            ),
            (
                "mariadb-dump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)",
                Flavour::Mariadb,
                (10, 11, 6),
            ),
            (
                "mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)",
                Flavour::Mariadb,
                (11, 4, 2),
            ),
            ("mysqldump Ver 9.0 for x", Flavour::Mysql, (9, 0, 0)),
        ];
        for (line, flavour, numbers) in table {
            let version = Version::of_program(line).unwrap();
            assert_eq!((version.flavour, version.numbers), (flavour, numbers), "{line}");
        }
        assert_eq!(Version::of_program("mysqldump: no such option"), None);
        let server = Version::of_server("10.11.19-MariaDB-1:10.11.19+maria~deb12-log").unwrap();
        assert_eq!((server.flavour, server.numbers), (Flavour::Mariadb, (10, 11, 19)));
    }

    #[test]
    fn a_program_older_than_the_server_is_refused() {
        let fits = |program: &str, server: &str| {
            let version = Version::of_server(program).unwrap();
            Program { path: "/usr/bin/mysqldump".into(), version }
                .check_fits(&Version::of_server(server).unwrap())
        };
        fits("8.0.36", "8.0.40").unwrap();
        fits("11.4.2-MariaDB", "10.3.1-MariaDB").unwrap();
        fits("10.11.2-MariaDB", "8.0.40").unwrap();
        let error = fits("5.7.44", "8.0.40").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            "`/usr/bin/mysqldump` is of version 5.7.44, older than the server's 8.0.40"
        );
        assert_eq!(error.hint(), Some("Install client programs of MySQL 8 or later."));
        fits("10.11.2-MariaDB", "11.4.1-MariaDB").unwrap_err();
    }
}
