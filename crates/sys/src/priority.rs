//! Processor and disk priority of this process. Set before threads start: threads inherit from the one that makes them.
#![expect(unsafe_code, reason = "ioprio_set has no wrapper in the C library")]

use nxs_base::{Error, Result};

/// Sets the nice value (-20 first to 19 last) of the calling thread.
pub fn set_nice(value: i32) -> Result<()> {
    rustix::process::setpriority_process(None, value)
        .map_err(|e| Error::io(format!("cannot set the nice value to `{value}`"), e.into()))
}

/// Class of disk scheduling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoClass {
    /// Level 0 (first) to 7.
    BestEffort(u8),
    /// Only when nobody else asks.
    Idle,
}

/// Sets the disk priority of the calling thread.
pub fn set_io_class(class: IoClass) -> Result<()> {
    let (name, number, level) = match class {
        IoClass::BestEffort(level) => ("best effort", 2, i64::from(level.min(7))),
        IoClass::Idle => ("idle", 3, 0),
    };
    const WHO_PROCESS: libc::c_long = 1;
    let value: libc::c_long = (number << 13) | level;
    // SAFETY: takes three integers and touches no memory of ours; 0 is the calling thread.
    let status = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0 as libc::c_long, value) };
    if status == 0 {
        return Ok(());
    }
    Err(Error::io(format!("cannot set the disk priority to `{name}`"), std::io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_own_thread(f: impl FnOnce() + Send) {
        std::thread::scope(|s| s.spawn(f).join().unwrap());
    }

    #[test]
    fn the_calling_thread_becomes_nicer() {
        in_own_thread(|| {
            set_nice(19).unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), 19);
        });
    }

    #[test]
    fn anyone_may_become_idle() {
        in_own_thread(|| {
            set_io_class(IoClass::BestEffort(7)).unwrap();
            set_io_class(IoClass::Idle).unwrap();
        });
    }
}
