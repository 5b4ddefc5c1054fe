//! Whether what the catalogue names is there. Reads only: what a start would finish (deletions that
//! were cut, logs that nothing names) is no damage.

use std::sync::Arc;

use super::OpenError;
use super::catalogue::{Cell, ProjectIndex, ServiceIndex};
use super::deliver::SubscriptionState;
use super::open::{farthest_is_known, load};
use crate::domain::records::{SubscriptionRecord, TopicRecord};
use crate::store::{Scope, Store};

/// What does not fit together, for people; empty = everything does.
///
/// # Errors
/// The catalogue itself cannot be read.
pub async fn check(store: Arc<dyn Store>) -> Result<Vec<String>, OpenError> {
    let service: Cell<ServiceIndex> = load(&store, Scope::Service).await?;
    let mut damage = Vec::new();
    for scope in store.scopes().await? {
        let Scope::Project(project) = scope else { continue };
        let named = service.read().index.projects.contains_key(&project);
        if named {
            let cell: Cell<ProjectIndex> = load(&store, scope).await?;
            let found = check_project(&store, &cell).await?;
            damage.extend(found.into_iter().map(|what| format!("project {project}: {what}")));
        }
    }
    Ok(damage)
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
