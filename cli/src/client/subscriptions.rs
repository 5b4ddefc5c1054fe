//! `ams sub`.

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::alerts::{AlertFlags, Replacement};
use super::names::{Name, short};
use super::seek::{self, Target};
use super::session::{Session, elements};
use super::table::{self, column, name_column};
use crate::failure::Failure;

/// `ams sub ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a subscription, which gets what is published from now on
    Create {
        /// Its name
        name: Name,
        /// The topic, of the same project
        #[arg(long)]
        topic: Name,
        /// Seconds a consumer has to acknowledge what it pulled
        #[arg(long, value_name = "SECONDS", default_value_t = 10,
              value_parser = clap::value_parser!(u16).range(1..=600))]
        ack_deadline: u16,
        /// What an acknowledgement means: all up to a message, or that message alone; stays so
        #[arg(long, value_enum, value_name = "MODE", default_value = "cumulative")]
        ack_mode: AckMode,
        #[command(flatten)]
        alert: AlertFlags,
    },
    /// All subscriptions of the project, the newest first
    List {
        /// Only those of this topic
        #[arg(long)]
        topic: Option<Name>,
    },
    /// One subscription
    Show {
        /// Which
        name: Name,
    },
    /// Where a subscription stands, and between which offsets it may
    Offsets {
        /// Which
        name: Name,
    },
    /// Move a subscription to another offset; prints what that means
    Seek {
        /// Which
        name: Name,
        #[command(flatten)]
        to: Target,
        /// Only print what it would mean
        #[arg(long)]
        dry_run: bool,
    },
    /// Set the seconds a consumer has to acknowledge what it pulled
    Deadline {
        /// Which
        name: Name,
        /// 0 to 600
        #[arg(value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(0..=600))]
        seconds: u16,
    },
    /// Give messages back at once, so that they are delivered again; the subscription's
    /// acknowledgements must be individual
    Nack {
        /// The subscription
        #[arg(value_name = "SUB")]
        name: Name,
        /// What `ams pull --output json` shows as `ackId`
        #[arg(required = true, value_name = "ACKID")]
        ack_ids: Vec<String>,
    },
    /// Say who is told when something is wrong; replaces what was said before
    Alert {
        /// Which
        name: Name,
        #[command(flatten)]
        alert: Replacement,
    },
    /// Delete subscriptions
    Delete {
        /// Which
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AckMode {
    /// All up to this message, as in AMS
    Cumulative,
    /// This message alone, in any order; each is leased to one consumer
    Individual,
}

/// Does `command`.
pub(super) async fn run(session: &Session, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create { name, topic, ack_deadline, ack_mode, alert } => {
            let path = session.subscription(name.as_str()).await?;
            let topic = session.topic(topic.as_str()).await?;
            let mut body = json!({"topic": topic, "ackDeadlineSeconds": ack_deadline});
            // The default is not sent: the original AMS does not know the key.
            if let (AckMode::Individual, Value::Object(body)) = (ack_mode, &mut body) {
                body.insert(String::from("ackMode"), json!("individual"));
            }
            alert.add_to(&mut body);
            session.show(Method::PUT, &path, Some(&body)).await
        }
        Command::List { topic } => list(session, topic.as_ref()).await,
        Command::Show { name } => {
            let path = session.subscription(name.as_str()).await?;
            session.show(Method::GET, &path, None).await
        }
        Command::Offsets { name } => {
            let path = session.subscription(name.as_str()).await?;
            session.show(Method::GET, &format!("{path}:offsets"), None).await
        }
        Command::Seek { name, to, dry_run } => seek::seek(session, name, to, *dry_run).await,
        Command::Deadline { name, seconds } => {
            let path = session.subscription(name.as_str()).await?;
            let body = json!({"ackDeadlineSeconds": seconds});
            session.call(Method::POST, &format!("{path}:modifyAckDeadline"), Some(&body)).await?;
            session.done(&format!("{path}: {seconds} s to acknowledge"))
        }
        Command::Nack { name, ack_ids } => nack(session, name, ack_ids).await,
        Command::Alert { name, alert } => {
            alert.set(session, &session.subscription(name.as_str()).await?).await
        }
        Command::Delete { names } => {
            for name in names {
                session.delete(&session.subscription(name.as_str()).await?).await?;
            }
            Ok(())
        }
    }
}

async fn nack(session: &Session, name: &Name, ack_ids: &[String]) -> Result<(), Failure> {
    let path = session.subscription(name.as_str()).await?;
    // A cumulative one passes over the ids: its deadline would become 0 seconds for all.
    if session.get(&path).await?.get("ackMode").is_none_or(|mode| mode != "individual") {
        let text = "acknowledgements of {} are cumulative: nothing can be given back; what is not \
                    acknowledged comes again after the deadline (`ams sub deadline`)";
        return Err(Failure::Other(text.replace("{}", &path)));
    }
    // The server passes over those of other subscriptions.
    let is_foreign = |id: &&String| !id.starts_with(&format!("{path}:"));
    if let Some(id) = ack_ids.iter().find(is_foreign) {
        let id = table::printable(id);
        return Err(Failure::Usage(format!("{id}: no ackId of {path}, which begins with {path}:")));
    }
    let body = json!({"ackIds": ack_ids, "ackDeadlineSeconds": 0});
    session.call(Method::POST, &format!("{path}:modifyAckDeadline"), Some(&body)).await?;
    session.done(&format!("{path}: {} given back, unless the deadline was over", ack_ids.len()))
}

async fn list(session: &Session, topic: Option<&Name>) -> Result<(), Failure> {
    let path = format!("projects/{}/subscriptions", session.project().await?);
    let mut items = session.all(&path, "subscriptions").await?;
    if let Some(topic) = topic {
        // Asked as well, so that a topic that is not there is an error and no empty list.
        let path = session.topic(topic.as_str()).await?;
        let mut answer = session.get(&format!("{path}/subscriptions")).await?;
        let names = elements(&mut answer, "subscriptions");
        let name = |value: &Value| value.as_str().map(short).map(str::to_owned);
        let names: Vec<_> = names.iter().filter_map(name).collect();
        items.retain(|item| {
            let own = item.get("name").and_then(|name| name.as_str()).map(short);
            own.is_some_and(|own| names.iter().any(|name| name == own))
        });
    }
    let columns = [
        name_column("NAME", "name"),
        name_column("TOPIC", "topic"),
        column("DEADLINE", "ackDeadlineSeconds"),
        column("CREATED", "createdOn"),
    ];
    table::list(session.output, &columns, &items)
}
