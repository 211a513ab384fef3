//! The one error type that crosses crate borders: a kind to decide by, words to show, a hint to act on.
//!
//! Adapters map native errors to an [`ErrorKind`] once, where they occur. Retry, exit code and report choose by
//! kind, never by text. `Display` never prints the source; [`Error::chain`] does, at the edge.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object, file or target is not there.
    NotFound,
    /// An object of that name is there already; nothing was replaced.
    Exists,
    /// Permission refused.
    Denied,
    /// No room, quota or inodes left.
    Full,
    Busy,
    RateLimited,
    Timeout,
    /// The other side cannot be reached, or ended the connection.
    Unreachable,
    /// Digest, size or format does not fit.
    Corrupt,
    Unsupported,
    /// A child program failed.
    Tool,
    /// The run was cancelled.
    Cancelled,
    /// The caller broke a rule of the interface, or the input breaks a rule of the format's use.
    Invalid,
    Other,
}

impl ErrorKind {
    /// Whether trying the same thing again may help.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::RateLimited | Self::Timeout | Self::Unreachable)
    }
}

/// An error: what was tried on what, why it ended, and what may help.
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// `message` is lower case, without a full stop, with literals in backticks.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Wraps an operating system error with what was tried; the kind follows from the error.
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        Self { kind: io_kind(&source), message: message.into(), hint: None, source: Some(Box::new(source)) }
    }

    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// A sentence of advice, shown after `hint:`.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Its own, else that of its cause.
    pub fn hint(&self) -> Option<&str> {
        let of_cause = || self.source.as_ref()?.downcast_ref::<Self>()?.hint();
        self.hint.as_deref().or_else(of_cause)
    }

    /// The message followed by all causes, joined with `: `, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    /// Passes the error through an interface that only knows `io::Error`; [`Error::from_io`] takes it out again.
    pub fn into_io(self) -> std::io::Error {
        std::io::Error::other(self)
    }

    /// Takes out an [`Error`] that travelled inside an `io::Error`, else wraps it with `message`.
    pub fn from_io(message: impl Into<String>, error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) => Self::io(message, error),
        }
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::NotFound => ErrorKind::NotFound,
        K::AlreadyExists => ErrorKind::Exists,
        K::PermissionDenied | K::ReadOnlyFilesystem => ErrorKind::Denied,
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => ErrorKind::Full,
        K::TimedOut => ErrorKind::Timeout,
        K::ConnectionRefused
        | K::ConnectionReset
        | K::ConnectionAborted
        | K::NotConnected
        | K::HostUnreachable
        | K::NetworkUnreachable
        | K::NetworkDown => ErrorKind::Unreachable,
        K::ResourceBusy | K::WouldBlock => ErrorKind::Busy,
        K::Unsupported => ErrorKind::Unsupported,
        K::UnexpectedEof | K::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::Other,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| &**s as _)
    }
}
