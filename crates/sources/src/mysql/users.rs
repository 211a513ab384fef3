//! Users, roles and grants of a server as statements that a client takes.
//!
//! Written by asking the server account by account, the same way for MariaDB and MySQL: the dump programs of one have
//! no key for it, and that of the other gives up at the first account that the server itself does not use (a host name
//! with `skip-name-resolve`).

use nxs_base::ports::source::{Artefact, Cancel, DumpReport, NoteKind, Sink};
use nxs_base::record::Tool as ToolRecord;
use nxs_base::{Error, ErrorKind, Result};

use super::program::Flavour;
use super::server::{Server, code};
use super::{END_MARKER, Known};

/// Accounts that every server makes for itself.
const OWN: [&str; 4] = ["mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    user: String,
    host: String,
    is_role: bool,
}

impl Account {
    /// In a statement.
    fn quoted(&self) -> String {
        let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
        if self.is_role { quote(&self.user) } else { format!("{}@{}", quote(&self.user), quote(&self.host)) }
    }
}

/// All accounts, the roles first.
pub(super) fn accounts(server: &Server, known: &Known) -> Result<Vec<Account>> {
    // Roles of MySQL are accounts like all others.
    let is_role = if known.version.flavour == Flavour::Mariadb { "is_role" } else { "'N'" };
    let question = format!("SELECT user, host, {is_role} AS r FROM mysql.user ORDER BY r DESC, user, host");
    let rows = server.ask(&known.client, &question)?;
    let accounts = rows.into_iter().filter_map(|row| match <[String; 3]>::try_from(row) {
        Ok([user, host, role]) => Some(Account { user, host, is_role: role == "Y" }),
        Err(_) => None,
    });
    Ok(accounts.filter(|account: &Account| !OWN.contains(&account.user.as_str())).collect())
}

pub(super) fn dump(
    server: &Server,
    known: &Known,
    sink: &mut dyn Sink,
    cancel: &Cancel,
) -> Result<DumpReport> {
    let mut report = DumpReport {
        tools: vec![ToolRecord {
            name: known.client.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            version: known.client.version.text.clone(),
            exit_status: 0,
        }],
        end_marker: Some(END_MARKER.to_owned()),
        ..DumpReport::default()
    };
    sink.begin(Artefact { has_index: false, expected_bytes: None })?;
    sink.write(
        format!("-- Users, roles and grants; server version {}\n", one_line(&known.version.text)).as_bytes(),
    )?;
    let accounts = accounts(server, known)?;
    if accounts.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, format!("{} has no users", server.place())));
    }
    let mut grants = Vec::new();
    for account in &accounts {
        cancel.check()?;
        let name = account.quoted();
        let asked = if account.is_role {
            server.ask(&known.client, &format!("SHOW GRANTS FOR {name}")).map(|rows| (None, rows))
        } else {
            let hex = if known.version.flavour == Flavour::Mysql && known.version.numbers >= (8, 0, 17) {
                "SET print_identified_with_as_hex = ON; "
            } else {
                ""
            };
            let question = format!("{hex}SHOW CREATE USER {name}; SHOW GRANTS FOR {name}");
            server.ask(&known.client, &question).map(|mut rows| {
                let created = if rows.is_empty() { None } else { Some(rows.remove(0)) };
                (created, rows)
            })
        };
        let (created, granted) = match asked {
            Ok(answers) => answers,
            // The table has it, the server does not use it.
            Err(error) if matches!(code(&error.chain()), Some(1133 | 1141)) => {
                let reason = "the server knows of it, and does not use it".to_owned();
                report.note(NoteKind::LeftOut, format!("account {name}"), reason);
                continue;
            }
            Err(error) => return Err(error),
        };
        let statement = match created.and_then(|row| row.into_iter().next()) {
            Some(statement) => statement.replacen("CREATE USER ", "CREATE USER IF NOT EXISTS ", 1),
            None => format!("CREATE ROLE IF NOT EXISTS {name}"),
        };
        sink.write(format!("{statement};\n").as_bytes())?;
        grants.extend(granted.into_iter().filter_map(|row| row.into_iter().next()));
    }
    for grant in &grants {
        sink.write(format!("{grant};\n").as_bytes())?;
    }
    sink.write(format!("FLUSH PRIVILEGES;\n{END_MARKER}\n").as_bytes())?;
    report.files = accounts.len() as u64;
    Ok(report)
}

fn one_line(text: &str) -> String {
    text.escape_debug().to_string()
}
