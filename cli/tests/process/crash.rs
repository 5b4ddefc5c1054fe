//! kill -9 in a publish storm: nothing acknowledged is lost, nothing twice, nothing invented,
//! batches whole.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::harness::{Ams, Api, Dice, FREE_PORTS};

const CYCLES: u64 = 20;
const PUBLISHERS: u64 = 6;
const TOPICS: &[&str] = &["a", "b"];

/// A batch as it was sent, and the ids it was answered.
struct Sent {
    topic: &'static str,
    data: Vec<String>,
    ids: Option<Vec<u64>>,
}

/// Twenty letters and digits: base64 of fifteen bytes. No two messages are alike.
fn data(cycle: u64, publisher: u64, batch: u64, at: u64) -> String {
    format!("C{cycle:03}P{publisher:03}B{batch:05}M{at:04}")
}

async fn publish(client: Api, cycle: u64, publisher: u64, sent: Arc<Mutex<Vec<Sent>>>) {
    let mut dice = Dice(cycle * PUBLISHERS + publisher + 1);
    let topic = TOPICS[usize::try_from(publisher).unwrap() % TOPICS.len()];
    let path = format!("projects/P/topics/{topic}:publish");
    for batch in 0.. {
        let data: Vec<String> =
            (0..dice.roll(1, 40)).map(|at| data(cycle, publisher, batch, at)).collect();
        let messages: Vec<Value> = data.iter().map(|data| json!({"data": data})).collect();
        let index = {
            let mut sent = sent.lock().unwrap();
            sent.push(Sent { topic, data, ids: None });
            sent.len() - 1
        };
        let body = json!({"messages": messages});
        let Ok((200, answer)) = client.try_call(Method::POST, &path, &body).await else { return };
        let ids = answer["messageIds"].as_array().unwrap();
        let ids = ids.iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect();
        sent.lock().unwrap()[index].ids = Some(ids);
    }
}

/// Everything in a topic, by offset.
async fn everything(client: &Api, topic: &str) -> Vec<String> {
    let mut found = Vec::new();
    let path = format!("projects/P/subscriptions/{topic}");
    client.post(&format!("{path}:modifyOffset"), json!({"offset": 0})).await;
    loop {
        let body = json!({"maxMessages": "2000"});
        let pulled = client.post(&format!("{path}:pull"), body).await;
        let messages = pulled["receivedMessages"].as_array().unwrap();
        let Some(last) = messages.last() else { return found };
        for message in messages {
            let id: usize = message["message"]["messageId"].as_str().unwrap().parse().unwrap();
            assert_eq!(id, found.len(), "offsets are dense and each is there once");
            found.push(message["message"]["data"].as_str().unwrap().to_owned());
        }
        client.post(&format!("{path}:acknowledge"), json!({"ackIds": [last["ackId"]]})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_message_is_lost_doubled_invented_or_torn_by_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mut dice = Dice(4_711);
    let mut ams = Ams::start(&dir, &arguments, &[]);
    ams.api().furnish(TOPICS).await;
    for cycle in 0..CYCLES {
        let tasks = TaskTracker::new();
        for publisher in 0..PUBLISHERS {
            tasks.spawn(publish(ams.api(), cycle, publisher, Arc::clone(&sent)));
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(50, 400))).await;
        ams.kill();
        tasks.close();
        tasks.wait().await;
        ams = Ams::start(&dir, &arguments, &[]);
    }

    let client = ams.api();
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let (mut stored, mut answered, mut unanswered) = (0, 0, 0);
    for topic in TOPICS {
        let found = everything(&client, topic).await;
        let places: HashMap<&str, usize> =
            found.iter().enumerate().map(|(at, data)| (data.as_str(), at)).collect();
        assert_eq!(places.len(), found.len(), "no message twice");
        let mut known = HashSet::new();
        for batch in sent.iter().filter(|batch| batch.topic == *topic) {
            known.extend(batch.data.iter().map(String::as_str));
            let first = places.get(batch.data[0].as_str()).copied();
            match (first, &batch.ids) {
                (None, Some(ids)) => panic!("acknowledged and lost: {ids:?}"),
                (None, None) => {
                    let rest = batch.data.iter().any(|data| places.contains_key(data.as_str()));
                    assert!(!rest, "a torn batch: {:?}", batch.data);
                }
                (Some(first), ids) => {
                    let whole = found.get(first..first + batch.data.len());
                    assert_eq!(whole, Some(batch.data.as_slice()), "a torn batch");
                    let expected = (first as u64..).take(batch.data.len()).collect::<Vec<_>>();
                    assert!(ids.as_ref().is_none_or(|ids| *ids == expected), "{ids:?}");
                }
            }
            if batch.ids.is_some() {
                answered += batch.data.len();
            } else {
                unanswered += 1;
            }
        }
        let invented = found.iter().find(|data| !known.contains(data.as_str()));
        assert_eq!(invented, None, "invented");
        stored += found.len();
    }
    println!(
        "{CYCLES} kills: {answered} messages acknowledged, {stored} stored, {unanswered} batches \
         without an answer"
    );
    assert!(answered > 0 && unanswered > 0, "the kills came in the storm");
}
