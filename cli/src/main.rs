//! The `ams` program: broker and metrics-svc in one process, or one of them.
//!
//! Exit codes others rely on: 0 clean, 1 other, 2 usage or configuration, 3 damaged data, 4 store
//! stopped, 5 directory in use.

mod alert;
mod args;
mod bench;
mod client;
mod config;
mod copies;
mod failure;
mod print;
mod run;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::{Alert, Args, Command};
use config::Config;
use failure::Failure;

/// A publish and its answer are some dozen small allocations on two threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::error(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    if let Some(Command::Client(command)) = &args.command {
        return client::main(command, args.data.as_deref(), args.data(), std::env::vars_os());
    }
    let config = Config::load(&args, std::env::vars_os())?;
    if args.check_config {
        return print::lines(&[config.to_toml()?]);
    }
    telemetry::init(&config.log.filter, config.log.format)
        .map_err(|error| Failure::Usage(format!("log.filter: {error}")))?;
    let runtime = run::runtime()?;
    let data = args.data();
    let done = runtime.block_on(async {
        match &args.command {
            // Two programs in one future are more than a stack should carry.
            None => Box::pin(run::both(config, data)).await,
            Some(Command::Broker) => run::broker(config, data).await,
            Some(Command::MetricsSvc) => run::metrics_svc(config, data).await,
            Some(Command::Backup { to, dry_run }) => copies::backup(data, to, *dry_run).await,
            Some(Command::Restore { from, dry_run }) => copies::restore(data, from, *dry_run).await,
            Some(Command::Check { backup }) => copies::check(data, backup.as_deref()).await,
            Some(Command::Repair { dry_run }) => copies::repair(&config, data, *dry_run).await,
            Some(Command::Alert { what: Alert::Test { to } }) => alert::test(&config, to).await,
            Some(Command::Bench(options)) => {
                let mut signals = run::Signals::listen()?;
                bench::run(options, signals.next()).await
            }
            // Has ended above.
            Some(Command::Client(_)) => Ok(()),
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    done
}
