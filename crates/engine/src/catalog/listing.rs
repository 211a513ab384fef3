//! One complete listing of a storage, sorted into files, links and partials. Nothing is read here.

use std::collections::BTreeMap;

use nxs_base::Result;
use nxs_base::calendar::Period;
use nxs_base::layout::{discrete, record_key};
use nxs_base::ports::storage::{ObjectInfo, ObjectKey, ObjectKind, PartTag, Storage};

use super::Partial;

pub(super) struct Listing {
    pub(super) files: BTreeMap<ObjectKey, ObjectInfo>,
    /// Link to what it leads to.
    pub(super) links: BTreeMap<ObjectKey, Option<ObjectKey>>,
    pub(super) partials: Vec<Partial>,
}

impl Listing {
    /// Lists everything. Fails rather than leave something out.
    pub(super) fn read(storage: &dyn Storage) -> Result<Self> {
        let mut listing = Self { files: BTreeMap::new(), links: BTreeMap::new(), partials: Vec::new() };
        storage.list("", &mut |info| {
            listing.add(info);
            Ok(())
        })?;
        listing.partials.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listing)
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

fn as_partial(info: &ObjectInfo) -> Option<Partial> {
    let (final_name, tag) = PartTag::parse(info.key.file_name())?;
    let dir = info.key.dir();
    let slash = if dir.is_empty() { "" } else { "/" };
    Some(Partial {
        final_key: ObjectKey::new(format!("{dir}{slash}{final_name}")).ok()?,
        tag,
        mtime: info.mtime,
        size_bytes: info.size_bytes,
        key: info.key.clone(),
    })
}
