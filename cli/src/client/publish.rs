//! `ams publish`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::names::{Name, pair};
use super::options::Output;
use super::retry::Pause;
use super::server::CallError;
use super::session::{Session, elements};
use super::source::{Cut, Message, Origin, Source};
use crate::failure::Failure;
use crate::print;

/// Encoded bytes after which a request is sent: with what comes on top, below the broker's 10 MiB.
const REQUEST_BYTES: usize = 4 << 20;
/// How long a message waits for others to be sent with it.
const GATHER: Duration = Duration::from_millis(200);
/// Messages that are read ahead.
const AHEAD: usize = 256;

/// What to publish, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The topic
    topic: Name,
    /// Files, each one message; `-` is standard input, as is no file at all
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A message; may be given more than once
    #[arg(long, short = 't', value_name = "TEXT", conflicts_with_all = ["lines", "json_lines"])]
    text: Vec<String>,
    /// Each line is a message; empty ones are none
    #[arg(long, conflicts_with = "json_lines")]
    lines: bool,
    /// Each line is a message as JSON: {"text": "..."} or {"data": "BASE64"}, and
    /// "attributes": {"key": "value"}
    #[arg(long)]
    json_lines: bool,
    /// An attribute of every message; may be given more than once
    #[arg(long, short = 'a', value_name = "KEY=VALUE", value_parser = pair)]
    attribute: Vec<(String, String)>,
    /// Most messages of one request; a request is published as a whole or not at all
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Begin with this line of the first source, to go on after a failure
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true)]
    from_line: u64,
    /// Print the id of each message
    #[arg(long)]
    ids: bool,
}

/// What the reader hands over.
type Item = Result<Message, (Origin, String)>;

/// How long a request whose outcome is not known is sent again: well below the ten minutes for
/// which its key is remembered.
const AGAIN: Duration = Duration::from_secs(120);

/// Whether requests are sent under keys, so that one may be sent again.
struct Sender<'a> {
    session: &'a Session,
    /// Below `/v1/`.
    path: String,
    has_keys: bool,
}

/// Publishes everything, or says from where on it did not.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), Failure> {
    let sources = Source::all(&options.text, &options.files)?;
    let path = session.topic(options.topic.as_str()).await?;
    let mut items = read(sources, options);
    let mut sender = Sender {
        session,
        path: format!("{path}:publish"),
        has_keys: session.server.takes_keys().await,
    };
    let bar = bar();
    let mut published = 0_u64;
    let outcome = loop {
        let (batch, end) = gather(&mut items, usize::from(options.batch)).await;
        if let Some(first) = batch.first() {
            let first = first.origin.clone();
            let count = batch.len() as u64;
            match sender.send(batch, &bar).await {
                Ok(ids) => {
                    if options.ids {
                        bar.suspend(|| print::lines(&ids))?;
                    }
                    published += count;
                    bar.set_position(published);
                }
                Err(refused) => break Err(refused.failure(session, published, count, &first)),
            }
        }
        match end {
            End::None => {}
            End::Done => break Ok(()),
            End::Unreadable(origin, why) => {
                let text = format!("{origin}: {why}\n  {}", go_on(published, &origin));
                break Err(Failure::Other(text));
            }
        }
    };
    bar.finish_and_clear();
    outcome?;
    match session.output {
        _ if options.ids => Ok(()),
        Output::Json => super::table::json(&json!({"topic": path, "published": published})),
        Output::Text => print::lines(&[format!("{published} published to {path}")]),
    }
}

/// Reads `sources` on a thread of its own, for standard input may be slow.
fn read(sources: Vec<Source>, options: &Options) -> mpsc::Receiver<Item> {
    let (send, receive) = mpsc::channel(AHEAD);
    let cut = match (options.lines, options.json_lines) {
        (true, _) => Cut::Lines,
        (_, true) => Cut::JsonLines,
        _ => Cut::Whole,
    };
    let (attributes, from_line) = (options.attribute.clone(), options.from_line);
    std::thread::spawn(move || {
        let mut take = |item: Item| send.blocking_send(item).is_ok();
        for (source, number) in sources.iter().zip(0..) {
            let from_line = if number == 0 { from_line } else { 1 };
            if !source.read(cut, from_line, &attributes, &mut take) {
                break;
            }
        }
    });
    receive
}

/// What comes behind a batch.
#[derive(Debug, PartialEq, Eq)]
enum End {
    None,
    Done,
    Unreadable(Origin, String),
}

/// The next messages: as many as fit, or as are there within [`GATHER`].
async fn gather(items: &mut mpsc::Receiver<Item>, most: usize) -> (Vec<Message>, End) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut until = None;
    while batch.len() < most && bytes < REQUEST_BYTES {
        let next = match until {
            None => items.recv().await,
            Some(until) => match timeout_at(until, items.recv()).await {
                Ok(next) => next,
                Err(_) => return (batch, End::None),
            },
        };
        match next {
            None => return (batch, End::Done),
            Some(Err((origin, why))) => return (batch, End::Unreadable(origin, why)),
            Some(Ok(message)) => {
                bytes += message.json.to_string().len();
                batch.push(message);
                until.get_or_insert_with(|| Instant::now() + GATHER);
            }
        }
    }
    (batch, End::None)
}

impl Sender<'_> {
    /// Publishes a batch; where that is safe, again until it is known what became of it.
    async fn send(
        &mut self,
        batch: Vec<Message>,
        bar: &ProgressBar,
    ) -> Result<Vec<String>, Refused> {
        let messages: Vec<Value> = batch.into_iter().map(|message| message.json).collect();
        let body = json!({"messages": messages}).to_string();
        let mut key = self.has_keys.then(|| Uuid::new_v4().to_string());
        let (begun, mut pause) = (Instant::now(), Pause::default());
        let mut unknown = false;
        loop {
            let server = &self.session.server;
            let error = match server.post_once(&self.path, body.clone(), key.as_deref()).await {
                Ok(mut answer) => {
                    let ids = elements(&mut answer, "messageIds");
                    return Ok(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect());
                }
                Err(error) => error,
            };
            if !unknown && key.is_some() && is_out_of_keys(&error) {
                // Nothing was done: it can go on as if there were no keys.
                self.has_keys = false;
                key = None;
                continue;
            }
            unknown |= error.may_have_happened();
            let may_pass = error.may_pass() && !has_no_room(&error);
            if !unknown || key.is_none() || !may_pass || begun.elapsed() >= AGAIN {
                return Err(Refused { error, unknown });
            }
            let pause = pause.next();
            bar.suspend(|| print::note(&format!("{error}; sent again in {} s", pause.as_secs())));
            sleep(pause).await;
        }
    }
}

/// Whether the topic remembers as many keys as it can.
fn is_out_of_keys(error: &CallError) -> bool {
    matches!(error, CallError::Refused { code: 429, message, .. } if message.contains("Idempotency-Keys"))
}

/// Whether the server is full, which does not pass by itself.
fn has_no_room(error: &CallError) -> bool {
    matches!(error, CallError::Refused { code: 503, status, .. } if status == "RESOURCE_EXHAUSTED")
}

/// A batch that was not published, or of which that is not known.
struct Refused {
    /// What came last.
    error: CallError,
    /// One of its requests may have been done.
    unknown: bool,
}

impl Refused {
    /// In words, with what was published before it and where to go on.
    fn failure(self, session: &Session, published: u64, count: u64, first: &Origin) -> Failure {
        let Self { error, unknown } = self;
        let doubt = match unknown {
            true => format!("\n  whether the {count} from {first} on were published is not known"),
            false => String::new(),
        };
        let advice = session.advice(&error);
        Failure::Other(format!("{error}{advice}{doubt}\n  {}", go_on(published, first)))
    }
}

fn go_on(published: u64, from: &Origin) -> String {
    let again = from.line.map(|line| format!(" (--from-line {line})")).unwrap_or_default();
    format!("{published} published; go on from {from}{again}")
}

/// A count on standard error, if that is a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // A template that does not parse leaves the default one.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} published, {per_sec}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: usize) -> Item {
        let origin = Origin { source: String::from("f"), line: Some(7) };
        Ok(Message { json: json!("x".repeat(size)), origin })
    }

    #[tokio::test]
    async fn a_batch_is_as_large_as_it_may_be_and_ends_before_what_cannot_be_read() {
        let (send, mut receive) = mpsc::channel(20);
        for size in [1, 1, 1, REQUEST_BYTES, 1] {
            send.try_send(message(size)).unwrap();
        }
        let origin = Origin { source: String::from("f"), line: Some(8) };
        send.try_send(Err((origin.clone(), String::from("bad")))).unwrap();
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let (batch, end) = gather(&mut receive, 2).await;
            sizes.push((batch.len(), end == End::None));
        }
        assert_eq!(sizes, [(2, true), (2, true), (1, false)]);
        assert_eq!(go_on(5, &origin), "5 published; go on from line 8 of f (--from-line 8)");
    }

    #[tokio::test]
    async fn a_message_does_not_wait_for_others_for_long() {
        let (send, mut receive) = mpsc::channel(2);
        send.try_send(message(1)).unwrap();
        let (batch, end) = gather(&mut receive, 100).await;
        assert_eq!((batch.len(), end), (1, End::None));
        drop(send);
        let (batch, end) = gather(&mut receive, 100).await;
        assert_eq!((batch.len(), end), (0, End::Done));
    }
}
