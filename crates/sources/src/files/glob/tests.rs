//! Tables of Python's glob rules, on names and on trees.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::{ComponentGlob, Expansion, expand, has_magic};

#[test]
fn a_component_matches_by_pythons_fnmatch_rules() {
    let table: &[(&str, &[u8], bool)] = &[
        ("*", b"a", true),
        ("*", b".a", false),
        (".*", b".a", true),
        ("?a", b".a", false),
        ("[.]a", b".a", false),
        ("*.log", b"x.log", true),
        ("*.log", b"x.log.1", false),
        ("**", b"abc", true),
        ("a*b*c", b"aXbYbZc", true),
        ("a*b*c", b"aXbYbZ", false),
        ("a*", b"a", true),
        ("?", b"", false),
        ("?", "é".as_bytes(), true),
        ("?", b"\xff", true),
        ("??", "é".as_bytes(), false),
        ("?", b"\xc3\x28", false),
        ("[abc]", b"b", true),
        ("[!abc]", b"b", false),
        ("[!abc]", b"d", true),
        ("[^a]", b"^", true),
        ("[^a]", b"b", false),
        ("[a-c]", b"b", true),
        ("[a-]", b"-", true),
        ("[]a]", b"]", true),
        ("[!]a]", b"]", false),
        ("[!]a]", b"x", true),
        ("[z-a]", b"m", false),
        ("[é-ü]", "ö".as_bytes(), true),
        ("[a", b"[a", true),
        ("[a", b"a", false),
        ("[]", b"[]", true),
        ("[!", b"[!", true),
        ("a\\*", b"a\\bc", true),
        ("{a,b}", b"a", false),
        ("{a,b}", b"{a,b}", true),
        ("*\n*", b"a\nb", true),
        ("A", b"a", false),
    ];
    for (pattern, name, expected) in table {
        let got = ComponentGlob::new(pattern.as_bytes()).is_match(name);
        assert_eq!(got, *expected, "`{pattern}` on `{}`", name.escape_ascii());
    }
    assert!(!has_magic(b"/a/{b}/c]"));
}

/// Expands below a tree of sites and returns the matches without the place of the tree.
fn matches_in_tree(pattern: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for d in ["www/site2/data", "www/site1/data", "www/.hidden/data", "www/empty", "www/site10"] {
        fs::create_dir_all(root.join(d)).unwrap();
    }
    fs::write(root.join("www/file"), "").unwrap();
    fs::write(root.join("www/[x]"), "").unwrap();
    symlink("site1", root.join("www/link")).unwrap();
    symlink("nowhere", root.join("www/dangling")).unwrap();
    symlink("loop", root.join("www/loop")).unwrap();
    fs::create_dir(root.join("www/a b")).unwrap();
    fs::write(root.join("www/a b/[1] x"), "").unwrap();
    let base = root.as_os_str().as_bytes();
    let full = [base, b"/", pattern.as_bytes()].concat();
    let Expansion { found, refused } = expand(&full);
    assert!(refused.is_empty(), "{refused:?}");
    found.into_iter().map(|m| String::from_utf8(m[base.len() + 1..].to_vec()).unwrap()).collect()
}

#[test]
fn a_pattern_expands_to_the_paths_python_finds() {
    let table: &[(&str, &[&str])] = &[
        ("www/*/data", &["www/link/data", "www/site1/data", "www/site2/data"]),
        ("www/*/data/", &["www/link/data/", "www/site1/data/", "www/site2/data/"]),
        ("www/.*/data", &["www/.hidden/data"]),
        ("www/*/", &["www/a b/", "www/empty/", "www/link/", "www/site1/", "www/site10/", "www/site2/"]),
        (
            "www/*",
            &[
                "www/[x]",
                "www/a b",
                "www/dangling",
                "www/empty",
                "www/file",
                "www/link",
                "www/loop",
                "www/site1",
                "www/site10",
                "www/site2",
            ],
        ),
        ("www/site?", &["www/site1", "www/site2"]),
        ("www/site[!2]", &["www/site1"]),
        ("www/[[]x]", &["www/[x]"]),
        ("*//data", &[]),
        ("www//site1///data", &["www/site1/data"]),
        ("www/file", &["www/file"]),
        ("www/file/", &[]),
        ("www/file/*", &[]),
        ("www/dangling", &["www/dangling"]),
        ("www/dangling/", &[]),
        ("www/link/", &["www/link/"]),
        ("www/gone", &[]),
        ("www/[x]", &[]),
        ("www/../www/file", &["www/../www/file"]),
        ("www/./s*1", &["www/./site1"]),
        ("www/loop", &["www/loop"]),
        ("www/loop/", &[]),
        ("www/loop/*", &[]),
        ("www/a b/[[]?]*", &["www/a b/[1] x"]),
        (".*", &[]),
        ("**/data", &[]),
        ("**/site1/data", &["www/site1/data"]),
    ];
    for (pattern, expected) in table {
        assert_eq!(matches_in_tree(pattern), *expected, "`{pattern}`");
    }
}

#[test]
fn the_root_directory_matches_itself_and_nothing_matches_an_empty_pattern() {
    assert_eq!(expand(b"/").found, [b"/".to_vec()]);
    assert_eq!(expand(b"//").found, [b"/".to_vec()]);
    assert!(expand(b"").found.is_empty());
    assert!(expand(b"/no\0name").found.is_empty());
}

#[test]
fn names_that_are_not_utf8_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"a\xff");
    fs::write(dir.path().join(name), "").unwrap();
    let pattern = [dir.path().as_os_str().as_bytes(), b"/a?"].concat();
    let found = expand(&pattern).found;
    assert_eq!(found, [dir.path().join(name).as_os_str().as_bytes().to_vec()]);
}
