//! Topics (`ams-contract.md` 7.1-7.4).

use std::sync::Arc;

use super::catalogue::{Cell, ProjectIndex, Versioned, subscription_key, topic_key};
use super::commit::Plan;
use super::{Broker, Caller, Error, Page, PageRequest, TopicView};
use crate::domain::records::{Record, TopicRecord};
use crate::domain::roles::ProjectRole;
use crate::domain::{
    AlertSettings, Head, Holes, ProjectId, ProjectName, RetentionSettings, SchemaId, SchemaName,
    TopicId, TopicName, UserName,
};
use crate::store::{By, Outcome};

impl Broker {
    /// Newest first; a caller with `publisher` and neither project_admin nor service_admin sees those whose ACL names it.
    pub fn topics(&self, caller: &Caller, page: PageRequest) -> Result<Page<TopicView>, Error> {
        let id = caller.project()?;
        let (project, cell) = (self.project_name(id)?, self.project_cell(id)?);
        let own_only = caller.sees_own_only(&ProjectRole::Publisher);
        let state = cell.read();
        let seen = state.index.live_topics().rev();
        let seen = seen.filter(|topic| !own_only || topic.acl.contains(&caller.user()));
        let page = paginate(seen, page, |topic| topic.order);
        Ok(page.map(|topic| view(&project, &state.index, topic)))
    }

    /// One topic.
    pub fn topic(&self, caller: &Caller, name: &TopicName) -> Result<TopicView, Error> {
        let id = caller.project()?;
        let (project, cell) = (self.project_name(id)?, self.project_cell(id)?);
        let state = cell.read();
        let record = state.index.topic(name).ok_or(Error::TopicNotFound)?;
        Ok(view(&project, &state.index, record))
    }

    pub(super) fn topic_record(
        &self,
        project: ProjectId,
        name: &TopicName,
    ) -> Result<Arc<TopicRecord>, Error> {
        let cell = self.project_cell(project)?;
        let state = cell.read();
        state.index.topic(name).cloned().ok_or(Error::TopicNotFound)
    }

    /// A new topic with a new life and an empty ACL.
    pub async fn create_topic(
        &self,
        caller: &Caller,
        name: &TopicName,
        alert: AlertSettings,
        retention: RetentionSettings,
        schema: Option<SchemaName>,
    ) -> Result<TopicView, Error> {
        let project = caller.project()?;
        let (broker, by, wanted) = (self.clone(), self.by(caller), name.clone());
        let settings = (alert, retention, schema);
        self.run(async move { broker.insert_topic(project, wanted, settings, by).await }).await
    }

    async fn insert_topic(
        &self,
        project: ProjectId,
        name: TopicName,
        (alert, retention, schema): (AlertSettings, RetentionSettings, Option<SchemaName>),
        by: By,
    ) -> Result<TopicView, Error> {
        let (project, cell) = (self.project_name(project)?, self.project_cell(project)?);
        let cut = cell.read().index.topics.get(&name).filter(|old| old.marked).cloned();
        if let Some(old) = cut {
            self.finish_deletion(&cell, &old, &self.by_itself("topics:delete")).await?;
        }
        let life = TopicId::random();
        let plan = self.within_quota(&cell, |state: &Versioned<ProjectIndex>| {
            let schema = schema.as_ref().map(|name| schema_id(&state.index, name)).transpose()?;
            if state.index.topics.contains_key(&name) {
                return Err(Error::TopicExists);
            }
            let record = TopicRecord {
                id: life,
                name: name.clone(),
                order: state.next_order(),
                created: by.time,
                created_by: by.user,
                acl: Vec::new(),
                alert: alert.clone(),
                retention: retention.clone(),
                schema,
                holes: Holes::default(),
                marked: false,
            };
            let mut writes = vec![put(record.clone())];
            // Those that waited for the name are changed by its return: whoever follows the
            // changes of the scope is told.
            writes.extend(state.index.attached(&name).map(|waiting| {
                let record = Record::Subscription(waiting.as_ref().clone());
                (subscription_key(&waiting.name), Some(record))
            }));
            Ok(Plan { writes, answer: view(&project, &state.index, &record) })
        });
        // Asked twice: before the log is made, so that a refusal costs nothing, and when it counts.
        plan(&cell.read())?;
        self.count_object(&by)?;
        let store = &self.0.store;
        let mut retry = self.retry();
        let made = self.settle(&mut retry, || store.create(life)).await?;
        if !matches!(made, Outcome::Applied(())) {
            return Err(Error::Unavailable);
        }
        self.insert_topic_state(life, Head::default());
        let made = self.change(&cell, &by, plan).await;
        if made.as_ref().is_err_and(is_definite) {
            self.remove_topic_state(life);
            // What cannot be closed now has no owner and is closed at the next start.
            drop(self.settle(&mut retry, || store.close(life)).await);
        }
        made
    }

    /// Deletes the topic and its messages; its subscriptions stay.
    pub async fn delete_topic(&self, caller: &Caller, name: &TopicName) -> Result<(), Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let cell = broker.project_cell(project)?;
            let record = broker.topic_record(project, &name)?;
            let topic = broker.topic_state(record.id).await?.ok_or(Error::TopicNotFound)?;
            let attached: Vec<_> =
                cell.read().index.attached(&name).map(|record| record.name.clone()).collect();
            for subscription in attached {
                if let Ok((target, _)) = broker.target(project, &subscription) {
                    match target.save_lost().await {
                        // Deleted meanwhile: there is nothing to keep any more.
                        Ok(()) | Err(Error::SubscriptionNotFound) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            // Publishes stop first: the head that the mark records is the last one.
            let head = topic.quiesce().await;
            let marked = broker.mark(&cell, &record, &head, &by).await;
            if cell.read().index.topic(&name).is_some_and(|now| now.id == record.id) {
                topic.resume();
            } else {
                topic.end();
            }
            marked?;
            broker.finish_deletion(&cell, &record, &by).await?;
            broker.sweep_soon();
            Ok(())
        };
        self.run(work).await
    }

    /// From now on the name answers as absent. The end of the life goes into its subscriptions
    /// here already, because a log that was closed before a crash no longer tells it.
    async fn mark(
        &self,
        cell: &Cell<ProjectIndex>,
        record: &TopicRecord,
        head: &Head,
        by: &By,
    ) -> Result<(), Error> {
        let plan = |state: &Versioned<ProjectIndex>| {
            let present = state.index.topic(&record.name).filter(|now| now.id == record.id);
            let mut present = TopicRecord::clone(present.ok_or(Error::TopicNotFound)?);
            present.marked = true;
            let mut writes = vec![put(present)];
            for attached in state.index.attached(&record.name) {
                let mut attached = attached.as_ref().clone();
                attached.ended.insert(record.id, head.next);
                let key = subscription_key(&attached.name);
                writes.push((key, Some(Record::Subscription(attached))));
            }
            Ok(Plan { writes, answer: () })
        };
        self.change(cell, by, plan).await
    }

    /// Names of the users in its ACL, in order; deleted users are left out.
    pub fn topic_acl(&self, caller: &Caller, name: &TopicName) -> Result<Vec<UserName>, Error> {
        let record = self.topic_record(caller.project()?, name)?;
        Ok(self.user_names(&record.acl))
    }

    /// Replaces the ACL. Users first (`UsersNotFound`), then the topic.
    pub async fn set_topic_acl(
        &self,
        caller: &Caller,
        name: &TopicName,
        users: Vec<String>,
    ) -> Result<(), Error> {
        let acl = self.members(caller.project()?, &users)?;
        self.edit_topic(caller, name, move |topic| topic.acl.clone_from(&acl)).await
    }

    /// Replaces its alert settings.
    pub async fn set_topic_alert(
        &self,
        caller: &Caller,
        name: &TopicName,
        alert: AlertSettings,
    ) -> Result<(), Error> {
        self.edit_topic(caller, name, move |topic| topic.alert = alert.clone()).await
    }

    /// Replaces what it keeps.
    pub async fn set_topic_retention(
        &self,
        caller: &Caller,
        name: &TopicName,
        retention: RetentionSettings,
    ) -> Result<(), Error> {
        self.edit_topic(caller, name, move |topic| topic.retention = retention.clone()).await
    }

    /// Judges its messages by a schema from now on; `None` = by none.
    pub async fn set_topic_schema(
        &self,
        caller: &Caller,
        name: &TopicName,
        schema: Option<SchemaName>,
    ) -> Result<(), Error> {
        let edit = move |index: &ProjectIndex, topic: &mut TopicRecord| {
            topic.schema = schema.as_ref().map(|name| schema_id(index, name)).transpose()?;
            Ok(())
        };
        self.edit_topic_within(caller, name, edit).await
    }

    async fn edit_topic(
        &self,
        caller: &Caller,
        name: &TopicName,
        edit: impl Fn(&mut TopicRecord) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let edit = move |_: &ProjectIndex, topic: &mut TopicRecord| {
            edit(topic);
            Ok(())
        };
        self.edit_topic_within(caller, name, edit).await
    }

    /// The same of an edit that needs the rest of the project, and may refuse.
    async fn edit_topic_within(
        &self,
        caller: &Caller,
        name: &TopicName,
        edit: impl Fn(&ProjectIndex, &mut TopicRecord) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let cell = broker.project_cell(project)?;
            let plan = |state: &Versioned<ProjectIndex>| {
                let topic = state.index.topic(&name).ok_or(Error::TopicNotFound)?;
                let mut topic = TopicRecord::clone(topic);
                edit(&state.index, &mut topic)?;
                Ok(Plan { writes: vec![put(topic)], answer: () })
            };
            broker.change(&cell, &by, plan).await
        };
        self.run(work).await
    }
}

fn schema_id(index: &ProjectIndex, name: &SchemaName) -> Result<SchemaId, Error> {
    Ok(index.schema(name).ok_or(Error::SchemaNotFound)?.record.id)
}

/// Whether nothing can have been written.
pub(super) const fn is_definite(error: &Error) -> bool {
    !matches!(error, Error::Unavailable)
}

fn view(project: &ProjectName, index: &ProjectIndex, record: &TopicRecord) -> TopicView {
    TopicView {
        project: project.clone(),
        name: record.name.clone(),
        schema: index.schema_of(record).map(|schema| schema.record.name.clone()),
        created: record.created,
        alert: record.alert.clone(),
        retention: record.retention.clone(),
    }
}

pub(super) fn put(record: TopicRecord) -> (String, Option<Record>) {
    (topic_key(&record.name), Some(Record::Topic(record)))
}

/// One page of a list that comes newest first. A place from another list is lawful: the page
/// starts at the first element that is not newer.
pub(super) fn paginate<T>(
    newest_first: impl Iterator<Item = T>,
    page: PageRequest,
    order: impl Fn(&T) -> u64,
) -> Page<T> {
    let size = page.size.filter(|size| *size > 0).unwrap_or(u64::MAX);
    let (mut items, mut next, mut total) = (Vec::new(), None, 0u64);
    for item in newest_first {
        total += 1;
        let place = order(&item);
        if page.from.is_some_and(|from| place > from) {
            continue;
        }
        if (items.len() as u64) < size {
            items.push(item);
        } else if next.is_none() {
            next = Some(place);
        }
    }
    Page { items, next, total }
}

impl<T> Page<T> {
    /// The same page of something else.
    pub(super) fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        let items = self.items.into_iter().map(view).collect();
        Page { items, next: self.next, total: self.total }
    }
}
