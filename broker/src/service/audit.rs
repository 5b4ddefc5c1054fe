//! The audit log: who changed what, when and from where (`traces.rs` says what). A ring of lines
//! per scope, so that disk and memory stay bounded; each line is of the same commit as its change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::catalogue::{Cell, Index, ProjectIndex, Versioned};
use super::commit::Plan;
use super::traces::Trace;
use super::{Broker, Caller, Error, Page, PageRequest};
use crate::domain::audit::{AuditRecord, Operation};
use crate::domain::{Offset, ProjectId, SubscriptionName, Time, UserId};
use crate::store::{By, Scope};

/// Lines that the service's scope keeps: projects, users, registrations.
const SERVICE_LINES: usize = 10_000;
/// Lines that each project keeps.
const PROJECT_LINES: usize = 1_000;
/// Most lines of one commit: of a user who comes to or leaves more projects at once, the rest is
/// not told.
const COMMIT_LINES: usize = 1_000;
/// Names told of one list.
const NAMES: usize = 20;
/// Characters told of one text.
const CHARACTERS: usize = 200;
/// Most lines of one page, also where none is asked for.
const PAGE: u64 = 1_000;

/// The lines of one scope.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Oldest first, each with its key.
    lines: BTreeMap<u64, (String, Arc<AuditRecord>)>,
    orders: HashMap<String, u64>,
}

impl Ring {
    pub(super) fn put(&mut self, key: String, line: AuditRecord) {
        self.remove(&key);
        self.orders.insert(key.clone(), line.order);
        self.lines.insert(line.order, (key, Arc::new(line)));
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some(order) = self.orders.remove(key) {
            self.lines.remove(&order);
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.orders.keys()
    }

    /// Where the next `count` lines go: free places first, then those of the oldest lines.
    pub(super) fn slots(&self, count: usize, scope: Scope) -> Vec<String> {
        let bound = match scope {
            Scope::Service => SERVICE_LINES,
            Scope::Project(_) => PROJECT_LINES,
        };
        let free = (self.lines.len()..bound).map(|slot| format!("audit/{slot}"));
        let free = free.filter(|key| !self.orders.contains_key(key));
        let oldest = self.lines.values().map(|(key, _)| key.clone());
        free.chain(oldest).take(count.min(COMMIT_LINES)).collect()
    }

    fn newest_first(&self) -> impl Iterator<Item = &Arc<AuditRecord>> {
        self.lines.values().rev().map(|(_, line)| line)
    }

    fn last(&self) -> u64 {
        self.lines.keys().next_back().copied().unwrap_or_default()
    }
}

/// Which lines are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this time or later.
    pub since: Option<Time>,
}

impl Broker {
    /// Everything, newest first; at most 1,000 lines a page.
    pub fn audit(
        &self,
        _caller: &Caller,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Page<AuditRecord> {
        let mut found = Found::new(filter, page);
        found.add(self.0.service.read().index.audit(), |_| true);
        for (_, cell) in self.project_cells() {
            found.add(cell.read().index.audit(), |_| true);
        }
        found.page()
    }

    /// What was done to the caller's project, newest first; at most 1,000 lines a page.
    pub fn project_audit(
        &self,
        caller: &Caller,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditRecord>, Error> {
        let project = caller.project()?;
        let cell = self.project_cell(project)?;
        let mut found = Found::new(filter, page);
        found.add(self.0.service.read().index.audit(), |line| line.projects.contains(&project));
        found.add(cell.read().index.audit(), |_| true);
        Ok(found.page())
    }

    /// Lines go on behind those there are.
    pub(super) fn find_last_audit(&self) {
        let mut last = self.0.service.read().index.audit().last();
        for (_, cell) in self.project_cells() {
            last = last.max(cell.read().index.audit().last());
        }
        self.0.audited.fetch_max(last, Ordering::Relaxed);
    }

    /// The next place: the clock's, or the one behind the last where that stands still.
    fn next_audit(&self, now: Time) -> u64 {
        let next = |last: u64| last.saturating_add(1).max(now.0);
        let audited = &self.0.audited;
        let last =
            audited.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last.unwrap_or_default())
    }

    /// Puts names to `traces`. Looks at the service's scope: nobody may hold another one.
    pub(super) fn audit_lines(
        &self,
        scope: Scope,
        by: &By,
        traces: Vec<Trace>,
    ) -> Vec<AuditRecord> {
        if traces.is_empty() {
            return Vec::new();
        }
        let within = match scope {
            Scope::Service => String::new(),
            Scope::Project(id) => format!("/projects/{}", self.shown_project(id)),
        };
        let name = self.0.service.read().index.user_name(by.user);
        let name = name.map(|name| name.to_string()).unwrap_or_default();
        let line = |trace: Trace| AuditRecord {
            order: self.next_audit(by.time),
            time: by.time,
            user: by.user,
            name: name.clone(),
            address: by.address.clone(),
            operation: trace.operation,
            resource: format!("{within}{}", trace.resource),
            projects: trace.projects,
            from: short(&trace.from),
            to: short(&trace.to),
            added: self.shown_users(&trace.added),
            removed: self.shown_users(&trace.removed),
        };
        traces.into_iter().take(COMMIT_LINES).map(line).collect()
    }

    fn shown_project(&self, id: ProjectId) -> String {
        self.project_name(id).map_or_else(|_| id.to_string(), |name| name.to_string())
    }

    /// Names, or ids of users that are gone; how many more there are instead of a long list.
    fn shown_users(&self, users: &[UserId]) -> Vec<String> {
        let state = self.0.service.read();
        let shown = users.iter().take(NAMES).map(|id| {
            let name = state.index.user_name(Some(*id));
            name.map_or_else(|| id.to_string(), |name| name.to_string())
        });
        let more = users.len().saturating_sub(NAMES);
        let more = (more > 0).then(|| format!("and {more} more"));
        shown.chain(more).collect()
    }

    /// Notes that a position is about to be moved.
    pub(super) async fn audit_move(
        &self,
        cell: &Cell<ProjectIndex>,
        by: &By,
        name: &SubscriptionName,
        from: Offset,
        to: Offset,
    ) -> Result<(), Error> {
        let operation =
            if to < from { Operation::SubscriptionRewind } else { Operation::SubscriptionForward };
        let trace = Trace::new(operation, format!("/subscriptions/{name}")).between(from, to);
        let plan = |state: &Versioned<ProjectIndex>| {
            if cell.is_gone() {
                return Err(Error::ProjectNotFound);
            }
            if !state.index.subscriptions.contains_key(name) {
                return Err(Error::SubscriptionNotFound);
            }
            Ok(Plan { writes: Vec::new(), answer: () })
        };
        self.change_traced(cell, by, plan, &[trace]).await
    }
}

/// Tells the log what the audit log was told.
pub(super) fn log(line: &AuditRecord) {
    let AuditRecord { name, address, resource, from, to, added, removed, .. } = line;
    let (operation, user) = (line.operation.as_str(), line.user.map(|user| user.to_string()));
    tracing::info!(
        operation,
        resource,
        user = name,
        user_uuid = user.unwrap_or_default(),
        address,
        from,
        to,
        added = added.join(", "),
        removed = removed.join(", "),
        "audit"
    );
}

/// Lines of several scopes on their way to one page.
struct Found {
    filter: AuditFilter,
    from: Option<u64>,
    size: usize,
    lines: Vec<Arc<AuditRecord>>,
    total: u64,
}

impl Found {
    fn new(filter: AuditFilter, page: PageRequest) -> Self {
        let size = page.size.filter(|size| *size > 0).unwrap_or(PAGE).min(PAGE);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Self { filter, from: page.from, size, lines: Vec::new(), total: 0 }
    }

    /// Takes what may stand on the page, and one more.
    fn add(&mut self, ring: &Ring, is_shown: impl Fn(&AuditRecord) -> bool) {
        let mut taken = 0;
        for line in ring.newest_first() {
            if self.filter.since.is_some_and(|since| line.time < since) || !is_shown(line) {
                continue;
            }
            self.total += 1;
            if taken <= self.size && self.from.is_none_or(|from| line.order <= from) {
                self.lines.push(Arc::clone(line));
                taken += 1;
            }
        }
    }

    fn page(mut self) -> Page<AuditRecord> {
        self.lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.order));
        let next = self.lines.get(self.size).map(|line| line.order);
        let lines = self.lines.iter().take(self.size);
        Page { items: lines.map(|line| line.as_ref().clone()).collect(), next, total: self.total }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(order: u64) -> AuditRecord {
        AuditRecord {
            order,
            time: Time(order),
            user: None,
            name: String::new(),
            address: String::new(),
            operation: Operation::TopicDelete,
            resource: String::new(),
            projects: Vec::new(),
            from: String::new(),
            to: String::new(),
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    #[test]
    fn a_ring_keeps_the_newest_lines_in_as_many_places_as_it_has() {
        let scope = Scope::Project(ProjectId::random());
        let mut ring = Ring::default();
        for order in 1..=2_500 {
            let slots = ring.slots(1, scope);
            assert_eq!(slots, [format!("audit/{}", (order - 1) % 1_000)]);
            ring.put(slots[0].clone(), line(order));
        }
        assert_eq!(ring.keys().count(), 1_000);
        let orders: Vec<_> = ring.newest_first().map(|line| line.order).collect();
        assert_eq!(orders, (1_501..=2_500).rev().collect::<Vec<_>>());
        // Several of one commit have different places, the oldest ones.
        let slots = ring.slots(3, scope);
        assert_eq!(slots, ["audit/500", "audit/501", "audit/502"]);
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(short(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(short(&"é".repeat(201)), format!("{}...", "é".repeat(200)));
    }
}
