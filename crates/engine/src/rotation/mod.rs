//! Which backups go, when, and how they go without ever looking half alive.
//!
//! [`plan`] decides (pure), [`decide_order`] says whether the new copy or the drop comes first (pure), [`apply`]
//! acts. All work on one group on one storage; who belongs to a group is the catalog's matter, the calendar is
//! [`nxs_base::calendar`]'s.

pub mod apply;
pub mod need;
pub mod order;
pub mod plan;

#[cfg(test)]
mod tests;

pub use apply::{Applied, Dropped, apply, remove_dangling};
pub use need::{items, needed_stay};
pub use order::{Order, decide_order, drop_first};
pub use plan::{Action, Decision, Policy, Reason, RotationItem, plan};
