//! The end of a stream that passes: the last bytes, in which the end marker of a dump stands.

/// Bytes that are kept, and in which an end marker has to stand.
pub const TAIL_BYTES: usize = 1024;

/// The last [`TAIL_BYTES`] bytes of what was pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail(Vec<u8>);

impl Tail {
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        self.0.drain(..self.0.len().saturating_sub(TAIL_BYTES));
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the last line that is not empty starts with `marker`, and is complete.
    pub fn ends_with_line(&self, marker: &str) -> bool {
        let last = self.0.split(|b| *b == b'\n').rfind(|line| !line.is_empty());
        self.0.ends_with(b"\n") && last.is_some_and(|line| line.starts_with(marker.as_bytes()))
    }

    pub fn holds(&self, marker: &str) -> bool {
        self.0.windows(marker.len().max(1)).any(|window| window == marker.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_stream_is_the_same_however_it_was_cut_into_pieces() {
        let stream: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
        for piece in [1, 7, 1023, 1024, 1025, 5000] {
            let mut tail = Tail::default();
            stream.chunks(piece).for_each(|chunk| tail.push(chunk));
            assert_eq!(tail.bytes(), &stream[5000 - 1024..], "{piece}");
        }
    }

    #[test]
    fn a_marker_counts_in_the_last_line_alone_and_only_if_that_is_whole() {
        let tail = |text: &str| {
            let mut tail = Tail::default();
            tail.push(text.as_bytes());
            tail
        };
        assert!(tail("x\n-- done at noon\n").ends_with_line("-- done"));
        assert!(tail("-- done\n\n").ends_with_line("-- done"));
        assert!(!tail("x\n-- done").ends_with_line("-- done"));
        assert!(!tail("-- done\nx\n").ends_with_line("-- done"));
        assert!(!tail("").ends_with_line("-- done"));
        assert!(tail("-- done\nx").holds("-- done") && !tail("x").holds("-- done"));
    }
}
