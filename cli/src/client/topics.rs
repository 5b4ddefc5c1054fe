//! `ams topic`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::alerts::{AlertFlags, Replacement};
use super::names::Name;
use super::session::Session;
use super::table::{self, column, name_column};
use crate::failure::Failure;

/// `ams topic ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a topic
    Create {
        /// Its name
        name: Name,
        #[command(flatten)]
        retention: Keep,
        #[command(flatten)]
        alert: AlertFlags,
    },
    /// All topics of the project, the newest first
    List,
    /// One topic
    Show {
        /// Which
        name: Name,
    },
    /// Say what a topic keeps; replaces what was said before
    Retention {
        /// Which
        name: Name,
        #[command(flatten)]
        retention: Keep,
        /// Keep what the server keeps by itself
        #[arg(long, conflicts_with_all = ["retention", "retention_bytes"])]
        clear: bool,
    },
    /// Say who is told when something is wrong; replaces what was said before
    Alert {
        /// Which
        name: Name,
        #[command(flatten)]
        alert: Replacement,
    },
    /// Delete topics with all their messages
    Delete {
        /// Which
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// What a topic keeps.
#[derive(Debug, Clone, Args)]
pub(crate) struct Keep {
    /// For how long messages are kept, such as 7d
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
    /// How many bytes of messages are kept at most
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
}

impl Keep {
    fn to_json(&self) -> Map<String, Value> {
        let age = self.retention.as_ref().map(|age| (String::from("retention"), json!(age)));
        let bytes = self.retention_bytes.map(|n| (String::from("retentionBytes"), json!(n)));
        age.into_iter().chain(bytes).collect()
    }
}

/// Does `command`.
pub(super) async fn run(session: &Session, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create { name, retention, alert } => {
            let path = session.topic(name.as_str()).await?;
            let mut body = Value::Object(retention.to_json());
            alert.add_to(&mut body);
            session.show(Method::PUT, &path, Some(&body)).await
        }
        Command::List => {
            let path = format!("projects/{}/topics", session.project().await?);
            let columns = [
                name_column("NAME", "name"),
                column("CREATED", "created_on"),
                column("RETENTION", "retention"),
                column("BYTES", "retentionBytes"),
            ];
            table::list(session.output, &columns, &session.all(&path, "topics").await?)
        }
        Command::Show { name } => {
            let path = session.topic(name.as_str()).await?;
            session.show(Method::GET, &path, None).await
        }
        Command::Retention { name, retention, clear } => {
            let body = retention.to_json();
            if body.is_empty() && !clear {
                let text = "say what to keep: --retention, --retention-bytes, both, or --clear";
                return Err(Failure::Usage(text.to_owned()));
            }
            let path = session.topic(name.as_str()).await?;
            let verb = format!("{path}:modifyRetention");
            session.call(Method::POST, &verb, Some(&Value::Object(body))).await?;
            let what = if *clear { "cleared" } else { "set" };
            session.done(&format!("retention of {path} {what}"))
        }
        Command::Alert { name, alert } => {
            alert.set(session, &session.topic(name.as_str()).await?).await
        }
        Command::Delete { names } => {
            for name in names {
                session.delete(&session.topic(name.as_str()).await?).await?;
            }
            Ok(())
        }
    }
}
