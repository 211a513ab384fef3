//! Drains what a program complains of, by a thread for each pipe, and keeps the end of it.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Bytes that are kept.
const KEPT_BYTES: usize = 16 << 10;

/// The end of what came through one or more pipes.
#[derive(Debug)]
pub(super) struct Drain {
    kept: Arc<Mutex<VecDeque<u8>>>,
    done: Receiver<()>,
    sender: Option<Sender<()>>,
}

impl Default for Drain {
    fn default() -> Self {
        let (sender, done) = channel();
        Self { kept: Arc::default(), done, sender: Some(sender) }
    }
}

impl Drain {
    /// Drains this pipe too, until its end.
    pub(super) fn also(&mut self, mut pipe: impl Read + Send + 'static) {
        let (kept, sender) = (Arc::clone(&self.kept), self.sender.clone());
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            loop {
                match pipe.read(&mut block) {
                    Ok(0) => break,
                    Ok(n) => keep(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), &block[..n]),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            drop(sender);
        });
    }

    /// What was kept, as lines, once all pipes are at their end; at the latest at `until` (a process that left the
    /// group may hold a pipe open for ever).
    pub(super) fn take(&mut self, until: Instant) -> Vec<String> {
        self.sender = None;
        let left = until.saturating_duration_since(Instant::now());
        match self.done.recv_timeout(left) {
            Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous()).into_owned();
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

fn keep(kept: &mut VecDeque<u8>, bytes: &[u8]) {
    kept.extend(bytes);
    let over = kept.len().saturating_sub(KEPT_BYTES);
    kept.drain(..over);
}
