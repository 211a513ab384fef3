//! The way of a byte: source → compress → digest → fan-out → storages. Each stage lives in its own file; what a
//! stage has seen comes back as a typed result at the end. Nothing here knows a source or a storage by name.

pub mod digest;
pub mod fanout;
pub mod run;
