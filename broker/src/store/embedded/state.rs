//! What the state log adds up to in memory, and nothing that is not on disk.

use std::collections::btree_map::BTreeMap;
use std::collections::{HashMap, VecDeque};

use super::record::Record;
use super::squeezed::Squeezed;
use crate::domain::{Progress, SubscriptionId};
use crate::store::{Change, ChangeSet, KEPT_CHANGES, Scope, ScopeState};

/// A scope and its latest commits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ScopeLog {
    /// How many commits it has seen.
    pub(super) version: u64,
    /// Its objects.
    pub(super) objects: BTreeMap<Box<str>, Squeezed>,
    changes: VecDeque<ChangeSet>,
}

impl ScopeLog {
    /// Applies a commit that makes the next version.
    fn apply(&mut self, set: &ChangeSet) {
        self.version = set.version;
        for change in &set.changes {
            match change {
                Change::Put(key, value) => {
                    self.objects.insert(key.as_str().into(), Squeezed::new(value));
                }
                Change::Delete(key) => {
                    self.objects.remove(key.as_str());
                }
            }
        }
        self.changes.push_back(set.clone());
        if self.changes.len() > KEPT_CHANGES {
            self.changes.pop_front();
        }
    }

    /// The scope as it is.
    pub(super) fn state(&self) -> ScopeState {
        let objects = self.objects.iter().map(|(key, value)| (String::from(&**key), value.value()));
        ScopeState { version: self.version, objects: objects.collect() }
    }

    /// The commits after `version`, if all are kept.
    pub(super) fn since(&self, version: u64) -> Option<Vec<ChangeSet>> {
        let missing = usize::try_from(self.version.saturating_sub(version)).ok()?;
        let first = self.changes.len().checked_sub(missing)?;
        Some(self.changes.range(first..).cloned().collect())
    }

    /// The kept commit that made `version`.
    pub(super) fn commit(&self, version: u64) -> Option<&ChangeSet> {
        self.changes.iter().rev().find(|set| set.version == version)
    }
}

/// What the state log adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    /// Every scope ever written.
    pub(super) scopes: HashMap<Scope, ScopeLog>,
    /// Every subscription's record.
    pub(super) progress: HashMap<SubscriptionId, Progress>,
}

impl State {
    /// A scope's next version.
    pub(super) fn commit(&mut self, scope: Scope, set: &ChangeSet) {
        self.scopes.entry(scope).or_default().apply(set);
    }

    /// Applies a record found on disk by the rules of `log.md` 2 step 7.
    ///
    /// # Errors
    /// What is wrong, for the refusal.
    pub(super) fn replay(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Scope(scope, set) => {
                let noted = self.scopes.get(&scope).map_or(0, |scope| scope.version);
                if set.version > noted.saturating_add(1) {
                    return Err(format!("{scope:?} lacks commits before {}", set.version));
                }
                if set.version > noted {
                    self.commit(scope, &set);
                }
            }
            Record::Save(subscription, progress) => {
                let noted = self.progress.get(&subscription).map_or(0, |found| found.version);
                if progress.version > noted {
                    self.progress.insert(subscription, *progress);
                }
            }
            Record::Delete(subscription) => {
                self.progress.remove(&subscription);
            }
            Record::Create(_) | Record::Close(..) | Record::Trim(..) | Record::Entry(..) => {}
        }
        Ok(())
    }
}
