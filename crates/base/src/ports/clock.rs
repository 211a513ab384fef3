//! Time as an argument.

use jiff::Zoned;

/// Tells the time in the zone of this host. Injected, so that tests can simulate months.
pub trait Clock: Send + Sync {
    fn now(&self) -> Zoned;
}
