//! Flags that every subcommand of the client takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::names::Name;

/// Which server, and who we are there. What is not given comes from the environment, from the
/// context in use, or from the data directory here, in this order.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of the client")]
pub(crate) struct Connection {
    /// The context to use instead of the current one [env: AMS_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "url")]
    pub(super) context: Option<Name>,

    /// The server, such as https://localhost:8443; no context is used then [env: AMS_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) url: Option<String>,

    /// The file with the token; tokens themselves never stand on a command line
    /// [env: AMS_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// The certificates (PEM) that alone are trusted, instead of the system's [env: AMS_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,

    /// The project; needless where there is only one [env: AMS_PROJECT]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) project: Option<Name>,

    /// For people, or for scripts
    #[arg(long, global = true, value_enum, value_name = "FORM", default_value = "text")]
    pub(super) output: Output,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and texts
    #[default]
    Text,
    /// JSON; messages one object a line
    Json,
}
