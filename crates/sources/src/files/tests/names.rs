//! Which targets there are, what they are called, and what excludes leave of them.

use std::os::unix::fs::symlink;

use super::*;

fn sites() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for site in ["site1", "site2"] {
        for d in ["data/cache", "data/cache2", "data/log/old", "tmp"] {
            fs::create_dir_all(root.join(site).join(d)).unwrap();
        }
        for f in [
            "data/a.log",
            "data/index.php",
            "data/cache/x",
            "data/cache2/y",
            "data/log/b.log",
            "data/log/old/c.log",
        ] {
            fs::write(root.join(site).join(f), f).unwrap();
        }
    }
    let text = root.to_str().unwrap().to_owned();
    (dir, text)
}

#[test]
fn every_match_is_a_target_with_v2s_part_and_name() {
    let (_dir, root) = sites();
    let source =
        source(&[&format!("{root}/*/data/"), &format!("{root}/*/d*"), &format!("{root}/site1/tmp")], &[]);
    let shown: Vec<_> =
        targets(&source).into_iter().map(|t| (t.part, t.file_stem, t.extension, t.root)).collect();
    let expect = |part: &str, stem: &str, path: &str| {
        (part.to_owned(), stem.to_owned(), "tar".to_owned(), format!("{root}/{path}"))
    };
    let expected = [
        expect("site1", "site1", "site1/data"),
        expect("site2", "site2", "site2/data"),
        expect("site1/data", "site1___data", "site1/data"),
        expect("site2/data", "site2___data", "site2/data"),
        expect("tmp", "tmp", "site1/tmp"),
    ];
    assert_eq!(shown, expected);
}

/// Part and stem of each target that the patterns (below a fresh tree of `paths`) lead to, in order.
fn names_in(paths: &[&str], patterns: &[&str]) -> Vec<String> {
    let (_dir, root) = fresh();
    for path in paths {
        match path.strip_suffix('/') {
            Some(dir) => fs::create_dir_all(root.join(dir)).unwrap(),
            None => {
                fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
                fs::write(root.join(path), path).unwrap();
            }
        }
    }
    let patterns: Vec<String> = patterns.iter().map(|p| format!("{}/{p}", root.display())).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let found = source(&patterns, &[]).targets().unwrap().into_iter().map(|target| match target {
        Ok(t) => {
            format!("{} {} {}", t.part, t.file_stem, t.root.strip_prefix(root.to_str().unwrap()).unwrap())
        }
        Err(error) => format!("{:?}", error.kind()),
    });
    found.collect()
}

#[test]
fn names_of_targets_are_those_of_v2() {
    type Row = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let table: &[Row] = &[
        (&["var/www/site1/data/"], &["var/www/*/data/"], &["site1 site1 /var/www/site1/data"]),
        (&["var/www/site1/data/"], &["var/www/*/data"], &["site1 site1 /var/www/site1/data"]),
        (&["a/x/b/y"], &["a/*/b/*"], &["x/y x___y /a/x/b/y"]),
        (&["var/log/syslog.log"], &["var/log/*.log"], &["syslog.log syslog.log /var/log/syslog.log"]),
        (&["srv/data/"], &["srv/data"], &["data data /srv/data"]),
        (&["srv/data/"], &["srv/data/"], &["data data /srv/data"]),
        (&["srv/data/"], &["/srv//data//"], &["data data /srv/data"]),
        // A trailing slash keeps directories; names with a dot in front are for patterns with one.
        (&["s/d/", "s/f", "s/.h/"], &["s/*/"], &["d d /s/d"]),
        (&["s/d/", "s/f", "s/.h/"], &["s/*"], &["d d /s/d", "f f /s/f"]),
        (&["s/d/", "s/f", "s/.h/"], &["s/.*"], &[".h .h /s/.h"]),
        (&["s/f"], &["s/f/"], &["NotFound"]),
        // `**` is `*`.
        (&["s/a/b/f"], &["s/**/f"], &["NotFound"]),
        (&["s/a/f"], &["s/**/f"], &["a a /s/a/f"]),
        // The order of the configuration; an empty glob among others.
        (&["b/", "a/"], &["b", "no*", "a"], &["b b /b", "NotFound", "a a /a"]),
        // Equal last components: two targets, told apart by their roots.
        (&["x/data/", "y/data/"], &["x/data", "y/data"], &["data data /x/data", "data data /y/data"]),
        // Overlapping targets are targets each.
        (&["www/s/f"], &["www", "www/*", "www/s/f"], &["www www /www", "s s /www/s", "f f /www/s/f"]),
        // The same by two names is made twice, as in v2; by one name, once.
        (&["w/s/data/"], &["w/*/data", "w/s/data"], &["s s /w/s/data", "data data /w/s/data"]),
        (&["w/s/"], &["w/*/", "w/s", "w/s/", "w//s", "w/[s]"], &["s s /w/s"]),
        // Real names with glob characters, spaces and what an escape looks like.
        (&["s/a[1] *?/"], &["s/a[[]1] *"], &["a[1] *? a[1] *? /s/a[1] *?"]),
        (&["s/50%41/"], &["s/50*"], &["50%2541 50%2541 /s/50%2541"]),
        (&["s/a___b/"], &["s/*"], &["a/b a___b /s/a___b"]),
        // Safe after the mapping.
        (&["s/___..___etc/"], &["s/*"], &["%/%2E%2E/etc ___..___etc /s/___..___etc"]),
        (&["s/a\nb"], &["s/*"], &["a%0Ab a%0Ab /s/a%0Ab"]),
        (&["s/RESTORE.md"], &["s/*"], &["RESTORE%2Emd RESTORE%2Emd /s/RESTORE.md"]),
        (&["x/y/"], &["x/y/.."], &["%2E%2E %2E%2E /x"]),
        (&["x/y/"], &["x/./y"], &["y y /x/y"]),
    ];
    for (paths, patterns, expected) in table {
        assert_eq!(names_in(paths, patterns), *expected, "{patterns:?}");
    }
}

#[test]
fn a_target_reached_twice_under_one_name_is_saved_once_with_a_note() {
    let (_dir, root) = sites();
    let patterns = [format!("{root}/site*/"), format!("{root}/site1")];
    let source = source(&[&patterns[0], &patterns[1]], &[]);
    for _ in 0..2 {
        let found = targets(&source);
        assert_eq!(found.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["site1", "site2"]);
        let (_, report) = dump(&source, &found[0]);
        let note = &report.notes[0];
        assert_eq!((note.kind, report.notes.len(), report.gaps()), (NoteKind::LeftOut, 1, 0));
        assert_eq!(note.path, format!("{root}/site1"));
        assert_eq!(note.reason, format!("is also what target `{root}/site1` leads to; saved once"));
        assert_eq!(dump(&source, &found[1]).1.notes, []);
    }
}

#[test]
fn a_name_with_glob_characters_that_was_meant_literally_gets_a_hint() {
    let (_dir, root) = fresh();
    fs::create_dir(root.join("a[1]")).unwrap();
    let list = source(&[&format!("{}/a[1]", root.display())], &[]).targets().unwrap();
    let error = list[0].as_ref().unwrap_err();
    let hint = "This very name exists: write `[*]`, `[?]` and `[[]` for `*`, `?` and `[` in names.";
    assert_eq!((error.kind(), error.hint()), (ErrorKind::NotFound, Some(hint)));
}

#[test]
fn a_glob_without_a_match_is_an_error_in_the_list_and_the_others_go_on() {
    let (_dir, root) = sites();
    let source = source(&[&format!("{root}/gone*"), &format!("{root}/site1")], &[]);
    let list = source.targets().unwrap();
    let error = list[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("no file system objects found for target `{root}/gone*`"));
    assert_eq!(list[1].as_ref().unwrap().name, "site1");
}

#[test]
fn a_target_that_is_not_utf8_is_dumped_by_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let odd = root.join(as_path(b"caf\xe9 %41"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("f"), "x").unwrap();
    let source = source(&[&format!("{}/caf*", root.display())], &[]);
    let target = &targets(&source)[0];
    assert_eq!(target.root, format!("{}/caf%E9 %2541", root.display()));
    source.probe(target).unwrap();
    let (sink, _) = dump(&source, target);
    let path = odd.join("f");
    assert_eq!(sink.index[1].path, &path.as_os_str().as_bytes()[1..]);
}

#[test]
fn excludes_hold_for_every_target_and_hide_whole_components_only() {
    let (_dir, root) = sites();
    let source = source(
        &[&format!("{root}/*/data")],
        &["cache", "*.log", "log/old", &format!("{root}/site2/data/index.php")],
    );
    for (target, has_index) in targets(&source).iter().zip([true, false]) {
        let (sink, report) = dump(&source, target);
        let base = &target.root[1..];
        let mut expected = vec![base.to_owned(), format!("{base}/cache2"), format!("{base}/cache2/y")];
        if has_index {
            expected.push(format!("{base}/index.php"));
        }
        expected.extend([format!("{base}/log"), format!("{base}/log/b.log")]);
        assert_eq!(sink.paths(), expected);
        assert_eq!(report.notes, []);
    }
}

#[test]
fn a_double_star_reaches_every_depth() {
    let (_dir, root) = sites();
    let (sink, _) = dump_path(Path::new(&format!("{root}/site1")), &["**/*.log", "**/cache", "tmp"]);
    let expected =
        ["", "/data", "/data/cache2", "/data/cache2/y", "/data/index.php", "/data/log", "/data/log/old"];
    assert_eq!(sink.paths(), expected.map(|p| format!("{}/site1{p}", &root[1..])));
}

#[test]
fn a_target_below_an_absolute_exclude_is_left_out() {
    let (_dir, root) = sites();
    let all = source(&[&format!("{root}/*/data")], &[]);
    let source = source(&[&format!("{root}/*/data")], &[&format!("{root}/site1")]);
    let found = targets(&source);
    assert_eq!(found.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["site2"]);

    let (sink, report) = dump(&source, &targets(&all)[0]);
    assert_eq!((sink.begun, report.counts[&NoteKind::LeftOut]), (0, 1));
}

#[test]
fn excludes_that_leave_nothing_of_a_source_are_an_error() {
    let (_dir, root) = sites();
    let list = source(&[&format!("{root}/site*"), &root], &[&format!("{root}/")]).targets().unwrap();
    let error = list[0].as_ref().unwrap_err();
    assert_eq!((list.len(), error.kind()), (1, ErrorKind::NotFound));
    let text = format!("nothing is left to save: the excludes cover all of target `{root}/site*`, `{root}`");
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_marker_in_the_target_itself_leaves_the_marker_alone_and_a_note() {
    let (_dir, root) = sites();
    fs::create_dir_all(format!("{root}/site1/.git/objects")).unwrap();
    let mut spec = spec(&[&format!("{root}/site1")], &[]);
    spec.exclude_if_present = vec![".git".to_owned()];
    let source = FilesSource::new(spec).unwrap();
    let (sink, report) = dump(&source, &targets(&source)[0]);
    assert_eq!(sink.paths(), ["site1", "site1/.git"].map(|p| format!("{}/{p}", &root[1..])));
    let left_out = |name: &str| (NoteKind::LeftOut, format!("{root}/{name}"));
    let shown: Vec<_> = report.notes.iter().map(|n| (n.kind, n.path.clone())).collect();
    assert_eq!(shown, [left_out("site1"), left_out("site1/.git")]);
}

#[test]
fn the_targets_own_link_is_followed_and_none_below_it() {
    let (_dir, root) = sites();
    let link = Path::new(&root).join("current");
    symlink("site1/data/log", &link).unwrap();
    symlink("..", link.join("up")).unwrap();
    let (sink, _) = dump_path(&link, &[]);
    let base = format!("{}/current", &root[1..]);
    assert_eq!(sink.paths(), ["", "/b.log", "/old", "/old/c.log", "/up"].map(|p| format!("{base}{p}")));
    assert_eq!(sink.index[0].meta.kind, nxs_base::entry::EntryKind::Dir);
    assert_eq!(sink.index[4].link, b"..");
}

#[test]
fn a_target_that_is_a_plain_file_gives_one_member() {
    let (_dir, root) = sites();
    let path = format!("{root}/site1/data/index.php");
    let (sink, report) = dump_path(Path::new(&path), &["cache", "*.php"]);
    assert_eq!(sink.paths(), [&path[1..]]);
    assert_eq!((report.files, report.dirs, sink.begun), (1, 0, 1));
}

#[test]
fn a_link_to_a_file_is_followed_and_a_link_to_nowhere_saved_as_a_link() {
    let (_dir, root) = sites();
    let to_file = Path::new(&root).join("l");
    symlink("site1/data/index.php", &to_file).unwrap();
    let (sink, _) = dump_path(&to_file, &[]);
    assert_eq!((sink.index[0].meta.size_bytes, sink.index[0].link.len()), (14, 0));

    let nowhere = Path::new(&root).join("n");
    symlink("nowhere", &nowhere).unwrap();
    let (sink, report) = dump_path(&nowhere, &[]);
    assert_eq!((&sink.index[0].link[..], report.notes), (&b"nowhere"[..], vec![]));
}

#[test]
fn dots_in_a_target_are_resolved_in_member_paths() {
    let (_dir, root) = sites();
    let (sink, _) = dump_path(Path::new(&format!("{root}/site1/./../site2/tmp")), &[]);
    assert_eq!(sink.paths(), [format!("{}/site2/tmp", &root[1..])]);
}

#[test]
fn a_probe_finds_a_target_that_is_gone() {
    let (_dir, root) = sites();
    let source = source(&[&format!("{root}/site1")], &[]);
    let target = &targets(&source)[0];
    source.probe(target).unwrap();
    fs::remove_dir_all(format!("{root}/site1")).unwrap();
    let error = source.probe(target).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("cannot open the target `{root}/site1`"));
    let torn = source.dump(target, &mut Collected::default(), &Cancel::new()).unwrap_err();
    assert_eq!(torn.kind(), ErrorKind::NotFound);
}

#[test]
fn cache_directories_and_marked_ones_are_saved_without_their_content_and_noted() {
    let (_dir, root) = sites();
    let base = Path::new(&root).join("site1/data");
    fs::write(base.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();
    fs::write(base.join("log/.nobackup"), "").unwrap();
    let mut spec = spec(&[base.to_str().unwrap()], &["cache2"]);
    spec.exclude_caches = true;
    spec.exclude_if_present = vec![".nobackup".to_owned()];
    let source = FilesSource::new(spec).unwrap();
    let (sink, report) = dump(&source, &targets(&source)[0]);
    let expected = ["", "/a.log", "/cache", "/cache/CACHEDIR.TAG", "/index.php", "/log", "/log/.nobackup"];
    assert_eq!(sink.paths(), expected.map(|p| format!("{}{p}", &base.to_str().unwrap()[1..])));
    let left_out = |name: &str| (NoteKind::LeftOut, name.to_owned());
    assert_eq!(notes(&report, &base), [left_out("cache"), left_out("log")]);
    assert_eq!(report.gaps(), 0);
}
