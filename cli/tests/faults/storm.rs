//! Publishers and consumers that never give up before the program does, and a reader that comes
//! after them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Ams, Api, Dice, PATIENCE, page};
use crate::history::{Ack, Content, Counter, History, Outcome, Publish, Pull, Seen};

/// Files so small that a storm fills many.
pub(crate) const SMALL_SLOTS: &[(&str, &str)] = &[
    ("AMS_BROKER__STORE__EMBEDDED__FIRST_SLOT_BYTES", "1048576"),
    ("AMS_BROKER__STORE__EMBEDDED__MAX_SLOT_BYTES", "4194304"),
    ("AMS_BROKER__STORE__EMBEDDED__LARGEST_RECORD_BYTES", "524288"),
    ("AMS_BROKER__HTTP__BODY_LIMIT", "393216"),
];

pub(crate) const TOPICS: usize = 2;
const PUBLISHERS: u16 = 16;
/// Each has a subscription of its own, so that it knows what its position must be.
pub(crate) const CONSUMERS: usize = 4;
const SIZES: [u16; 7] = [1, 1, 2, 5, 10, 30, 100];

/// What was done and answered so far.
pub(crate) struct Storm {
    seed: u64,
    /// `None`: times are those of the machine's clock.
    origin: Option<Instant>,
    answered: AtomicU64,
    history: Mutex<History>,
}

/// What a call came to.
enum Reply {
    Done(Value),
    Unknown,
    Refused(u16, Value),
    /// Nobody listened: it was not sent.
    Unsent,
}

async fn post(client: &Api, path: &str, body: &Value) -> Reply {
    match client.try_call(Method::POST, path, body).await {
        Ok((200, answer)) => Reply::Done(answer),
        Ok((503, answer)) if answer["error"]["message"] == "Storage is full" => {
            Reply::Refused(503, answer)
        }
        Ok((500 | 503, _)) => Reply::Unknown,
        Ok((status, answer)) => Reply::Refused(status, answer),
        Err(error) if error.is_connect() => Reply::Unsent,
        Err(_) => Reply::Unknown,
    }
}

fn offset(text: &Value) -> u64 {
    text.as_str().unwrap().parse().unwrap()
}

impl Storm {
    pub(crate) fn new(seed: u64) -> Self {
        // The consumers' subscriptions.
        let subscriptions = (0..CONSUMERS).map(|consumer| consumer % TOPICS).collect();
        let history = Mutex::new(History { subscriptions, ..History::default() });
        Self { seed, origin: Some(Instant::now()), answered: AtomicU64::new(0), history }
    }

    /// One whose times are nanoseconds since 1970, to be compared with those of other programs.
    pub(crate) fn by_wall_clock(seed: u64) -> Self {
        Self { origin: None, ..Self::new(seed) }
    }

    /// Nanoseconds since it began, or since 1970.
    #[allow(clippy::disallowed_methods, reason = "what strace writes is of this clock")]
    pub(crate) fn now(&self) -> u64 {
        let since = self.origin.map_or_else(
            || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap(),
            |origin| origin.elapsed(),
        );
        u64::try_from(since.as_nanos()).unwrap()
    }

    /// How many publishes were answered 200.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn write(&self, entry: impl FnOnce(&mut History)) {
        entry(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes the topics, a subscription for each consumer, and one for the reader of each topic.
    pub(crate) async fn prepare(&self, client: &Api) {
        client.post("projects/P", json!({})).await;
        for topic in 0..TOPICS {
            client.call(Method::PUT, &format!("projects/P/topics/t{topic}"), json!({})).await;
        }
        let consumers = (0..CONSUMERS).map(|consumer| (format!("c{consumer}"), consumer % TOPICS));
        let readers = (0..TOPICS).map(|topic| (format!("r{topic}"), topic));
        for (name, topic) in consumers.chain(readers) {
            let body =
                json!({"topic": format!("projects/P/topics/t{topic}"), "ackDeadlineSeconds": 600});
            client.call(Method::PUT, &format!("projects/P/subscriptions/{name}"), body).await;
        }
    }

    /// Starts everybody against `ams`; they end when it does. `cycle` makes their messages new.
    pub(crate) fn rage(self: &Arc<Self>, ams: &Ams, cycle: u32) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for publisher in 0..PUBLISHERS {
            tasks.spawn(Arc::clone(self).publish(ams.api(), publisher, cycle));
        }
        for consumer in 0..CONSUMERS {
            tasks.spawn(Arc::clone(self).consume(ams.api(), consumer));
        }
        tasks
    }

    async fn publish(self: Arc<Self>, api: Api, client: u16, cycle: u32) {
        let chance = self.seed ^ (u64::from(cycle) << 32) ^ (u64::from(client) + 1);
        let mut dice = Dice(chance.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let topic = usize::from(client) % TOPICS;
        let path = format!("projects/P/topics/t{topic}:publish");
        for batch in 0.. {
            let count = SIZES[usize::try_from(dice.roll(0, SIZES.len() as u64)).unwrap()];
            // Room for 65536 batches of one publisher in one cycle.
            let number = cycle << 16 | batch;
            let mut publish = Publish {
                topic,
                client,
                number,
                count,
                began: self.now(),
                ended: u64::MAX,
                outcome: Outcome::Unknown,
            };
            let messages: Vec<Value> = (0..count)
                .map(|index| json!({"data": publish.name(index).text(self.seed)}))
                .collect();
            let reply = post(&api, &path, &json!({"messages": messages})).await;
            publish.ended = self.now();
            let end = match reply {
                Reply::Done(answer) => {
                    let told = answer["messageIds"].as_array().unwrap();
                    publish.outcome = Outcome::Ok(told.iter().map(offset).collect());
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    false
                }
                Reply::Unknown => true,
                Reply::Refused(status, answer) => panic!("a lawful publish: {status} {answer}"),
                Reply::Unsent => return,
            };
            self.write(|history| history.publishes.push(publish));
            if end {
                return;
            }
        }
    }

    fn seen(&self, pulled: &Value) -> Vec<Seen> {
        let messages = pulled["receivedMessages"].as_array().unwrap();
        let seen = messages.iter().map(|message| {
            let text = message["message"]["data"].as_str().unwrap();
            (offset(&message["message"]["messageId"]), Content::read(text, self.seed))
        });
        seen.collect()
    }

    async fn consume(self: Arc<Self>, api: Api, consumer: usize) {
        let path = format!("projects/P/subscriptions/c{consumer}");
        let (pull, acknowledge) = (format!("{path}:pull"), format!("{path}:acknowledge"));
        loop {
            let began = self.now();
            let Reply::Done(pulled) = post(&api, &pull, &json!({"maxMessages": "50"})).await else {
                return;
            };
            let (ended, messages) = (self.now(), self.seen(&pulled));
            let Some(last) = pulled["receivedMessages"].as_array().unwrap().last() else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let to = offset(&last["message"]["messageId"]) + 1;
            self.write(|history| {
                history.pulls.push(Pull { subscription: consumer, began, ended, messages });
            });
            let began = self.now();
            let reply = post(&api, &acknowledge, &json!({"ackIds": [last["ackId"]]})).await;
            let outcome = match reply {
                Reply::Done(_) => Outcome::Ok(()),
                Reply::Unknown => Outcome::Unknown,
                Reply::Refused(status, answer) => panic!("a lawful ack: {status} {answer}"),
                Reply::Unsent => return,
            };
            let over = outcome == Outcome::Unknown;
            let ack = Ack { subscription: consumer, to, began, ended: self.now(), outcome };
            self.write(|history| history.acks.push(ack));
            if over {
                return;
            }
        }
    }

    /// What was done and answered so far.
    pub(crate) fn so_far(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads everything back, lets the consumers look once more, and asks what was counted: all
    /// of it beside `history`, which is what `ams` must have in it.
    pub(crate) async fn drain(&self, ams: &Ams, mut history: History) -> History {
        let client = ams.api();
        for topic in 0..TOPICS {
            history.stored.push(self.everything(&client, &format!("r{topic}")).await);
        }
        for consumer in 0..CONSUMERS {
            let path = format!("projects/P/subscriptions/c{consumer}:pull");
            let began = self.now();
            let pulled = client.post(&path, json!({"maxMessages": "50"})).await;
            let (ended, messages) = (self.now(), self.seen(&pulled));
            history.pulls.push(Pull { subscription: consumer, began, ended, messages });
        }
        self.count(&client, ams.said("metrics "), &mut history).await;
        history
    }

    async fn everything(&self, client: &Api, subscription: &str) -> Vec<Seen> {
        let path = format!("projects/P/subscriptions/{subscription}");
        let mut found = Vec::new();
        loop {
            let body = json!({"maxMessages": "5000"});
            let pulled = client.post(&format!("{path}:pull"), body).await;
            found.extend(self.seen(&pulled));
            let Some(last) = pulled["receivedMessages"].as_array().unwrap().last() else {
                return found;
            };
            let body = json!({"ackIds": [last["ackId"]]});
            client.post(&format!("{path}:acknowledge"), body).await;
        }
    }

    /// C12: what the API says, and what `/metrics` comes to say.
    async fn count(&self, client: &Api, metrics: &str, history: &mut History) {
        let mut expected = Vec::new();
        for (topic, stored) in history.stored.iter().enumerate() {
            let all = stored.len() as u64;
            let published = format!("ams_topic_published_messages_total topic=\"t{topic}\"");
            expected.push((published, all, all));
            for name in ["delivered", "acked"] {
                let what =
                    format!("ams_subscription_{name}_messages_total subscription=\"r{topic}\"");
                expected.push((what, all, all));
            }
        }
        for consumer in 0..CONSUMERS {
            let path = format!("projects/P/subscriptions/c{consumer}:offsets");
            let offsets = client.call(Method::GET, &path, Value::Null).await;
            let current = offsets["current"].as_u64().unwrap();
            let acks = history.acks.iter().filter(|ack| ack.subscription == consumer);
            let sure = acks.clone().filter(|ack| ack.outcome == Outcome::Ok(()));
            let least = sure.map(|ack| ack.to).max().unwrap_or_default();
            let most = acks.map(|ack| ack.to).max().unwrap_or_default();
            history.counters.push(Counter {
                what: format!("position of c{consumer}"),
                shown: current,
                least,
                most,
            });
            let what =
                format!("ams_subscription_acked_messages_total subscription=\"c{consumer}\"");
            expected.push((what, current, current));
        }
        let begun = Instant::now();
        loop {
            let text = page(metrics).await.unwrap();
            let shown = |what: &str| value(&text, what).unwrap_or_default();
            let settled = expected.iter().all(|(what, least, _)| shown(what) == *least);
            // Reports come every 200 ms; what is wrong for long stays wrong.
            if settled || begun.elapsed() > PATIENCE / 4 {
                let counters = expected.iter().map(|(what, least, most)| Counter {
                    what: what.clone(),
                    shown: shown(what),
                    least: *least,
                    most: *most,
                });
                history.counters.extend(counters.collect::<Vec<_>>());
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The value of the series `NAME LABEL="X"` of project `P`.
fn value(page: &str, what: &str) -> Option<u64> {
    let (name, label) = what.split_once(' ')?;
    let head = format!("{name}{{");
    let of = |line: &&str| line.starts_with(&head) && line.contains(label);
    page.lines().find(of)?.rsplit_once(' ')?.1.parse().ok()
}
