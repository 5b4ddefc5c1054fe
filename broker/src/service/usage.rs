//! Daily figures: what each topic was given on each UTC day, kept as records of its project.
//!
//! They follow from the log (the first entry of a later day names the day before and its figures,
//! the head the last one), so recording them twice changes nothing, and they are derived again
//! after every start. They outlive their topic, and go with the project.

use std::collections::BTreeMap;

use super::catalogue::{Cell, ProjectIndex, Versioned, usage_key};
use super::commit::Plan;
use super::{Broker, Error};
use crate::domain::records::{Record, TopicRecord, UsageRecord};
use crate::domain::{DayFigures, Head, Time};
use crate::store::Limits;

impl Broker {
    /// Records the figures of all days of the topic that are over at `now`. An error means that
    /// some may not be recorded.
    pub(super) async fn record_usage(
        &self,
        cell: &Cell<ProjectIndex>,
        topic: &TopicRecord,
        head: &Head,
        now: Time,
    ) -> Result<(), Error> {
        let Some(last) = head.day_figures() else { return Ok(()) };
        let known = self.known_topic(topic.id);
        let mut through = known.as_ref().map_or(0, |state| state.recorded_through());
        if through == 0 {
            // After a start: from the last day that is recorded, which is looked at again.
            through = cell.read().index.last_usage(topic.id).saturating_sub(1);
        }
        let mut days = Vec::new();
        if through < last.day {
            days = self.closed_days(topic, through, last.day).await?;
        }
        if now.day() > last.day {
            days.push(last);
        }
        self.put_usage(cell, topic, days).await?;
        if let Some(state) = known {
            // The last day itself may still grow if the clock goes back: it is looked at again.
            state.set_recorded_through(last.day);
        }
        Ok(())
    }

    /// Records also the last day of a topic that takes no message any more.
    pub(super) async fn record_last_usage(
        &self,
        cell: &Cell<ProjectIndex>,
        topic: &TopicRecord,
        head: &Head,
    ) -> Result<(), Error> {
        self.record_usage(cell, topic, head, Time(u64::MAX)).await
    }

    /// The figures of the days from `from` to before `to` that brought something; those of a day
    /// whose successor began in a hole went with it.
    async fn closed_days(
        &self,
        topic: &TopicRecord,
        from: u32,
        to: u32,
    ) -> Result<Vec<DayFigures>, Error> {
        let (store, mut found, mut day) = (&self.0.store, Vec::new(), from);
        while day < to {
            day = day.saturating_add(1);
            let begin = Time::from_secs(u64::from(day).saturating_mul(86_400));
            let Some(offset) = store.find_time(topic.id, begin).await? else { break };
            let offset = topic.holes.pass(offset);
            let entries = store.scan(topic.id, offset, Limits { messages: 1, bytes: 1 }).await?;
            let Some(entry) = entries.first() else { break };
            found.extend(entry.closed_day);
            day = entry.time.day();
        }
        Ok(found)
    }

    async fn put_usage(
        &self,
        cell: &Cell<ProjectIndex>,
        topic: &TopicRecord,
        days: Vec<DayFigures>,
    ) -> Result<(), Error> {
        let plan = |state: &Versioned<ProjectIndex>| {
            let mut records: BTreeMap<String, UsageRecord> = BTreeMap::new();
            for day in &days {
                let month = month(day.day);
                let key = usage_key(topic.id, &month);
                let record = records.entry(key).or_insert_with_key(|key| {
                    let known = state.index.usage.get(key).map(|known| known.as_ref().clone());
                    known.unwrap_or_else(|| UsageRecord {
                        topic: topic.id,
                        name: topic.name.clone(),
                        month,
                        days: Vec::new(),
                    })
                });
                record.put(*day);
            }
            let changed = |(key, record): &(String, UsageRecord)| {
                state.index.usage.get(key).is_none_or(|known| known.as_ref() != record)
            };
            let writes = records.into_iter().filter(changed);
            let writes = writes.map(|(key, record)| (key, Some(Record::Usage(record)))).collect();
            Ok(Plan { writes, answer: () })
        };
        self.change(cell, &self.by_itself("broker:usage"), plan).await
    }
}

/// `YYYY-MM` of a UTC day, counted from the epoch.
fn month(day: u32) -> String {
    let text = Time::from_secs(u64::from(day).saturating_mul(86_400)).to_seconds_text();
    text.chars().take(7).collect()
}
