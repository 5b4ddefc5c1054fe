//! The client: every subcommand that talks to a broker, here or elsewhere, over its API.
//!
//! Tokens never stand on a command line, in an output or in an error.

mod acl;
mod alerts;
mod apply;
mod audit;
mod contexts;
mod messages;
mod metrics;
mod names;
mod options;
mod place;
mod projects;
mod publish;
mod pull;
mod retry;
mod seek;
mod server;
mod session;
mod shell;
mod source;
mod status;
mod subscriptions;
mod table;
mod tail;
mod topics;
mod users;

use std::ffi::OsString;
use std::path::Path;

use clap::Subcommand;

use crate::failure::Failure;
use crate::run;
use options::Connection;
use place::Environment;
use session::Session;

/// What the client can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Servers that are used often: where they are, and with which token and project
    Context {
        #[command(subcommand)]
        what: contexts::Command,
    },
    /// Projects
    Project {
        #[command(flatten)]
        at: Connection,
        #[command(subcommand)]
        what: projects::Command,
    },
    /// Topics
    Topic {
        #[command(flatten)]
        at: Connection,
        #[command(subcommand)]
        what: topics::Command,
    },
    /// Subscriptions
    Sub {
        #[command(flatten)]
        at: Connection,
        #[command(subcommand)]
        what: subscriptions::Command,
    },
    /// Users
    User {
        #[command(flatten)]
        at: Connection,
        #[command(subcommand)]
        what: users::Command,
    },
    /// Who may publish to a topic or consume a subscription
    Acl {
        #[command(flatten)]
        at: Connection,
        #[command(subcommand)]
        what: acl::Command,
    },
    /// Make a project what a file says: its schemas, topics and subscriptions
    Apply {
        #[command(flatten)]
        options: apply::Options,
        #[command(flatten)]
        at: Connection,
    },
    /// Publish to a topic: files, texts, or standard input
    Publish {
        #[command(flatten)]
        options: publish::Options,
        #[command(flatten)]
        at: Connection,
    },
    /// Print the next messages of a subscription
    Pull {
        #[command(flatten)]
        options: pull::Options,
        #[command(flatten)]
        at: Connection,
    },
    /// Print the messages of a topic without a subscription: nothing moves, nothing is left behind
    Tail {
        #[command(flatten)]
        options: tail::Options,
        #[command(flatten)]
        at: Connection,
    },
    /// Let a subscription have messages again, from a time on
    Replay {
        #[command(flatten)]
        options: seek::ReplayOptions,
        #[command(flatten)]
        at: Connection,
    },
    /// How the subscriptions are: of the project, or of all that can be seen
    Status {
        #[command(flatten)]
        options: status::Options,
        #[command(flatten)]
        at: Connection,
    },
    /// Who changed or deleted what, when and from where: of the project, or of the whole service
    Audit {
        #[command(flatten)]
        options: audit::Options,
        #[command(flatten)]
        at: Connection,
    },
    /// Print what a shell needs to complete this program's words
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all subcommands
    Man {
        /// Write one page per subcommand into this directory, which must exist
        #[arg(long, value_name = "DIR")]
        to: Option<std::path::PathBuf>,
    },
}

/// Does `command`. `data` is the directory that was asked for, `default_data` the one that is used
/// when nothing else says where the server is.
pub(crate) fn main(
    command: &Command,
    data: Option<&Path>,
    default_data: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failure> {
    let environment = Environment::read(environment)?;
    let at = match command {
        Command::Context { what } => return contexts::run(what, &environment),
        Command::Completion { shell } => return shell::completion(*shell),
        Command::Man { to } => return shell::man(to.as_deref()),
        Command::Project { at, .. }
        | Command::Topic { at, .. }
        | Command::Sub { at, .. }
        | Command::User { at, .. }
        | Command::Acl { at, .. }
        | Command::Apply { at, .. }
        | Command::Publish { at, .. }
        | Command::Pull { at, .. }
        | Command::Tail { at, .. }
        | Command::Replay { at, .. }
        | Command::Status { at, .. }
        | Command::Audit { at, .. } => at,
    };
    let place = place::find(at, &environment, data, default_data)?;
    let runtime = run::runtime()?;
    let done = runtime.block_on(async {
        let session = Session::open(place, at.output)?;
        match command {
            Command::Context { .. } | Command::Completion { .. } | Command::Man { .. } => Ok(()),
            Command::Project { what, .. } => projects::run(&session, what).await,
            Command::Topic { what, .. } => topics::run(&session, what).await,
            Command::Sub { what, .. } => subscriptions::run(&session, what).await,
            Command::User { what, .. } => users::run(&session, what).await,
            Command::Acl { what, .. } => acl::run(&session, what).await,
            Command::Apply { options, .. } => apply::run(&session, options).await,
            Command::Publish { options, .. } => publish::run(&session, options).await,
            Command::Pull { options, .. } => pull::run(&session, options).await,
            Command::Tail { options, .. } => tail::run(&session, options).await,
            Command::Replay { options, .. } => seek::replay(&session, options).await,
            Command::Status { options, .. } => status::run(&session, options).await,
            Command::Audit { options, .. } => audit::run(&session, options).await,
        }
    });
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::args::Args;

    /// The long help of `command` and of all below it.
    fn help(command: &mut clap::Command, path: &str, text: &mut String) {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        let page = command.render_long_help().to_string();
        // What every page repeats is shown by the first one.
        let own = page.split("\nOptions of the server:").next().unwrap_or_default();
        let own = if path == "ams" { page.as_str() } else { own };
        let own = match path.as_str() {
            "ams project" => own,
            _ => own.split("\nOptions of the client:").next().unwrap_or_default(),
        };
        text.push_str(&format!("$ {path} --help\n"));
        own.trim_end().lines().for_each(|line| text.push_str(&format!("{}\n", line.trim_end())));
        text.push('\n');
        for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
            help(below, &path, text);
        }
    }

    #[test]
    fn the_help_of_every_subcommand_is_as_it_was() {
        let mut text = String::new();
        let mut command = Args::command();
        command.build();
        help(&mut command, "", &mut text);
        insta::assert_snapshot!("help", text);
    }
}
