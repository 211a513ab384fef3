//! What a database has beside its tables, and what its dump does not tell: settings, rights, a limit, its comment. In
//! comments before the dump that are statements for people, and applied after it on the way back.

use nxs_base::Result;

use super::program::Program;
use super::server::{Server, quoted_name};

/// What such a statement opens with, up to the name of the database.
const OPENINGS: [&str; 5] = ["ALTER DATABASE ", "ALTER ROLE ", "GRANT ", "REVOKE ", "COMMENT ON DATABASE "];

/// Statements, each as what goes before and after the name of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Properties(Vec<(String, String)>);

/// Values of these settings are lists, and stored quoted.
const QUESTION: &str = "
    WITH d AS (SELECT * FROM pg_database WHERE datname = current_database())
    SELECT CASE WHEN s.setrole = 0 THEN 'ALTER DATABASE ' ELSE format('ALTER ROLE %I IN DATABASE ', r.rolname) END,
        format(' SET %I TO ', split_part(c, '=', 1)) ||
        CASE WHEN lower(split_part(c, '=', 1)) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries',
            'local_preload_libraries') THEN substr(c, strpos(c, '=') + 1) ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END
        FROM d JOIN pg_db_role_setting s ON s.setdatabase = d.oid LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
    UNION ALL SELECT 'ALTER DATABASE ', ' CONNECTION LIMIT ' || datconnlimit FROM d WHERE datconnlimit >= 0
    UNION ALL SELECT 'REVOKE ALL ON DATABASE ', ' FROM PUBLIC' FROM d WHERE datacl IS NOT NULL
    UNION ALL SELECT format('GRANT %s ON DATABASE ', a.privilege_type),
        format(' TO %s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) ||
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END FROM d, aclexplode(d.datacl) a WHERE a.grantee <> d.datdba
    UNION ALL SELECT 'COMMENT ON DATABASE ', ' IS ' || quote_literal(shobj_description(oid, 'pg_database'))
        FROM d WHERE shobj_description(oid, 'pg_database') IS NOT NULL";

impl Properties {
    pub(super) fn ask(server: &Server, client: &Program, database: &str) -> Result<Self> {
        let rows = server.ask(client, database, 2, QUESTION)?;
        let pairs = rows.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok());
        Ok(Self(pairs.map(|[before, after]| (before, after)).collect()))
    }

    /// The lines that go before a dump, and how many are left out because a line break would break out of its comment.
    pub(super) fn lines(&self, database: &str) -> (String, usize) {
        let (mut text, mut left_out) = (String::new(), 0);
        for statement in self.statements(database) {
            if statement.chars().any(char::is_control) {
                left_out += 1;
            } else {
                text.push_str(&format!("-- {statement};\n"));
            }
        }
        (text, left_out)
    }

    /// From the lines that follow the first one of a dump, in which the database had this name.
    pub(super) fn of_head(head: &[u8], database: &str) -> Self {
        let name = quoted_name(database);
        let read = |line: &[u8]| {
            let line = std::str::from_utf8(line).ok()?.strip_prefix("-- ")?.strip_suffix(';')?;
            let opening = OPENINGS.iter().find(|opening| line.starts_with(**opening))?;
            let (before, after) = line.split_once(&format!("DATABASE {name} "))?;
            (before.len() + "DATABASE ".len() >= opening.len())
                .then(|| (format!("{before}DATABASE "), format!(" {after}")))
        };
        Self(head.split(|b| *b == b'\n').skip(1).map_while(read).collect())
    }

    /// For a database of this name.
    pub(super) fn statements(&self, database: &str) -> Vec<String> {
        let name = quoted_name(database);
        self.0.iter().map(|(before, after)| format!("{before}{name}{after}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_come_back_for_another_name_and_end_where_the_dump_begins() {
        let pair = |before: &str, after: &str| (before.to_owned(), after.to_owned());
        let properties = Properties(vec![
            pair("ALTER DATABASE ", " SET search_path TO \"$user\", app"),
            pair("ALTER ROLE \"the boss\" IN DATABASE ", " SET work_mem TO '8MB'"),
            pair("GRANT CONNECT ON DATABASE ", " TO reader"),
        ]);
        let (lines, left_out) = properties.lines("a \"b\"");
        assert_eq!(left_out, 0);
        assert!(lines.contains("-- GRANT CONNECT ON DATABASE \"a \"\"b\"\"\" TO reader;\n"), "{lines}");
        let head = format!(
            "-- CREATE DATABASE x;\n{lines}--\n-- PostgreSQL database dump\n-- GRANT x ON DATABASE \"a\" TO y;\n"
        );
        assert_eq!(Properties::of_head(head.as_bytes(), "a \"b\""), properties);
        assert_eq!(Properties::of_head(head.as_bytes(), "other"), Properties::default());
        assert_eq!(properties.statements("new")[2], "GRANT CONNECT ON DATABASE \"new\" TO reader");
        let odd = Properties(vec![pair("COMMENT ON DATABASE ", " IS 'a\nDROP TABLE x;'")]);
        assert_eq!(odd.lines("x"), (String::new(), 1));
    }
}
