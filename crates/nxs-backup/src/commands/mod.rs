//! The commands, one file each. A command calls the engine and shows what came back.

mod browse;
pub(crate) mod find;
pub(crate) mod generate;
pub(crate) mod help;
pub(crate) mod index;
pub(crate) mod ls;
pub(crate) mod restore;
mod restore_dump;
pub(crate) mod rotate;
pub(crate) mod start;
pub(crate) mod test;
pub(crate) mod verify;
mod when;
