//! Snapshots (ours, by Google's names): a subscription's position by name, to come back to. They hold no
//! message: what retention takes is gone for them too.

use std::sync::Arc;

use super::catalogue::{ProjectIndex, Versioned, snapshot_key};
use super::commit::Plan;
use super::topics::paginate;
use super::{Broker, Caller, Error, Page, PageRequest, SnapshotView};
use crate::domain::records::{Record, SnapshotRecord};
use crate::domain::{ProjectId, ProjectName, SnapshotName, SubscriptionName};

impl Broker {
    /// A page of the project's snapshots.
    pub fn snapshots(
        &self,
        caller: &Caller,
        page: PageRequest,
    ) -> Result<Page<SnapshotView>, Error> {
        let id = caller.project()?;
        let project = self.project_name(id)?;
        let cell = self.project_cell(id)?;
        let mut all: Vec<_> = cell.read().index.snapshots.values().cloned().collect();
        all.sort_by_key(|record| std::cmp::Reverse(record.order));
        let page = paginate(all.into_iter(), page, |record| record.order);
        Ok(page.map(|record| view(&project, &record)))
    }

    /// One snapshot.
    pub fn snapshot(&self, caller: &Caller, name: &SnapshotName) -> Result<SnapshotView, Error> {
        let project = caller.project()?;
        Ok(view(&self.project_name(project)?, &*self.snapshot_record(project, name)?))
    }

    pub(super) fn snapshot_record(
        &self,
        project: ProjectId,
        name: &SnapshotName,
    ) -> Result<Arc<SnapshotRecord>, Error> {
        let cell = self.project_cell(project)?;
        let state = cell.read();
        state.index.snapshots.get(name).cloned().ok_or(Error::SnapshotNotFound)
    }

    /// Takes one of where a subscription is now. `SubscriptionNotFound`, `TopicGone`,
    /// `SnapshotExists`, `ObjectQuota`.
    pub async fn create_snapshot(
        &self,
        caller: &Caller,
        name: &SnapshotName,
        subscription: &SubscriptionName,
    ) -> Result<SnapshotView, Error> {
        let project = caller.project()?;
        let (broker, by) = (self.clone(), self.by(caller));
        let (name, subscription) = (name.clone(), subscription.clone());
        let work = async move {
            let (target, record) = broker.target(project, &subscription)?;
            let place = target.place(target.now())?;
            let topic = place.topic.ok_or(Error::TopicGone)?;
            let position = place.facts.progress.position;
            let cell = broker.project_cell(project)?;
            let plan = broker.within_quota(&cell, |state: &Versioned<ProjectIndex>| {
                if state.index.snapshots.contains_key(&name) {
                    return Err(Error::SnapshotExists);
                }
                let made = SnapshotRecord {
                    name: name.clone(),
                    order: state.next_order(),
                    subscription: subscription.clone(),
                    topic: record.topic.clone(),
                    topic_id: topic.id(),
                    position,
                    created: by.time,
                    created_by: by.user,
                };
                let write = (snapshot_key(&name), Some(Record::Snapshot(made.clone())));
                Ok(Plan { writes: vec![write], answer: made })
            });
            broker.make(&cell, &by, plan).await
        };
        let made = self.run(work).await?;
        Ok(view(&self.project_name(project)?, &made))
    }

    /// Forgets one.
    pub async fn delete_snapshot(&self, caller: &Caller, name: &SnapshotName) -> Result<(), Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let cell = broker.project_cell(project)?;
            let plan = |state: &Versioned<ProjectIndex>| {
                if !state.index.snapshots.contains_key(&name) {
                    return Err(Error::SnapshotNotFound);
                }
                Ok(Plan { writes: vec![(snapshot_key(&name), None)], answer: () })
            };
            broker.change(&cell, &by, plan).await
        };
        self.run(work).await
    }
}

fn view(project: &ProjectName, record: &SnapshotRecord) -> SnapshotView {
    SnapshotView {
        project: project.clone(),
        name: record.name.clone(),
        subscription: record.subscription.clone(),
        topic: record.topic.clone(),
        position: record.position,
        created: record.created,
    }
}
