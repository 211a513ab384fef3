//! What is written is read again, in pieces of any size, and nothing that was changed or cut passes for whole.

use nxs_base::{ErrorKind, Result};

use super::*;

fn prelude() -> Prelude {
    let collection = |name: &str, kind: &str| Collection {
        db: "shöp".into(),
        name: name.into(),
        metadata: format!("{{\"collectionName\":\"{name}\"}}"),
        kind: kind.into(),
    };
    Prelude {
        concurrent_collections: 2,
        server_version: "7.0.14".into(),
        tool_version: "x".into(),
        collections: vec![
            collection("a", "collection"),
            collection("b.c", ""),
            collection("v", "view"),
            collection("s", "timeseries"),
        ],
    }
}

fn document(n: u8) -> Vec<u8> {
    doc::encode(&[("n", doc::Value::Int32(n.into()))])
}

/// Two collections in turn, one view and one series.
fn archive() -> Vec<u8> {
    let (mut writer, mut bytes) = Writer::new(&prelude()).unwrap();
    let mut put = |writer: &mut Writer, place, documents: Vec<u8>| {
        bytes.extend(writer.documents(place, &documents));
        bytes.extend(documents);
    };
    put(&mut writer, 0, [document(1), document(2)].concat());
    put(&mut writer, 0, document(3));
    put(&mut writer, 1, document(4));
    put(&mut writer, 0, document(5));
    put(&mut writer, 3, document(6));
    for place in [2, 0, 3] {
        bytes.extend(writer.end(place));
    }
    let documents = document(7);
    bytes.extend(writer.documents(1, &documents));
    bytes.extend(documents);
    bytes.extend(writer.end(1));
    writer.finish().unwrap();
    bytes
}

fn parsed(bytes: &[u8], piece: usize) -> Result<String> {
    let mut parser = Parser::default();
    let mut said = String::new();
    for chunk in bytes.chunks(piece) {
        parser.push(chunk, &mut |event| {
            match event {
                Event::Prelude(found) => assert_eq!(found, &prelude()),
                Event::Document(place, unit) => said += &format!("{place}:{} ", unit[7]),
                Event::End(place) => said += &format!("{place}! "),
            }
            Ok(())
        })?;
    }
    parser.finish()?;
    Ok(said)
}

#[test]
fn collections_in_turn_come_out_as_they_went_in_whatever_the_pieces() {
    let bytes = archive();
    for piece in [1, 2, 3, 5, 7, 64, 1 << 20] {
        assert_eq!(parsed(&bytes, piece).unwrap(), "0:1 0:2 0:3 1:4 0:5 3:6 2! 0! 3! 1:7 1! ", "{piece}");
    }
    assert_eq!(bytes[..4], MAGIC);
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!((text.matches("system.buckets.s").count(), text.matches("EOF").count()), (2, 9));
}

#[test]
fn an_archive_that_is_cut_anywhere_is_not_whole() {
    let bytes = archive();
    for length in 0..bytes.len() {
        let error = parsed(&bytes[..length], 4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error}");
    }
}

#[test]
fn a_flipped_bit_in_a_document_is_found_by_the_sum() {
    let bytes = archive();
    let wanted = document(5);
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    let mut bytes = bytes.clone();
    bytes[at + 7] ^= 1;
    assert!(
        parsed(&bytes, 100)
            .unwrap_err()
            .to_string()
            .contains("the sum over the documents of `shöp.a` is wrong")
    );
}

#[test]
fn series_of_new_servers_keep_their_names() {
    for (version, name) in
        [("7.0.1", "system.buckets.s"), ("8.2.9", "system.buckets.s"), ("8.3.0", "s"), ("10.0", "s")]
    {
        let prelude = Prelude { server_version: version.into(), ..prelude() };
        assert_eq!(prelude.data_name(&prelude.collections[3]), name, "{version}");
    }
}

#[test]
fn an_archive_without_the_end_of_a_collection_is_not_given_out() {
    let (mut writer, _) = Writer::new(&prelude()).unwrap();
    writer.end(0);
    let text = writer.finish().unwrap_err().to_string();
    assert_eq!(text, "the archive stops before the end of `shöp.b.c`");
}

#[test]
fn bare_documents_come_one_by_one() {
    let bytes = [document(1), document(2)].concat();
    for piece in [1, 3, 100] {
        let (mut parser, mut said) = (RawParser::default(), Vec::new());
        for chunk in bytes.chunks(piece) {
            parser
                .push(chunk, &mut |unit| {
                    said.push(unit[7]);
                    Ok(())
                })
                .unwrap();
        }
        parser.finish().unwrap();
        assert_eq!(said, [1, 2]);
    }
    let mut parser = RawParser::default();
    parser.push(&bytes[..20], &mut |_| Ok(())).unwrap();
    assert_eq!(parser.finish().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(RawParser::default().push(b"CREATE TABLE", &mut |_| Ok(())).is_err());
}
