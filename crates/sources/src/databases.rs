//! Which databases and tables of a server a source means: names, globs, `all`, and what is left out. Pure; what a server
//! has is asked by each type for itself.

use globset::GlobBuilder;
use nxs_base::spec::Selection;
use nxs_base::{Error, ErrorKind, Result};

/// The word for every database.
const ALL: &str = "all";

/// Whether every database of the server was asked for.
pub(crate) fn is_all(selection: &Selection) -> bool {
    selection.targets.iter().any(|target| target == ALL)
}

/// The databases that are meant, in the order of the configuration, each once. `system` are those that only their own
/// name brings in. What was asked for and is not there is an `Err` in the list; so is it if nothing is left.
pub(crate) fn choose(selection: &Selection, existing: &[String], system: &[&str]) -> Vec<Result<String>> {
    let mut chosen: Vec<String> = Vec::new();
    let mut missing = Vec::new();
    for target in &selection.targets {
        let is_exact = existing.contains(target);
        let fits = |name: &&String| match target.as_str() {
            _ if is_exact => *name == target,
            ALL => !system.contains(&name.as_str()),
            _ => !system.contains(&name.as_str()) && is_like(target, name),
        };
        let found: Vec<&String> = existing.iter().filter(fits).collect();
        if found.is_empty() && target != ALL {
            let text = format!("there is no database `{}` on the server", target.escape_debug());
            missing.push(Error::new(ErrorKind::NotFound, text));
        }
        for name in found {
            if !chosen.contains(name) && !is_left_out(selection, name) {
                chosen.push(name.clone());
            }
        }
    }
    if chosen.is_empty() && missing.is_empty() {
        let shown = selection.targets.join("`, `");
        let text = format!(
            "no database is left to save: nothing that fits `{shown}` is both there and not excluded"
        );
        missing.push(Error::new(ErrorKind::NotFound, text));
    }
    chosen.into_iter().map(Ok).chain(missing.into_iter().map(Err)).collect()
}

/// The databases that are named outright; none of those that only the server knows.
pub(crate) fn named(selection: &Selection) -> Vec<String> {
    let is_plain = |name: &&String| *name != ALL && !name.contains(['*', '?', '[', '{']);
    selection.targets.iter().filter(is_plain).filter(|name| !is_left_out(selection, name)).cloned().collect()
}

fn is_left_out(selection: &Selection, database: &str) -> bool {
    let fits =
        |exclude: &String| exclude == database || (!exclude.contains('.') && is_like(exclude, database));
    selection.excludes.iter().any(fits)
}

/// Whether `database.table` (either may be a glob, and hold dots) leaves this table out.
pub(crate) fn is_table_left_out(excludes: &[String], database: &str, table: &str) -> bool {
    excludes.iter().any(|exclude| {
        let mut splits = exclude.match_indices('.').map(|(at, _)| (&exclude[..at], &exclude[at + 1..]));
        splits.any(|(of_database, of_table)| is_like(of_database, database) && is_like(of_table, table))
    })
}

/// The same for a table in a schema: as `database.table`, whatever the schema, or as `database.schema.table`.
pub(crate) fn is_schema_table_left_out(
    excludes: &[String],
    database: &str,
    schema: &str,
    table: &str,
) -> bool {
    is_table_left_out(excludes, database, table)
        || excludes.iter().any(|exclude| {
            let mut splits = exclude.match_indices('.').map(|(at, _)| (&exclude[..at], &exclude[at + 1..]));
            splits.any(|(of_database, rest)| {
                is_like(of_database, database) && is_table_left_out(&[rest.to_owned()], schema, table)
            })
        })
}

/// Equal, or a glob that fits.
pub(crate) fn is_like(pattern: &str, name: &str) -> bool {
    pattern == name
        || (pattern.contains(['*', '?', '['])
            && GlobBuilder::new(pattern)
                .backslash_escape(true)
                .build()
                .is_ok_and(|glob| glob.compile_matcher().is_match(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    fn chosen(targets: &[&str], excludes: &[&str]) -> String {
        let selection = Selection { targets: words(targets), excludes: words(excludes) };
        let existing = words(&["mysql", "shop", "shop.old", "test_a", "test_b", "-x", "a/b"]);
        let chosen = choose(&selection, &existing, &["mysql"]).into_iter();
        chosen.map(|c| c.unwrap_or_else(|e| format!("!{:?}", e.kind()))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn databases_are_those_that_were_asked_for_and_nothing_is_missing_in_silence() {
        assert_eq!(chosen(&["all"], &[]), "shop shop.old test_a test_b -x a/b");
        assert_eq!(chosen(&["all"], &["test_*", "shop.old"]), "shop -x a/b");
        assert_eq!(chosen(&["all"], &["shop.*"]), "shop shop.old test_a test_b -x a/b");
        assert_eq!(chosen(&["mysql", "all"], &["test_?"]), "mysql shop shop.old -x a/b");
        assert_eq!(chosen(&["test_*", "test_a", "*/*"], &[]), "test_a test_b a/b");
        assert_eq!(chosen(&["shop", "nothing", "no*"], &[]), "shop !NotFound !NotFound");
        assert_eq!(chosen(&["all"], &["*"]), "!NotFound");
        assert_eq!(chosen(&["shop"], &["shop"]), "!NotFound");
    }

    #[test]
    fn tables_are_left_out_by_names_and_globs_even_where_names_hold_dots() {
        let out = |excludes: &[&str], database, table| is_table_left_out(&words(excludes), database, table);
        assert!(out(&["shop.cache"], "shop", "cache"));
        assert!(!out(&["shop.cache"], "shop", "cache2"));
        assert!(out(&["*.cache_*"], "shop", "cache_x") && out(&["shop.*"], "shop", "a"));
        assert!(out(&["my.db.my.table"], "my.db", "my.table") && !out(&["shop"], "shop", "a"));
        assert!(!out(&["[.x"], "[", "y"), "no glob");
    }

    #[test]
    fn tables_in_schemas_are_left_out_with_and_without_the_name_of_the_schema() {
        let out = |exclude: &str, schema, table| {
            is_schema_table_left_out(&words(&[exclude]), "shop", schema, table)
        };
        assert!(out("shop.cache", "public", "cache") && out("shop.cache", "other", "cache"));
        assert!(out("shop.public.cache", "public", "cache") && !out("shop.public.cache", "other", "cache"));
        assert!(out("*.log.*", "log", "a") && !out("*.log.*", "logs", "a"));
        assert!(!out("shop.log*", "logistics", "orders") && !out("other.public.cache", "public", "cache"));
        assert!(out("shop.*", "any", "thing") && !out("shop", "public", "shop"));
    }
}
