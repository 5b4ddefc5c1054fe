//! A publish whose answer is lost on the way.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::FREE_PORTS;
use crate::house::{House, Said};

/// Between the client and a broker: it swallows the answer of the first publish.
struct Way {
    url: String,
    /// Publishes that came by.
    publishes: Arc<AtomicUsize>,
}

impl Way {
    /// To the broker at `to`; an `older` one is an AMS without a document of itself.
    fn to(to: &str, older: bool) -> Self {
        let to = to.strip_prefix("http://").unwrap().replace("localhost", "127.0.0.1");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let publishes = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&publishes);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (to, seen) = (to.clone(), Arc::clone(&seen));
                std::thread::spawn(move || pass(&client, &to, &seen, older));
            }
        });
        Self { url, publishes }
    }
}

/// Hands both directions of a connection on.
fn pass(client: &TcpStream, to: &str, publishes: &AtomicUsize, older: bool) {
    let server = TcpStream::connect(to).unwrap();
    let swallows = Arc::new(AtomicBool::new(false));
    let (mut back, mut from, swallow) =
        (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&swallows));
    std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if swallow.load(Ordering::Relaxed) {
                // The whole answer of a small publish.
                drop(back.shutdown(Shutdown::Both));
                return;
            }
            if back.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    });
    let (mut ours, mut theirs) = (client, &server);
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = ours.read(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if older && text.starts_with("GET /openapi.json") {
            ours.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap();
            continue;
        }
        if text.contains(":publish HTTP/1.1") {
            let before = publishes.fetch_add(1, Ordering::Relaxed);
            swallows.store(before == 0, Ordering::Relaxed);
        }
        if theirs.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// A house with a topic `t`, and a way to it on which the first answer is lost.
fn lossy(older: bool) -> (House, Way) {
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let house = House::with(&arguments, &[("AMS_BROKER__PLAIN_LISTEN", "127.0.0.1:0")]);
    house.good("project create P");
    house.good("topic create t");
    let way = Way::to(house.ams.said("plain API "), older);
    (house, way)
}

fn publish(house: &House, way: &Way) -> Said {
    let set = [("AMS_URL", way.url.as_str()), ("AMS_TOKEN_FILE", "data/admin.token")];
    house.bare("publish t --project P --lines --batch 1", &set, "first\nsecond\n")
}

#[test]
fn a_publish_whose_answer_is_lost_is_sent_again_and_not_doubled() {
    let (house, way) = lossy(false);
    let Said(code, out, error) = publish(&house, &way);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(out, "2 published to projects/P/topics/t\n");
    assert!(error.contains("sent again"), "{error}");
    assert_eq!(way.publishes.load(Ordering::Relaxed), 3);
    assert_eq!(house.good("tail t --from 0 --no-follow"), "first\nsecond\n");
}

#[test]
fn to_a_server_that_knows_no_keys_nothing_is_sent_again() {
    let (house, way) = lossy(true);
    let Said(code, _, error) = publish(&house, &way);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("whether the 1 from") && error.contains("is not known"), "{error}");
    assert_eq!(way.publishes.load(Ordering::Relaxed), 1);
    assert_eq!(house.good("tail t --from 0 --no-follow"), "first\n");
}
