//! Counters of deleted objects, shown a little longer so that their last steps are scraped.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::Time;
use crate::series::{DirectoryChange, ObjectKind, Record, Series};

/// `observability.md` 3.3: gauges vanish at once, counters after five minutes.
const SHOWN: Duration = Duration::from_secs(300);

/// The last figures of a deleted object.
#[derive(Debug, Clone, PartialEq)]
pub struct Departed {
    /// Shown before this time.
    pub until: Time,
    /// Topic or subscription.
    pub kind: ObjectKind,
    /// Id of its project.
    pub project_id: Uuid,
    /// Name of its project.
    pub project: String,
    /// Its name.
    pub name: String,
    /// Its figures.
    pub record: Record,
}

/// What `change` is about to take away from `series`.
pub(super) fn departing(series: &Series, change: &DirectoryChange, now: Time) -> Vec<Departed> {
    if change.deleted.is_empty() {
        return Vec::new();
    }
    let is_gone = |id: Uuid, project: Uuid| {
        change.deleted.iter().any(|gone| gone.id == id || gone.id == project)
    };
    let until = now.plus(SHOWN);
    let topics = series.topics().filter_map(|view| {
        is_gone(view.topic.id, view.project.id).then_some(())?;
        Some(Departed {
            until,
            kind: ObjectKind::Topic,
            project_id: view.project.id,
            project: view.project.name.clone(),
            name: view.topic.name.clone(),
            record: view.held?.record.clone(),
        })
    });
    let subscriptions = series.subscriptions().filter_map(|view| {
        is_gone(view.subscription.id, view.project.id).then_some(())?;
        Some(Departed {
            until,
            kind: ObjectKind::Subscription,
            project_id: view.project.id,
            project: view.project.name.clone(),
            name: view.subscription.name.clone(),
            record: view.held?.record.clone(),
        })
    });
    topics.chain(subscriptions).collect()
}
