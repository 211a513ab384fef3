//! The record's promises: old files keep parsing, damage is told, nothing panics.

use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;

const V1: &str = include_str!("../../../../testdata/records/v1.json");
const LOG: &str = include_str!("../../../../testdata/records/v1-log.json");

fn sample() -> Record {
    Record {
        id: BackupId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        program: "nxs-backup 4.0.0".into(),
        server_name: "web-01".into(),
        host: "web01.example.org".into(),
        job: "files".into(),
        source: 1,
        target: "site1".into(),
        part: "site1".into(),
        root: "/var/www/site1/data".into(),
        kind: "desc_files".into(),
        level: "full".into(),
        parents: vec![],
        started: "2026-02-01T00:00:03.25Z".parse().unwrap(),
        finished: "2026-02-01T00:07:41Z".parse().unwrap(),
        local: "2026-02-01T03:00:03".parse().unwrap(),
        plain_bytes: 10240,
        compressed_bytes: 2048,
        stored_bytes: 2048,
        archive: StoredDigest { blake3: "ab".repeat(32), sha256: "cd".repeat(32), bytes: 2048 },
        index: Some(IndexDigest {
            stored: StoredDigest { blake3: "01".repeat(32), sha256: "23".repeat(32), bytes: 300 },
            plain_bytes: 900,
        }),
        compression: "gzip-6".into(),
        recipients: vec!["age1example".into()],
        tools: vec![Tool { name: "mysqldump".into(), version: "10.19".into(), exit_status: 0 }],
        completeness: Completeness::Gaps,
        counts: [("racy".to_owned(), 2), ("unreadable".to_owned(), 1)].into(),
        periods: Periods::ALL,
        files: 17,
        dirs: 3,
        end_marker: None,
        log: None,
    }
}

fn increment() -> Record {
    let origin =
        LogOrigin { server: "0f".repeat(16), up_since: 1_790_000_000, tool: "mariadb-backup 10.11".into() };
    let parent =
        ParentArchive { name: "mariadb_backup_2026-01-31_03-00.xbstream.gz".into(), blake3: "ef".repeat(32) };
    Record {
        level: Record::INCREMENT.into(),
        parents: vec![BackupId(7), BackupId(1)],
        log: Some(LogSpan { origin, from: 47_633, to: 98_765_432_100, parent: Some(parent) }),
        ..sample()
    }
}

fn kind_of(text: &str) -> ErrorKind {
    Record::parse(text.as_bytes()).unwrap_err().kind()
}

#[test]
fn a_record_of_format_1_keeps_parsing_and_is_written_the_same() {
    assert_eq!(Record::parse(V1.as_bytes()).unwrap(), sample());
    assert_eq!(sample().to_line(), V1);
}

#[test]
fn an_increment_tells_its_place_in_the_log_and_what_comes_before_it() {
    let line = increment().to_line();
    assert_eq!(line, LOG);
    assert_eq!(Record::parse(line.as_bytes()).unwrap(), increment());
    for (from, to) in [
        ("\"from\":47633", "\"from\":98765432101"),
        ("\"from\":47633", "\"from\":0"),
        ("\"server\":\"0f", "\"server\":\"0F"),
        (",\"parent\":{\"name\":\"mariadb", ",\"other\":{\"name\":\"mariadb"),
        ("\"blake3\":\"ef", "\"blake3\":\"f"),
        (
            "\"parents\":[\"00000000000000000000000000000007\",\"00000000000000000000000000000001\"]",
            "\"parents\":[]",
        ),
    ] {
        let changed = line.replace(from, to);
        assert_ne!(changed, line, "{from}");
        assert_eq!(kind_of(&changed), ErrorKind::Corrupt, "{to}");
    }
}

#[test]
fn what_breaks_a_log_is_told() {
    let origin = increment().log.unwrap().origin;
    let later = |up_since| LogOrigin { up_since, ..origin.clone() };
    assert_eq!(origin.broken_by(&later(1_790_000_001)), None);
    assert_eq!(origin.broken_by(&later(1_789_999_999)), None);
    let told = |now: &LogOrigin| origin.broken_by(now).unwrap();
    assert!(told(&later(1_790_000_060)).contains("started anew"));
    assert!(told(&LogOrigin { server: "00".repeat(16), ..origin.clone() }).contains("data directory"));
    assert!(told(&LogOrigin { tool: "mariadb-backup 11.4".into(), ..origin.clone() }).contains("version"));
}

#[test]
fn a_record_is_one_line() {
    let odd = Record { target: "a\nb\"\u{7f}".into(), ..sample() };
    let line = odd.to_line();
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.starts_with(r#"{"format":1,"#) && line.ends_with("}\n"));
    assert_eq!(Record::parse(line.as_bytes()).unwrap(), odd);
}

#[test]
fn a_second_line_and_unknown_fields_are_tolerated() {
    let signed = format!("{V1}{{\"sig\":\"\\u00ff\"}}\n");
    assert_eq!(Record::parse(signed.as_bytes()).unwrap(), sample());
    let mut not_text = V1.as_bytes().to_vec();
    not_text.extend([0xff, 0, b'{']);
    assert_eq!(Record::parse(&not_text).unwrap(), sample());
    let later = V1.replace("\"format\":1,", "\"format\":1,\"colour\":{\"of\":[1,2]},");
    assert_eq!(Record::parse(later.as_bytes()).unwrap(), sample());
}

#[test]
fn a_later_format_is_unsupported_even_if_nothing_else_is_known() {
    assert_eq!(kind_of("{\"format\":2}\n"), ErrorKind::Unsupported);
    assert_eq!(kind_of(&V1.replace("\"format\":1", "\"format\":4000000000")), ErrorKind::Unsupported);
    for bad in
        ["{\"format\":0}\n", "{\"format\":-1}\n", "{\"format\":\"1\"}\n", "{}\n", "\n", "", "[]\n", "null\n"]
    {
        assert_eq!(kind_of(bad), ErrorKind::Corrupt, "{bad:?}");
    }
}

#[test]
fn a_cut_record_never_parses() {
    for end in 0..V1.len() {
        assert_eq!(kind_of(&V1[..end]), ErrorKind::Corrupt, "{end}");
    }
}

#[test]
fn contradictions_and_excess_are_corrupt() {
    let changes = [
        ("\"stored_bytes\":2048", "\"stored_bytes\":2049"),
        ("\"periods\":[\"daily\"", "\"periods\":[\"hourly\""),
        ("\"id\":\"0123", "\"id\":\"+123"),
        ("\"id\":\"0123", "\"id\":\"123"),
        ("\"blake3\":\"ab", "\"blake3\":\"AB"),
        ("\"started\":\"2026", "\"started\":\"x026"),
        ("\"completeness\":\"gaps\"", "\"completeness\":\"torn\""),
        ("\"files\":17", "\"files\":-17"),
        ("\"files\":17", "\"files\":17,\"files\":18"),
    ];
    for (from, to) in changes {
        let changed = V1.replace(from, to);
        assert_ne!(changed, V1, "{from}");
        assert_eq!(kind_of(&changed), ErrorKind::Corrupt, "{to}");
    }
    let many = Record { recipients: vec!["a".into(); 1025], ..sample() };
    assert_eq!(kind_of(&many.to_line()), ErrorKind::Corrupt);
    let long = format!("{V1}{}", " ".repeat(Record::MAX_BYTES as usize));
    assert_eq!(kind_of(&long), ErrorKind::Corrupt);
    let deep = format!("{{\"format\":1,\"x\":{}\n", "[".repeat(100_000));
    assert_eq!(kind_of(&deep), ErrorKind::Corrupt);
}

proptest! {
    #[test]
    fn a_damaged_record_never_panics(at in 0..V1.len(), byte in any::<u8>(), cut in 0..V1.len()) {
        let mut bytes = V1.as_bytes().to_vec();
        bytes[at] = byte;
        let whole = Record::parse(&bytes);
        bytes.truncate(cut);
        let part = Record::parse(&bytes);
        // Either it is refused, or what it says can be written and read again.
        for record in [whole, part].into_iter().flatten() {
            prop_assert_eq!(Record::parse(record.to_line().as_bytes()).unwrap(), record);
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Record::parse(&bytes).is_err());
    }
}
