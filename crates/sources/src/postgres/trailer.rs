//! The end of what `pg_dump` and `pg_dumpall` write as statements.

use nxs_base::{Error, ErrorKind, Result};

use crate::stream::Dumped;

/// Opens the last comment of a database.
pub(super) const DATABASE: &str = "-- PostgreSQL database dump complete";
/// Opens the last comment of a server.
pub(super) const SERVER: &str = "-- PostgreSQL database cluster dump complete";

/// [`ErrorKind::Corrupt`] unless the output ends with its trailer, to the last byte.
pub(super) fn check(dumped: &Dumped, marker: &str) -> Result<()> {
    if is_whole(dumped.tail.bytes(), marker) {
        return Ok(());
    }
    let text = format!(
        "the output of `{}` was cut after {} bytes: it does not end with `{marker}`",
        dumped.ended.name, dumped.bytes
    );
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// The comment, `--`, an empty line; newer versions of `pg_dump` then close `\restrict`, and write another empty line.
fn is_whole(tail: &[u8], marker: &str) -> bool {
    let end = format!("\n--\n{marker}\n--\n\n");
    let Some(at) = tail.windows(end.len()).rposition(|window| window == end.as_bytes()) else { return false };
    let rest = &tail[at + end.len()..];
    let closed = rest.strip_prefix(b"\\unrestrict ").and_then(|rest| rest.strip_suffix(b"\n\n"));
    rest.is_empty() || closed.is_some_and(|key| !key.is_empty() && key.iter().all(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_of_either_generation_is_whole_and_one_byte_less_is_not() {
        let old = b"x\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
        let new = [&old[..], b"\\unrestrict ObrnXbxb\n\n"].concat();
        for whole in [&old[..], &new] {
            assert!(is_whole(whole, DATABASE) && !is_whole(whole, SERVER));
        }
        for cut in (0..old.len()).chain(old.len() + 1..new.len()) {
            assert!(!is_whole(&new[..cut], DATABASE), "{cut}");
        }
        assert!(!is_whole(b"x\n--\n-- PostgreSQL database dump complete\n--\n\nmore\n\n", DATABASE));
    }
}
