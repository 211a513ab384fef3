//! SIGINT, SIGTERM and SIGHUP (the terminal went) as a flag. The first asks the run to end in order; a second SIGINT ends
//! at once with 130. SIGHUP stays ignored where it was when the program began: `nohup` means it.
//! SIGPIPE stays ignored, as the runtime has it: a closed pipe is an error of `write`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nxs_base::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a run that was cancelled.
pub const CANCELLED_EXIT: i32 = 130;

/// Sets `cancelled` on SIGINT, SIGTERM or SIGHUP. Once it is set, another SIGINT exits the process with 130.
pub fn install(cancelled: &Arc<AtomicBool>) -> Result<()> {
    let tried = |e| Error::io("cannot install the signal handlers", e);
    // The order matters: the exit is judged before this signal itself sets the flag.
    flag::register_conditional_shutdown(SIGINT, CANCELLED_EXIT, Arc::clone(cancelled)).map_err(tried)?;
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        flag::register(signal, Arc::clone(cancelled)).map_err(tried)?;
    }
    Ok(())
}

/// Whether this process ignores a signal now, as far as the kernel tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn an_ignored_signal_is_told_from_others() {
        // The runtime ignores SIGPIPE.
        assert!(is_ignored(signal_hook::consts::SIGPIPE) && !is_ignored(signal_hook::consts::SIGTERM));
    }

    #[test]
    fn a_first_signal_sets_the_flag_and_the_process_lives() {
        let flag = Arc::new(AtomicBool::new(false));
        install(&flag).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(flag.load(Ordering::SeqCst));
    }
}
