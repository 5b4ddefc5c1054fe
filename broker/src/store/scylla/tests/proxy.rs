//! A relay between driver and node that knows which statement passes, counts them, and loses one
//! when it is told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// What happens to the next conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The node does it, the answer is swallowed.
    Reply,
    /// The node never hears of it.
    Request,
    /// The node does it, and the connection breaks before the answer.
    Connection,
}

#[derive(Default)]
struct Seen {
    next: Option<Loss>,
    /// Prepared statements by id.
    texts: HashMap<Vec<u8>, String>,
    counts: HashMap<String, u64>,
}

/// A relay in front of a node.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    tasks: TaskTracker,
}

const HEADER: usize = 9;
const RESULT: u8 = 8;
const PREPARE: u8 = 9;
const EXECUTE: u8 = 10;
const BATCH: u8 = 13;

/// One frame, header and all.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    from.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes(frame[5..9].try_into().unwrap());
    frame.resize(HEADER + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut frame[HEADER..]).await.ok()?;
    Some(frame)
}

fn stream(frame: &[u8]) -> [u8; 2] {
    [frame[2], frame[3]]
}

/// Bytes behind a length of two.
fn short_bytes(body: &[u8]) -> Vec<u8> {
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    body[2..2 + length].to_vec()
}

/// What one connection has in flight, by stream.
#[derive(Default)]
struct Flight {
    prepared: HashMap<[u8; 2], String>,
    lost: HashMap<[u8; 2], Loss>,
}

impl Proxy {
    /// In front of `node`; lives as long as the test's runtime.
    pub(super) async fn before(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, seen: Arc::default(), tasks: TaskTracker::new() };
        let (each, node) = (proxy.clone(), node.to_owned());
        drop(proxy.tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&node).await.unwrap();
                each.relay(client, server);
            }
        }));
        proxy
    }

    /// The next conditional write meets `loss`.
    pub(super) fn lose_next(&self, loss: Loss) {
        self.seen().next = Some(loss);
    }

    /// Whether the loss has happened.
    pub(super) fn has_lost(&self) -> bool {
        self.seen().next.is_none()
    }

    /// What was executed since the last asking: texts of statements (`BATCH` for those), sorted.
    pub(super) fn executed(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> = std::mem::take(&mut self.seen().counts).into_iter().collect();
        // The driver's own questions about the cluster are not ours.
        counts.retain(|(text, _)| !text.contains("system"));
        counts.sort_unstable();
        counts
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relay(&self, client: TcpStream, server: TcpStream) {
        let flight = Arc::new(Mutex::new(Flight::default()));
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (there, here) = (self.clone(), self.clone());
        let other = Arc::clone(&flight);
        drop(self.tasks.spawn(async move {
            while let Some(frame) = frame(&mut from_client).await {
                if there.passes(&frame, &other) && to_server.write_all(&frame).await.is_err() {
                    return;
                }
            }
        }));
        drop(self.tasks.spawn(async move {
            while let Some(frame) = frame(&mut from_server).await {
                let lost = flight.lock().unwrap().lost.remove(&stream(&frame));
                if lost == Some(Loss::Connection) {
                    return close(to_client).await;
                }
                here.learn(&frame, &flight);
                if lost.is_none() && to_client.write_all(&frame).await.is_err() {
                    return;
                }
            }
        }));
    }

    /// Looks at a request; whether it goes on.
    fn passes(&self, frame: &[u8], flight: &Mutex<Flight>) -> bool {
        let body = &frame[HEADER..];
        let mut seen = self.seen();
        let text = match frame[4] {
            PREPARE => {
                let length = u32::from_be_bytes(body[..4].try_into().unwrap());
                let text = body[4..4 + usize::try_from(length).unwrap()].to_vec();
                let text = String::from_utf8(text).unwrap();
                flight.lock().unwrap().prepared.insert(stream(frame), text);
                return true;
            }
            EXECUTE => seen.texts.get(&short_bytes(body)).cloned().unwrap_or_default(),
            BATCH => "BATCH".to_owned(),
            _ => return true,
        };
        let is_conditional = text == "BATCH" || text.contains(" IF ");
        *seen.counts.entry(text).or_default() += 1;
        match seen.next.take_if(|_| is_conditional) {
            None => true,
            Some(Loss::Request) => false,
            Some(loss) => {
                flight.lock().unwrap().lost.insert(stream(frame), loss);
                true
            }
        }
    }

    /// Learns the id of a statement that was prepared.
    fn learn(&self, frame: &[u8], flight: &Mutex<Flight>) {
        let prepared = flight.lock().unwrap().prepared.remove(&stream(frame));
        let body = &frame[HEADER..];
        if let Some(text) = prepared
            && frame[4] == RESULT
            && body[..4] == [0, 0, 0, 4]
        {
            self.seen().texts.insert(short_bytes(&body[4..]), text);
        }
    }
}

async fn close(mut half: OwnedWriteHalf) {
    drop(half.shutdown().await);
}
