//! A clock that stands still until a test moves it.

use std::sync::Mutex;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Zoned};
use nxs_base::ports::clock::Clock;

/// Tells the time that it was set to.
#[derive(Debug)]
pub struct FakeClock(Mutex<Zoned>);

impl FakeClock {
    /// In the zone of `now`.
    pub fn new(now: Zoned) -> Self {
        Self(Mutex::new(now))
    }

    /// In UTC; `at` like `2026-03-01T03:00`.
    pub fn utc(at: &str) -> Self {
        Self::new(local(at, TimeZone::UTC))
    }

    /// In the named zone (`Europe/Berlin`), which the host must know; `at` is wall time there.
    pub fn in_zone(at: &str, zone: &str) -> Self {
        let zone = TimeZone::get(zone).expect("the host knows the time zone");
        Self::new(local(at, zone))
    }

    /// Sets the wall time, in the zone the clock has. Backwards is fine.
    pub fn set(&self, at: &str) {
        let mut now = self.lock();
        *now = local(at, now.time_zone().clone());
    }

    /// Moves by an exact duration.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.lock();
        *now = now.checked_add(by).expect("the clock stays in the calendar");
    }

    /// Moves by calendar days: the wall time stays, whatever daylight saving does.
    pub fn advance_days(&self, days: i64) {
        let mut now = self.lock();
        *now = now.checked_add(Span::new().days(days)).expect("the clock stays in the calendar");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Zoned> {
        self.0.lock().expect("no thread panics while it holds the clock")
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Zoned {
        self.lock().clone()
    }
}

fn local(at: &str, zone: TimeZone) -> Zoned {
    let at: DateTime = at.parse().unwrap_or_else(|e| panic!("`{at}` is not a civil time: {e}"));
    at.to_zoned(zone).expect("the time is in the calendar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_until_it_is_moved() {
        let clock = FakeClock::utc("2026-03-01T03:00");
        assert_eq!(clock.now(), clock.now());
        clock.advance(SignedDuration::from_mins(61));
        assert_eq!(clock.now().to_string(), "2026-03-01T04:01:00+00:00[UTC]");
        clock.set("2025-12-31T23:59:59");
        assert_eq!(clock.now().to_string(), "2025-12-31T23:59:59+00:00[UTC]");
    }

    #[test]
    fn calendar_days_keep_the_wall_time_over_a_change_to_summer_time() {
        let clock = FakeClock::in_zone("2026-03-28T03:30", "Europe/Berlin");
        clock.advance_days(1);
        assert_eq!(clock.now().to_string(), "2026-03-29T03:30:00+02:00[Europe/Berlin]");
        clock.set("2026-03-28T03:30");
        clock.advance(SignedDuration::from_hours(24));
        assert_eq!(clock.now().to_string(), "2026-03-29T04:30:00+02:00[Europe/Berlin]");
    }
}
