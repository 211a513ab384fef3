//! The source of discrete backups: two targets of given bytes, of which the first may break off; and the history that
//! it is saved on.

use jiff::civil::DateTime;
use nxs_base::entry::{EntryKind, IndexEntry, Meta};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Sink, Source, Target};
use nxs_base::spec::{JobKind, Retention};
use nxs_base::{Error, ErrorKind, Result};

use crate::scene::{Saved, Scene, target};

/// Plain bytes of each target.
pub(crate) const BYTES: usize = 5000;
/// The source writes blocks of this size.
pub(crate) const BLOCK: usize = 500;

/// What the source gives: two targets, of which the first may break off at a byte.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    pub(crate) generation: u8,
    pub(crate) cut_at: Option<(usize, ErrorKind)>,
}

impl Scripted {
    pub(crate) fn plain(&self, target: &str) -> Vec<u8> {
        let salt = self.generation.wrapping_mul(31) ^ target.as_bytes()[0];
        (0..BYTES).map(|i| (i as u8).wrapping_mul(7) ^ (i >> 8) as u8 ^ salt).collect()
    }
}

impl Source for Scripted {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(vec![Ok(target("one")), Ok(target("two"))])
    }

    fn probe(&self, _: &Target) -> Result<()> {
        Ok(())
    }

    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        sink.begin(Artefact { has_index: true, expected_bytes: None })?;
        let plain = self.plain(&target.name);
        let cut = self.cut_at.filter(|_| target.name == "one");
        let end = cut.map_or(plain.len(), |(at, _)| at);
        for (n, block) in plain[..end].chunks(BLOCK).enumerate() {
            cancel.check()?;
            let meta = Meta { kind: EntryKind::File, size_bytes: block.len() as u64, ..Meta::default() };
            sink.entry(&IndexEntry {
                path: format!("srv/{}/{n:03}", target.name).into_bytes(),
                meta,
                offset: (n * BLOCK) as u64,
                stored_bytes: block.len() as u64,
                ..IndexEntry::default()
            })?;
            sink.write(block)?;
            sink.cut_here()?;
        }
        if let Some((at, kind)) = cut {
            return Err(Error::new(kind, format!("planned fault: the source breaks off at byte {at}")));
        }
        Ok(DumpReport { files: 10, ..DumpReport::default() })
    }
}

impl Saved for Scripted {
    const KIND: JobKind = JobKind::DescFiles;

    /// Every run has other bytes.
    fn prepare(&mut self, run: u32, _: DateTime) {
        self.generation = run as u8;
    }
}

impl Scene<Scripted> {
    /// A history over two Sundays that are the first of a month, then a tighter policy, so that the next run makes,
    /// drops, moves and links.
    pub(crate) fn with_history() -> Self {
        let mut scene = Self::new();
        scene.retain(Retention { days: 9, weeks: 9, months: 9 });
        let days = [
            "2026-02-01",
            "2026-02-28",
            "2026-03-01",
            "2026-03-02",
            "2026-10-31",
            "2026-11-01",
            "2026-11-02",
        ];
        for day in days {
            scene.clock.set(&format!("{day}T03:00"));
            assert!(scene.run().report.is_complete());
        }
        scene.retain(Retention { days: 2, weeks: 2, months: 0 });
        scene.clock.set("2026-11-08T03:00");
        scene
    }

    fn retain(&mut self, retention: Retention) {
        self.job.storages.iter_mut().for_each(|s| s.retention = retention);
    }
}
