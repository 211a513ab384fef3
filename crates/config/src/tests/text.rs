//! What people write: YAML 1.1 words and numbers, line ends, tabs, marks of editors, anchors.

use super::*;

const JOB: &str = "\
- job: site
  type: desc_files
  sources:
  - target: [/srv/data]
    gzip: yes
  storages:
  - {storage: local, enable: yes, backup_dir: /b, store: {days: 1}}
";

/// Loads the sample job with `from` replaced by `to`.
fn with(from: &str, to: &str) -> (Loaded, String) {
    assert!(JOB.contains(from), "{from}");
    job(&JOB.replace(from, to))
}

fn bytes(text: &[u8]) -> (Loaded, String) {
    let files = Files::new(&[]);
    files.write("main.conf", text, 0o640);
    let loaded = files.load();
    let said = files.said(&loaded);
    (loaded, said)
}

#[test]
fn booleans_are_those_of_yaml_1_1_in_any_case_quoted_or_not() {
    for (word, on) in [
        ("yes", true),
        ("Yes", true),
        ("YES", true),
        ("on", true),
        ("On", true),
        ("true", true),
        ("TRUE", true),
        ("'yes'", true),
        ("\"on\"", true),
        ("1", true),
        ("no", false),
        ("NO", false),
        ("off", false),
        ("Off", false),
        ("false", false),
        ("'no'", false),
        ("''", false),
        ("", false),
        ("~", false),
        ("0", false),
    ] {
        let (loaded, said) = with("gzip: yes", &format!("gzip: {word}"));
        let found = loaded.spec.map(|s| s.jobs[0].sources[0].compression);
        assert_eq!(found, Some(if on { Compression::Gzip(4) } else { Compression::None }), "{word}: {said}");
        assert_eq!(said, "", "{word}");
    }
    for word in ["maybe", "2", "oui", "y e s"] {
        let (loaded, said) = with("gzip: yes", &format!("gzip: {word}"));
        assert!(loaded.spec.is_none());
        assert_eq!(
            said,
            format!("main.conf:7:11: error: jobs[0].sources[0].gzip: `{word}` is neither yes nor no\n")
        );
    }
}

#[test]
fn numbers_are_read_quoted_or_not_and_an_unquoted_leading_zero_is_octal_as_in_v2() {
    for (word, days, octal) in [
        ("3", 3, false),
        ("'3'", 3, false),
        ("\"3\"", 3, false),
        ("' 3 '", 3, false),
        ("07", 7, false),
        ("08", 8, false),
        ("010", 8, true),
        ("'010'", 10, false),
        ("0017", 15, true),
    ] {
        let (loaded, said) = with("days: 1", &format!("days: {word}"));
        assert_eq!(loaded.spec.map(|s| s.jobs[0].storages[0].retention.days), Some(days), "{word}: {said}");
        let warning = format!(
            "main.conf:9:65: warning: jobs[0].storages[0].store.days: `{word}` is octal and means {days}, as in v2\n"
        );
        assert_eq!(said.contains(&warning), octal, "{word}: {said}");
        assert_eq!(said.is_empty(), !octal, "{word}: {said}");
    }
    for word in ["0x10", "0o10", "3.0", "1e3", "1:30", "1_000", "three", "99999999999999999999"] {
        let (_, said) = with("days: 1", &format!("days: {word}"));
        let error = format!(
            "main.conf:9:65: error: jobs[0].storages[0].store.days: `{word}` is not a whole number\n"
        );
        assert_eq!(said, error);
    }
}

#[test]
fn a_retention_of_nothing_is_unset_and_one_of_all_zeros_is_an_error() {
    for store in
        ["{days: 0, weeks: 1}", "{days: '', weeks: '1', month: ''}", "{days: , weeks: 1}", "{months: 1}"]
    {
        let (loaded, said) = with("{days: 1}", store);
        assert!(loaded.spec.is_some(), "{store}: {said}");
        assert_eq!(said, "", "{store}");
    }
    for store in
        ["{days: 0, weeks: 0, month: 0}", "{}", "''", "{days: '', weeks: '', month: ''}", "{days: 0}"]
    {
        let (loaded, said) = with("{days: 1}", store);
        assert!(loaded.spec.is_none(), "{store}");
        assert!(said.contains("jobs[0].storages[0].store: says nothing to keep"), "{store}: {said}");
    }
}

#[test]
fn byte_order_marks_and_all_line_ends_are_read() {
    let text = format!("{MAIN}jobs:\n{JOB}");
    for variant in [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        format!("---\n{text}"),
        format!("%YAML 1.1\n---\n{text}...\n"),
        text.replace("gzip: yes", "gzip:\tyes\t# comment"),
        text.replace("gzip: yes", "gzip: yes   "),
        text.replace("  sources:", "\t\n  sources:"),
        text.trim_end().to_owned(),
    ] {
        let (loaded, said) = bytes(variant.as_bytes());
        assert_eq!(said, "", "{variant:?}");
        let spec = loaded.spec.unwrap();
        assert_eq!(spec.jobs[0].name, "site");
        assert_eq!(spec.jobs[0].sources[0].compression, Compression::Gzip(4), "{variant:?}");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_named_at_their_place() {
    let (_, said) = bytes(b"main: {server_name: caf\xe9, admin_mail: a}\njobs: []\n");
    assert_eq!(said, "main.conf:1:24: error: not UTF-8 text\n");
    let utf16: Vec<u8> = "\u{feff}main: {}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(bytes(&utf16).1, "main.conf:1:1: error: not UTF-8 text\n");
}

#[test]
fn tabs_as_indentation_are_named_in_their_line() {
    let hint = "  hint: Indent with blanks only.\n";
    for (text, place) in [
        (JOB.replace("    gzip: yes", "\tgzip: yes"), "7:1"),
        (JOB.replace("    gzip: yes", "  \t  gzip: yes"), "7:3"),
    ] {
        let said = job(&text).1;
        let error =
            format!("main.conf:{place}: error: not valid YAML: this line is indented with a tab\n{hint}");
        assert_eq!(said, error);
    }
}

#[test]
fn what_needs_quotes_is_said_with_a_hint() {
    for (value, column, c) in [("*.log", 16, '*'), ("@home", 16, '@'), ("%x", 16, '%'), ("`x`", 16, '`')] {
        let (_, said) = with("gzip: yes", &format!("gzip: yes\n    excludes: [{value}]"));
        assert!(said.starts_with(&format!("main.conf:8:{column}: error: not valid YAML: ")), "{said}");
        let hint = format!("\n  hint: Put quotes around a value that begins with `{c}`.\n");
        assert!(said.ends_with(&hint), "{said}");
    }
    let (_, said) = with("gzip: yes", "gzip: yes\n    excludes: a: b");
    assert!(said.contains("put quotes around a value that holds a colon and a blank"), "{said}");
}

#[test]
fn doubled_keys_are_errors_at_the_second_one() {
    for (from, to, error) in [
        (
            "    gzip: yes",
            "    gzip: yes\n    gzip: no",
            "8:5: error: duplicate key `gzip`; it is already set in line 7",
        ),
        ("{days: 1}", "{days: 1, days: 1}", "9:68: error: duplicate key `days`; it is already set in line 9"),
        (
            "    gzip: yes",
            "    gzip: yes\n    targets: [/x]",
            "8:5: error: jobs[0].sources[0].targets: sets `target` a second time",
        ),
    ] {
        assert_eq!(with(from, to).1, format!("main.conf:{error}\n"));
    }
}

#[test]
fn anchors_and_merge_keys_work_within_a_file() {
    let text = format!(
        "{MAIN}x-local: &local {{storage: local, enable: yes, store: &keep {{days: '2', weeks: 1}}}}\njobs:\n{}",
        JOB.replace(
            "{storage: local, enable: yes, backup_dir: /b, store: {days: 1}}",
            "<<: *local\n    backup_dir: /b\n  - {<<: *local, backup_dir: /c, store: {<<: *keep, days: 9}}"
        )
    );
    let (loaded, said) = bytes(text.as_bytes());
    assert_eq!(said, "");
    let storages = loaded.spec.unwrap().jobs.remove(0).storages;
    let found: Vec<_> =
        storages.iter().map(|s| (&*s.backup_dir, s.retention.days, s.retention.weeks)).collect();
    assert_eq!(found, [("/b", 2, 1), ("/c", 9, 1)]);
}

#[test]
fn a_wrong_word_gets_the_one_that_was_meant() {
    for (from, to, hint) in [
        ("type: desc_files", "type: desc-files", "Did you mean `desc_files`?"),
        ("type: desc_files", "type: Desc_Files", "Did you mean `desc_files`?"),
        ("type: desc_files", "type: tapes", "Known are `desc_files`, "),
        ("storage: local", "storage: Local", "Did you mean `local`?"),
        ("storage: local", "storage: sftp", "Did you mean `scp`?"),
        ("storage: local", "storage: cifs", "Did you mean `smb`?"),
        ("storage: local", "storage: dropbox", "Known are `local`, "),
        ("gzip: yes", "gzip: yes\n    Excludes: []", "Did you mean `excludes`?"),
        ("  sources:", "  store: {days: 1}\n  sources:", "`store` belongs into an entry of `storages`."),
        ("  sources:", "  gzip: no\n  sources:", "`gzip` belongs into an entry of `sources`."),
        ("backup_dir: /b", "backup_dir: /b, compression: zstd", "`compression` belongs into `main`."),
    ] {
        let (loaded, said) = with(from, to);
        assert!(loaded.spec.is_none());
        assert!(said.contains(&format!("\n  hint: {hint}")), "{to}: {said}");
    }
    let mysql = "- job: d\n  type: mysql\n  sources:\n  - {connect: {host: h}, target: all, gzip: no, is_slave: no, extra_keys: ''}\n";
    assert!(job(mysql).1.contains("hint: Did you mean `db_host`?"), "{}", job(mysql).1);
}
