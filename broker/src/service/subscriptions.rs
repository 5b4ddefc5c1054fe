//! Subscriptions (`ams-contract.md` 9.1-9.3, 9.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalogue::{ProjectIndex, Versioned, subscription_key, trash_key};
use super::commit::Plan;
use super::topics::paginate;
use super::{Broker, Caller, Error, NewSubscription, Page, PageRequest, SubscriptionView};
use crate::domain::records::{Record, SubscriptionRecord, TrashRecord};
use crate::domain::roles::ProjectRole;
use crate::domain::{
    AlertSettings, ProjectId, ProjectName, PushSettings, SubscriptionId, SubscriptionName,
    TopicName, UserName,
};
use crate::store::By;

impl Broker {
    /// Newest first; a caller with `consumer` and neither project_admin nor service_admin sees those whose ACL names it.
    pub fn subscriptions(
        &self,
        caller: &Caller,
        page: PageRequest,
    ) -> Result<Page<SubscriptionView>, Error> {
        let id = caller.project()?;
        let (project, cell) = (self.project_name(id)?, self.project_cell(id)?);
        let own_only = caller.sees_own_only(&ProjectRole::Consumer);
        let Page { items, next, total } = {
            let state = cell.read();
            let seen = state.index.subscriptions_in_order.values().rev();
            let seen = seen.filter(|record| !own_only || record.acl.contains(&caller.user()));
            paginate(seen.cloned(), page, |record| record.order)
        };
        let items = items.iter().map(|record| self.subscription_view(&project, record));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next, total })
    }

    /// Subscriptions of one topic (which must exist), in creation order.
    pub fn subscriptions_of(
        &self,
        caller: &Caller,
        topic: &TopicName,
    ) -> Result<Vec<SubscriptionName>, Error> {
        let cell = self.project_cell(caller.project()?)?;
        let state = cell.read();
        state.index.topic(topic).ok_or(Error::TopicNotFound)?;
        Ok(state.index.attached(topic).map(|record| record.name.clone()).collect())
    }

    /// One subscription.
    pub fn subscription(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
    ) -> Result<SubscriptionView, Error> {
        let record = self.subscription_record(caller.project()?, name)?;
        self.subscription_view(&self.project_name(caller.project()?)?, &record)
    }

    pub(super) fn subscription_record(
        &self,
        project: ProjectId,
        name: &SubscriptionName,
    ) -> Result<Arc<SubscriptionRecord>, Error> {
        let cell = self.project_cell(project)?;
        let state = cell.read();
        state.index.subscriptions.get(name).cloned().ok_or(Error::SubscriptionNotFound)
    }

    /// A new subscription, at the durable end of its topic. `TopicNotFound`, also for dead letters, then `PushDisabled` and what else speaks against push, if
    /// that is wanted, then `SubscriptionExists`.
    pub async fn create_subscription(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        new: NewSubscription,
    ) -> Result<SubscriptionView, Error> {
        let project = caller.project()?;
        self.topic_record(project, &new.topic)?;
        if let Some(dead_letters) = &new.dead_letters {
            self.topic_record(project, &dead_letters.topic)?;
        }
        let push = self.new_push(new.push.as_ref())?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            loop {
                if let Some(record) =
                    broker.insert_subscription(project, &name, &new, &push, &by).await?
                {
                    return Ok(record);
                }
            }
        };
        let record = self.run(work).await?;
        self.subscription_view(&self.project_name(project)?, &record)
    }

    /// `None`: the topic was deleted and made again meanwhile.
    async fn insert_subscription(
        &self,
        project: ProjectId,
        name: &SubscriptionName,
        new: &NewSubscription,
        push: &Option<Box<PushSettings>>,
        by: &By,
    ) -> Result<Option<SubscriptionRecord>, Error> {
        let cell = self.project_cell(project)?;
        let topic = self.topic_record(project, &new.topic)?;
        // The end is read before the commit: the subscription misses nothing that is published
        // after its creation was answered, and nothing it starts at can be undone.
        let head = self.0.store.head(topic.id).await?.ok_or(Error::TopicNotFound)?;
        let id = SubscriptionId::random();
        let plan = self.within_quota(&cell, |state: &Versioned<ProjectIndex>| {
            let present = state.index.topic(&new.topic).ok_or(Error::TopicNotFound)?;
            if state.index.subscriptions.contains_key(name) {
                return Err(Error::SubscriptionExists);
            }
            if present.id != topic.id {
                return Ok(Plan { writes: Vec::new(), answer: None });
            }
            let record = SubscriptionRecord {
                id,
                name: name.clone(),
                order: state.next_order(),
                topic: new.topic.clone(),
                topic_id: topic.id,
                start: head.next,
                ended: BTreeMap::new(),
                ack_deadline_seconds: new.ack_deadline_seconds,
                ack_mode: new.ack_mode,
                dead_letters: new.dead_letters.clone(),
                acl: Vec::new(),
                created: by.time,
                created_by: by.user,
                alert: new.alert.clone(),
                push: push.clone(),
            };
            Ok(Plan { writes: vec![put(record.clone())], answer: Some(record) })
        });
        self.insert_subscription_state(id, None);
        let made = self.make(&cell, by, plan).await;
        if !matches!(made, Ok(Some(_)) | Err(Error::Unavailable)) {
            self.remove_subscription_state(id);
        }
        made
    }

    /// Deletes it and its progress; says whether it was pushed to where messages may go.
    pub async fn delete_subscription(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
    ) -> Result<bool, Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let cell = broker.project_cell(project)?;
            let plan = |state: &Versioned<ProjectIndex>| {
                let record = state.index.subscriptions.get(&name);
                let record = record.ok_or(Error::SubscriptionNotFound)?;
                let was_pushed = record.push.as_ref().is_some_and(|push| push.is_verified());
                let trash = TrashRecord {
                    name: record.name.as_str().to_owned(),
                    deleted: by.time,
                    topic: None,
                    subscription: Some(record.id),
                };
                let writes = vec![
                    (subscription_key(&name), None),
                    (trash_key(record.id.0), Some(Record::Trash(trash))),
                ];
                Ok(Plan { writes, answer: (record.topic.clone(), was_pushed) })
            };
            let (topic, was_pushed) = broker.change(&cell, &by, plan).await?;
            // Pulls that wait for a message must learn that there is nothing to wait for.
            let life = cell.read().index.topic(&topic).map(|topic| topic.id);
            if let Some(topic) = life.and_then(|life| broker.known_topic(life)) {
                topic.wake();
            }
            broker.sweep_soon();
            Ok(was_pushed)
        };
        self.run(work).await
    }

    /// Names of the users in its ACL, in order; deleted users are left out.
    pub fn subscription_acl(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
    ) -> Result<Vec<UserName>, Error> {
        let record = self.subscription_record(caller.project()?, name)?;
        Ok(self.user_names(&record.acl))
    }

    /// Replaces the ACL. Users first (`UsersNotFound`), then the subscription.
    pub async fn set_subscription_acl(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        users: Vec<String>,
    ) -> Result<(), Error> {
        let acl = self.members(caller.project()?, &users)?;
        let edit = move |record: &mut SubscriptionRecord| {
            record.acl.clone_from(&acl);
            Ok(())
        };
        self.edit_subscription(caller, name, edit).await
    }

    /// Replaces its alert settings.
    pub async fn set_subscription_alert(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        alert: AlertSettings,
    ) -> Result<(), Error> {
        let edit = move |record: &mut SubscriptionRecord| {
            record.alert = alert.clone();
            Ok(())
        };
        self.edit_subscription(caller, name, edit).await
    }

    /// Sets the deadline; the door has checked 0..=600.
    pub async fn set_ack_deadline(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        seconds: i64,
    ) -> Result<(), Error> {
        // What ran out by the present deadline stays counted, whatever the next one is.
        let (target, _) = self.target(caller.project()?, name)?;
        self.run(async move { target.save_expired().await }).await?;
        let edit = move |record: &mut SubscriptionRecord| {
            record.ack_deadline_seconds = seconds;
            Ok(())
        };
        self.edit_subscription(caller, name, edit).await
    }

    pub(super) async fn edit_subscription(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        edit: impl Fn(&mut SubscriptionRecord) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let cell = broker.project_cell(project)?;
            let plan = |state: &Versioned<ProjectIndex>| {
                let record = state.index.subscriptions.get(&name);
                let mut record =
                    SubscriptionRecord::clone(record.ok_or(Error::SubscriptionNotFound)?);
                edit(&mut record)?;
                Ok(Plan { writes: vec![put(record)], answer: () })
            };
            broker.change(&cell, &by, plan).await
        };
        self.run(work).await
    }

    fn subscription_view(
        &self,
        project: &ProjectName,
        record: &SubscriptionRecord,
    ) -> Result<SubscriptionView, Error> {
        Ok(SubscriptionView {
            project: project.clone(),
            name: record.name.clone(),
            topic: record.topic.clone(),
            push: self.push_view(record.push.as_deref())?,
            ack_deadline_seconds: record.ack_deadline_seconds,
            ack_mode: record.ack_mode,
            dead_letters: record.dead_letters.clone(),
            created: record.created,
            alert: record.alert.clone(),
        })
    }
}

fn put(record: SubscriptionRecord) -> (String, Option<Record>) {
    (subscription_key(&record.name), Some(Record::Subscription(record)))
}
