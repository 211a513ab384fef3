//! The absolute path of a target as text that can be undone: [`encode`] and [`decode`].
//!
//! Components stay as they are when they are plain UTF-8; others are written in the percent escapes of
//! [`nxs_base::naming::escape_component`].

use nxs_base::naming::{escape_component, unescape_component};

/// Writes a path of raw bytes as text.
pub(crate) fn encode(path: &[u8]) -> String {
    let components = path.split(|b| *b == b'/').map(|raw| match std::str::from_utf8(raw) {
        Ok(text) if unescape_component(text) == raw && !text.contains(char::is_control) => text.to_owned(),
        _ => escape_component(raw),
    });
    components.collect::<Vec<_>>().join("/")
}

/// The path that [`encode`] was given.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    text.split('/').map(unescape_component).collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_comes_back_from_its_text() {
        let table: &[(&[u8], &str)] = &[
            (b"/", "/"),
            (b"/srv/data", "/srv/data"),
            ("/srv/größe 50%".as_bytes(), "/srv/größe 50%"),
            (b"/srv/50%25", "/srv/50%2525"),
            (b"/srv/%", "/srv/%25"),
            (b"/srv/RESTORE.md/.nxs-x", "/srv/RESTORE.md/.nxs-x"),
            (b"/srv/caf\xe9/a\nb", "/srv/caf%E9/a%0Ab"),
        ];
        for (path, text) in table {
            assert_eq!(encode(path), *text);
            assert_eq!(decode(text), *path);
        }
    }
}
