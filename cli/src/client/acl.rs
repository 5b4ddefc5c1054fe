//! `ams acl`.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::names::Name;
use super::options::Output;
use super::session::{Session, elements};
use super::table;
use crate::failure::Failure;
use crate::print;

/// `ams acl ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who may use it
    Show {
        #[command(flatten)]
        of: Object,
    },
    /// Let these users use it, and nobody else
    Set {
        #[command(flatten)]
        of: Object,
        /// The users; none takes everybody's right away
        users: Vec<Name>,
    },
    /// Let these users use it too
    Add {
        #[command(flatten)]
        of: Object,
        /// The users
        #[arg(required = true)]
        users: Vec<Name>,
    },
    /// Take the right of these users away
    Remove {
        #[command(flatten)]
        of: Object,
        /// The users
        #[arg(required = true)]
        users: Vec<Name>,
    },
}

/// What has a list of users.
#[derive(Debug, Clone, Args)]
pub(crate) struct Object {
    /// Of what: publishing to a topic, or consuming a subscription
    #[arg(value_enum)]
    kind: Kind,
    /// Its name
    name: Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Topic,
    Sub,
}

impl Object {
    async fn path(&self, session: &Session) -> Result<String, Failure> {
        match self.kind {
            Kind::Topic => session.topic(self.name.as_str()).await,
            Kind::Sub => session.subscription(self.name.as_str()).await,
        }
    }
}

/// Does `command`.
pub(super) async fn run(session: &Session, command: &Command) -> Result<(), Failure> {
    let given = |users: &[Name]| users.iter().map(Name::to_string).collect::<Vec<_>>();
    match command {
        Command::Show { of } => {
            let path = of.path(session).await?;
            show(session, &users_of(session, &path).await?)
        }
        Command::Set { of, users } => set(session, &of.path(session).await?, given(users)).await,
        Command::Add { of, users } => {
            let path = of.path(session).await?;
            let mut all = users_of(session, &path).await?;
            for user in given(users) {
                if !all.contains(&user) {
                    all.push(user);
                }
            }
            set(session, &path, all).await
        }
        Command::Remove { of, users } => {
            let path = of.path(session).await?;
            let mut all = users_of(session, &path).await?;
            for user in given(users) {
                if !all.contains(&user) {
                    return Err(Failure::Other(format!("{user} is not in the list of {path}")));
                }
                all.retain(|other| *other != user);
            }
            set(session, &path, all).await
        }
    }
}

async fn users_of(session: &Session, path: &str) -> Result<Vec<String>, Failure> {
    let mut answer = session.get(&format!("{path}:acl")).await?;
    let users = elements(&mut answer, "authorized_users");
    Ok(users.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

async fn set(session: &Session, path: &str, users: Vec<String>) -> Result<(), Failure> {
    let body = json!({"authorized_users": users});
    session.call(Method::POST, &format!("{path}:modifyAcl"), Some(&body)).await?;
    show(session, &users)
}

fn show(session: &Session, users: &[String]) -> Result<(), Failure> {
    match session.output {
        Output::Json => table::json(&json!({"authorized_users": users})),
        Output::Text if users.is_empty() => print::lines(&[String::from("nobody")]),
        Output::Text => print::lines(users),
    }
}
