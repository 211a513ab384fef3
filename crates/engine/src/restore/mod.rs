//! Restore: which backup, which bytes of it, and where to. Plans are printable; extraction never leaves its target.

pub mod guide;
pub mod select;
