//! The client programs of PostgreSQL: which are there, which version they are, and whether they fit a server.
//!
//! Debian and the packages of the project install several versions beside each other, outside `PATH`.

use std::path::{Path, PathBuf};

use nxs_base::ports::source::Cancel;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::{self, Tool};
use nxs_sys::fsx;

/// Where versions lie beside each other: a directory, the opening of their names in it, and where programs are below.
const PLACES: [(&str, &str, &str); 2] = [("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin")];

/// What a dump written by one version may be read by: 15 is 1500, 9.6 is 906.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Major(u32);

impl Major {
    /// From `server_version_num`: 150018, 90624.
    pub(super) fn of_number(number: u32) -> Self {
        if number >= 100_000 {
            Self(number / 10_000 * 100)
        } else {
            Self(number / 100 % 100 + number / 10_000 * 100)
        }
    }

    /// From `15.18 (Debian …)`, `17beta1`, `9.6.24`.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        let first: u32 = parts.next()?.parse().ok()?;
        let second: u32 = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        Some(Self(if first >= 10 { first * 100 } else { first * 100 + second }))
    }

    /// Whether it is this one or a later one.
    pub(super) fn is_from(self, first: u32) -> bool {
        self.0 >= first * 100
    }
}

impl std::fmt::Display for Major {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{}", self.0 / 100),
            minor => write!(f, "{}.{minor}", self.0 / 100),
        }
    }
}

/// Of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) major: Major,
    /// `15.18 (Debian 15.18-0+deb12u1)`.
    pub(super) text: String,
}

#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) major: Major,
    pub(super) text: String,
}

impl Program {
    /// The first that is there, whatever its version: that of `PATH`, else the newest.
    pub(super) fn any(name: &str) -> Result<Self> {
        let path = candidates(name).into_iter().next().ok_or_else(|| missing(name))?;
        Self::at(path)
    }

    /// One that is not older than the server, which would leave out what it does not know: that of `PATH` if it fits, else
    /// the one nearest to the server.
    pub(super) fn fitting(name: &str, server: &Version) -> Result<Self> {
        let (mut found, mut broken) = (Vec::new(), None);
        let in_path = child::find(&[name]);
        for path in candidates(name) {
            let program = match Self::at(path) {
                Ok(program) => program,
                // One that does not run does not spoil the others.
                Err(error) => {
                    broken = Some(error);
                    continue;
                }
            };
            if in_path.as_ref() == Some(&program.path) && program.major >= server.major {
                return Ok(program);
            }
            found.push(program);
        }
        let newest = found.iter().max_by_key(|program| program.major);
        let newest = newest.ok_or_else(|| broken.unwrap_or_else(|| missing(name)))?;
        let fitting = found.iter().filter(|program| program.major >= server.major);
        fitting.min_by_key(|program| program.major).cloned().ok_or_else(|| {
            let text = format!(
                "`{}` is of version {}, older than the server's {}",
                newest.path.display(),
                newest.text,
                server.text
            );
            Error::new(ErrorKind::Unsupported, text).with_hint(format!(
                "Install client programs of PostgreSQL {0} or later, on Debian `postgresql-client-{0}`.",
                server.major
            ))
        })
    }

    fn at(path: PathBuf) -> Result<Self> {
        let said = Tool::new(&path).arg("--version").output(64 << 10, &Cancel::new())?;
        let said = String::from_utf8_lossy(&said);
        let text =
            said.split_once("(PostgreSQL) ").map_or("", |(_, rest)| rest.lines().next().unwrap_or_default());
        let Some(major) = Major::of_text(text) else {
            let text = format!(
                "cannot tell the version of `{}` from `{}`",
                path.display(),
                said.trim().escape_debug()
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        Ok(Self { path, major, text: text.to_owned() })
    }
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::Tool, format!("`{name}` is not there"))
        .with_hint("Install the client programs, on Debian `postgresql-client`.")
}

/// Debian's, which takes one of the others by rules of its own, and a tenth of a second.
fn is_chooser(path: &Path) -> bool {
    std::fs::canonicalize(path).is_ok_and(|path| path.ends_with("pg_wrapper"))
}

/// All programs of this name: that of `PATH`, then the newest ones first.
fn candidates(name: &str) -> Vec<PathBuf> {
    let in_path = child::find(&[name]);
    let mut others: Vec<(Major, PathBuf)> = Vec::new();
    for (dir, opening, below) in PLACES {
        // Where there is no such directory, there is no program.
        for entry in fsx::list_dir(Path::new(dir)).unwrap_or_default() {
            let Ok(entry) = String::from_utf8(entry) else { continue };
            let Some(major) = entry.strip_prefix(opening).and_then(Major::of_text) else { continue };
            let path = Path::new(dir).join(&entry).join(below).join(name);
            if path.is_file() {
                others.push((major, path));
            }
        }
    }
    others.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    let in_path = in_path.filter(|path| others.is_empty() || !is_chooser(path));
    in_path.into_iter().chain(others.into_iter().map(|(_, path)| path)).collect()
}

/// A program that goes with data of this version, where it is installed.
pub(super) fn beside(name: &str, major: Major) -> Option<PathBuf> {
    candidates(name).into_iter().find(|path| Program::at(path.clone()).is_ok_and(|p| p.major == major))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_read_from_numbers_and_texts_of_every_generation() {
        for (number, text, shown) in [
            (150_018, "15.18 (Debian 15.18-0+deb12u1)", "15"),
            (100_023, "10.23", "10"),
            (90_624, "9.6.24", "9.6"),
            (90_426, "9.4.26", "9.4"),
            (170_000, "17beta1", "17"),
        ] {
            assert_eq!(Major::of_number(number), Major::of_text(text).unwrap(), "{text}");
            assert_eq!(Major::of_number(number).to_string(), shown);
        }
        assert!(Major::of_text("9.6.24") < Major::of_text("10.1"));
        assert_eq!(Major::of_text("devel"), None);
        assert!(Major::of_number(150_018).is_from(15) && !Major::of_number(90_624).is_from(10));
    }
}
