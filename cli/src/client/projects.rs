//! `ams project`.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::alerts::{AlertFlags, Replacement};
use super::names::Name;
use super::session::{Session, elements};
use super::table::{self, column};
use crate::failure::Failure;

/// `ams project ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project
    Create {
        /// Its name
        name: Name,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        alert: AlertFlags,
    },
    /// All projects
    List,
    /// One project
    Show {
        /// Which
        name: Name,
    },
    /// Rename a project, or describe it anew
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// Which
        name: Name,
        /// The new name
        #[arg(long, value_name = "NAME", group = "change")]
        rename: Option<Name>,
        /// The new description
        #[arg(long, value_name = "TEXT", group = "change")]
        description: Option<String>,
    },
    /// Say who is told when something is wrong; replaces what was said before
    Alert {
        /// Which
        name: Name,
        #[command(flatten)]
        alert: Replacement,
    },
    /// Delete projects with all their topics, subscriptions and messages
    Delete {
        /// Which
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// Does `command`.
pub(super) async fn run(session: &Session, command: &Command) -> Result<(), Failure> {
    let path = |name: &Name| format!("projects/{name}");
    match command {
        Command::Create { name, description, alert } => {
            let mut body = json!({"description": description});
            alert.add_to(&mut body);
            session.show(Method::POST, &path(name), Some(&body)).await
        }
        Command::List => {
            let mut answer = session.get("projects").await?;
            let columns = [
                column("NAME", "name"),
                column("CREATED", "created_on"),
                column("DESCRIPTION", "description"),
            ];
            table::list(session.output, &columns, &elements(&mut answer, "projects"))
        }
        Command::Show { name } => session.show(Method::GET, &path(name), None).await,
        Command::Update { name, rename, description } => {
            let body = json!({
                "name": rename.as_ref().map(Name::as_str).unwrap_or_default(),
                "description": description.as_deref().unwrap_or_default(),
            });
            session.show(Method::PUT, &path(name), Some(&body)).await
        }
        Command::Alert { name, alert } => alert.set(session, &path(name)).await,
        Command::Delete { names } => {
            for name in names {
                session.delete(&path(name)).await?;
            }
            Ok(())
        }
    }
}
