//! The parser on streams made here, whatever the cuts; streams of the real tool are read in `tests/databases`.

use super::*;

fn crc(bytes: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    bytes.iter().for_each(|part| crc.update(part));
    crc.sum()
}

fn chunk(flags: u8, kind: u8, path: &str, rest: &[&[u8]]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([flags, kind]);
    out.extend((path.len() as u32).to_le_bytes());
    out.extend(path.as_bytes());
    rest.iter().for_each(|part| out.extend(*part));
    out
}

fn payload(path: &str, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let (length, offset) = ((bytes.len() as u64).to_le_bytes(), offset.to_le_bytes());
    chunk(0, b'P', path, &[&length, &offset, &crc(&[bytes]).to_le_bytes(), bytes])
}

fn end(path: &str) -> Vec<u8> {
    chunk(0, b'E', path, &[])
}

fn sparse(path: &str, offset: u64, stretches: &[(u32, u32)], bytes: &[u8]) -> Vec<u8> {
    let map: Vec<u8> =
        stretches.iter().flat_map(|(skip, len)| [skip.to_le_bytes(), len.to_le_bytes()].concat()).collect();
    let (length, offset) = ((bytes.len() as u64).to_le_bytes(), offset.to_le_bytes());
    let sum = crc(&[&map, bytes]).to_le_bytes();
    chunk(0, b'S', path, &[&(stretches.len() as u32).to_le_bytes(), &length, &offset, &sum, &map, bytes])
}

/// What comes out, one piece in a line, data that follows joined; with the totals or the error at the end.
fn parsed(stream: &[u8], cut: usize) -> String {
    let mut out: Vec<(String, Vec<u8>, u64)> = Vec::new();
    let mut parser = Parser::new();
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut take = |piece: Piece<'_>| {
        match piece {
            Piece::Data { path, offset, bytes } => match out.last_mut() {
                Some((last, data, next)) if *last == show(path) && *next == offset => {
                    data.extend(bytes);
                    *next += bytes.len() as u64;
                }
                _ => out.push((show(path), bytes.to_vec(), offset + bytes.len() as u64)),
            },
            Piece::Again { path } => out.push((format!("again {}", show(path)), Vec::new(), 0)),
            Piece::End { path, size } => out.push((format!("end {} {size}", show(path)), Vec::new(), 0)),
            Piece::Renamed { from, to } => {
                out.push((format!("{} to {}", show(from), show(to)), Vec::new(), 0));
            }
            Piece::Removed { path } => out.push((format!("no {}", show(path)), Vec::new(), 0)),
        }
        Ok(())
    };
    let pushed = stream.chunks(cut).try_for_each(|bytes| parser.push(bytes, &mut take));
    let ended = pushed.and_then(|()| parser.finish());
    let mut lines: Vec<String> = out
        .into_iter()
        .map(|(what, data, next)| match data.is_empty() {
            true => what,
            false => format!("{what} {}={}", next - data.len() as u64, show(&data)),
        })
        .collect();
    lines.push(match ended {
        Ok(totals) => format!("{} files, {} bytes", totals.files, totals.bytes),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            error.to_string()
        }
    });
    lines.join("\n")
}

fn check(stream: &[Vec<u8>], expected: &str) {
    let stream = stream.concat();
    for cut in [1, 2, 3, 7, 13, 64, stream.len().max(1)] {
        assert_eq!(parsed(&stream, cut), expected, "in pieces of {cut}");
    }
}

#[test]
fn files_come_out_as_they_went_in_however_the_stream_is_cut() {
    let stream = [
        payload("ib_logfile0", 0, b"log1"),
        payload("./shop/t.ibd", 0, b"page"),
        payload("ib_logfile0", 4, b"log2"),
        payload("shop/t.ibd", 4, b"more"),
        end("shop/t.ibd"),
        end("mysql/empty.CSV"),
        payload("x", 0, b""),
        end("x"),
        end("ib_logfile0"),
    ];
    check(
        &stream,
        "ib_logfile0 0=log1\nshop/t.ibd 0=page\nib_logfile0 4=log2\nshop/t.ibd 4=more\nend shop/t.ibd 8\n\
         end mysql/empty.CSV 0\nend x 0\nend ib_logfile0 8\n4 files, 16 bytes",
    );
}

#[test]
fn holes_seeks_renames_and_removals_are_understood() {
    let stream = [
        payload("a", 0, b"12"),
        sparse("a", 2, &[(4, 2), (0, 0), (10, 1), (5, 0)], b"XYZ"),
        payload("a", 24, b"!"),
        end("a"),
        payload("b", 0, b"1"),
        chunk(0, b'S', "b", &[&9_u64.to_le_bytes()]),
        payload("b", 9, b"2"),
        end("b"),
        chunk(0, b'R', "b", &[&3_u32.to_le_bytes(), b"c/d"]),
        chunk(0, b'D', "a", &[]),
        chunk(FLAG_REWRITE, b'P', "e", &[&payload("e", 0, b"new")[FIXED_BYTES + 1..]]),
        end("e"),
    ];
    check(
        &stream,
        "a 0=12\na 6=XY\na 18=Z\na 24=!\nend a 25\nb 0=1\nb 9=2\nend b 10\nb to c/d\nno a\nagain e\ne 0=new\nend e 3\n\
         3 files, 11 bytes",
    );
}

#[test]
fn a_stream_that_was_cut_anywhere_is_no_stream() {
    let stream = [payload("a", 0, b"123"), end("a"), payload("b", 0, b"4"), end("b")].concat();
    let whole = [0, payload("a", 0, b"123").len() + end("a").len(), stream.len()];
    for length in 0..stream.len() {
        let said = parsed(&stream[..length], 5);
        assert_eq!(said.ends_with("1 files, 3 bytes"), whole[1] == length, "{length}: {said}");
    }
    check(
        &[payload("a", 0, b"1")],
        "a 0=1\nthe xbstream 1 files have no end, `a` among them, in the chunk at byte 36",
    );
    check(&[], "the xbstream holds no file, in the chunk at byte 0");
}

#[test]
fn damage_is_told_with_its_place() {
    let good = payload("a", 0, b"123");
    let damaged = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let table: [(Vec<u8>, &str); 9] = [
        (damaged(0, b'Y'), "something else where a chunk should begin"),
        (damaged(9, b'Q'), "a chunk of the type `Q`"),
        (damaged(10, 0), "names a file ``"),
        (damaged(14, b'/'), "names a file `/`"),
        (damaged(14, 0), "names a file `\\x00`"),
        (damaged(23, 1), "where byte 0 should follow"),
        (damaged(31, 9), "with another checksum"),
        (payload("x/../../y", 0, b"1"), "names a file `x/../../y`"),
        (payload("a", u64::MAX, b"1"), "beyond the end of any file"),
    ];
    for (bytes, words) in table {
        let said = parsed(&bytes, 4);
        assert!(said.contains(words), "{said}");
    }
    // Every single bit.
    let stream = [good, end("a")].concat();
    for bit in 0..stream.len() * 8 {
        let mut bytes = stream.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let said = parsed(&bytes, 9);
        // Flags alone may change without a difference.
        assert!(!said.ends_with("1 files, 3 bytes") || [8, 46].contains(&(bit / 8)), "{bit}: {said}");
    }
}
