//! One job from the backup day to the last rotation. [`run_job`] is the door; a target's way stands in `target`, that
//! of increments in `increment`, the commit of both in `publish`, whether a dump came out short in `floor`, what else is
//! alike in `slots`, what is known of a storage during the job in `store`, what an increment by the log of a server follows in
//! `log`.

mod floor;
mod increment;
mod log;
mod publish;
mod run;
mod slots;
mod store;
mod target;
mod v2;

pub use run::{JobPorts, RunContext, run_job};
pub(crate) use v2::put_index;
