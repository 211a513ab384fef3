//! The two streams of the program: data on stdout, everything said to people on stderr, prefixed as v2 did.
//!
//! Neighbours: `messages` has the sentences, `progress` the moving line; this only writes.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nxs_base::diag::Diagnostic;
use nxs_base::{Error, Result};

use crate::messages::{PREFIX, harmless};

/// stdout and stderr, or what tests put in their place.
pub struct Console {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    /// Whether stderr is a terminal.
    pub is_terminal: bool,
}

impl Console {
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, is_terminal: bool) -> Self {
        Self { out: Mutex::new(out), err: Mutex::new(err), is_terminal }
    }

    /// Writes data to stdout. A reader that went away (`| head`) is no error.
    pub fn data(&self, text: &str) -> Result<()> {
        let mut out = lock(&self.out);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::io("cannot write to standard output", e))
            }
            _ => Ok(()),
        }
    }

    /// Standard output for more than text: what is written fails as the stream does, a closed pipe too.
    pub fn stream(&self) -> impl Write + '_ {
        Stream(self)
    }

    /// Says one sentence on stderr, with the prefix.
    pub fn say(&self, text: &str) {
        self.raw(&format!("{PREFIX}{}\n", harmless(text)));
    }

    /// Says an error with its causes and its hint.
    pub fn say_error(&self, error: &Error) {
        self.say_with_hint(&error.chain(), error.hint());
    }

    pub fn say_with_hint(&self, text: &str, hint: Option<&str>) {
        self.say(text);
        if let Some(hint) = hint {
            self.raw(&format!("  hint: {}\n", harmless(hint)));
        }
    }

    /// Says what is wrong with the configuration, and where.
    pub fn say_diagnostic(&self, diagnostic: &Diagnostic) {
        let bare = Diagnostic { hint: None, ..diagnostic.clone() };
        self.say_with_hint(&bare.to_string(), diagnostic.hint.as_deref());
    }

    /// Writes to stderr as it is. There is nobody left to tell when that fails.
    pub fn raw(&self, text: &str) {
        let mut err = lock(&self.err);
        drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
    }
}

struct Stream<'a>(&'a Console);

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0.out).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        lock(&self.0.out).flush()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
