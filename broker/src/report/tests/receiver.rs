//! A metrics-svc that remembers what it was sent and answers as planned: one request a connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// An answer other than a plain 200.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Status(u16),
    Resync,
    /// The request is read and never answered.
    Silence,
}

/// What came in one request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn is_directory(&self) -> bool {
        self.head.starts_with("POST /v1/directory ")
    }

    pub(super) fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn otlp(&self) -> ExportMetricsServiceRequest {
        assert!(self.head.starts_with("POST /v1/metrics "), "{}", self.head);
        assert!(self.head.contains("content-type: application/x-protobuf"), "{}", self.head);
        ExportMetricsServiceRequest::decode(self.body.as_slice()).unwrap()
    }
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    plan: VecDeque<Answer>,
}

pub(super) struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    pub(super) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (tasks, shared) = (TaskTracker::new(), Arc::clone(&state));
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers the next requests so, then 200 again.
    pub(super) fn plan(&self, answers: &[Answer]) {
        self.state.lock().unwrap().plan.extend(answers);
    }

    /// What came since this was last asked.
    pub(super) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap_or("0").parse().unwrap();
    while read.len() < end + length {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push(Request { head, body: read[end..].to_vec() });
        state.plan.pop_front()
    };
    let (status, resync) = match answer {
        None => (200, ""),
        Some(Answer::Status(status)) => (status, ""),
        Some(Answer::Resync) => (200, "ams-resync: 1\r\n"),
        Some(Answer::Silence) => std::future::pending().await,
    };
    let text =
        format!("HTTP/1.1 {status} X\r\n{resync}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
}
