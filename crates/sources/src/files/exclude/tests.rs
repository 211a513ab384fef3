//! Tables: which entry of which target an exclude hides.

use super::Excludes;

const DIR: bool = true;
const FILE: bool = false;

fn hides(patterns: &[&str], root: &str, path: &str, is_dir: bool) -> bool {
    let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
    Excludes::new(&patterns).unwrap().is_excluded(root.as_bytes(), path.as_bytes(), is_dir)
}

#[test]
fn an_exclude_hides_what_it_names_and_nothing_else() {
    let table: &[(&str, &str, &str, bool)] = &[
        ("cache", "var/www/a", "var/www/a/cache", true),
        ("cache", "var/www/a", "var/www/a/cache2", false),
        ("cache", "var/www/a", "var/www/a/cache.txt", false),
        ("cache", "var/www/a", "var/www/a/x/cache", false),
        ("cache", "var/www/b", "var/www/b/cache", true),
        ("./cache", "srv", "srv/cache", true),
        ("x//cache", "srv", "srv/x/cache", true),
        ("x/../cache", "srv", "srv/cache", true),
        ("../other", "srv", "srv/other", false),
        ("", "srv", "srv/a", false),
        (".", "srv", "srv/a", false),
        ("*.log", "srv", "srv/a.log", true),
        ("*.log", "srv", "srv/.a.log", true),
        ("*.log", "srv", "srv/x/a.log", false),
        ("*.log", "srv", "srv/a.logs", false),
        ("*/a.log", "srv", "srv/x/a.log", true),
        ("*/a.log", "srv", "srv/x/y/a.log", false),
        ("**/*.log", "srv", "srv/a.log", true),
        ("**/*.log", "srv", "srv/x/y/a.log", true),
        ("**/*.log", "srv", "srv/x/y/a.log.1", false),
        ("**/cache", "srv", "srv/cache", true),
        ("**/cache", "srv", "srv/x/y/cache", true),
        ("**/cache", "srv", "srv/x/y/cache2", false),
        ("**/cache", "srv", "srv/x/y/mycache", false),
        ("a/**/b", "srv", "srv/a/b", true),
        ("a/**/b", "srv", "srv/a/x/y/b", true),
        ("a/**/b", "srv", "srv/ab", false),
        ("a/**", "srv", "srv/a", false),
        ("a/**", "srv", "srv/a/x/y", true),
        ("a?c", "srv", "srv/abc", true),
        ("a?c", "srv", "srv/a/c", false),
        ("a[!b]c", "srv", "srv/axc", true),
        ("a[!b]c", "srv", "srv/abc", false),
        ("a[!b]c", "srv", "srv/a/c", false),
        ("a[+-9]c", "srv", "srv/a/c", false),
        ("a[+-9]c", "srv", "srv/a5c", true),
        ("a[+-9]c", "srv", "srv/a-c", true),
        ("[]a]", "srv", "srv/]", true),
        ("[!]a]", "srv", "srv/]", false),
        ("[!]a]", "srv", "srv/b", true),
        ("[^a]", "srv", "srv/^", true),
        ("[^a]", "srv", "srv/b", false),
        ("[^!]", "srv", "srv/!", true),
        ("[a-]", "srv", "srv/-", true),
        ("[A-z]", "srv", "srv/]", true),
        ("[A-z]", "srv", "srv/b", true),
        ("[z-a]", "srv", "srv/m", false),
        ("[!z-a]", "srv", "srv/m", true),
        ("a[b", "srv", "srv/a[b", true),
        ("a[b", "srv", "srv/ab", false),
        ("a[b/c]*", "srv", "srv/a[b/c]d", true),
        ("{a,b}", "srv", "srv/a", false),
        ("{a,b}*", "srv", "srv/{a,b}", true),
        ("{a,b}*", "srv", "srv/a", false),
        ("a\\*", "srv", "srv/a\\b", true),
        ("größe*", "srv", "srv/größe1", true),
        ("/srv/x", "srv", "srv/x", true),
        ("/srv/x", "srv", "srv/x2", false),
        ("/srv/x", "var", "var/srv/x", false),
        ("/srv/*/tmp", "srv/a", "srv/a/tmp", true),
        ("/srv/*/tmp", "srv/a", "srv/a/b/tmp", false),
        ("/srv/**/tmp", "srv/a", "srv/a/b/tmp", true),
        ("/**/*.swp", "srv/a", "srv/a/b/x.swp", true),
        ("tmp", "", "tmp", true),
        ("/tmp", "", "tmp", true),
        ("*", "", "etc", true),
    ];
    for (pattern, root, path, expected) in table {
        assert_eq!(
            hides(&[pattern], root, path, FILE),
            *expected,
            "`{pattern}` of target `{root}` on `{path}`"
        );
    }
}

#[test]
fn a_trailing_slash_hides_directories_only() {
    for pattern in ["cache/", "c*/", "**/cache/", "/srv/cache/"] {
        assert!(hides(&[pattern], "srv", "srv/cache", DIR), "`{pattern}`");
        assert!(!hides(&[pattern], "srv", "srv/cache", FILE), "`{pattern}`");
    }
}

#[test]
fn every_pattern_of_the_list_counts_and_holds_for_every_target() {
    let list = ["upload", "*.tmp", "**/node_modules", "/srv/b/secret"];
    for root in ["srv/a", "srv/b"] {
        for name in ["upload", "x.tmp", "p/q/node_modules"] {
            assert!(hides(&list, root, &format!("{root}/{name}"), FILE), "`{name}` in `{root}`");
        }
    }
    assert!(hides(&list, "srv/b", "srv/b/secret", FILE));
    assert!(!hides(&list, "srv/a", "srv/a/secret", FILE));
}

#[test]
fn names_that_are_not_utf8_are_matched_as_bytes() {
    let excludes = Excludes::new(&["*.log".into(), "**/c".into()]).unwrap();
    assert!(excludes.is_excluded(b"srv", b"srv/\xff\xfe.log", FILE));
    assert!(excludes.is_excluded(b"srv", b"srv/\xff\xfe/c", FILE));
    assert!(!excludes.is_excluded(b"srv", b"srv/\xff\xfe.txt", FILE));
}

#[test]
fn a_target_is_covered_by_an_absolute_exclude_of_itself_or_of_a_directory_above() {
    let covers = |pattern: &str, root: &str, is_dir| {
        Excludes::new(&[pattern.to_owned()]).unwrap().covers_target(root.as_bytes(), is_dir)
    };
    assert!(covers("/srv/a", "srv/a", DIR));
    assert!(covers("/srv", "srv/a", DIR));
    assert!(covers("/srv/", "srv/a", FILE));
    assert!(covers("/s*", "srv/a/b", FILE));
    assert!(!covers("/srv/a", "srv/ab", DIR));
    assert!(!covers("/srv/a/", "srv/a", FILE));
    assert!(!covers("a", "srv/a", DIR));
}

#[test]
fn no_excludes_hide_nothing() {
    assert!(Excludes::new(&[]).unwrap().is_empty());
    assert!(Excludes::new(&[String::new()]).unwrap().is_empty());
    assert!(!hides(&[], "srv", "srv/a", FILE));
}
