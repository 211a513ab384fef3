//! The ports: what the engine asks of storages, sources and the clock. Their contracts stand in the docs here.

pub mod clock;
pub mod source;
pub mod storage;
