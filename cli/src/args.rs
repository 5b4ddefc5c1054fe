//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// An ARGO Messaging Service in one program.
///
/// Without a subcommand: the broker and metrics-svc in one process. Everything else is set in a
/// file (--config), by the environment (AMS_BROKER__LISTEN=...), or not at all; see --check-config.
///
/// The subcommands from `context` on are a client of a broker that runs, here or elsewhere.
#[derive(Debug, Parser)]
#[command(name = "ams", version, next_help_heading = "Options of the server")]
pub(crate) struct Args {
    /// Directory for everything that is kept; made if it is missing [default: ./ams-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Where the API is served (https) [default: 127.0.0.1:8443]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,

    /// Where /metrics is served [default: 127.0.0.1:9464]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// A TOML file with settings
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print the settings that would be used, secrets masked, and exit
    #[arg(long, global = true)]
    pub(crate) check_config: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Only the broker
    Broker,
    /// Only metrics-svc
    MetricsSvc,
    /// Copy the store, running or not, to a directory that is absent or empty
    Backup {
        /// The directory
        #[arg(value_name = "TO")]
        to: PathBuf,
        /// Only say how much it would be
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a backup the store of --data, which must have none; the copy is a store of its own
    Restore {
        /// The backup
        #[arg(value_name = "FROM")]
        from: PathBuf,
        /// Only verify the backup
        #[arg(long)]
        dry_run: bool,
    },
    /// Read everything in the store of --data, which must not run, or in a backup; writes nothing
    Check {
        /// The backup
        #[arg(value_name = "BACKUP")]
        backup: Option<PathBuf>,
    },
    /// Give up what `check` finds damaged: it is passed over from then on, and counted as lost
    Repair {
        /// Only say what would be lost
        #[arg(long)]
        dry_run: bool,
    },
    /// Alarms
    Alert {
        #[command(subcommand)]
        what: Alert,
    },
    /// Measure this program on this machine
    #[command(args_conflicts_with_subcommands = true)]
    Bench(crate::bench::Options),
    #[command(flatten)]
    Client(Box<crate::client::Command>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    /// Send one mail and report each step of the exchange with the relay
    Test {
        /// Whom to send it to
        #[arg(long, value_name = "ADDRESS")]
        to: String,
    },
}

/// Where everything is kept unless --data says otherwise.
const DATA: &str = "./ams-data";

impl Args {
    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new(DATA))
    }

    /// Refuses flags that would be ignored.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (broker, metrics) = match &self.command {
            None => (true, true),
            Some(Command::Broker) => (true, false),
            Some(Command::MetricsSvc) => (false, true),
            Some(
                Command::Backup { .. }
                | Command::Restore { .. }
                | Command::Check { .. }
                | Command::Repair { .. }
                | Command::Alert { .. }
                | Command::Bench(_)
                | Command::Client(_),
            ) => (false, false),
        };
        if matches!(self.command, Some(Command::Client(_))) {
            if self.config.is_some() {
                return Err(String::from("--config: this subcommand has no settings of a server"));
            }
            if self.check_config {
                return Err(String::from("--check-config: this subcommand is no server"));
            }
        }
        if self.listen.is_some() && !broker {
            return Err(String::from("--listen: this subcommand serves no API"));
        }
        if self.metrics_listen.is_some() && !metrics {
            return Err(String::from("--metrics-listen: this subcommand serves no metrics"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_a_subcommand() {
        for line in [["ams", "--data", "x", "broker"], ["ams", "broker", "--data", "x"]] {
            let args = Args::try_parse_from(line).unwrap();
            assert_eq!(args.data(), Path::new("x"));
            assert!(matches!(args.command, Some(Command::Broker)));
        }
        let plain = Args::try_parse_from(["ams"]).unwrap();
        assert_eq!(plain.data(), Path::new("./ams-data"));
        assert!(plain.check().is_ok());
    }

    #[test]
    fn a_flag_that_would_be_ignored_is_refused() {
        let check = |line: &[&str]| Args::try_parse_from(line).unwrap().check();
        assert!(check(&["ams", "broker", "--listen", "127.0.0.1:0"]).is_ok());
        assert!(check(&["ams", "broker", "--metrics-listen", "127.0.0.1:0"]).is_err());
        assert!(check(&["ams", "metrics-svc", "--listen", "127.0.0.1:0"]).is_err());
        assert!(
            check(&["ams", "alert", "test", "--to", "a@b.org", "--listen", "[::1]:0"]).is_err()
        );
        assert!(check(&["ams", "topic", "list", "--config", "x"]).is_err());
        assert!(check(&["ams", "topic", "list", "--check-config"]).is_err());
        assert!(check(&["ams", "topic", "list", "--data", "x"]).is_ok());
    }
}
