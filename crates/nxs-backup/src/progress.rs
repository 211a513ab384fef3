//! The line on a terminal that shows what a run does: target, bytes, rate. At most ten times a second.
//!
//! Pure text: the caller says when it is and writes what comes back. In cron nothing of this is used.

use jiff::{SignedDuration, Timestamp};
use nxs_base::event::Event;
use nxs_base::units::human_bytes;

use crate::messages::harmless;

/// Removes the line again.
pub const CLEAR: &str = "\r\x1b[K";

const PAUSE: SignedDuration = SignedDuration::from_millis(100);

/// What is shown now.
#[derive(Debug, Default)]
pub struct Progress {
    job: String,
    target: String,
    began: Option<Timestamp>,
    shown: Option<Timestamp>,
    visible: bool,
}

impl Progress {
    /// The bytes for the terminal, or none if nothing changes yet.
    pub fn on_event(&mut self, event: &Event<'_>, now: Timestamp) -> Option<String> {
        match event {
            Event::JobStarted { job } => {
                self.job = harmless(job);
                self.target.clear();
                self.show(0, now)
            }
            Event::TargetStarted { target, .. } => {
                self.target = harmless(target);
                self.began = Some(now);
                self.show(0, now)
            }
            Event::Progress { plain_bytes, .. } => {
                let early = self.shown.is_some_and(|t| now.duration_since(t) < PAUSE && now >= t);
                if early { None } else { self.show(*plain_bytes, now) }
            }
            Event::JobFinished { .. } | Event::RunFinished => self.clear(),
            _ => None,
        }
    }

    /// Takes the line away, if it is there, before something else is written.
    pub fn clear(&mut self) -> Option<String> {
        std::mem::take(&mut self.visible).then(|| CLEAR.to_owned())
    }

    fn show(&mut self, bytes: u64, now: Timestamp) -> Option<String> {
        self.shown = Some(now);
        self.visible = true;
        let millis = self.began.map_or(0, |t| now.duration_since(t).as_millis().max(0));
        let rate = match u64::try_from(millis) {
            Ok(ms) if ms > 0 && bytes > 0 => {
                let per_second = u128::from(bytes) * 1000 / u128::from(ms);
                format!("  {}/s", human_bytes(u64::try_from(per_second).unwrap_or(u64::MAX)))
            }
            _ => String::new(),
        };
        let what =
            if self.target.is_empty() { self.job.clone() } else { format!("{}: {}", self.job, self.target) };
        let size = if bytes > 0 { format!("  {}", human_bytes(bytes)) } else { String::new() };
        Some(format!("{CLEAR}{}{size}{rate}", cut(&what, 50)))
    }
}

/// The last `width` characters, so that the line does not wrap.
fn cut(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(count - width + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
    }

    #[test]
    fn shows_target_bytes_and_rate_at_most_ten_times_a_second() {
        let mut progress = Progress::default();
        progress.on_event(&Event::JobStarted { job: "sites" }, at(0)).unwrap();
        progress.on_event(&Event::TargetStarted { job: "sites", target: "a" }, at(0)).unwrap();
        assert_eq!(progress.on_event(&Event::Progress { target: "a", plain_bytes: 5 }, at(99)), None);
        let line =
            progress.on_event(&Event::Progress { target: "a", plain_bytes: 1 << 20 }, at(500)).unwrap();
        assert_eq!(line, "\r\x1b[Ksites: a  1.0 MiB  2.0 MiB/s");
        assert_eq!(progress.on_event(&Event::JobFinished { job: "sites" }, at(501)).unwrap(), CLEAR);
        assert_eq!(progress.clear(), None);
    }

    #[test]
    fn a_clock_that_jumps_back_neither_panics_nor_stops_the_line() {
        let mut progress = Progress::default();
        progress.on_event(&Event::TargetStarted { job: "j", target: "a" }, at(0)).unwrap();
        assert!(progress.on_event(&Event::Progress { target: "a", plain_bytes: 9 }, at(-5000)).is_some());
    }

    #[test]
    fn long_targets_keep_their_end() {
        assert_eq!(cut(&"x".repeat(60), 10), format!("…{}", "x".repeat(9)));
    }
}
