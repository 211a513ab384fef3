//! SIGINT and SIGTERM as a flag. The first asks the run to end in order; a second SIGINT ends at once with 130.
//! SIGPIPE stays ignored, as the runtime has it: a closed pipe is an error of `write`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nxs_base::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a run that was cancelled.
pub const CANCELLED_EXIT: i32 = 130;

/// Sets `cancelled` on SIGINT or SIGTERM. Once it is set, another SIGINT exits the process with 130.
pub fn install(cancelled: &Arc<AtomicBool>) -> Result<()> {
    let tried = |e| Error::io("cannot install the signal handlers", e);
    // The order matters: the exit is judged before this signal itself sets the flag.
    flag::register_conditional_shutdown(SIGINT, CANCELLED_EXIT, Arc::clone(cancelled)).map_err(tried)?;
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(cancelled)).map_err(tried)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_first_signal_sets_the_flag_and_the_process_lives() {
        let flag = Arc::new(AtomicBool::new(false));
        install(&flag).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(flag.load(Ordering::SeqCst));
    }
}
