//! Waiting for conditions, with a deadline and without sleeping.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// No test waits longer than this for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Asks again and again until `look` finds something. Panics after [`DEADLINE`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::yield_now();
    }
}

/// Waits until `done` says so or the child ends; its status in the latter case.
pub(crate) fn while_alive(child: &mut Child, mut done: impl FnMut() -> bool) -> Option<ExitStatus> {
    until("the program or a sign of it", || {
        if done() {
            return Some(None);
        }
        child.try_wait().unwrap().map(Some)
    })
}

/// Sends a signal by its name (`TERM`, `STOP`) to a child that was not yet waited for.
pub(crate) fn signal(child: &Child, name: &str) {
    let status =
        std::process::Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "cannot send {name}");
}
