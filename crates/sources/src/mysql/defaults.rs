//! The default character set of a database: what its dump does not tell, in a comment before it.

const OPENING: &str = "-- Database default: ";

/// The line that goes before a dump, from character set and collation; nothing if they are no plain words.
pub(super) fn line(words: &[String]) -> String {
    match words {
        [set, collation] if is_word(set) && is_word(collation) => {
            format!("{OPENING}CHARACTER SET {set} COLLATE {collation}\n")
        }
        _ => String::new(),
    }
}

/// What follows the name in `CREATE DATABASE`, from the start of a dump; empty if that does not tell.
pub(super) fn clause(head: &[u8]) -> String {
    let first = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let first = std::str::from_utf8(first).unwrap_or_default();
    let words: Vec<&str> = first.strip_prefix(OPENING).unwrap_or_default().split(' ').collect();
    match words.as_slice() {
        ["CHARACTER", "SET", set, "COLLATE", collation] if is_word(set) && is_word(collation) => {
            format!(" CHARACTER SET {set} COLLATE {collation}")
        }
        _ => String::new(),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_before_a_dump_is_read_back_and_nothing_else_gets_into_a_statement() {
        let line = line(&["latin1".to_owned(), "latin1_swedish_ci".to_owned()]);
        assert_eq!(line, "-- Database default: CHARACTER SET latin1 COLLATE latin1_swedish_ci\n");
        let dump = format!("{line}/*!999999\\- enable the sandbox mode */\n");
        assert_eq!(clause(dump.as_bytes()), " CHARACTER SET latin1 COLLATE latin1_swedish_ci");
        assert_eq!(clause(b"-- MariaDB dump 10.19\n"), "");
        assert_eq!(clause(b"-- Database default: CHARACTER SET a; COLLATE b\n"), "");
        assert_eq!(clause(b""), "");
        assert_eq!(super::line(&["a b".to_owned(), "c".to_owned()]), "");
    }
}
