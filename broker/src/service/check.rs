//! Whether what the catalogue names is there, and what an operator gave up. [`check`] reads only:
//! what a start would finish (deletions that were cut, logs that nothing names) is no damage.
//! [`give_up`] records damage as holes, which a later start passes over and counts as lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::OpenError;
use super::catalogue::{Cell, ProjectIndex, ServiceIndex, topic_key};
use super::deliver::SubscriptionState;
use super::open::{farthest_is_known, load};
use crate::domain::Time;
use crate::domain::records::{Record, SubscriptionRecord, TopicRecord};
use crate::domain::{Hole, Holes, Offset, ProjectName, SubscriptionName, TopicId, TopicName};
use crate::store::{By, Change, Checked, Damage, Messages, Outcome, Scope, Store, StoreError};

/// What does not fit together, for people; empty = everything does.
///
/// # Errors
/// The catalogue itself cannot be read.
pub async fn check(store: &Arc<dyn Store>) -> Result<Vec<String>, OpenError> {
    let mut damage = Vec::new();
    for (name, cell) in projects(store).await? {
        let found = check_project(store, &cell).await?;
        damage.extend(found.into_iter().map(|what| format!("project {name}: {what}")));
    }
    Ok(damage)
}

/// The named projects with what is in them.
async fn projects(
    store: &Arc<dyn Store>,
) -> Result<Vec<(ProjectName, Cell<ProjectIndex>)>, OpenError> {
    let service: Cell<ServiceIndex> = load(store, Scope::Service).await?;
    let mut found = Vec::new();
    for scope in store.scopes().await? {
        let Scope::Project(id) = scope else { continue };
        let name = service.read().index.projects.get(&id).map(|project| project.name.clone());
        if let Some(name) = name {
            found.push((name, load(store, scope).await?));
        }
    }
    Ok(found)
}

async fn check_project(
    store: &Arc<dyn Store>,
    cell: &Cell<ProjectIndex>,
) -> Result<Vec<String>, OpenError> {
    let (topics, subscriptions): (Vec<Arc<TopicRecord>>, Vec<Arc<SubscriptionRecord>>) = {
        let state = cell.read();
        let topics = state.index.live_topics().cloned().collect();
        (topics, state.index.subscriptions.values().cloned().collect())
    };
    let mut damage = Vec::new();
    for topic in topics {
        if store.head(topic.id).await?.is_none() {
            damage.push(format!("topic {} has no open log ({})", topic.name, topic.id));
        }
    }
    for record in subscriptions {
        let topic = cell.read().index.topics.get(&record.topic).cloned();
        let current = match topic {
            // Its deletion was cut: the end of that life is noted when it is finished.
            Some(topic) if topic.marked => continue,
            Some(topic) => store.head(topic.id).await?.map(|head| (topic.id, head)),
            None => None,
        };
        let state = SubscriptionState::new(record.id, store.load(record.id).await?);
        if let Err(what) = farthest_is_known(&record, &state, current) {
            damage.push(format!("subscription {}: {what}", record.name));
        }
    }
    Ok(damage)
}

/// Tells the damage apart that is recorded: what costs messages that were given up, and in the same
/// file what costs none by itself. What costs messages of a topic that is gone is recorded by that.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn tell_recorded(store: &Arc<dyn Store>, checked: &mut Checked) -> Result<(), OpenError> {
    if checked.damage.is_empty() {
        return Ok(());
    }
    let damage = std::mem::take(&mut checked.damage);
    let mut holes: HashMap<TopicId, Holes> = HashMap::new();
    for (_, cell) in projects(store).await? {
        let state = cell.read();
        holes.extend(state.index.topics.values().map(|topic| (topic.id, topic.holes.clone())));
    }
    let given_up = |lost: &Messages| {
        holes.get(&lost.topic).is_none_or(|holes| holes.cover(lost.from, lost.to))
    };
    let files = |recorded: bool| -> HashSet<String> {
        let lost = damage.iter().filter_map(|one| Some((one, one.messages.as_ref()?)));
        let of = lost.filter(|(_, lost)| given_up(lost) == recorded);
        of.map(|(one, _)| one.file.clone()).collect()
    };
    let (recorded, open) = (files(true), files(false));
    (checked.damage, checked.recorded) = damage.into_iter().partition(|one| match &one.messages {
        Some(lost) => !given_up(lost),
        None => !recorded.contains(&one.file) || open.contains(&one.file),
    });
    Ok(())
}

/// Messages of a topic that can be given up, and what that costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The project.
    pub project: ProjectName,
    /// The topic.
    pub topic: TopicName,
    /// The first message.
    pub from: Offset,
    /// Behind the last one.
    pub to: Offset,
    /// The subscriptions that had not acknowledged them all, with how many each loses.
    pub subscriptions: Vec<(SubscriptionName, u64)>,
}

/// What `damage`, none of it recorded, costs the topics that there are.
///
/// # Errors
/// The catalogue or the progress of a subscription cannot be read.
pub async fn losses(store: &Arc<dyn Store>, damage: &[Damage]) -> Result<Vec<Loss>, OpenError> {
    let mut losses = Vec::new();
    for (project, cell) in projects(store).await? {
        let topics: Vec<Arc<TopicRecord>> = cell.read().index.live_topics().cloned().collect();
        for topic in topics {
            for hole in lost_of(topic.id, damage).iter() {
                losses.push(Loss {
                    project: project.clone(),
                    topic: topic.name.clone(),
                    from: hole.from,
                    to: hole.to,
                    subscriptions: behind(store, &cell, &topic, hole).await?,
                });
            }
        }
    }
    Ok(losses)
}

fn lost_of(topic: TopicId, damage: &[Damage]) -> Holes {
    let mut holes = Holes::default();
    let lost = damage.iter().filter_map(|one| one.messages).filter(|lost| lost.topic == topic);
    lost.for_each(|lost| holes.add(Hole { from: lost.from, to: lost.to }));
    holes
}

async fn behind(
    store: &Arc<dyn Store>,
    cell: &Cell<ProjectIndex>,
    topic: &TopicRecord,
    hole: Hole,
) -> Result<Vec<(SubscriptionName, u64)>, OpenError> {
    let attached: Vec<_> = cell.read().index.attached(&topic.name).cloned().collect();
    let mut found = Vec::new();
    for record in attached {
        let position = match store.load(record.id).await? {
            Some(progress) if progress.topic == topic.id => progress.position,
            None if record.topic_id == topic.id => record.start,
            // It starts in this life when it is next looked at.
            _ => Offset(0),
        };
        let lost = hole.to.since(position.max(hole.from));
        if lost > 0 {
            found.push((record.name.clone(), lost));
        }
    }
    Ok(found)
}

/// Records what `damage` costs as holes of its topics. Doing it twice changes nothing.
///
/// # Errors
/// The catalogue cannot be read or written; holes of some projects may be recorded then.
pub async fn give_up(
    store: &Arc<dyn Store>,
    damage: &[Damage],
    now: Time,
) -> Result<(), OpenError> {
    for (_, cell) in projects(store).await? {
        let (version, changes) = {
            let state = cell.read();
            let topics = state.index.topics.values().filter_map(|topic| {
                let mut topic = topic.as_ref().clone();
                let before = topic.holes.clone();
                lost_of(topic.id, damage).iter().for_each(|hole| topic.holes.add(hole));
                (topic.holes != before).then_some(topic)
            });
            let changes: Vec<Change> = topics
                .map(|topic| {
                    let key = topic_key(&topic.name);
                    Change::Put(key, Record::Topic(topic).encode().into())
                })
                .collect();
            (state.version, changes)
        };
        if changes.is_empty() {
            continue;
        }
        let by =
            By { user: None, verb: "ams:repair".to_owned(), time: now, address: String::new() };
        match store.commit_scope(cell.scope, version, changes, by).await? {
            Outcome::Applied(_) => {}
            // Nobody else writes to a store that is repaired.
            _ => return Err(StoreError::Unavailable.into()),
        }
    }
    Ok(())
}
