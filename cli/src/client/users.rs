//! `ams user`.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::names::{Name, pair};
use super::session::Session;
use super::table;
use crate::failure::Failure;
use crate::print;

/// `ams user ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a user, of the project with --role, or of the whole service with --member and
    /// --service-role; the token is written to a file and not shown
    Create(New),
    /// Make a user of this server a member of the project
    Add {
        /// Who
        name: Name,
        /// What for; may be given more than once
        #[arg(long, required = true, value_name = "ROLE")]
        role: Vec<String>,
    },
    /// Who we are, and what we may do
    Profile,
}

/// A user to make.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("rights").required(true).multiple(true))]
pub(crate) struct New {
    /// The name
    name: Name,
    /// Where the token is written to, for its owner only; the file must not exist
    #[arg(long, value_name = "FILE")]
    token_to: PathBuf,
    /// The mail address
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    email: String,
    /// A role in the project (--project); may be given more than once
    #[arg(long, value_name = "ROLE", group = "rights",
          conflicts_with_all = ["member", "service_role"])]
    role: Vec<String>,
    /// Roles in a project, for who may make users of any; may be given more than once
    #[arg(long, value_name = "PROJECT=ROLE,ROLE", group = "rights", value_parser = pair)]
    member: Vec<(String, String)>,
    /// A role in the whole service; may be given more than once
    #[arg(long, value_name = "ROLE", group = "rights")]
    service_role: Vec<String>,
    #[command(flatten)]
    person: Person,
}

/// More about a user of the whole service.
#[derive(Debug, Clone, Args)]
struct Person {
    /// With --member or --service-role
    #[arg(long, value_name = "TEXT", conflicts_with = "role")]
    first_name: Option<String>,
    /// With --member or --service-role
    #[arg(long, value_name = "TEXT", conflicts_with = "role")]
    last_name: Option<String>,
    /// With --member or --service-role
    #[arg(long, value_name = "TEXT", conflicts_with = "role")]
    organization: Option<String>,
    /// With --member or --service-role
    #[arg(long, value_name = "TEXT", conflicts_with = "role")]
    description: Option<String>,
}

/// Does `command`.
pub(super) async fn run(session: &Session, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create(new) => create(session, new).await,
        Command::Add { name, role } => {
            let project = session.project().await?;
            let path = format!("projects/{project}/members/{name}:add");
            let body = json!({"project": project, "roles": role});
            let user = session.call(Method::POST, &path, Some(&body)).await?;
            show(session, user)
        }
        Command::Profile => show(session, session.get("users/profile").await?),
    }
}

async fn create(session: &Session, new: &New) -> Result<(), Failure> {
    let (path, body) = if new.role.is_empty() {
        let membership = |(project, roles): &(String, String)| json!({"project": project, "roles": roles.split(',').collect::<Vec<_>>()});
        let body = json!({
            "email": new.email,
            "service_roles": new.service_role,
            "projects": new.member.iter().map(membership).collect::<Vec<_>>(),
            "first_name": new.person.first_name.as_deref().unwrap_or_default(),
            "last_name": new.person.last_name.as_deref().unwrap_or_default(),
            "organization": new.person.organization.as_deref().unwrap_or_default(),
            "description": new.person.description.as_deref().unwrap_or_default(),
        });
        (format!("users/{}", new.name), body)
    } else {
        let project = session.project().await?;
        let membership = json!([{"project": project, "roles": new.role}]);
        let body = json!({"email": new.email, "projects": membership});
        (format!("projects/{project}/members/{}", new.name), body)
    };
    // Before the user is made: a token that cannot be kept would be lost.
    let file = new_file(&new.token_to)?;
    let made = session.server.call(Method::POST, &path, &[], Some(&body)).await;
    let user = match made {
        Ok(user) => user,
        Err(error) => {
            let failure = session.failure(&error);
            // An empty file is of no use; that it stays is a lesser trouble than why we end.
            drop(std::fs::remove_file(&new.token_to));
            return Err(failure);
        }
    };
    let token = user.get("token").and_then(Value::as_str).unwrap_or_default();
    keep(file, &new.token_to, token)?;
    print::note(&format!("the token is in {}", new.token_to.display()));
    show(session, user)
}

fn new_file(path: &Path) -> Result<File, Failure> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| Failure::Usage(format!("--token-to {}: {error}", path.display())))
}

fn keep(mut file: File, path: &Path, token: &str) -> Result<(), Failure> {
    let written = file.write_all(token.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let path = path.display();
        Failure::Other(format!("the user was made, but the token is not in {path}: {error}"))
    })
}

/// Shows a user, but not the token.
fn show(session: &Session, mut user: Value) -> Result<(), Failure> {
    if let Value::Object(user) = &mut user {
        user.shift_remove("token");
    }
    table::object(session.output, &user)
}
