//! Trying again: bounded, with pauses that double and are never the same, and only after errors that may pass.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use nxs_base::Result;

/// How often, and how long the first pause is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    tries: u32,
    pause: Duration,
}

impl Retry {
    const FIRST_PAUSE: Duration = Duration::from_millis(400);

    pub(crate) fn new(tries: u32) -> Self {
        Self { tries: tries.max(1), pause: Self::FIRST_PAUSE }
    }

    /// Runs `act` until it succeeds, fails for good, or has failed often enough. It gets the number of the try,
    /// from 0.
    pub(crate) fn run<T>(self, mut act: impl FnMut(u32) -> Result<T>) -> Result<T> {
        let mut tried = 0;
        loop {
            match act(tried) {
                Err(error) if error.kind().is_transient() && tried + 1 < self.tries => {
                    tried += 1;
                    std::thread::sleep(self.before(tried));
                }
                other => return other,
            }
        }
    }

    /// The pause before the `n`th repetition, from 1: doubled each time, give or take a quarter.
    fn before(self, n: u32) -> Duration {
        let whole = self.pause.saturating_mul(1 << n.saturating_sub(1).min(6));
        let chance = RandomState::new().hash_one(n) as f64 / u64::MAX as f64;
        whole.mul_f64(0.75 + chance / 2.0)
    }

    #[cfg(test)]
    pub(crate) fn without_pause(tries: u32) -> Self {
        Self { tries, pause: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nxs_base::{Error, ErrorKind};

    #[test]
    fn only_errors_that_may_pass_are_tried_again_and_not_for_ever() {
        let count = |kind: ErrorKind| {
            let mut tries = 0;
            let outcome: Result<()> = Retry::without_pause(4).run(|_| {
                tries += 1;
                Err(Error::new(kind, "no"))
            });
            assert_eq!(outcome.unwrap_err().kind(), kind);
            tries
        };
        assert_eq!((count(ErrorKind::Unreachable), count(ErrorKind::Timeout)), (4, 4));
        assert_eq!((count(ErrorKind::Denied), count(ErrorKind::Full), count(ErrorKind::NotFound)), (1, 1, 1));
        let third = Retry::without_pause(4)
            .run(|n| if n == 2 { Ok(n) } else { Err(Error::new(ErrorKind::Busy, "later")) });
        assert_eq!(third.unwrap(), 2);
    }

    #[test]
    fn pauses_double_and_differ() {
        let retry = Retry::new(4);
        for n in 1..4 {
            let whole = 0.4 * f64::from(1 << (n - 1));
            let pause = retry.before(n).as_secs_f64();
            assert!((whole * 0.75..=whole * 1.25).contains(&pause), "{pause}");
        }
    }
}
