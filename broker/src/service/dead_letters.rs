//! Dead letters (`ackMode: individual`): a message that was handed out often and never acknowledged
//! goes to another topic and holds nobody up any more. It is there before it is settled here; what
//! is cut in between is recognised by the mark it left, so that the letter is written once.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Error;
use super::deliver::{Place, Target};
use crate::domain::records::DeadLetters;
use crate::domain::{Batch, BatchBuilder, Known, MessageRef, Offset, Request, Time};
use crate::store::StoreError;

/// Most messages that one pull moves at once.
const MOST: usize = 100;

/// A message on its way.
struct Letter {
    offset: Offset,
    batch: Batch,
}

impl Target {
    /// Writes what was handed out too often to the dead-letter topic and answers what is there now.
    /// Nothing where there is nothing to move. Where it cannot be written it stays, to be handed
    /// out again.
    pub(super) async fn bury(&self, place: &Place) -> Vec<Offset> {
        let (Some(policy), Some(topic)) = (&place.record.dead_letters, &place.topic) else {
            return Vec::new();
        };
        let spent = place.facts.progress.spent(policy.max_attempts, MOST);
        if spent.is_empty() {
            return Vec::new();
        }
        let mut tried = spent.len();
        let buried = async {
            let letters = self.letters(place, topic.id(), &spent).await?;
            tried = letters.len();
            self.send(policy, letters).await
        };
        let there = buried.await.unwrap_or_else(|error| {
            let (subscription, topic) = (&self.name, &policy.topic);
            tracing::warn!(%error, %subscription, %topic, "dead letters stay where they are");
            Vec::new()
        });
        self.state.count_failed_letters(tried.saturating_sub(there.len()));
        there
    }

    /// The first ones of `spent`, as many as one pull may read.
    async fn letters(
        &self,
        place: &Place,
        topic: crate::domain::TopicId,
        spent: &[(Offset, u32)],
    ) -> Result<Vec<Letter>, Error> {
        let project = self.broker.project_name(self.project)?;
        let subscription = format!("projects/{project}/subscriptions/{}", place.record.name);
        let runs: Vec<_> = spent.iter().map(|(offset, _)| (*offset, offset.plus(1))).collect();
        let entries = self.pick(topic, &runs, self.broker.0.settings.pull_bytes).await?;
        let mut letters = Vec::new();
        for ((taken, _), (offset, attempts)) in entries.taken.iter().zip(spent) {
            let entry = entries.entries.iter().find(|entry| *taken < entry.end());
            let message = entry.and_then(|entry| {
                let message = entry.batch.messages_from(taken.since(entry.base)).next();
                message.map(|message| (entry.time, message))
            });
            if let Some((time, message)) = message.filter(|_| taken == offset) {
                let message = message.map_err(StoreError::from)?;
                let batch = letter(&message, &subscription, *offset, time, *attempts);
                letters.push(Letter { offset: *offset, batch });
            }
        }
        Ok(letters)
    }

    /// Answers which of them are there now: all that could be written.
    async fn send(&self, policy: &DeadLetters, letters: Vec<Letter>) -> Result<Vec<Offset>, Error> {
        let broker = &self.broker;
        let project = broker.project_cell(self.project)?;
        let record = broker.topic_record(self.project, &policy.topic)?;
        let sent = letters.into_iter().map(|Letter { offset, batch }| {
            let (project, record) = (Arc::clone(&project), Arc::clone(&record));
            let request = Request::dead_letter(self.state.id(), offset, &batch);
            async move {
                let known = broker.known_before(&record, request).await?;
                if known == Known::New {
                    match broker.append_batch(project, &record, batch, Some(request)).await {
                        // It was written before, perhaps with another count of attempts.
                        Ok(_) | Err(Error::KeyReused) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(offset)
            }
        });
        let mut there = Vec::new();
        for sent in join_all(sent).await {
            match sent {
                Ok(offset) => there.push(offset),
                Err(error) if there.is_empty() => return Err(error),
                // Those behind it may be there, and are recognised the next time.
                Err(_) => break,
            }
        }
        Ok(there)
    }
}

/// The message with all it had, and with where it comes from.
fn letter(
    message: &MessageRef<'_>,
    subscription: &str,
    offset: Offset,
    published: Time,
    attempts: u32,
) -> Batch {
    let mut text = String::new();
    message.data.write_text(&mut text);
    let ours = [
        ("amsDeadLetterSubscription", subscription.to_owned()),
        ("amsDeadLetterOffset", offset.to_string()),
        ("amsDeadLetterPublishTime", published.to_nanos_text()),
        ("amsDeadLetterDeliveryAttempts", attempts.to_string()),
    ];
    let mut attributes = message.attributes.clone();
    attributes.extend(ours.iter().map(|(key, value)| (*key, value.as_str())));
    let mut batch = BatchBuilder::default();
    batch.push(&attributes, &text);
    batch.finish()
}
