//! The clock of this host: the only place that asks what time it is.

use jiff::Zoned;
use nxs_base::ports::clock::Clock;

/// Tells the time of the system in its zone.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Zoned {
        Zoned::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_does_not_stand_before_this_program_was_written() {
        assert!(SystemClock.now().year() >= 2024);
    }
}
