//! One complete listing of a storage, sorted into files, links and partials. Nothing is read here.

use std::collections::BTreeMap;

use nxs_base::Result;
use nxs_base::calendar::Period;
use nxs_base::layout::{INDEX_SUFFIX, RECORD_SUFFIX, discrete, record_key, role_of};
use nxs_base::ports::storage::{
    ObjectInfo, ObjectKey, ObjectKind, PartTag, Storage, is_name_digest, name_digest,
};

use super::Partial;

pub(super) struct Listing {
    pub(super) files: BTreeMap<ObjectKey, ObjectInfo>,
    /// Link to what it leads to.
    pub(super) links: BTreeMap<ObjectKey, Option<ObjectKey>>,
    pub(super) partials: Vec<Partial>,
    links_by_target: BTreeMap<ObjectKey, Vec<ObjectKey>>,
}

impl Listing {
    /// Lists everything. Fails rather than leave something out.
    pub(super) fn read(storage: &dyn Storage) -> Result<Self> {
        let mut listing = Self {
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            partials: Vec::new(),
            links_by_target: BTreeMap::new(),
        };
        storage.list("", &mut |info| {
            listing.add(info);
            Ok(())
        })?;
        listing.partials.sort_by(|a, b| a.key.cmp(&b.key));
        for (link, target) in &listing.links {
            if let Some(target) = target {
                listing.links_by_target.entry(target.clone()).or_default().push(link.clone());
            }
        }
        listing.resolve_long_names();
        Ok(listing)
    }

    /// Finds the final names of partials that tell only a digest of them, among what lies beside. Where nothing does,
    /// nothing else hangs on the partial.
    fn resolve_long_names(&mut self) {
        let Self { files, partials, .. } = self;
        for partial in partials.iter_mut().filter(|p| is_name_digest(p.final_key.file_name())) {
            let (dir, digest) = (partial.final_key.dir(), partial.final_key.file_name());
            let beside = files.keys().filter(|k| k.dir() == dir);
            let names = beside.flat_map(|k| {
                let archive = role_of(k.file_name()).1;
                ["", RECORD_SUFFIX, INDEX_SUFFIX].map(|suffix| format!("{archive}{suffix}"))
            });
            let name = names.into_iter().find(|name| name_digest(name) == digest);
            if let Some(key) = name.and_then(|name| ObjectKey::new(in_dir(dir, &name)).ok()) {
                partial.final_key = key;
            }
        }
    }

    fn add(&mut self, info: ObjectInfo) {
        if let Some(partial) = as_partial(&info) {
            self.partials.push(partial);
            return;
        }
        match info.kind {
            ObjectKind::Link { target } => {
                self.links.insert(info.key, target);
            }
            ObjectKind::File => {
                self.files.insert(info.key.clone(), info);
            }
        }
    }

    /// Where the companion of `archive` lies, that `key_of` names: beside it, or, if a move was cut short, in a
    /// period directory that has no archive of this name.
    pub(super) fn companion(
        &self,
        archive: &ObjectKey,
        key_of: fn(&ObjectKey) -> ObjectKey,
    ) -> Option<&ObjectInfo> {
        if let Some(info) = self.files.get(&key_of(archive)) {
            return Some(info);
        }
        // Only an archive that is alone in its family can have been moved.
        let siblings = discrete::siblings(archive)?;
        if siblings.iter().any(|(_, s)| s != archive && self.files.contains_key(s)) {
            return None;
        }
        siblings.iter().find_map(|(_, s)| self.files.get(&key_of(s)))
    }

    /// Whether a record of this archive lies in any period directory.
    pub(super) fn has_record_in_family(&self, archive: &ObjectKey) -> bool {
        self.files.contains_key(&record_key(archive))
            || discrete::siblings(archive)
                .is_some_and(|all| all.iter().any(|(_, s)| self.files.contains_key(&record_key(s))))
    }

    /// All links that lead to `archive`, in the order of their keys.
    pub(super) fn links_to(&self, archive: &ObjectKey) -> Vec<ObjectKey> {
        self.links_by_target.get(archive).cloned().unwrap_or_default()
    }

    /// The links to `archive` in the other period directories, each with whether it leads there. A link that leads
    /// nowhere counts if no other archive of this name could be meant.
    pub(super) fn period_links(&self, archive: &ObjectKey) -> Vec<(Period, ObjectKey, bool)> {
        let Some(siblings) = discrete::siblings(archive) else { return Vec::new() };
        let alone = !siblings.iter().any(|(_, s)| s != archive && self.files.contains_key(s));
        siblings
            .into_iter()
            .filter_map(|(period, key)| match self.links.get(&key)? {
                Some(target) if target == archive => Some((period, key, true)),
                Some(target) if self.files.contains_key(target) => None,
                _ => alone.then_some((period, key, false)),
            })
            .collect()
    }
}

fn in_dir(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

fn as_partial(info: &ObjectInfo) -> Option<Partial> {
    let (final_name, tag) = PartTag::parse(info.key.file_name())?;
    Some(Partial {
        final_key: ObjectKey::new(in_dir(info.key.dir(), final_name)).ok()?,
        tag,
        mtime: info.mtime,
        size_bytes: info.size_bytes,
        key: info.key.clone(),
    })
}
