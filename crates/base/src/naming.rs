//! From a glob and what it matched (or a database) to the part and the name of a backup.
//!
//! The mapping is v2's: components of pattern and match that differ are joined with `___`; for the part, `___`
//! becomes `/`. Only after the mapping are components made safe, by percent escapes that can be undone
//! ([`escape_component`]). Names too long for a file system are cut, and a digest of the whole takes the place of the
//! rest. Expanding globs is the files source's job, composing keys that of [`crate::layout`].

use crate::ports::storage::MAX_COMPONENT_BYTES;

/// Bytes of the longest stem. It leaves room for the time stamp with seconds (20), an extension (17), `.zst.age` (8),
/// `.nxs.json` (9) and one to spare.
pub const MAX_STEM_BYTES: usize = 200;
/// Bytes of `~` and the digest that end a name which was cut.
const DIGEST_BYTES: usize = 17;

/// Part and file stem of one target, both safe in an object key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    /// Directory below `backup_dir`; may be empty.
    pub part: String,
    /// First part of the file name.
    pub stem: String,
}

/// Names a path that the glob `pattern` matched.
///
/// Both are raw bytes as written; empty components (a leading, trailing or doubled `/`) do not count. A pattern
/// without wildcards gives the last component; `/` itself gives the escaped empty name, `%`.
pub fn glob_target(pattern: &[u8], matched: &[u8]) -> TargetName {
    let pattern: Vec<&[u8]> = components(pattern).collect();
    let matched: Vec<&[u8]> = components(matched).collect();
    let differing: Vec<&[u8]> = matched
        .iter()
        .enumerate()
        .filter(|(i, component)| pattern.get(*i) != Some(component))
        .map(|(_, component)| *component)
        .collect();
    let name = if differing.is_empty() {
        matched.last().copied().unwrap_or_default().to_vec()
    } else {
        differing.join(&b"___"[..])
    };
    TargetName { part: part_of_name(&name), stem: stem(&name) }
}

/// Names a database of a MySQL or PostgreSQL source; `source` is its place in `sources`, from 0.
pub fn database_target(source: usize, database: &str) -> TargetName {
    TargetName { part: directory(database.as_bytes()), stem: stem(indexed(source, database).as_bytes()) }
}

/// Names what belongs to a whole server and is kept beside its databases: users, roles, grants. `what` opens with `@`.
pub fn server_target(source: usize, what: &str) -> TargetName {
    database_target(source, what)
}

/// Names a collection of a MongoDB source. The index stands in the name even for the first source.
pub fn collection_target(source: usize, database: &str, collection: &str) -> TargetName {
    TargetName {
        part: format!("{}/{}", directory(database.as_bytes()), directory(collection.as_bytes())),
        stem: stem(format!("{source}-{database}--{collection}").as_bytes()),
    }
}

/// Names a physical PostgreSQL copy (v2's spelling); the part is empty.
pub fn basebackup_target(source: usize) -> TargetName {
    TargetName { part: String::new(), stem: indexed(source, "postgresq_hot") }
}

/// Names what has no name of its own (`xtrabackup`, `redis`, the base name of an external module); empty part.
pub fn plain_target(name: &str) -> TargetName {
    TargetName { part: String::new(), stem: stem(name.as_bytes()) }
}

/// Makes any bytes one safe component of an object key, reversibly.
///
/// Escaped as `%XX` (upper case): control bytes, `/`, bytes that are not UTF-8, the dots of `.` and `..`, and a
/// `%` that would read as an escape. A component that the storage root needs itself (`RESTORE.md`, `.nxs-…`) gets
/// its first dot escaped. The empty component becomes `%`. All else stays, so that v2's names stay.
/// Different inputs give different outputs: [`unescape_component`] is the inverse.
pub fn escape_component(raw: &[u8]) -> String {
    match raw {
        b"" => return "%".into(),
        b"%" => return "%25".into(),
        b"." => return "%2E".into(),
        b".." => return "%2E%2E".into(),
        b"RESTORE.md" => return "RESTORE%2Emd".into(),
        _ => {}
    }
    let mut safe = String::with_capacity(raw.len());
    let mut rest = raw;
    if let Some(tail) = raw.strip_prefix(b".nxs-") {
        safe.push_str("%2Enxs-");
        rest = tail;
    }
    for chunk in rest.utf8_chunks() {
        let text = chunk.valid();
        for (i, c) in text.char_indices() {
            let escapes = c == '%' && starts_with_hex_pair(&text.as_bytes()[i + 1..]);
            if escapes || c == '/' || c.is_control() {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|b| push_escape(&mut safe, b));
            } else {
                safe.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| push_escape(&mut safe, *b));
    }
    safe
}

/// The bytes that [`escape_component`] made `safe` from. Text that it cannot have made is taken literally.
pub fn unescape_component(safe: &str) -> Vec<u8> {
    if safe == "%" {
        return Vec::new();
    }
    let bytes = safe.as_bytes();
    let mut raw = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let pair = match (bytes[i], bytes.get(i + 1), bytes.get(i + 2)) {
            (b'%', Some(high), Some(low)) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                raw.push(high << 4 | low);
                i += 3;
            }
            None => {
                raw.push(bytes[i]);
                i += 1;
            }
        }
    }
    raw
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty())
}

/// Leftmost `___` first, as v2: `a____b` is `a/_b`.
fn part_of_name(name: &[u8]) -> String {
    let mut parts = vec![Vec::new()];
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"___") {
            parts.push(Vec::new());
            rest = after;
        } else {
            parts.last_mut().expect("starts with one part and only grows").push(*first);
            rest = tail;
        }
    }
    parts.iter().map(|p| directory(p)).collect::<Vec<_>>().join("/")
}

fn directory(raw: &[u8]) -> String {
    fit(escape_component(raw), MAX_COMPONENT_BYTES)
}

fn stem(raw: &[u8]) -> String {
    fit(escape_component(raw), MAX_STEM_BYTES)
}

/// Cuts a safe name to at most `max` bytes, a digest of the whole at its end. Different names stay different: one that
/// looks as if it had been cut is treated as if it were too long.
fn fit(safe: String, max: usize) -> String {
    // The cut takes up to 5 bytes more than needed: it splits neither a character nor an escape.
    let looks_cut = safe.len() + 5 >= max && ends_with_digest(&safe);
    if safe.len() <= max && !looks_cut {
        return safe;
    }
    let mut at = (max - DIGEST_BYTES).min(safe.len());
    while !safe.is_char_boundary(at) {
        at -= 1;
    }
    if let Some(escape) = safe[..at].rfind('%').filter(|i| i + 3 > at) {
        at = escape;
    }
    format!("{}~{}", &safe[..at], &blake3::hash(safe.as_bytes()).to_hex()[..DIGEST_BYTES - 1])
}

fn ends_with_digest(name: &str) -> bool {
    let (_, digest) = name.rsplit_once('~').unwrap_or_default();
    digest.len() == DIGEST_BYTES - 1 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn indexed(source: usize, name: &str) -> String {
    if source == 0 { name.to_owned() } else { format!("{source}-{name}") }
}

fn push_escape(text: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(HEX[usize::from(byte >> 4)] as char);
    text.push(HEX[usize::from(byte & 15)] as char);
}

fn starts_with_hex_pair(bytes: &[u8]) -> bool {
    bytes.len() >= 2 && hex_digit(bytes[0]).is_some() && hex_digit(bytes[1]).is_some()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::storage::ObjectKey;
    use proptest::prelude::*;

    fn shown(pattern: &str, matched: &str) -> String {
        let name = glob_target(pattern.as_bytes(), matched.as_bytes());
        format!("{} {}", name.part, name.stem)
    }

    #[test]
    fn differing_components_make_the_name_and_literal_paths_their_last_one() {
        let table = [
            ("/var/www/*/data/", "/var/www/site1/data/", "site1 site1"),
            ("/var/www/*/data", "/var/www/site1/data", "site1 site1"),
            ("/a/*/b/*", "/a/x/b/y", "x/y x___y"),
            ("/var/log/*.log", "/var/log/syslog.log", "syslog.log syslog.log"),
            ("/srv/data", "/srv/data", "data data"),
            ("/srv/data/", "/srv/data/", "data data"),
            ("//srv//data", "/srv/data", "data data"),
            ("/*", "/a___b", "a/b a___b"),
            ("/*", "/a____b", "a/_b a____b"),
            ("/", "/", "% %"),
        ];
        for (pattern, matched, expected) in table {
            assert_eq!(shown(pattern, matched), expected, "{pattern} {matched}");
        }
    }

    #[test]
    fn a_directory_cannot_climb_out_through_the_mapping() {
        assert_eq!(shown("/*", "/___..___etc"), "%/%2E%2E/etc ___..___etc");
        assert_eq!(shown("/*", "/.___x"), "%2E/x .___x");
        assert_eq!(shown("/home/x", "/home/x/.."), "%2E%2E %2E%2E");
        assert_eq!(shown("/*", "/RESTORE.md"), "RESTORE%2Emd RESTORE%2Emd");
    }

    #[test]
    fn databases_are_named_as_in_v2_and_cannot_climb_out() {
        let show = |n: TargetName| format!("{} {}", n.part, n.stem);
        assert_eq!(show(database_target(0, "shop")), "shop shop");
        assert_eq!(show(database_target(1, "shop")), "shop 1-shop");
        assert_eq!(show(database_target(0, "../x")), "..%2Fx ..%2Fx");
        assert_eq!(show(database_target(0, "..")), "%2E%2E %2E%2E");
        assert_eq!(show(database_target(0, "a___b")), "a___b a___b");
        assert_eq!(show(collection_target(0, "db", "c")), "db/c 0-db--c");
        assert_eq!(show(basebackup_target(0)), " postgresq_hot");
        assert_eq!(show(basebackup_target(2)), " 2-postgresq_hot");
        assert_eq!(show(plain_target("redis")), " redis");
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        let table: [(&[u8], &str); 9] = [
            ("50%off сайт é".as_bytes(), "50%off сайт é"),
            (b"100%DE", "100%25DE"),
            (b"%", "%25"),
            (b"%%01", "%%2501"),
            (b"a\nb", "a%0Ab"),
            (b"a\x7f", "a%7F"),
            (b"caf\xe9", "caf%E9"),
            ("\u{85}".as_bytes(), "%C2%85"),
            (b".nxs-adopted.json", "%2Enxs-adopted.json"),
        ];
        for (raw, expected) in table {
            assert_eq!(escape_component(raw), expected);
        }
    }

    #[test]
    fn names_that_fit_stay_as_v2_gave_them_and_longer_ones_are_cut_with_a_digest() {
        let stem_of = |len: usize| plain_target(&"n".repeat(len)).stem;
        assert_eq!(stem_of(200), "n".repeat(200));
        let cut = stem_of(201);
        assert_eq!(cut.len(), 200);
        assert!(cut.starts_with(&"n".repeat(183)) && ends_with_digest(&cut), "{cut}");
        assert_ne!(cut, stem_of(202));
        assert_eq!(cut, stem_of(201), "the same name is cut the same way");
        assert_ne!(plain_target(&cut).stem, cut, "a name that looks as if it had been cut");
        let deep = glob_target(b"/*", format!("/{}", "d".repeat(255)).as_bytes());
        assert_eq!((deep.part.len(), deep.stem.len()), (255, 200));
        let bytes = glob_target(b"/*", &[b"/".as_slice(), &[0xff; 255]].concat());
        assert!(bytes.part.len() <= 255 && bytes.stem.len() <= 200, "{bytes:?}");
        assert!(bytes.stem[..183].starts_with("%FF%FF") && !bytes.stem.contains("%F~"), "{bytes:?}");
        let umlauts = plain_target(&"ö".repeat(120)).stem;
        assert!((195..=200).contains(&umlauts.len()), "{}", umlauts.len());
    }

    fn awkward() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            proptest::collection::vec(proptest::sample::select(b"%25E./_\x00\xffA".to_vec()), 0..8),
        ]
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_escape(raw in awkward()) {
            let safe = escape_component(&raw);
            prop_assert!(ObjectKey::new(safe.clone()).is_ok(), "{safe}");
            prop_assert!(!safe.contains('/'));
            prop_assert_eq!(unescape_component(&safe), raw);
        }

        #[test]
        fn different_names_of_any_length_stay_different_and_fit(
            a in "[a%~é]{0,3}", b in "[a%~é]{0,3}", n in 180usize..260, m in 180usize..260,
        ) {
            let (a, b) = (format!("{a}{}", "x".repeat(n)), format!("{b}{}", "x".repeat(m)));
            let (one, two) = (plain_target(&a).stem, plain_target(&b).stem);
            prop_assert!(one.len() <= MAX_STEM_BYTES && two.len() <= MAX_STEM_BYTES);
            prop_assert_eq!(a == b, one == two);
            prop_assert_ne!(plain_target(&one).stem.len() > MAX_STEM_BYTES, true);
        }

        #[test]
        fn every_match_gets_a_part_and_a_stem_that_make_a_key(pattern in awkward(), matched in awkward()) {
            let name = glob_target(&pattern, &matched);
            let key = ObjectKey::new(format!("{}/daily/{}", name.part, name.stem));
            prop_assert!(key.is_ok(), "{name:?}");
            prop_assert!(!name.stem.contains('/'));
        }
    }
}
