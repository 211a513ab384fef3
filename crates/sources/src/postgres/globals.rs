//! Roles and tablespaces of a server, by `pg_dumpall --globals-only`, and their way back.

use std::collections::BTreeSet;

use nxs_base::Result;
use nxs_base::ports::source::{Cancel, DumpReport, Sink};

use super::program::Program;
use super::server::{Server, quoted_name};
use super::{Known, trailer};
use crate::stream;

/// Whether the user may read what passwords are stored as.
fn sees_passwords(server: &Server, known: &Known) -> Result<bool> {
    let question = "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    let rows = server.ask_common(&known.client, "", 1, question)?;
    Ok(rows.iter().flatten().any(|field| field == "t"))
}

/// The program is there and fits, and the server answers.
pub(super) fn probe(server: &Server, known: &Known) -> Result<()> {
    Program::fitting("pg_dumpall", &known.version)?;
    sees_passwords(server, known).map(drop)
}

pub(super) fn dump(
    server: &Server,
    known: &Known,
    sink: &mut dyn Sink,
    cancel: &Cancel,
) -> Result<DumpReport> {
    let program = Program::fitting("pg_dumpall", &known.version)?;
    let with_passwords = sees_passwords(server, known)?;
    let mut tool = server.tool(&program)?.arg("--globals-only");
    if !with_passwords {
        tool = tool.arg("--no-role-passwords");
    }
    let dumped = stream::pump(b"", tool, sink, cancel).map_err(|e| server.judged(e))?;
    trailer::check(&dumped, trailer::SERVER)?;
    let mut report = dumped.report(&program.text, trailer::SERVER);
    if !with_passwords {
        report.warnings.push(
            "roles are saved without their passwords, which superusers alone may read: see docs/databases.md"
                .to_owned(),
        );
    }
    Ok(report)
}

/// What is there already, on the way back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct There {
    pub(super) roles: BTreeSet<String>,
    pub(super) tablespaces: BTreeSet<String>,
}

impl There {
    pub(super) fn ask(server: &Server, client: &Program) -> Result<Self> {
        let names = |question: &str| -> Result<BTreeSet<String>> {
            let rows = server.ask_common(client, "", 1, question)?;
            Ok(rows.into_iter().flatten().collect())
        };
        Ok(Self {
            roles: names("SELECT rolname FROM pg_roles")?,
            tablespaces: names("SELECT spcname FROM pg_tablespace")?,
        })
    }

    /// The statements without those that would make again what is there; and, unless they may be altered, without those
    /// that would give these roles other passwords and rights. Names the roles and tablespaces that it met.
    pub(super) fn spared(&self, statements: &str, may_alter: bool) -> (String, Vec<String>) {
        let (mut kept, mut met) = (String::new(), Vec::new());
        for line in statements.split_inclusive('\n') {
            let role = name_after(line, &["CREATE ROLE "]).filter(|name| self.roles.contains(name));
            let space =
                name_after(line, &["CREATE TABLESPACE "]).filter(|name| self.tablespaces.contains(name));
            if let Some(role) = role {
                met.push(format!("role {}", quoted_name(&role)));
            } else if let Some(space) = space {
                met.push(format!("tablespace {}", quoted_name(&space)));
            } else if may_alter || !self.alters(line) {
                kept.push_str(line);
            }
        }
        (kept, met)
    }

    fn alters(&self, line: &str) -> bool {
        let is_with = |line: &str, name: &str| {
            [name.to_owned(), quoted_name(name)]
                .iter()
                .any(|name| line.starts_with(&format!("ALTER ROLE {name} WITH ")))
        };
        name_after(line, &["ALTER ROLE "])
            .is_some_and(|name| self.roles.contains(&name) && is_with(line, &name))
    }
}

/// The name that stands after one of these words, quoted or not.
fn name_after(line: &str, words: &[&str]) -> Option<String> {
    let rest = words.iter().find_map(|word| line.strip_prefix(word))?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([' ', ';', '\n'])?;
        return Some(rest[..end].to_owned());
    };
    let mut name = String::new();
    let mut chars = quoted.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => return Some(name),
            _ => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_are_there_are_not_made_again_and_keep_their_passwords_unless_they_may_be_altered() {
        let there = There {
            roles: ["postgres", "the \"boss\""].map(str::to_owned).into(),
            tablespaces: ["fast".to_owned()].into(),
        };
        let text = "CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER PASSWORD 'x';\n\
                    CREATE ROLE \"the \"\"boss\"\"\";\nALTER ROLE \"the \"\"boss\"\"\" WITH LOGIN;\n\
                    CREATE ROLE new;\nALTER ROLE new WITH NOLOGIN;\nALTER ROLE postgres SET work_mem TO '4MB';\n\
                    GRANT new TO postgres;\nCREATE TABLESPACE fast OWNER postgres LOCATION '/x';\n";
        let (kept, met) = there.spared(text, false);
        assert_eq!(
            kept,
            "CREATE ROLE new;\nALTER ROLE new WITH NOLOGIN;\nALTER ROLE postgres SET work_mem TO '4MB';\n\
             GRANT new TO postgres;\n"
        );
        assert_eq!(met, ["role \"postgres\"", "role \"the \"\"boss\"\"\"", "tablespace \"fast\""]);
        let (kept, _) = there.spared(text, true);
        assert!(
            kept.contains("ALTER ROLE postgres WITH SUPERUSER") && !kept.contains("CREATE ROLE postgres")
        );
    }
}
