//! The backup programs: which one a server needs, whether it is there, and whether its version fits.
//!
//! A copy of a data directory is only as good as the program's knowledge of its format: unlike a dump program, it may
//! be neither older than the server nor another maker's.

use nxs_base::ports::source::Cancel;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::{self, Tool};

use crate::mysql::program::{Flavour, Program, Version};

/// Names of the program, and the package that brings it.
fn names(server: Flavour) -> (&'static [&'static str], &'static str) {
    match server {
        Flavour::Mariadb => (&["mariadb-backup", "mariabackup"], "mariadb-backup"),
        Flavour::Mysql => (&["xtrabackup"], "percona-xtrabackup-80 (or -84, of the server's version)"),
    }
}

/// The program for servers of this kind. [`ErrorKind::Tool`] if it is not there.
pub(super) fn find(server: Flavour) -> Result<Program> {
    let (names, package) = names(server);
    let Some(path) = child::find(names) else {
        let text = format!("`{}`, which backs up {} servers, is not there", names[0], server.name());
        return Err(Error::new(ErrorKind::Tool, text).with_hint(format!("Install the package {package}.")));
    };
    // One of them tells its version on standard output, the other on standard error.
    let mut child = Tool::new(&path).args(["--no-defaults", "--version"]).spawn()?;
    let mut said = Vec::new();
    let mut block = [0; 4096];
    let cancel = Cancel::new();
    loop {
        match child.read(&mut block, &cancel)? {
            0 => break,
            n => said.extend_from_slice(&block[..n.min(4096 - said.len().min(4096))]),
        }
    }
    let ended = child.finish(&cancel)?;
    ended.judged()?;
    let said = format!("{}\n{}", String::from_utf8_lossy(&said), ended.said.join("\n"));
    let Some(version) = said.lines().find_map(version_of) else {
        let text =
            format!("cannot tell the version of `{}` from `{}`", path.display(), said.trim().escape_debug());
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    Ok(Program { path, version })
}

/// From `mariadb-backup based on MariaDB server 10.11.6-MariaDB debian-linux-gnu` and
/// `xtrabackup version 8.0.35-30 based on MySQL server 8.0.35 Linux`: of Percona's, its own version counts.
fn version_of(line: &str) -> Option<Version> {
    let word = |after: &str| line.split_once(after)?.1.split_whitespace().next().map(str::to_owned);
    if let Some(text) = word("based on MariaDB server ") {
        return Version::of_server(&if text.contains("MariaDB") { text } else { format!("{text}-MariaDB") });
    }
    Version::of_server(&word("xtrabackup version ")?).filter(|version| version.flavour == Flavour::Mysql)
}

/// Refuses a program that cannot know the files of this server; a warning where it is newer.
pub(super) fn check_fits(program: &Program, server: &Version) -> Result<Option<String>> {
    let series = |version: &Version| (version.numbers.0, version.numbers.1);
    let (has, needs) = (series(&program.version), series(server));
    let refuse = |what: &str| {
        let text = format!(
            "`{}` is of version {}, {what} the server's {}",
            program.path.display(),
            program.version.text,
            server.text
        );
        let hint = format!("Install it in the version of the server, {}.{}.", needs.0, needs.1);
        Err(Error::new(ErrorKind::Unsupported, text).with_hint(hint))
    };
    if program.version.flavour != server.flavour {
        return refuse("another maker's than");
    }
    match server.flavour {
        Flavour::Mariadb if has < needs => refuse("older than"),
        Flavour::Mariadb if has > needs => Ok(Some(format!(
            "`{}` {} is newer than the server's {}: backups of one version are restored with that version",
            program.path.display(),
            program.version.text,
            server.text
        ))),
        // One series of Percona's serves all servers before 8.
        Flavour::Mysql if needs.0 < 8 && has == (2, 4) => Ok(None),
        Flavour::Mysql if needs.0 < 8 || has != needs => refuse("which does not serve"),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_words_of_both_programs() {
        let shown = |line: &str| version_of(line).map(|v| (v.flavour, v.numbers));
        assert_eq!(
            shown("mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)"),
            Some((Flavour::Mariadb, (10, 11, 19)))
        );
        assert_eq!(
            shown(
                "xtrabackup version 8.0.35-30 based on MySQL server 8.0.35 Linux (x86_64) (revision id: 6beb4b49)"
            ),
            Some((Flavour::Mysql, (8, 0, 35)))
        );
        assert_eq!(shown("xtrabackup: recognized server arguments: --datadir=/x"), None);
    }

    #[test]
    fn a_program_that_cannot_know_the_files_of_the_server_is_refused() {
        let judged = |program: &str, server: &str| {
            let program =
                Program { path: "/usr/bin/tool".into(), version: Version::of_server(program).unwrap() };
            match check_fits(&program, &Version::of_server(server).unwrap()) {
                Ok(None) => "fits",
                Ok(Some(_)) => "newer",
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unsupported);
                    "refused"
                }
            }
        };
        assert_eq!(judged("10.11.2-MariaDB", "10.11.19-MariaDB"), "fits");
        assert_eq!(judged("10.6.2-MariaDB", "10.11.19-MariaDB"), "refused");
        assert_eq!(judged("11.4.2-MariaDB", "10.11.19-MariaDB"), "newer");
        assert_eq!(judged("10.11.2-MariaDB", "8.0.36"), "refused");
        assert_eq!(judged("8.0.35", "10.11.2-MariaDB"), "refused");
        assert_eq!(judged("8.0.35", "8.0.36"), "fits");
        assert_eq!(judged("8.0.35", "8.4.1"), "refused");
        assert_eq!(judged("8.4.0", "8.0.36"), "refused");
        assert_eq!(judged("2.4.29", "5.7.44"), "fits");
        assert_eq!(judged("8.0.35", "5.7.44"), "refused");
        assert_eq!(judged("2.4.29", "8.0.36"), "refused");
    }
}
