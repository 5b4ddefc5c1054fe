//! Figures of projects, topics and subscriptions (`ams-contract.md` 11.1-11.3): what heads, daily
//! figures and progress records keep already. Nothing here reads a log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::{Cell, ProjectIndex};
use super::users::is_member;
use super::{Broker, Caller, Error};
use crate::domain::records::{SubscriptionRecord, TopicRecord};
use crate::domain::roles::ProjectRole;
use crate::domain::{ProjectId, ProjectName, SubscriptionName, Time, TopicName, UserId, UserName};

/// Most days of a daily series.
const DAYS: usize = 30;

/// What one UTC day brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayCount {
    /// Days since 1970-01-01.
    pub day: u32,
    /// Messages published on it, at least one.
    pub messages: u64,
}

/// How fast something goes, measured between its last two events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Messages a second; finite.
    pub per_second: f64,
    /// The last event; `None`: there was none.
    pub at: Option<Time>,
}

/// Figures of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFigures {
    /// Its name.
    pub name: ProjectName,
    /// Topics it has.
    pub topics: usize,
    /// Subscriptions it has.
    pub subscriptions: usize,
    /// In how many topics' ACLs each member stands, in the order in which the users were made;
    /// never 0.
    pub topics_of: Vec<(UserName, usize)>,
    /// The same of subscriptions.
    pub subscriptions_of: Vec<(UserName, usize)>,
    /// Newest first, at most 30; deleted topics count on.
    pub days: Vec<DayCount>,
}

/// Figures of a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicFigures {
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages published since it was made.
    pub messages: u64,
    /// Their bytes, as AMS counts.
    pub ams_bytes: u64,
    /// Newest first, at most 30. Deleted topics of the same name count on, as in AMS.
    pub days: Vec<DayCount>,
    /// Of publishing.
    pub rate: Rate,
}

/// Figures of a subscription: deliveries, repeats included, not acknowledgements.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionFigures {
    /// Messages handed out.
    pub messages: u64,
    /// Their bytes, as AMS counts.
    pub ams_bytes: u64,
    /// Of pulling; an empty pull is an event too.
    pub rate: Rate,
}

impl Rate {
    /// `messages` at `at`, after an event at `before`; both `None` where there was none.
    fn new(messages: u64, before: Option<Time>, at: Option<Time>) -> Self {
        let passed = at.zip(before).map(|(at, before)| at.since(before));
        // The first event counts as one second's, as in AMS; so do two of the same instant.
        let passed = passed.filter(|passed| !passed.is_zero()).unwrap_or(Duration::from_secs(1));
        #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
        let messages = messages as f64;
        Self { per_second: messages / passed.as_secs_f64(), at }
    }
}

/// A time as records keep it: the epoch = never.
fn event(time: Time) -> Option<Time> {
    (time != Time::default()).then_some(time)
}

impl Broker {
    /// Figures of the caller's project.
    pub fn project_figures(&self, caller: &Caller) -> Result<ProjectFigures, Error> {
        let id = caller.project()?;
        let (name, cell) = (self.project_name(id)?, self.project_cell(id)?);
        let days = latest(&self.daily(&cell, |_| true));
        let members = self.members_in_order(id);
        let state = cell.read();
        let topics: Vec<&Arc<TopicRecord>> = state.index.live_topics().collect();
        let subscriptions: Vec<&Arc<SubscriptionRecord>> =
            state.index.subscriptions_in_order.values().collect();
        let topics_of = |user| topics.iter().filter(|topic| topic.acl.contains(&user)).count();
        let subscriptions_of =
            |user| subscriptions.iter().filter(|record| record.acl.contains(&user)).count();
        Ok(ProjectFigures {
            name,
            topics: topics.len(),
            subscriptions: subscriptions.len(),
            topics_of: counted(&members, topics_of),
            subscriptions_of: counted(&members, subscriptions_of),
            days,
        })
    }

    /// Figures of a topic. The ACL first (a caller with `publisher` that no ACL names is
    /// `Forbidden` also where there is no topic, `ams-contract.md` 2.4), then `TopicNotFound`.
    pub fn topic_figures(&self, caller: &Caller, name: &TopicName) -> Result<TopicFigures, Error> {
        let cell = self.project_cell(caller.project()?)?;
        let (record, subscriptions) = {
            let state = cell.read();
            let record = state.index.topic(name).cloned();
            (record, state.index.attached(name).count())
        };
        caller.passes(&ProjectRole::Publisher, acl(record.as_deref().map(|topic| &topic.acl)))?;
        let record = record.ok_or(Error::TopicNotFound)?;
        let head = self.known_topic(record.id).ok_or(Error::TopicNotFound)?.head();
        let [(before, _), (at, messages)] = head.last_two;
        Ok(TopicFigures {
            subscriptions,
            messages: head.next.0,
            ams_bytes: head.ams_bytes,
            days: latest(&self.daily(&cell, |topic| topic == name)),
            rate: Rate::new(u64::from(messages), event(before), event(at)),
        })
    }

    /// Figures of a subscription. The ACL first, as with topics, then `SubscriptionNotFound`.
    pub fn subscription_figures(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
    ) -> Result<SubscriptionFigures, Error> {
        let found = self.target(caller.project()?, name);
        let named = found.as_ref().ok().map(|(_, record)| &record.acl);
        caller.passes(&ProjectRole::Consumer, acl(named))?;
        let (target, _) = found?;
        // The clock of pulls first: a progress read after it is not behind it.
        let touched = target.state.last_pull();
        let Some(progress) = target.state.durable() else {
            let rate = Rate::new(0, None, event(touched));
            return Ok(SubscriptionFigures { messages: 0, ams_bytes: 0, rate });
        };
        let at = event(touched.max(progress.clocks.last_pull));
        let last = progress.last_handed_out.filter(|_| touched <= progress.clocks.last_delivery);
        let rate = match last {
            Some(last) => Rate::new(last.messages, event(last.after), at),
            None => Rate::new(0, None, at),
        };
        let counters = &progress.counters;
        Ok(SubscriptionFigures {
            messages: counters.delivered,
            ams_bytes: counters.delivered_bytes,
            rate,
        })
    }

    /// Messages of the topics whose name is `wanted`, by UTC day; days without any are absent.
    pub(super) fn daily(
        &self,
        cell: &Cell<ProjectIndex>,
        wanted: impl Fn(&TopicName) -> bool,
    ) -> BTreeMap<u32, u64> {
        let mut seen = BTreeMap::new();
        // The topics before the records: what is recorded meanwhile is met twice and counted once.
        let topics: Vec<_> = {
            let state = cell.read();
            let topics = state.index.topics_in_order.values();
            topics.filter(|topic| wanted(&topic.name)).map(|topic| topic.id).collect()
        };
        for id in topics {
            let days = self.known_topic(id).map(|topic| topic.unrecorded_days());
            seen.extend(days.into_iter().flatten().map(|day| ((day.day, id), day.messages)));
        }
        for usage in cell.read().index.usage.values().filter(|usage| wanted(&usage.name)) {
            for day in &usage.days {
                // What a day brought only grows.
                let known = seen.entry((day.day, usage.topic)).or_default();
                *known = day.messages.max(*known);
            }
        }
        let mut days = BTreeMap::new();
        for ((day, _), messages) in seen.into_iter().filter(|(_, messages)| *messages > 0) {
            let sum: &mut u64 = days.entry(day).or_default();
            *sum = sum.saturating_add(messages);
        }
        days
    }

    /// The members of a project, in the order in which the users were made.
    fn members_in_order(&self, project: ProjectId) -> Vec<(UserId, UserName)> {
        let state = self.0.service.read();
        let users = state.index.users_in_order.values();
        let users = users.filter_map(|id| state.index.users.get(id));
        let members = users.filter(|user| is_member(user, project));
        members.map(|user| (user.id, user.name.clone())).collect()
    }
}

fn acl(named: Option<&Vec<UserId>>) -> &[UserId] {
    named.map_or(&[], Vec::as_slice)
}

fn counted(
    members: &[(UserId, UserName)],
    count: impl Fn(UserId) -> usize,
) -> Vec<(UserName, usize)> {
    let counts = members.iter().map(|(id, name)| (name.clone(), count(*id)));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn latest(days: &BTreeMap<u32, u64>) -> Vec<DayCount> {
    let newest = days.iter().rev().take(DAYS);
    newest.map(|(day, messages)| DayCount { day: *day, messages: *messages }).collect()
}
