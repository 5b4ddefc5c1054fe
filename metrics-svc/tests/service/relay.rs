//! An SMTP relay that can be told to misbehave. It speaks the real protocol over TCP.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnData {
    /// 421 after the message, and the line is cut.
    Defer,
    /// The message is kept, the line is cut before the 250.
    LoseReply,
    /// No answer ever.
    Stall,
    /// 554 after the message.
    Refuse,
}

/// A mail that was taken (or kept before the reply was lost).
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) to: String,
    pub(crate) text: String,
}

impl Taken {
    /// A header's value; folded lines are not joined.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        let head = self.text.split("\r\n\r\n").next().unwrap();
        head.split("\r\n").find_map(|line| line.strip_prefix(start.as_str()))
    }

    /// The subject, with encoded folds joined.
    pub(crate) fn subject(&self) -> String {
        let head = self.text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let line = head.split("\r\n").find(|line| line.starts_with("Subject: ")).unwrap();
        line["Subject: ".len()..].to_owned()
    }
}

#[derive(Default)]
struct State {
    taken: Mutex<Vec<Taken>>,
    refused: Mutex<Vec<String>>,
    refuse_sender: Mutex<bool>,
    on_data: Mutex<VecDeque<OnData>>,
    connections: Mutex<usize>,
    changed: Notify,
}

/// The relay.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let tasks = TaskTracker::new();
        let shared = Arc::clone(&state);
        tasks.clone().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                tasks.spawn(async move { drop(talk(stream, &state).await) });
            }
        });
        Self { addr, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.addr)
    }

    /// Answers 550 to this recipient from now on.
    pub(crate) fn refuse(&self, recipient: &str) {
        self.state.refused.lock().unwrap().push(recipient.to_owned());
    }

    /// Answers 550 to MAIL FROM, or no longer.
    pub(crate) fn refuse_sender(&self, refuse: bool) {
        *self.state.refuse_sender.lock().unwrap() = refuse;
    }

    /// The next message meets this.
    pub(crate) fn next(&self, what: OnData) {
        self.state.on_data.lock().unwrap().push_back(what);
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.taken.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// The mails, once there are so many.
    pub(crate) async fn mails(&self, n: usize) -> Vec<Taken> {
        let enough = async {
            loop {
                let changed = self.state.changed.notified();
                let taken = self.taken();
                if taken.len() >= n {
                    return taken;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), enough).await;
        waited.unwrap_or_else(|_| panic!("{n} mails wanted, there are {:#?}", self.taken()))
    }
}

async fn talk(stream: TcpStream, state: &State) -> std::io::Result<()> {
    *state.connections.lock().unwrap() += 1;
    let mut line = BufReader::new(stream);
    let mut recipient = String::new();
    line.write_all(b"220 relay.test ESMTP\r\n").await?;
    loop {
        let mut command = String::new();
        if line.read_line(&mut command).await? == 0 {
            return Ok(());
        }
        let verb = command.to_ascii_uppercase();
        if verb.starts_with("EHLO") {
            line.write_all(b"250-relay.test\r\n250 8BITMIME\r\n").await?;
        } else if verb.starts_with("MAIL FROM") {
            let refuse = *state.refuse_sender.lock().unwrap();
            let answer = if refuse { "550 5.7.1 not you\r\n" } else { "250 ok\r\n" };
            line.write_all(answer.as_bytes()).await?;
        } else if verb.starts_with("RCPT TO") {
            recipient = command.trim()["RCPT TO:<".len()..].trim_end_matches('>').to_owned();
            let refuse = state.refused.lock().unwrap().contains(&recipient);
            let answer = if refuse { "550 5.1.1 no such user\r\n" } else { "250 ok\r\n" };
            line.write_all(answer.as_bytes()).await?;
        } else if verb.starts_with("DATA") {
            line.write_all(b"354 go on\r\n").await?;
            let mut text = String::new();
            while !text.ends_with("\r\n.\r\n") {
                if line.read_line(&mut text).await? == 0 {
                    return Ok(());
                }
            }
            let text = text.trim_end_matches(".\r\n").replace("\r\n..", "\r\n.");
            let what = state.on_data.lock().unwrap().pop_front();
            if matches!(what, None | Some(OnData::LoseReply)) {
                state.taken.lock().unwrap().push(Taken { to: recipient.clone(), text });
                state.changed.notify_waiters();
            }
            match what {
                None => line.write_all(b"250 2.0.0 taken\r\n").await?,
                Some(OnData::LoseReply) => return Ok(()),
                Some(OnData::Defer) => {
                    return line.write_all(b"421 4.3.2 shutting down\r\n").await;
                }
                Some(OnData::Refuse) => line.write_all(b"554 5.6.0 spam\r\n").await?,
                Some(OnData::Stall) => std::future::pending().await,
            }
        } else if verb.starts_with("QUIT") {
            return line.write_all(b"221 bye\r\n").await;
        } else {
            line.write_all(b"500 what\r\n").await?;
        }
    }
}
