//! A fixed workload, one call after the other: create, publish, roll to the next file, pull,
//! acknowledge, seek, delete. What it was told is a history; objects are looked up in the end.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Api;
use crate::history::{Ack, Content, Counter, History, Outcome, Publish, Pull, Seen};

/// Files of 64 KiB.
pub(crate) const SMALLEST_SLOTS: &[(&str, &str)] = &[
    ("AMS_BROKER__STORE__EMBEDDED__FIRST_SLOT_BYTES", "65536"),
    ("AMS_BROKER__STORE__EMBEDDED__MAX_SLOT_BYTES", "65536"),
    ("AMS_BROKER__STORE__EMBEDDED__LARGEST_RECORD_BYTES", "49152"),
    ("AMS_BROKER__HTTP__BODY_LIMIT", "32768"),
    // An outcome that stays unknown is told soon.
    ("AMS_BROKER__SERVICE__DEADLINE", "2s"),
];
const PUBLISHES: u16 = 16;
/// About 12 KiB of messages each, so that the second file is reached.
const FILLING: usize = 2_000;
const COUNT: u16 = 5;

/// A call, or rather what became of it.
enum Told {
    Yes(Value),
    No,
    Unknown,
}

/// The workload and what it was told.
pub(crate) struct Script {
    seed: u64,
    clock: u64,
    history: History,
    /// Objects: path, and whether it must be there.
    objects: Vec<(String, Outcome<bool>)>,
    /// When the first call was not answered with success.
    refused: Option<Instant>,
    last: Option<Instant>,
    after_refusal: bool,
    changes: u64,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let history = History { subscriptions: vec![0, 0], ..History::default() };
        Self {
            seed,
            clock: 0,
            history,
            objects: Vec::new(),
            refused: None,
            last: None,
            after_refusal: false,
            changes: 0,
        }
    }

    /// Whether some call did not succeed.
    pub(crate) const fn gave_up(&self) -> bool {
        self.refused.is_some()
    }

    /// How long after the first refusal the program still answered.
    pub(crate) fn since_refusal(&self) -> Option<Duration> {
        Some(self.last?.duration_since(self.refused?))
    }

    /// Whether a change was acknowledged after one was not.
    pub(crate) const fn acknowledged_after_refusal(&self) -> bool {
        self.after_refusal
    }

    /// Changes that were acknowledged.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    async fn call(&mut self, api: &Api, method: Method, path: &str, body: Value) -> Told {
        let answer = api.try_call(method, path, &body).await;
        if !matches!(&answer, Err(error) if error.is_connect()) {
            self.last = Some(Instant::now());
        }
        match answer {
            Ok((200, answer)) => {
                self.changes += 1;
                self.after_refusal |= self.refused.is_some();
                Told::Yes(answer)
            }
            other => {
                self.refused.get_or_insert_with(Instant::now);
                match other {
                    Ok((503, answer)) if answer["error"]["message"] == "Storage is full" => {
                        Told::No
                    }
                    Err(error) if error.is_connect() => Told::No,
                    // What it builds on may be missing.
                    Ok((status, _)) if status < 500 => Told::No,
                    _ => Told::Unknown,
                }
            }
        }
    }

    async fn object(&mut self, api: &Api, method: Method, path: &str, body: Value) {
        let there = method != Method::DELETE;
        let outcome = match self.call(api, method, path, body).await {
            Told::Yes(_) => Outcome::Ok(there),
            Told::No => return,
            Told::Unknown => Outcome::Unknown,
        };
        self.objects.retain(|(known, _)| known != path);
        self.objects.push((path.to_owned(), outcome));
    }

    /// Plays all of it, whatever is answered; stops when nobody answers any more.
    pub(crate) async fn play(&mut self, api: &Api) {
        self.object(api, Method::POST, "projects/P", json!({})).await;
        for topic in ["t", "gone"] {
            self.object(api, Method::PUT, &format!("projects/P/topics/{topic}"), json!({})).await;
        }
        for (name, topic) in [("s", "t"), ("reader", "t"), ("gone", "gone")] {
            let path = format!("projects/P/subscriptions/{name}");
            let body =
                json!({"topic": format!("projects/P/topics/{topic}"), "ackDeadlineSeconds": 600});
            self.object(api, Method::PUT, &path, body).await;
        }
        let filling = json!({"messages": [{"data": "x".repeat(8_000)}]});
        drop(self.call(api, Method::POST, "projects/P/topics/gone:publish", filling).await);
        for number in 0..PUBLISHES {
            self.publish(api, number).await;
            if number % 3 == 2 {
                self.pull(api).await;
            }
            if number == PUBLISHES / 2 {
                self.object(api, Method::DELETE, "projects/P/topics/gone", Value::Null).await;
                self.object(api, Method::DELETE, "projects/P/subscriptions/gone", Value::Null)
                    .await;
            }
        }
    }

    async fn publish(&mut self, api: &Api, number: u16) {
        let began = self.tick();
        let mut publish = Publish {
            topic: 0,
            client: 0,
            number: u32::from(number),
            count: COUNT,
            began,
            ended: began,
            outcome: Outcome::Refused,
        };
        let attributes = json!({"filling": "x".repeat(FILLING)});
        let messages: Vec<Value> = (0..COUNT)
            .map(|index| {
                json!({"data": publish.name(index).text(self.seed), "attributes": attributes})
            })
            .collect();
        let body = json!({"messages": messages});
        match self.call(api, Method::POST, "projects/P/topics/t:publish", body).await {
            Told::Yes(answer) => {
                let told = answer["messageIds"].as_array().unwrap().iter();
                publish.outcome =
                    Outcome::Ok(told.map(|id| id.as_str().unwrap().parse().unwrap()).collect());
            }
            Told::No => {}
            Told::Unknown => publish.outcome = Outcome::Unknown,
        }
        publish.ended = self.tick();
        self.history.publishes.push(publish);
    }

    fn seen(&self, pulled: &Value) -> Vec<Seen> {
        let read = |message: &Value| {
            let message = &message["message"];
            let offset = message["messageId"].as_str().unwrap().parse().unwrap();
            (offset, Content::read(message["data"].as_str().unwrap(), self.seed))
        };
        pulled["receivedMessages"].as_array().unwrap().iter().map(read).collect()
    }

    /// Pulls some and acknowledges them.
    async fn pull(&mut self, api: &Api) {
        let path = "projects/P/subscriptions/s";
        let (began, body) = (self.tick(), json!({"maxMessages": "8"}));
        let pulled = self.call(api, Method::POST, &format!("{path}:pull"), body).await;
        let Told::Yes(pulled) = pulled else { return };
        let (ended, messages) = (self.tick(), self.seen(&pulled));
        let Some((last, _)) = messages.last() else { return };
        let to = last + 1;
        self.history.pulls.push(Pull { subscription: 0, began, ended, messages });
        let began = self.tick();
        let body = json!({"ackIds": [format!("{path}:{}", to - 1)]});
        let outcome = match self.call(api, Method::POST, &format!("{path}:acknowledge"), body).await
        {
            Told::Yes(_) => Outcome::Ok(()),
            Told::No => Outcome::Refused,
            Told::Unknown => Outcome::Unknown,
        };
        let ended = self.tick();
        self.history.acks.push(Ack { subscription: 0, to, began, ended, outcome });
    }

    /// After a start without faults: what there is, for the checker; and whether the objects are
    /// there that must be.
    pub(crate) async fn look(&mut self, api: &Api) -> History {
        for (path, expected) in &self.objects {
            let (status, answer) = api.try_call(Method::GET, path, &Value::Null).await.unwrap();
            assert!(status == 200 || status == 404, "{path}: {status} {answer}");
            if let Outcome::Ok(there) = expected {
                assert_eq!(status == 200, *there, "{path}: {answer}");
            }
        }
        let mut stored = Vec::new();
        let reader = "projects/P/subscriptions/reader";
        let there = api.try_call(Method::GET, reader, &Value::Null).await.unwrap().0 == 200;
        if there {
            loop {
                let body = json!({"maxMessages": "1000"});
                let pulled = api.post(&format!("{reader}:pull"), body).await;
                let messages = self.seen(&pulled);
                let Some((last, _)) = messages.last() else { break };
                let body = json!({"ackIds": [format!("{reader}:{last}")]});
                api.post(&format!("{reader}:acknowledge"), body).await;
                stored.extend(messages);
            }
        }
        self.history.stored.push(stored);
        let path = "projects/P/subscriptions/s";
        if api.try_call(Method::GET, path, &Value::Null).await.unwrap().0 == 200 {
            let began = self.tick();
            let pulled = api.post(&format!("{path}:pull"), json!({"maxMessages": "8"})).await;
            let (ended, messages) = (self.tick(), self.seen(&pulled));
            self.history.pulls.push(Pull { subscription: 0, began, ended, messages });
            let offsets = api.call(Method::GET, &format!("{path}:offsets"), Value::Null).await;
            let tried = |outcome: &Outcome<()>| *outcome != Outcome::Refused;
            let acks = self.history.acks.iter().filter(|ack| tried(&ack.outcome));
            let sure = acks.clone().filter(|ack| ack.outcome == Outcome::Ok(()));
            self.history.counters.push(Counter {
                what: "position of s".to_owned(),
                shown: offsets["current"].as_u64().unwrap(),
                least: sure.map(|ack| ack.to).max().unwrap_or_default(),
                most: acks.map(|ack| ack.to).max().unwrap_or_default(),
            });
        }
        std::mem::take(&mut self.history)
    }
}
