//! The command line of `ams bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::workloads::{ALL, Workload};

/// The name of what is no workload.
const RESTART: &str = "restart";

/// What to measure, how long, and where to put it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Which workloads, comma-separated; `restart` is the look at idle memory and the restart
    /// [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) workload: Vec<String>,

    /// Rounds; medians over them are told
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,

    /// Seconds of each measurement
    #[arg(long, default_value_t = 1.25, value_parser = seconds)]
    pub(super) seconds: f64,

    /// Seconds before each measurement that do not count
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    pub(super) warm_up: f64,

    /// Topics of workload W11
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(super) topics: u16,

    /// Topics, and subscriptions, of the look at idle memory; 0 leaves it and the restart out
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(..=500_000))]
    pub(super) objects: u32,

    /// Messages of 1 KiB that are published before the restart
    #[arg(long, default_value_t = 100_000)]
    pub(super) messages: u64,

    /// Divides what is published before a workload that only reads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) shrink: u64,

    /// Where the temporary directory is made: on the disk that is to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,

    /// Write all figures of all rounds
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,

    /// Write the tables
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) part: Option<Part>,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Part {
    /// The server that a broker is compared with
    #[command(hide = true)]
    Floor {
        /// Where the certificate is
        #[arg(long)]
        tls: PathBuf,
    },
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| String::from("a number is wanted"))?;
    let lawful = (0.01..=3_600.0).contains(&seconds);
    lawful.then_some(seconds).ok_or_else(|| String::from("between 0.01 and 3600"))
}

impl Options {
    /// The workloads that are wanted, in their own order.
    pub(super) fn workloads(&self) -> Result<Vec<&'static Workload>, String> {
        for name in &self.workload {
            if Workload::find(name).is_none() && !name.eq_ignore_ascii_case(RESTART) {
                let known = ALL.iter().map(|workload| workload.id);
                let known: Vec<&str> = known.chain([RESTART]).collect();
                return Err(format!("--workload {name}: there are {}", known.join(", ")));
            }
        }
        let wanted = |workload: &&Workload| {
            self.workload.is_empty()
                || self.workload.iter().any(|name| workload.id.eq_ignore_ascii_case(name))
        };
        Ok(ALL.iter().filter(wanted).collect())
    }

    /// Whether idle memory and the restart are wanted.
    pub(super) fn restart(&self) -> bool {
        let named = self.workload.iter().any(|name| name.eq_ignore_ascii_case(RESTART));
        self.objects > 0 && (self.workload.is_empty() || named)
    }

    /// The command that measures this again, as far as it is not the default.
    pub(super) fn command(&self) -> String {
        let mut command = String::from("ams bench");
        if !self.workload.is_empty() {
            command.push_str(&format!(" --workload {}", self.workload.join(",")));
        }
        if self.restart() {
            command.push_str(&format!(" --objects {} --messages {}", self.objects, self.messages));
        }
        command
    }
}
