//! How a database was made: what its dump does not tell, in a comment before it that is a statement for people, and the
//! statement by which it is made again.

use nxs_base::Result;

use super::custom;
use super::program::{Program, Version};
use super::server::{Server, quoted_name, quoted_text};

const OPENING: &str = "CREATE DATABASE ";
const WITH: &str = " WITH TEMPLATE = template0";
/// What may follow. The owner is a name, all else is text.
const NAMES: [&str; 9] = [
    "ENCODING",
    "LOCALE_PROVIDER",
    "ICU_LOCALE",
    "BUILTIN_LOCALE",
    "ICU_RULES",
    "LOCALE",
    "LC_COLLATE",
    "LC_CTYPE",
    "OWNER",
];

/// Of [`NAMES`], as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Defaults(Vec<(&'static str, String)>);

impl Defaults {
    /// Asks the server; none if there is no such database.
    pub(super) fn ask(
        server: &Server,
        client: &Program,
        version: &Version,
        database: &str,
    ) -> Result<Option<Self>> {
        let provider = "CASE datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END";
        let locale = if version.major.is_from(17) { "datlocale" } else { "daticulocale" };
        let of = |letter: &str| format!("CASE datlocprovider WHEN '{letter}' THEN {locale} END");
        let columns = [
            "pg_encoding_to_char(encoding)".to_owned(),
            if version.major.is_from(15) { provider.to_owned() } else { "NULL".to_owned() },
            if version.major.is_from(15) { of("i") } else { "NULL".to_owned() },
            if version.major.is_from(17) { of("b") } else { "NULL".to_owned() },
            if version.major.is_from(16) { "daticurules".to_owned() } else { "NULL".to_owned() },
            // The two that follow are the same, where one alone would do.
            "NULL".to_owned(),
            "datcollate".to_owned(),
            "datctype".to_owned(),
            "pg_get_userbyid(datdba)".to_owned(),
        ];
        let question = format!(
            "SELECT {} FROM pg_database WHERE datname = {}",
            columns.join(", "),
            quoted_text(database)
        );
        let rows = server.ask(client, database, NAMES.len(), &question)?;
        Ok(rows
            .into_iter()
            .next()
            .map(|row| Self(NAMES.into_iter().zip(row).filter(|(_, value)| !value.is_empty()).collect())))
    }

    pub(super) fn owner(&self) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == "OWNER").map(|(_, value)| value.as_str())
    }

    pub(super) fn without_owner(mut self) -> Self {
        self.0.retain(|(name, _)| *name != "OWNER");
        self
    }

    /// The statement that makes a database of this name.
    pub(super) fn statement(&self, database: &str) -> String {
        let mut text = format!("CREATE DATABASE {}{WITH}", quoted_name(database));
        for (name, value) in &self.0 {
            let value = if *name == "OWNER" { quoted_name(value) } else { quoted_text(value) };
            text.push_str(&format!(" {name} = {value}"));
        }
        text
    }

    /// The line that goes before a dump; empty where a name could break out of it.
    pub(super) fn line(&self, database: &str) -> String {
        let text = format!("-- {};\n", self.statement(database));
        if text.trim_end().chars().any(char::is_control) { String::new() } else { text }
    }

    /// From the start of a dump: our own line, or the statement that an archive holds. Empty if that does not tell.
    pub(super) fn of_head(head: &[u8]) -> Self {
        let statement = match head.strip_prefix(b"-- ") {
            Some(rest) => Some(rest),
            None if head.starts_with(custom::MAGIC) => {
                let at = head.windows(OPENING.len()).position(|window| window == OPENING.as_bytes());
                at.map(|at| &head[at..])
            }
            None => None,
        };
        let first = statement.and_then(|text| text.split(|b| *b == b'\n').next()).unwrap_or_default();
        std::str::from_utf8(first).ok().and_then(read).unwrap_or_default()
    }
}

fn read(line: &str) -> Option<Defaults> {
    let (_, mut rest) = value(line.strip_prefix(OPENING)?)?;
    rest = rest.strip_prefix(WITH)?;
    let mut found = Vec::new();
    while rest != ";" {
        let (name, after) = rest.strip_prefix(' ')?.split_once(" = ")?;
        let name = NAMES.into_iter().find(|known| *known == name)?;
        let (value, after) = value(after)?;
        found.push((name, value));
        rest = after;
    }
    Some(Defaults(found))
}

/// A word, a name or a text at the start, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    match text.chars().next()? {
        quote @ ('"' | '\'') => quoted(text, quote),
        'E' if text.starts_with("E'") => {
            quoted(&text[1..], '\'').map(|(value, after)| (value.replace("\\\\", "\\"), after))
        }
        _ => {
            let end = text.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '$'))?;
            (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
        }
    }
}

/// What stands between quotes at the start of a text, and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix(quote)?;
    let mut value = String::new();
    loop {
        let at = rest.find(quote)?;
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix(quote) {
            Some(after) => {
                value.push(quote);
                rest = after;
            }
            None => return Some((value, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_before_a_dump_is_read_back_and_nothing_else_gets_into_a_statement() {
        let defaults = Defaults(vec![
            ("ENCODING", "UTF8".into()),
            ("LOCALE_PROVIDER", "icu".into()),
            ("ICU_LOCALE", "de-u-ks-level2".into()),
            ("LC_COLLATE", "C.UTF-8".into()),
            ("LC_CTYPE", "it's \\odd".into()),
            ("OWNER", "the \"boss\"".into()),
        ]);
        let line = defaults.line("a \"b\" c");
        assert_eq!(
            line,
            "-- CREATE DATABASE \"a \"\"b\"\" c\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = 'icu' \
             ICU_LOCALE = 'de-u-ks-level2' LC_COLLATE = 'C.UTF-8' LC_CTYPE = E'it''s \\\\odd' OWNER = \"the \"\"boss\"\"\";\n"
        );
        assert_eq!(Defaults::of_head(format!("{line}--\n").as_bytes()), defaults);
        assert_eq!(defaults.line("a\nDROP TABLE x;"), "");
        for odd in [
            "",
            "--\n",
            "-- CREATE DATABASE \"x\" WITH TEMPLATE = template0 ENCODING = UTF8; DROP",
            "-- CREATE DATABASE x WITH TEMPLATE = template0 OID = 5;",
            &line.replace(';', "; x;"),
        ] {
            assert_eq!(Defaults::of_head(odd.as_bytes()), Defaults::default(), "{odd}");
        }
        let archive = b"PGDMP\x01\0DATABASE\0CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'LATIN1' LOCALE_PROVIDER = libc LOCALE = 'C';\n\0";
        let found = Defaults::of_head(archive).statement("x");
        assert_eq!(
            found,
            "CREATE DATABASE \"x\" WITH TEMPLATE = template0 ENCODING = 'LATIN1' LOCALE_PROVIDER = 'libc' LOCALE = 'C'"
        );
    }
}
