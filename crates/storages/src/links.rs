//! Texts of symbolic links, read and written as keys. Pure; who looks at a disk or a server is `local` and `tree`.

use nxs_base::ports::storage::ObjectKey;

/// The text of a link at `key` that leads to `target`: relative, as short as can be.
pub(crate) fn relative(key: &ObjectKey, target: &ObjectKey) -> String {
    let here: Vec<&str> = key.dir().split('/').filter(|p| !p.is_empty()).collect();
    let there: Vec<&str> = target.as_str().split('/').collect();
    let common = here.iter().zip(&there[..there.len() - 1]).take_while(|(a, b)| a == b).count();
    let mut parts = vec![".."; here.len() - common];
    parts.extend(&there[common..]);
    parts.join("/")
}

/// The key that the link `key` with this text leads to; none if it leads out of `root`, the absolute path of the
/// storage.
pub(crate) fn target(root: &str, key: &ObjectKey, text: &str) -> Option<ObjectKey> {
    let mut parts: Vec<&str> = Vec::new();
    let below = if text.starts_with('/') {
        let rest = text.strip_prefix(root.trim_end_matches('/'))?;
        rest.strip_prefix('/')?
    } else {
        parts.extend(key.dir().split('/').filter(|p| !p.is_empty()));
        text
    };
    for part in below.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    ObjectKey::new(parts.join("/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        for (from, to) in [("s/daily/x", "s/monthly/x"), ("l", "a/b"), ("a/b/c", "d"), ("a/x", "a/y")] {
            let text = relative(&key(from), &key(to));
            assert_eq!(target("/srv", &key(from), &text), Some(key(to)), "{text}");
        }
        assert_eq!(relative(&key("s/daily/x"), &key("s/monthly/x")), "../monthly/x");
    }

    #[test]
    fn absolute_links_count_below_the_root_alone() {
        let of = |text: &str| target("/srv/b/", &key("d/l"), text);
        assert_eq!(of("/srv/b/m/x"), Some(key("m/x")));
        assert_eq!(of("/srv/bb/m/x"), None);
        assert_eq!(of("/etc/passwd"), None);
        assert_eq!(of("/srv/b/../x"), None);
        assert_eq!(of("../../x"), None);
        assert_eq!(of("../x"), Some(key("x")));
    }
}
