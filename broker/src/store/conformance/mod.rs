//! The store's promises, sentence by sentence, for every backend.
//!
//! A law is a plain function over a [`Fixture`]; its name repeats the sentence of the trait that
//! it pins. A backend joins with one line in its tests: `suite!(its fixture)`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod catalog;
mod lifetime;
mod message_log;
mod message_log_failures;
mod message_log_trims;
mod model;
mod progress_log;

use std::sync::Arc;
use std::time::Duration;

use super::{Answer, By, Change, Limits, Outcome, Scope, Store};
use crate::domain::{
    Batch, BatchBuilder, Entry, Head, Offset, Progress, ProjectId, SubscriptionId, Time, TopicId,
};

pub(crate) use {
    catalog::*, lifetime::*, message_log::*, message_log_failures::*, message_log_trims::*,
    model::*, progress_log::*,
};

/// Where a backend keeps one store under test.
pub(crate) trait Fixture: Send + Sync {
    /// Opens the store. Called again it is the same store after a restart: the one opened before
    /// is closed or merely dropped by then. Waits for what that one still holds (a lock).
    async fn open(&self) -> Arc<dyn Store>;
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Restart {
    /// The store is drained and closed.
    Clean,
    /// It is dropped as it is.
    Abrupt,
}

impl Restart {
    pub(crate) const BOTH: [Self; 2] = [Self::Clean, Self::Abrupt];

    /// Ends the process that holds `store` and starts the next one.
    pub(crate) async fn of<F: Fixture>(self, fixture: &F, store: Arc<dyn Store>) -> Arc<dyn Store> {
        if matches!(self, Self::Clean) {
            store.close_store().await.unwrap();
        }
        drop(store);
        fixture.open().await
    }
}

/// Makes one test of each law, with the attribute given. The fixture is made anew for each.
macro_rules! suite {
    ($fixture:expr $(, #[$attribute:meta])?) => {
        $crate::store::conformance::suite!(@each [$(#[$attribute])?] $fixture;
            // MessageLog
            creating_a_log_that_exists_is_applied,
            a_life_that_was_never_created_is_closed,
            a_closed_life_is_closed_for_good,
            closing_answers_the_final_head,
            a_life_never_sees_the_data_of_another,
            offsets_are_dense_from_0,
            the_head_counts_what_was_published,
            an_entry_comes_back_bit_for_bit,
            a_large_entry_comes_back_whole,
            an_entry_without_a_message_is_a_conflict,
            a_commit_not_at_the_head_is_a_conflict_and_writes_nothing,
            an_entry_that_is_already_there_is_applied_once,
            another_entry_in_its_place_is_a_conflict,
            commits_may_be_submitted_one_behind_the_other,
            commits_behind_a_failed_one_fail,
            a_commit_behind_a_close_is_closed,
            concurrent_appenders_lose_and_double_nothing,
            topics_are_appended_to_side_by_side,
            a_scan_brings_what_lies_from_the_offset_on,
            a_scan_stops_after_the_entry_that_reaches_a_limit,
            a_scan_brings_at_least_one_entry,
            a_time_is_found_at_the_first_entry_at_or_after_it,
            kept_bytes_are_those_of_whole_entries,
            a_size_is_found_at_the_first_offset_from_which_it_holds,
            a_start_moves_forward_only,
            a_start_inside_an_entry_is_lawful,
            a_topic_trimmed_to_its_head_goes_on,
            all_open_lives_are_listed,
            a_lost_reply_makes_no_second_entry,
            a_lost_request_leaves_no_entry,
            unknown_becomes_definite_for_create_and_trim,
            a_restart_keeps_messages_heads_and_starts,
            a_restart_keeps_what_was_submitted_one_behind_the_other,
            a_closed_life_stays_closed_after_a_restart,
            an_entry_from_before_a_restart_is_known,
            // ProgressLog
            a_record_never_saved_is_absent,
            a_record_comes_back_with_every_field,
            saving_needs_the_version_before,
            of_concurrent_saves_one_is_applied,
            concurrent_savers_lose_no_update,
            records_do_not_mix,
            a_deleted_record_is_forgotten,
            every_subscription_with_a_record_is_listed,
            a_lost_reply_of_a_save_shows_when_it_is_loaded,
            a_restart_keeps_records_and_deletions,
            // Catalog
            a_scope_never_written_is_empty_at_version_0,
            changes_are_applied_together,
            a_scope_lists_its_objects_ascending_by_key,
            keys_and_values_mean_nothing,
            a_stale_version_is_a_conflict_and_writes_nothing,
            of_concurrent_commits_one_is_applied,
            concurrent_committers_lose_no_change,
            changes_since_a_version_are_complete_and_in_order,
            the_last_changes_are_kept,
            scopes_do_not_mix,
            every_scope_ever_written_is_listed,
            a_lost_reply_of_a_commit_applies_it_once,
            a_restart_keeps_scopes,
            // Store
            an_id_survives_a_restart,
            an_open_store_has_not_stopped,
            a_closed_store_answers_stopped,
            closing_twice_is_lawful,
            what_was_confirmed_survives_restart_after_restart,
            // differential
            any_sequence_answers_as_in_memory,
        );
    };
    (@each $attributes:tt $fixture:expr; $($law:ident),+ $(,)?) => {
        $($crate::store::conformance::suite!(@one $attributes $fixture; $law);)+
    };
    (@one [$(#[$attribute:meta])?] $fixture:expr; $law:ident) => {
            $(#[$attribute])?
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                $crate::store::conformance::$law(&$fixture).await;
            }
    };
}
pub(crate) use suite;

/// What a mutation that must be applied brought.
#[track_caller]
fn applied<T: std::fmt::Debug>(answer: Answer<T>) -> T {
    match answer {
        Ok(Outcome::Applied(value)) => value,
        other => panic!("expected Applied, got {other:?}"),
    }
}

#[track_caller]
fn conflict<T: std::fmt::Debug>(answer: Answer<T>) {
    assert!(matches!(answer, Ok(Outcome::Conflict)), "expected Conflict, got {answer:?}");
}

#[track_caller]
fn closed<T: std::fmt::Debug>(answer: Answer<T>) {
    assert!(matches!(answer, Ok(Outcome::Closed)), "expected Closed, got {answer:?}");
}

#[track_caller]
fn unknown<T: std::fmt::Debug>(answer: Answer<T>) {
    assert!(matches!(answer, Ok(Outcome::Unknown)), "expected Unknown, got {answer:?}");
}

/// No limit.
const ALL: Limits = Limits { messages: u64::MAX, bytes: u64::MAX };

/// A time on the first day, `seconds` after its tenth hour.
fn at(seconds: u64) -> Time {
    Time::from_secs(1_750_000_000 + seconds)
}

fn batch<T: AsRef<str>>(texts: &[T]) -> Batch {
    let mut builder = BatchBuilder::default();
    for text in texts {
        builder.push::<&str, &str>(&[], text.as_ref());
    }
    builder.finish()
}

/// The entry that `texts` become behind `head`.
fn entry<T: AsRef<str>>(head: &Head, time: Time, texts: &[T]) -> Arc<Entry> {
    Arc::new(head.entry(time, batch(texts), Vec::new()))
}

/// A new life, created.
async fn new_topic(store: &dyn Store) -> TopicId {
    let topic = TopicId::random();
    applied(store.create(topic).await);
    topic
}

/// Commits `texts` behind the present head.
async fn publish<T: AsRef<str>>(
    store: &dyn Store,
    topic: TopicId,
    time: Time,
    texts: &[T],
) -> Arc<Entry> {
    let head = store.head(topic).await.unwrap().expect("an open life");
    let entry = entry(&head, time, texts);
    assert_eq!(applied(store.commit(topic, Arc::clone(&entry)).await), head.after(&entry));
    entry
}

/// Everything kept of a topic.
async fn everything(store: &dyn Store, topic: TopicId) -> Vec<Arc<Entry>> {
    store.scan(topic, Offset(0), ALL).await.unwrap()
}

/// The texts of all messages of `entries`, in order.
fn texts(entries: &[Arc<Entry>]) -> Vec<String> {
    let messages = entries.iter().flat_map(|entry| entry.batch.messages());
    messages
        .map(|message| {
            let mut text = String::new();
            message.unwrap().data.write_text(&mut text);
            text
        })
        .collect()
}

/// A progress at `version` whose position tells it from others.
fn progress(version: u64, position: u64) -> Progress {
    let mut progress = Progress::fresh(TopicId(uuid::Uuid::from_u128(7)), Offset(position));
    progress.version = version;
    progress
}

fn by(verb: &str) -> By {
    By { user: None, verb: verb.to_owned(), time: at(0), address: "127.0.0.1".to_owned() }
}

fn put(key: &str, value: &str) -> Change {
    Change::Put(key.to_owned(), value.as_bytes().to_vec().into())
}

fn delete(key: &str) -> Change {
    Change::Delete(key.to_owned())
}

fn new_scope() -> Scope {
    Scope::Project(ProjectId::random())
}

fn new_subscription() -> SubscriptionId {
    SubscriptionId::random()
}

/// Fails the test instead of hanging when something that must happen does not.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("an answer in time")
}
