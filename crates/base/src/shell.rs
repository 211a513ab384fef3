//! Quoting for shells, for commands that people are shown. Nothing here runs one.

/// Quotes for a POSIX shell. What begins with `-` gets a `./`: it is a path, never an option.
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    let path = if text.starts_with('-') { format!("./{text}") } else { text.to_owned() };
    quoted(&path)
}

/// In quotes, whatever it is. Control bytes, which no shell script on a page can show, become `?`.
pub fn quoted(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("'{}'", shown.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn names_of_tenants_cannot_leave_their_quotes() {
        assert_eq!(quote("site1/daily/a.tar.gz"), "site1/daily/a.tar.gz");
        assert_eq!(quote("a'; rm -rf /"), r"'a'\''; rm -rf /'");
        assert_eq!(quote("-rf"), "'./-rf'");
        assert_eq!(quote("$(x)"), "'$(x)'");
        assert_eq!(quote(""), "''");
    }
}
