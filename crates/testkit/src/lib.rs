//! What tests and benchmarks of all crates share: storages in memory and with faults, the suite that every storage
//! passes, real servers and a proxy before them, a clock to turn by hand, trees of files and their comparison, golden files.
//!
//! Not part of the program. Functions here panic with a telling message where a test would.

pub mod clock;
pub mod disk;
pub mod flaky;
pub mod golden;
pub mod history;
pub mod memory;
pub mod rng;
pub mod servers;
pub mod snapshot;
pub mod suite;
pub mod tree;
pub mod uploads;

pub use clock::FakeClock;
pub use disk::SmallDisk;
pub use flaky::{FlakyStorage, Op, OpKind};
pub use golden::golden;
pub use memory::MemoryStorage;
pub use rng::Rng;
pub use suite::Fixture;
