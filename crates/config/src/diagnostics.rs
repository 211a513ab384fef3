//! Collects diagnostics while a configuration is read. Does not print and does not stop at the first one;
//! places come from [`crate::tree::At`].

use std::collections::BTreeSet;

use nxs_base::diag::{Diagnostic, Place, Severity};

use crate::tree::At;

#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    list: Vec<Diagnostic>,
    /// One node can be read twice (an alias, a file included twice); it is said once.
    said: BTreeSet<(Place, String)>,
}

impl Diagnostics {
    pub(crate) fn add(&mut self, severity: Severity, place: Place, message: String, hint: Option<String>) {
        if self.said.insert((place.clone(), message.clone())) {
            self.list.push(Diagnostic { severity, place, message, hint });
        }
    }

    pub(crate) fn error(&mut self, at: &At, message: impl Into<String>) {
        self.add(Severity::Error, at.place(), message.into(), None);
    }

    pub(crate) fn error_hint(&mut self, at: &At, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, at.place(), message.into(), Some(hint.into()));
    }

    pub(crate) fn warn(&mut self, at: &At, message: impl Into<String>) {
        self.add(Severity::Warning, at.place(), message.into(), None);
    }

    pub(crate) fn warn_hint(&mut self, at: &At, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, at.place(), message.into(), Some(hint.into()));
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// Everything collected, sorted by file, line and column.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.list.sort_by(|a, b| (&a.place, a.severity).cmp(&(&b.place, b.severity)));
        self.list
    }
}
