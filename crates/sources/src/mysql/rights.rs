//! What the user of a source may not see: tables, triggers and routines that a server hides are missing from a dump
//! without a word of the dump program. Everything else that a user lacks is an error of its own.

use super::program::Flavour;
use super::server::Server;
use super::{Known, dump};
use nxs_base::Result;
use nxs_base::spec::MysqlSource as MysqlSpec;

/// Warnings about what may be hidden in this database.
pub(super) fn hidden(
    server: &Server,
    known: &Known,
    spec: &MysqlSpec,
    database: &str,
) -> Result<Vec<String>> {
    let rows = server.ask(&known.client, "SHOW GRANTS")?;
    let grants: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next()).collect();
    // MySQL does not say here what the roles of a user bring.
    if known.version.flavour == Flavour::Mysql && grants.iter().any(|grant| !grant.contains(" ON ")) {
        return Ok(Vec::new());
    }
    let missing = missing(&grants, database).into_iter();
    let missing = missing.filter(|(_, key)| !dump::says(&spec.extra_keys, &[key]));
    let warn = |(what, _)| format!("`{database}`: {what}: see the rights in docs/databases.md");
    Ok(missing.map(warn).collect())
}

/// What may be missing, and the key that says that it is to be.
fn missing(grants: &[String], database: &str) -> Vec<(&'static str, &'static str)> {
    let may = |right: &str| grants.iter().any(|grant| covers(grant, right, database, ""));
    let sees_routines = may("SHOW CREATE ROUTINE")
        || may("SHOW_ROUTINE")
        || grants.iter().any(|grant| covers(grant, "SELECT", "mysql", "proc"));
    let table = [
        (
            may("SELECT"),
            "the user may not read all tables; those that it does not see are not in the dump",
            "",
        ),
        (may("TRIGGER"), "the user may not see triggers; there are none in the dump", "--skip-triggers"),
        (sees_routines, "the user may not see all routines; those are not in the dump", "--skip-routines"),
    ];
    table.into_iter().filter(|(may, ..)| !may).map(|(_, what, key)| (what, key)).collect()
}

/// Whether a line of `SHOW GRANTS` gives this right on the whole database, or on this table of it.
fn covers(grant: &str, right: &str, database: &str, table: &str) -> bool {
    let Some((rights, object)) = grant.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON ")) else {
        return false;
    };
    let is_given = rights.split(", ").any(|given| given == right || given.starts_with("ALL"));
    if !is_given {
        return false;
    }
    if object.starts_with("*.*") {
        return true;
    }
    let Some((pattern, rest)) = identifier(object) else { return false };
    let Some(rest) = rest.strip_prefix('.') else { return false };
    let of_all = rest.starts_with('*');
    let of_table = identifier(rest).is_some_and(|(name, _)| !table.is_empty() && name == table);
    (of_all && is_like(&pattern, database)) || (of_table && pattern == database)
}

/// A quoted name at the start of a text, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '`' if chars.peek().is_some_and(|(_, next)| *next == '`') => {
                chars.next();
                name.push('`');
            }
            '`' => return Some((name, &rest[at + 1..])),
            _ => name.push(c),
        }
    }
    None
}

/// As `LIKE` compares: `%`, `_`, and a backslash before what is meant as it stands.
fn is_like(pattern: &str, name: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    let mut name_chars = name.chars();
    loop {
        match pattern_chars.next() {
            None => return name_chars.next().is_none(),
            Some('%') => {
                let rest = pattern_chars.as_str();
                let mut tail = name_chars.as_str();
                loop {
                    if is_like(rest, tail) {
                        return true;
                    }
                    let mut chars = tail.chars();
                    if chars.next().is_none() {
                        return false;
                    }
                    tail = chars.as_str();
                }
            }
            Some('_') => {
                if name_chars.next().is_none() {
                    return false;
                }
            }
            Some('\\') => {
                if pattern_chars.next() != name_chars.next() {
                    return false;
                }
            }
            Some(c) => {
                if name_chars.next() != Some(c) {
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(grants: &[&str], database: &str) -> String {
        let grants: Vec<String> = grants.iter().map(|grant| (*grant).to_owned()).collect();
        let missing = missing(&grants, database).into_iter();
        missing
            .map(|(_, key)| if key.is_empty() { "tables" } else { &key[7..] })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_grants_do_not_cover_may_be_missing() {
        assert_eq!(
            keys(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"], "shop"),
            ""
        );
        assert_eq!(keys(&["GRANT SELECT, LOCK TABLES ON *.* TO `b`@`%`"], "shop"), "triggers");
        let some = ["GRANT USAGE ON *.* TO `b`@`%`", "GRANT SELECT, TRIGGER ON `shop`.* TO `b`@`%`"];
        assert_eq!(keys(&some, "shop"), "routines");
        assert_eq!(keys(&some, "shop2"), "tables triggers routines");
        let proc = [some[1], "GRANT SELECT ON `mysql`.`proc` TO `b`@`%`"];
        assert_eq!(keys(&proc, "shop"), "");
        assert_eq!(keys(&["GRANT SELECT ON `shop`.`t` TO `b`@`%`"], "shop"), "tables triggers routines");
        assert_eq!(keys(&["GRANT SELECT (a, b), TRIGGER ON `a``b`.* TO `b`@`%`"], "a`b"), "tables routines");
        assert_eq!(keys(&["GRANT `role` TO `b`@`%`", ""], "shop"), "tables triggers routines");
    }

    #[test]
    fn names_of_databases_in_grants_are_patterns() {
        for (pattern, name, fits) in [
            (r"shop\_a", "shop_a", true),
            (r"shop\_a", "shopxa", false),
            ("shop_a", "shopxa", true),
            ("sh%", "shop", true),
            ("%", "", true),
            ("%o%", "shop", true),
            ("sh%x", "shop", false),
        ] {
            assert_eq!(is_like(pattern, name), fits, "{pattern} {name}");
        }
    }
}
