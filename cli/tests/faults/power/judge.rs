//! Opens what a power cut left, as the program would, and judges it by what had been told until
//! then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::clock::SystemClock;
use broker::domain::records::Record;
use broker::domain::{Offset, ProjectId, SubscriptionId, TopicId};
use broker::service::Broker;
use broker::store::{EmbeddedSettings, Limits, Scope, Store, open_embedded};
use tokio_util::task::TaskTracker;

use crate::history::{Content, Counter, History, Outcome, Pull, Seen, check};

/// Of the project's name, a topic or a subscription: what became of making or removing it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// `topic/NAME` or `sub/NAME`.
    pub(crate) key: String,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// Whether it is there afterwards.
    pub(crate) there: bool,
    pub(crate) outcome: Outcome<()>,
}

/// What clients were told, by the time of the machine (nanoseconds since 1970).
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) seed: u64,
    pub(crate) history: History,
    /// Of one object in the order in which they were made.
    pub(crate) objects: Vec<Object>,
    /// When the program had said `ready`, and what these files held then, for ever.
    pub(crate) ready: u64,
    pub(crate) secrets: BTreeMap<PathBuf, Vec<u8>>,
}

/// So much earlier a call may have begun than it was noted: nobody was told of it, so this only
/// lets it be there.
const SLACK: u64 = 1_000_000;

impl Told {
    /// What was told before `time`: whatever was not answered then may be there or not.
    fn until(&self, time: u64) -> Self {
        let mut told = self.clone();
        let begun = |began: u64| began <= time.saturating_add(SLACK);
        let History { publishes, pulls, acks, .. } = &mut told.history;
        publishes.retain(|publish| begun(publish.began));
        for publish in publishes.iter_mut().filter(|publish| publish.ended >= time) {
            publish.outcome = Outcome::Unknown;
        }
        pulls.retain(|pull| pull.ended < time);
        acks.retain(|ack| begun(ack.began));
        for ack in acks.iter_mut().filter(|ack| ack.ended >= time) {
            ack.outcome = Outcome::Unknown;
        }
        told.objects.retain(|object| begun(object.began));
        for object in told.objects.iter_mut().filter(|object| object.ended >= time) {
            object.outcome = Outcome::Unknown;
        }
        told
    }

    /// By key, whether it must be there, must not, or may.
    fn expected(&self) -> BTreeMap<&str, Option<bool>> {
        let mut expected: BTreeMap<&str, Option<bool>> = BTreeMap::new();
        for object in &self.objects {
            let known = expected.entry(&object.key).or_insert(Some(false));
            match object.outcome {
                Outcome::Ok(()) => *known = Some(object.there),
                Outcome::Unknown if *known != Some(object.there) => *known = None,
                Outcome::Unknown | Outcome::Refused => {}
            }
        }
        expected
    }
}

/// Opens the directory `dir` with these settings and judges it by what was told before `time`.
/// Answers how many acknowledged messages it had to hold; an error says what is wrong.
pub(crate) async fn judge(
    dir: &Path,
    settings: EmbeddedSettings,
    told: &Told,
    time: u64,
) -> Result<u64, String> {
    let told = told.until(time);
    if told.ready < time {
        for (path, content) in &told.secrets {
            let found = std::fs::read(dir.join(path)).ok();
            if found.as_ref() != Some(content) {
                let found = found.map_or("nothing".to_owned(), |it| format!("{} bytes", it.len()));
                return Err(format!("what was told is lost: {} holds {found}", path.display()));
            }
        }
    }
    let home = dir.join("broker");
    std::fs::create_dir_all(&home).unwrap();
    let refused = |what: String| format!("a lawful power cut is refused: {what}");
    let store = open_embedded(&home, settings).await.map_err(|error| refused(error.to_string()))?;
    let with = broker::config::Settings::default().service().unwrap();
    let tasks = TaskTracker::new();
    let broker =
        Broker::open(Arc::clone(&store), SystemClock::start(), [0; 32], with, tasks.clone()).await;
    let broker = broker.map_err(|error| refused(error.to_string()))?;
    let acknowledged = told.history.acknowledged();
    let verdict = look(store.as_ref(), told).await;
    broker.drain();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(10), tasks.wait()).await.unwrap();
    store.close_store().await.unwrap();
    verdict.map(|()| acknowledged)
}

/// The topics and subscriptions of the one project.
#[derive(Default)]
struct Names {
    topics: BTreeMap<String, TopicId>,
    subscriptions: BTreeMap<String, SubscriptionId>,
}

impl Names {
    async fn of(store: &dyn Store) -> Self {
        let mut names = Self::default();
        let service = store.load_scope(Scope::Service).await.unwrap();
        let projects =
            service.objects.iter().filter_map(|(_, value)| match Record::decode(value).unwrap() {
                Record::Project(project) => Some(project.id),
                _ => None,
            });
        let projects: Vec<ProjectId> = projects.collect();
        for project in projects {
            let scope = store.load_scope(Scope::Project(project)).await.unwrap();
            for (_, value) in &scope.objects {
                match Record::decode(value).unwrap() {
                    Record::Topic(topic) => {
                        names.topics.insert(topic.name.to_string(), topic.id);
                    }
                    Record::Subscription(subscription) => {
                        let name = subscription.name.to_string();
                        names.subscriptions.insert(name, subscription.id);
                    }
                    _ => {}
                }
            }
        }
        names
    }

    fn has(&self, key: &str) -> bool {
        match key.split_once('/') {
            Some(("topic", name)) => self.topics.contains_key(name),
            Some(("sub", name)) => self.subscriptions.contains_key(name),
            _ => panic!("{key} is no key"),
        }
    }
}

async fn look(store: &dyn Store, mut told: Told) -> Result<(), String> {
    let names = Names::of(store).await;
    for (key, expected) in told.expected() {
        let found = names.has(key);
        if expected.is_some_and(|expected| expected != found) {
            let found = if found { "there again" } else { "gone" };
            return Err(format!("what was told is lost: {key} is {found}"));
        }
    }
    let topics = told.history.subscriptions.iter().copied().max().map_or(0, |topic| topic + 1);
    for topic in 0..topics {
        let stored = match names.topics.get(&format!("t{topic}")) {
            Some(id) => messages(store, *id, &mut told, topic).await?,
            None => Vec::new(),
        };
        told.history.stored.push(stored);
    }
    for consumer in 0..told.history.subscriptions.len() {
        if let Some(id) = names.subscriptions.get(&format!("c{consumer}")) {
            position(store, *id, consumer, &mut told.history).await;
        }
    }
    let violations = check(&told.history);
    if violations.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
    Err(format!("\n{}", shown.join("\n")))
}

/// All that a topic holds; its head is a counter.
async fn messages(
    store: &dyn Store,
    id: TopicId,
    told: &mut Told,
    topic: usize,
) -> Result<Vec<Seen>, String> {
    let all = Limits { messages: u64::MAX, bytes: u64::MAX };
    let entries = store.scan(id, Offset(0), all).await;
    let entries = entries.map_err(|error| format!("t{topic} cannot be read: {error}"))?;
    let mut stored = Vec::new();
    for entry in entries {
        for (offset, message) in (entry.base.0..).zip(entry.batch.messages()) {
            let mut text = String::new();
            message.unwrap().data.write_text(&mut text);
            stored.push((offset, Content::read(&text, told.seed)));
        }
    }
    let (head, count) = (store.head(id).await.unwrap(), stored.len() as u64);
    told.history.counters.push(Counter {
        what: format!("messages of t{topic}"),
        shown: head.map_or(0, |head| head.next.0),
        least: count,
        most: count,
    });
    Ok(stored)
}

/// Where a subscription is, as a pull that begins there, and what it counted.
async fn position(store: &dyn Store, id: SubscriptionId, consumer: usize, history: &mut History) {
    let progress = store.load(id).await.unwrap();
    let (position, acked) =
        progress.map_or((0, 0), |progress| (progress.position.0, progress.counters.acked));
    let acks = history.acks.iter().filter(|ack| ack.subscription == consumer);
    let sure = acks.clone().filter(|ack| ack.outcome == Outcome::Ok(()));
    let least = sure.map(|ack| ack.to).max().unwrap_or_default();
    let most = acks.map(|ack| ack.to).max().unwrap_or_default();
    let counter = |what: &str, shown, least, most| Counter {
        what: format!("{what} of c{consumer}"),
        shown,
        least,
        most,
    };
    let stored = &history.stored[history.subscriptions[consumer]];
    let behind = stored.iter().filter(|(offset, _)| *offset >= position).take(50);
    let messages: Vec<Seen> = behind.cloned().collect();
    history.counters.push(counter("position", position, least, most));
    history.counters.push(counter("acknowledged messages", acked, position, position));
    history.pulls.push(Pull {
        subscription: consumer,
        began: u64::MAX - 1,
        ended: u64::MAX,
        messages,
    });
}
