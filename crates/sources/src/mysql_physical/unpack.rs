//! What was stored, put into a directory: the xbstream of the backup program, or a tar (prepared ones, and v2's).
//!
//! Writes only beneath the directory, follows no link, replaces nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Chain, Cursor, Read};
use std::os::unix::fs::FileExt;

use nxs_archive::tar::{TarReader, safe_path};
use nxs_archive::xbstream::{Parser, Piece};
use nxs_base::entry::EntryKind;
use nxs_base::ports::source::Cancel;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::safe::{self, Root};

/// What is read at once.
const BLOCK_BYTES: usize = 512 << 10;
const XBSTREAM: &[u8] = b"XBSTCK01";
const FILE_MODE: u32 = 0o660;

/// Unpacks all of `plain`. Fails with [`ErrorKind::Corrupt`] if that is neither form or not whole.
pub(super) fn unpack(mut plain: &mut dyn Read, root: &Root, cancel: &Cancel) -> Result<()> {
    let mut head = Vec::new();
    (&mut plain).take(XBSTREAM.len() as u64).read_to_end(&mut head).map_err(unread)?;
    let is_xbstream = head == XBSTREAM;
    let plain = Cursor::new(head).chain(plain);
    if is_xbstream { unpack_xbstream(plain, root, cancel) } else { unpack_tar(plain, root, cancel) }
}

fn unread(error: std::io::Error) -> Error {
    Error::from_io("cannot read the backup", error)
}

fn unwritten(path: &[u8], error: std::io::Error) -> Error {
    Error::io(format!("cannot write `{}`", path.escape_ascii()), error)
}

/// Directory and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn create(root: &Root, path: &[u8]) -> Result<File> {
    let (dir, name) = split(path);
    safe::create_file(root.dir(dir, true)?, name, FILE_MODE)
}

fn remove(root: &Root, path: &[u8]) -> Result<()> {
    let (dir, name) = split(path);
    safe::remove_file(root.dir(dir, false)?, name)
}

fn unpack_xbstream(
    mut plain: Chain<Cursor<Vec<u8>>, &mut dyn Read>,
    root: &Root,
    cancel: &Cancel,
) -> Result<()> {
    let mut open: BTreeMap<Vec<u8>, File> = BTreeMap::new();
    let mut take = |piece: Piece<'_>| match piece {
        Piece::Data { path, offset, bytes } => {
            if !open.contains_key(path) {
                open.insert(path.to_vec(), create(root, path)?);
            }
            let file = open.get(path).expect("it was opened above");
            file.write_all_at(bytes, offset).map_err(|e| unwritten(path, e))
        }
        Piece::Again { path } => match remove(root, path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        },
        Piece::End { path, size } => {
            let file = match open.remove(path) {
                Some(file) => file,
                None => create(root, path)?,
            };
            // Holes at the end.
            file.set_len(size).map_err(|e| unwritten(path, e))
        }
        Piece::Renamed { from, to } => {
            let ((old_dir, old), (new_dir, new)) = (split(from), split(to));
            safe::rename(root.dir(old_dir, false)?, old, root.dir(new_dir, true)?, new)
        }
        Piece::Removed { path } => remove(root, path),
    };
    let mut parser = Parser::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        cancel.check()?;
        match plain.read(&mut block) {
            Ok(0) => break,
            Ok(n) => parser.push(&block[..n], &mut take)?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unread(e)),
        }
    }
    parser.finish().map(drop)
}

fn unpack_tar(plain: Chain<Cursor<Vec<u8>>, &mut dyn Read>, root: &Root, cancel: &Cancel) -> Result<()> {
    let mut reader = TarReader::new(BufReader::with_capacity(BLOCK_BYTES, plain));
    let mut block = vec![0; BLOCK_BYTES];
    while let Some(entry) = reader.next()? {
        cancel.check()?;
        let path = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        if path.is_empty() || path == b"." {
            continue;
        }
        let path = safe_path(path)?;
        match entry.meta.kind {
            EntryKind::Dir => root.dir(&path, true).map(drop)?,
            EntryKind::File if entry.sparse.is_none() => {
                let file = create(root, &path)?;
                let mut offset = 0;
                loop {
                    cancel.check()?;
                    let n = reader.read_data(&mut block)?;
                    if n == 0 {
                        break;
                    }
                    file.write_all_at(&block[..n], offset).map_err(|e| unwritten(&path, e))?;
                    offset += n as u64;
                }
            }
            _ => {
                let text =
                    format!("`{}` is no plain file, as those of a data directory are", path.escape_ascii());
                return Err(Error::new(ErrorKind::Unsupported, text).with_hint("Unpack it with `tar`."));
            }
        }
    }
    // What is behind the end of the archive belongs to the stream all the same.
    let mut rest = reader.into_inner();
    while rest.read(&mut block).map_err(unread)? > 0 {
        cancel.check()?;
    }
    Ok(())
}
