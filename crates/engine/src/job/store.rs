//! One storage during a job: what lies there, kept true while the job adds and drops.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::{Timestamp, Zoned};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::layout::discrete::ArchiveName;
use nxs_base::layout::incremental;
use nxs_base::ports::source::Target;
use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::record::{BackupId, Record};
use nxs_base::report::{DroppedBackup, Problem};
use nxs_base::spec::{JobSpec, StorageSpec};

use super::run::RunContext;
use super::v2;
use crate::catalog::{self, Catalog, CatalogEntry, ConfiguredGroup, GroupId, sweep};
use crate::incremental::by_log::Copies;
use crate::incremental::chain::Chain;
use crate::incremental::level::Level;
use crate::lease::Leases;
use crate::restore::guide::{self, GuideLine};
use crate::rotation::plan::{Decision, Policy, Reason, RotationItem, plan};
use crate::rotation::{self, apply, remove_dangling};

/// Name of the page that says how to restore.
pub(crate) const GUIDE: &str = "RESTORE.md";

pub(super) struct Store {
    spec: StorageSpec,
    storage: Arc<dyn Storage>,
    catalog: Catalog,
    /// Groups of this run's targets, and of other jobs that use the same `backup_dir`.
    groups: Vec<ConfiguredGroup>,
    zone: jiff::tz::TimeZone,
    /// What rotation could not do, told already.
    undone: Vec<Problem>,
}

impl Store {
    /// Makes first contact, sweeps leftovers of dead runs and reads what is there.
    pub(super) fn open(
        ctx: &RunContext<'_>,
        job: &JobSpec,
        spec: StorageSpec,
        storage: Arc<dyn Storage>,
        now: &Zoned,
        groups: Vec<ConfiguredGroup>,
    ) -> Result<Self> {
        let tag = ctx.tag();
        match catalog::ensure_adoption_list(storage.as_ref(), &tag) {
            // A list that cannot be read stays as it is: what it names is neither rotated nor restored till then.
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {}
            other => {
                other?;
            }
        }
        let swept = catalog::sweep(storage.as_ref(), &tag, now.timestamp())?;
        if swept.objects() > 0 {
            let event = Event::Swept { job: &job.name, storage: &spec.name, objects: swept.objects() };
            ctx.events.emit(&event);
        }
        let catalog = catalog::scan(storage.as_ref())?;
        for damage in &catalog.damaged {
            let message = format!("{}: `{}`: {}", spec.name, damage.key, damage.problem.chain());
            ctx.events.emit(&Event::Warned { job: &job.name, message: &message });
        }
        let zone = now.time_zone().clone();
        Ok(Self { spec, storage, catalog, groups, zone, undone: Vec::new() })
    }

    pub(super) fn spec(&self) -> &StorageSpec {
        &self.spec
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage)
    }

    /// Makes a target of this job known, so that adopted backups of its name are its own, and clears away period
    /// links of its name that lead nowhere. All targets are to be known before the first is planned: a name that two
    /// of them could have given belongs to neither.
    pub(super) fn configure(&mut self, ctx: &RunContext<'_>, job: &JobSpec, id: &GroupId, target: &Target) {
        if self.groups.iter().any(|g| g.id == *id) {
            return;
        }
        self.groups.push(ConfiguredGroup {
            id: id.clone(),
            part: target.part.clone(),
            stem: target.file_stem.clone(),
        });
        let removed = remove_dangling(self.storage.as_ref(), &self.catalog, &target.part, &target.file_stem);
        if let Err(error) = removed {
            let message =
                format!("{}: cannot remove a link that leads nowhere: {}", self.spec.name, error.chain());
            ctx.events.emit(&Event::Warned { job: &job.name, message: &message });
        }
    }

    /// Corrects the name of a group of this job, which its targets did not know before.
    pub(super) fn rename(&mut self, id: &GroupId, stem: &str) {
        self.groups.iter_mut().filter(|g| g.id == *id).for_each(|g| g.stem = stem.to_owned());
    }

    /// The backups of one group.
    pub(super) fn entries(&self, group: &GroupId) -> Vec<&CatalogEntry> {
        self.catalog.of_group(group, &self.groups)
    }

    /// The backups of one group, newest first.
    pub(super) fn items(&self, group: &GroupId) -> Vec<RotationItem> {
        let mut items = rotation::items(&self.entries(group), &self.zone);
        items.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| b.key.cmp(&a.key)));
        items
    }

    /// Id, start and plain bytes of the recorded backups of one group that are no increments.
    pub(super) fn dumps(&self, group: &GroupId) -> Vec<(BackupId, Timestamp, u64)> {
        let records = self.entries(group).into_iter().filter_map(CatalogEntry::record);
        let records = records.filter(|record| record.level == Record::FULL);
        records.map(|record| (record.id, record.started, record.plain_bytes)).collect()
    }

    /// A name that nothing on the storage has yet, in any period: seconds are told when the minute is taken.
    pub(super) fn free_name(&self, name: ArchiveName) -> Result<ArchiveName> {
        let taken = |candidate: &ArchiveName| {
            self.catalog.entries.iter().filter_map(|e| e.name.as_ref()).any(|n| {
                n.part == candidate.part && n.stem == candidate.stem && n.at == candidate.at
                    || n.part == candidate.part && n.file_name() == candidate.file_name()
            }) || self.catalog.orphans.iter().any(|o| o.key.file_name() == candidate.file_name())
                || self.catalog.damaged.iter().any(|d| d.key.file_name().starts_with(&candidate.file_name()))
                // Another server writes it at this moment.
                || self
                    .catalog
                    .partials
                    .iter()
                    .any(|p| p.final_key.file_name().starts_with(&candidate.file_name()))
        };
        let minute = name.at.date().at(name.at.hour(), name.at.minute(), 0, 0);
        let plain = ArchiveName { at: minute, with_seconds: false, ..name.clone() };
        if !taken(&plain) {
            return Ok(plain);
        }
        let mut at = name.at.date().at(name.at.hour(), name.at.minute(), name.at.second(), 0);
        for _ in 0..600 {
            let candidate = ArchiveName { at, with_seconds: true, ..name.clone() };
            if !taken(&candidate) {
                return Ok(candidate);
            }
            at = at
                .checked_add(jiff::Span::new().seconds(1))
                .map_err(|e| Error::new(ErrorKind::Invalid, "no time is left").with_source(e))?;
        }
        Err(Error::new(ErrorKind::Exists, format!("no free name for `{}`", name.file_name())))
    }

    /// The incremental backups of one group.
    pub(super) fn chain(&self, group: &GroupId) -> Chain<'_> {
        Chain::of_group(&self.catalog, group, &self.groups)
    }

    /// Incremental archives of a part that lie in this place without a record.
    pub(super) fn orphans_in<'s>(
        &'s self,
        part: &'s str,
        place: incremental::Place,
    ) -> impl Iterator<Item = &'s ObjectKey> {
        let is_there = move |key: &&ObjectKey| {
            incremental::parse(key).is_some_and(|p| p.name.part == part && p.name.place == place)
        };
        self.catalog.orphans.iter().map(|o| &o.key).filter(is_there)
    }

    /// As [`Self::free_name`], for an incremental backup.
    pub(super) fn free_increment_name(
        &self,
        name: incremental::ArchiveName,
    ) -> Result<incremental::ArchiveName> {
        let taken = |candidate: &incremental::ArchiveName| {
            let file = candidate.file_name();
            self.catalog.entries.iter().any(|e| {
                let known = e.increment.as_ref();
                known.is_some_and(|n| n.part == candidate.part && n.place.year() == candidate.place.year())
                    && e.key.file_name() == file
            }) || self.catalog.orphans.iter().any(|o| o.key.file_name() == file)
                || self.catalog.damaged.iter().any(|d| d.key.file_name().starts_with(&file))
        };
        let at = |at: DateTime, with_seconds| incremental::ArchiveName { at, with_seconds, ..name.clone() };
        let minute = name.at.date().at(name.at.hour(), name.at.minute(), 0, 0);
        let mut second = name.at.date().at(name.at.hour(), name.at.minute(), name.at.second(), 0);
        let mut candidate = at(minute, false);
        for _ in 0..600 {
            if !taken(&candidate) {
                return Ok(candidate);
            }
            candidate = at(second, true);
            second = second
                .checked_add(jiff::Span::new().seconds(1))
                .map_err(|e| Error::new(ErrorKind::Invalid, "no time is left").with_source(e))?;
        }
        Err(Error::new(ErrorKind::Exists, format!("no free name for `{}`", name.file_name())))
    }

    /// Drops incremental backups. Each goes with its children before it, or, if one of these stays (leased, or a
    /// problem), not at all.
    pub(super) fn drop_increments(
        &mut self,
        ctx: &RunContext<'_>,
        job: &JobSpec,
        group: &GroupId,
        decisions: &[Decision],
        dropped: &mut Vec<DroppedBackup>,
    ) -> Result<()> {
        let mut gone = Vec::new();
        for decision in decisions {
            let chain = self.chain(group);
            let id = chain.id_of(&decision.key);
            let is_needed = chain.links().iter().any(|l| l.parent.is_some() && l.parent == id);
            if is_needed {
                continue;
            }
            // Version 2 stored an archive once more where it could not link: the copies go first.
            let copies = id.map_or(&[][..], |id| chain.copies(id));
            let of_copies = copies.iter().map(|key| Decision { key: key.clone(), ..decision.clone() });
            let all: Vec<Decision> = of_copies.chain([decision.clone()]).collect();
            let is_ours = |e: &&CatalogEntry| all.iter().any(|d| d.key == e.key);
            let going: Vec<ObjectKey> = self
                .catalog
                .entries
                .iter()
                .filter(is_ours)
                .flat_map(|e| e.stand_ins.iter().chain([&e.key]))
                .cloned()
                .collect();
            self.apply(ctx, job, &all, dropped)?;
            gone.extend(going);
        }
        let Some(pattern) = decisions.first() else { return Ok(()) };
        let alone = v2::left_alone(&self.chain(group), &self.catalog, &gone);
        let of_copies = alone.copies.iter().map(|key| Decision { key: key.clone(), ..pattern.clone() });
        self.apply(ctx, job, &of_copies.collect::<Vec<_>>(), dropped)?;
        for link in &alone.links {
            sweep::delete_if_there(self.storage.as_ref(), link)?;
        }
        if !alone.links.is_empty() {
            self.catalog = catalog::scan(self.storage.as_ref())?;
        }
        gone.extend(alone.copies.into_iter().chain(alone.links));
        v2::clear_places(self.storage.as_ref(), &self.catalog, &gone)
    }

    /// Plans the group with the given policy; spares what somebody reads, and what is needed: `parents` by what is about to
    /// be made. Nothing is dropped where it cannot be known who reads.
    pub(super) fn plan(
        &mut self,
        ctx: &RunContext<'_>,
        job: &JobSpec,
        group: &GroupId,
        policy: &Policy,
        parents: &[BackupId],
    ) -> (Vec<RotationItem>, Vec<Decision>) {
        let items = self.items(group);
        let leases =
            Leases::read(self.storage.as_ref(), ctx.clock.now().timestamp()).unwrap_or_else(|error| {
                let text = format!("cannot see who reads backups on {}: nothing is dropped", self.spec.name);
                self.not_done(ctx, job, Error::new(error.kind(), text).with_source(error));
                Leases::of_everything()
            });
        let decisions = leases.spare(&items, plan(&items, policy));
        let decisions = rotation::needed_stay(&items, parents, decisions);
        (items, decisions)
    }

    /// Acts on decisions; what went is added to `dropped`, and no longer in the catalog.
    pub(super) fn apply(
        &mut self,
        ctx: &RunContext<'_>,
        job: &JobSpec,
        decisions: &[Decision],
        dropped: &mut Vec<DroppedBackup>,
    ) -> Result<()> {
        let now = ctx.clock.now().timestamp();
        let applied = apply::apply(self.storage.as_ref(), &ctx.tag(), now, &self.catalog, decisions);
        for (period, dir) in &applied.cleared {
            let dir = format!("{}/{dir}", self.spec.backup_dir.trim_end_matches('/'));
            ctx.events.emit(&Event::DroppedOld {
                job: &job.name,
                period: period.name(),
                dir: &dir,
                storage: &self.spec.name,
            });
        }
        for (key, error) in applied.problems {
            let text = format!("cannot rotate `{key}` on {}", self.spec.name);
            self.not_done(ctx, job, Error::new(error.kind(), text).with_source(error));
        }
        for key in &applied.leased {
            let message = format!("{}: `{key}` stays for now: {}", self.spec.name, Reason::Leased);
            ctx.events.emit(&Event::Info { job: &job.name, message: &message });
        }
        let is_changed = !applied.dropped.is_empty() || !applied.moved.is_empty();
        let told = applied.dropped.into_iter();
        dropped.extend(told.map(|d| DroppedBackup { key: d.key.to_string(), reason: d.reason.to_string() }));
        if is_changed {
            self.catalog = catalog::scan(self.storage.as_ref())?;
        }
        Ok(())
    }

    /// Tells what rotation could not do: the new backup is there, but the storage fills up.
    fn not_done(&mut self, ctx: &RunContext<'_>, job: &JobSpec, error: Error) {
        let error = error.with_hint("New backups are not affected; the next run tries again.");
        let problem = Problem::from(&error);
        if !self.undone.contains(&problem) {
            ctx.events.emit(&Event::Failed { job: &job.name, problem: &problem });
            self.undone.push(problem);
        }
    }

    /// What rotation could not do on this storage.
    pub(super) fn undone(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.undone)
    }

    /// Takes a new backup into the catalog.
    pub(super) fn add(&mut self, entry: CatalogEntry) {
        self.catalog.entries.push(entry);
        self.catalog.entries.sort_by(|a, b| a.key.cmp(&b.key));
    }

    /// Writes `RESTORE.md` for what lies here now.
    pub(super) fn write_guide(&self, ctx: &RunContext<'_>) -> Result<()> {
        let entries = &self.catalog.entries;
        let groups: BTreeSet<GroupId> = entries.iter().filter_map(|e| e.group(&self.groups)).collect();
        let mut lines = Vec::new();
        for group in groups {
            let of_group = self.catalog.of_group(&group, &self.groups);
            let copies = Copies::new(of_group.iter().copied());
            let discrete = of_group.iter().copied().filter(|e| e.increment.is_none());
            let points = discrete.map(|e| (e, copies.ancestry(e).unwrap_or_default()));
            let rank =
                |(e, of): &(&CatalogEntry, Vec<_>)| (!of.is_empty(), e.is_complete(), e.started(&self.zone));
            if let Some((newest, of)) = points.max_by_key(rank) {
                let keys = of.iter().rev().map(|e| e.key.to_string()).collect();
                lines.push(self.guide_line(&group, newest, keys));
            }
            lines.extend(self.guide_of_chain(&group));
        }
        let page = guide::render(ctx.server_name, &self.spec.backup_dir, &lines, &|key| {
            self.storage.fetch_command(&ObjectKey::new(key).ok()?)
        });
        self.storage.put_replace(&ObjectKey::new(GUIDE)?, &ctx.tag(), page.as_bytes())
    }

    fn guide_line(&self, group: &GroupId, entry: &CatalogEntry, keys: Vec<String>) -> GuideLine {
        let started = entry.started(&self.zone).to_zoned(self.zone.clone());
        GuideLine {
            job: group.job.clone(),
            target: entry.record().map_or_else(String::new, |r| r.target.clone()),
            root: group.root.clone(),
            kind: entry.record().map_or_else(String::new, |r| r.kind.clone()),
            keys,
            when: started.strftime("%Y-%m-%d %H:%M").to_string(),
            complete: entry.is_complete(),
            chains: Vec::new(),
        }
    }

    /// The newest point of a group's chains, a complete one first; none where there are none.
    fn guide_of_chain(&self, group: &GroupId) -> Option<GuideLine> {
        let chain = self.chain(group);
        let whole = chain.links().iter().filter_map(|link| chain.ancestry(link.id));
        let newest = whole.max_by_key(|of| (of[0].is_complete(), of[0].started(&self.zone)));
        let keys_of = |of: &[&CatalogEntry]| of.iter().rev().map(|e| e.key.to_string()).collect();
        let mut line = match newest {
            Some(of) => self.guide_line(group, of[0], keys_of(&of)),
            None => {
                let last = chain.entry(chain.links().last()?.id)?;
                self.guide_line(group, last, Vec::new())
            }
        };
        let fulls: Vec<_> = chain.links().iter().filter(|l| l.level == Level::Year).collect();
        for full in &fulls {
            if fulls.iter().filter(|other| other.place == full.place).count() > 1 {
                let belongs = |id| id == full.id || chain.lineage(Some(id)).contains(&full.id);
                let members = chain.links().iter().filter(|l| belongs(l.id));
                let keys = members.filter_map(|l| chain.entry(l.id)).map(|e| e.key.to_string());
                line.chains.push(keys.collect());
            }
        }
        Some(line)
    }

    /// What the storage says of its free bytes; a failure to tell is no failure of the job.
    pub(super) fn free_bytes(&self, ctx: &RunContext<'_>, job: &JobSpec) -> Option<u64> {
        match self.storage.free_bytes() {
            Ok(free) => free,
            Err(error) => {
                let problem = Problem::from(&error);
                ctx.events.emit(&Event::Warned { job: &job.name, message: &problem.message });
                None
            }
        }
    }
}
