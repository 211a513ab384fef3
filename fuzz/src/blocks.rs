//! An index as its plain blocks, one after the other, in a form that mutations leave readable: to get behind the
//! checksums of zstd and the hash of the directory. [`disassemble`] makes it of an index, [`assemble`] an index of it.

use std::cell::RefCell;

/// A block of an index as [`assemble`] takes it.
struct PlainBlock {
    /// 1 header, 2 entries, 3 frame table; 4 stands for a directory that is taken as it is.
    kind: u8,
    count: u64,
    /// First path of entries; 8 bytes with the plain offset of frames.
    key: Vec<u8>,
    plain: Vec<u8>,
}

/// The form of blocks that [`assemble`] reads.
fn pack_blocks(blocks: &[PlainBlock]) -> Vec<u8> {
    let mut data = Vec::new();
    for block in blocks {
        data.push(block.kind);
        data.extend_from_slice(&block.count.to_le_bytes());
        data.extend_from_slice(&(block.key.len() as u16).to_le_bytes());
        data.extend_from_slice(&block.key);
        data.extend_from_slice(&(block.plain.len() as u32).to_le_bytes());
        data.extend_from_slice(&block.plain);
    }
    data
}

thread_local! {
    static ZSTD: RefCell<zstd::bulk::Compressor<'static>> =
        RefCell::new(zstd::bulk::Compressor::new(1).expect("zstd needs only memory"));
}

/// Kind of what stands between the blocks of two indexes.
const NEXT_INDEX: u8 = 5;
/// More levels than a chain has.
const MAX_INDEXES: usize = 6;

/// The indexes of a chain: blocks as [`assemble`] takes them, with one of kind 5 between two indexes.
pub fn assemble_all(data: &[u8]) -> Vec<Vec<u8>> {
    unpack(data).split(|block| block.kind == NEXT_INDEX).take(MAX_INDEXES).map(seal).collect()
}

/// The blocks of several indexes as [`assemble_all`] takes them.
pub fn disassemble_all(files: &[Vec<u8>]) -> Vec<u8> {
    let next = pack_blocks(&[PlainBlock { kind: NEXT_INDEX, count: 0, key: Vec::new(), plain: Vec::new() }]);
    files.iter().map(|file| disassemble(file)[0].clone()).collect::<Vec<_>>().join(&next[..])
}

/// An index of these blocks, with a directory and a footer that fit. Takes as much as there is, whatever the lengths say.
pub fn assemble(data: &[u8]) -> Vec<u8> {
    seal(&unpack(data))
}

fn unpack(mut data: &[u8]) -> Vec<PlainBlock> {
    fn some<'a>(data: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (now, later) = data.split_at(length.min(data.len()));
        *data = later;
        now
    }
    let mut blocks = Vec::new();
    while !data.is_empty() {
        let kind = number(some(&mut data, 1)) as u8;
        let count = number(some(&mut data, 8));
        let key_bytes = number(some(&mut data, 2)) as usize;
        let key = some(&mut data, key_bytes).to_vec();
        let plain_bytes = number(some(&mut data, 4)) as usize;
        let plain = some(&mut data, plain_bytes).to_vec();
        blocks.push(PlainBlock { kind, count, key, plain });
    }
    blocks
}

/// Little endian, of as many bytes as there are, eight at most.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn seal(of: &[PlainBlock]) -> Vec<u8> {
    let pack =
        |plain: &[u8]| ZSTD.with_borrow_mut(|zstd| zstd.compress(plain)).expect("zstd takes any bytes");
    let (mut file, mut list, mut blocks, mut before) = (Vec::new(), Vec::new(), 0, &b""[..]);
    let mut own_directory = None;
    for PlainBlock { kind, count, key, plain } in of {
        if *kind == 4 {
            own_directory = Some(&plain[..]);
            continue;
        }
        let stored = pack(plain);
        blocks += 1;
        list.push(*kind);
        put_varint(&mut list, stored.len() as u64);
        put_varint(&mut list, *count);
        file.extend_from_slice(&stored);
        if *kind == 2 {
            let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
            put_varint(&mut list, shared as u64);
            put_varint(&mut list, (key.len() - shared) as u64);
            list.extend_from_slice(&key[shared..]);
            before = key;
        } else if *kind == 3 {
            put_varint(&mut list, number(key));
        }
    }
    let mut directory = vec![4];
    put_varint(&mut directory, blocks);
    directory.extend_from_slice(&list);
    let directory = pack(own_directory.unwrap_or(&directory));
    let offset = file.len() as u64;
    file.extend_from_slice(&directory);
    file.extend_from_slice(&0x184d_2a5b_u32.to_le_bytes());
    file.extend_from_slice(&40_u32.to_le_bytes());
    file.extend_from_slice(b"nxsidx\r\n\x01\0\0\0");
    file.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    file.extend_from_slice(&offset.to_le_bytes());
    file.extend_from_slice(&blake3::hash(&directory).as_bytes()[..16]);
    file
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The inverse of [`assemble`] for an index of the program's own: its blocks, without and with the directory.
/// Panics on anything else.
pub fn disassemble(file: &[u8]) -> [Vec<u8>; 2] {
    let mut blocks = Vec::new();
    let mut at = 0;
    let length = |at: usize| zstd::zstd_safe::find_frame_compressed_size(&file[at..]).expect("a frame");
    while at < file.len() - 48 {
        let stored = &file[at..at + length(at)];
        at += stored.len();
        blocks.push(zstd::decode_all(stored).expect("a sound frame"));
    }
    let directory = blocks.pop().expect("the directory is the last block");
    let mut list = &directory[1..];
    let mut path = Vec::new();
    assert_eq!(take_varint(&mut list), blocks.len() as u64);
    let mut whole: Vec<PlainBlock> = Vec::new();
    for plain in blocks {
        let kind = take(&mut list, 1)[0];
        take_varint(&mut list);
        let count = take_varint(&mut list);
        let key = match kind {
            2 => {
                path.truncate(take_varint(&mut list) as usize);
                let more = take_varint(&mut list) as usize;
                path.extend_from_slice(take(&mut list, more));
                path.clone()
            }
            3 => take_varint(&mut list).to_le_bytes().to_vec(),
            _ => Vec::new(),
        };
        whole.push(PlainBlock { kind, count, key, plain });
    }
    let without = pack_blocks(&whole);
    whole.push(PlainBlock { kind: 4, count: 0, key: Vec::new(), plain: directory });
    [without, pack_blocks(&whole)]
}

fn take<'a>(data: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (now, later) = data.split_at(length);
    *data = later;
    now
}

fn take_varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(data, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
