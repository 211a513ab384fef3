//! From replies of FTP servers to kinds of errors. Codes decide as far as they tell; a full disk has no code of its
//! own on most servers, so their words are read for that alone.

use nxs_base::{Error, ErrorKind};

use super::control::Reply;
use crate::net::Server;

/// What a refusal means.
pub(super) fn kind(reply: &Reply) -> ErrorKind {
    let words = reply.text.to_ascii_lowercase();
    let says = |list: &[&str]| list.iter().any(|w| words.contains(w));
    if reply.code >= 400
        && says(&[
            "no space",
            "disk full",
            "quota",
            "file system full",
            "to local file",
            "insufficient",
            "aborted. input/output",
            "during write to file",
        ])
    {
        return ErrorKind::Full;
    }
    if reply.code >= 400 && says(&["permission denied", "read-only"]) {
        return ErrorKind::Denied;
    }
    match reply.code {
        421 => ErrorKind::Busy,
        425 | 426 => ErrorKind::Unreachable,
        450 => ErrorKind::Busy,
        452 | 552 => ErrorKind::Full,
        430 | 530 | 532 | 550 | 553 => ErrorKind::Denied,
        500 | 501 | 502 | 503 | 504 | 534 | 536 => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

/// The error that a refusal is; `what` ends with its preposition.
pub(super) fn refused(server: &Server, what: &str, reply: &Reply) -> Error {
    let kind = kind(reply);
    let error = server.error(kind, what, &format!("it answered `{reply}`"));
    match kind {
        ErrorKind::Full => error.with_hint("Free room there, raise the quota, or keep fewer backups."),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_the_words_for_a_full_disk_tell_the_kind() {
        let of = |code, text: &str| kind(&Reply { code, text: text.into(), between: Vec::new() });
        assert_eq!(of(530, "Login incorrect."), ErrorKind::Denied);
        assert_eq!(of(421, "Timeout."), ErrorKind::Busy);
        assert_eq!(of(552, "x"), ErrorKind::Full);
        assert_eq!(of(426, "Failure writing to local file."), ErrorKind::Full);
        assert_eq!(of(426, "Failure reading network stream."), ErrorKind::Unreachable);
        assert_eq!(of(451, "Error during write: No space left on device"), ErrorKind::Full);
        assert_eq!(of(451, "Rename/move failure: Permission denied"), ErrorKind::Denied);
        assert_eq!(of(502, "what?"), ErrorKind::Unsupported);
    }
}
