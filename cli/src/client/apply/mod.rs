//! `ams apply`: a project as a file says it is to be.

mod file;
mod found;
mod plan;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::options::Output;
use super::server::CallError;
use super::session::Session;
use super::table::{self, printable};
use crate::failure::Failure;
use crate::print;
use plan::{Change, Sign};

/// What, and whether at once.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The file, TOML or JSON; `-` is standard input
    file: PathBuf,
    /// Only show what would be changed
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Change it without asking
    #[arg(long, short)]
    yes: bool,
    /// Delete what the file does not name, of the kinds that it has a section for
    #[arg(long)]
    prune: bool,
}

/// Shows what differs, asks, and changes it.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), Failure> {
    let wanted = file::read(&options.file)?;
    let project = match (&wanted.project, session.named_project()) {
        (Some(own), Some(named)) if own.as_str() != named => {
            return Err(Failure::Usage(format!(
                "{} is for project {own}, not for {named}",
                options.file.display()
            )));
        }
        (Some(own), _) => own.as_str(),
        (None, _) => session.project().await?,
    };
    let found = found::find(session, project, &wanted).await?;
    let changes = plan::plan(project, &wanted, &found, options.prune).map_err(|refusals| {
        Failure::Other(format!("nothing was changed\n  {}", refusals.join("\n  ")))
    })?;
    if changes.is_empty() {
        return report(session.output, &[], &[], "nothing to do");
    }
    if session.output == Output::Text {
        print::lines(&changes.iter().map(line).collect::<Vec<_>>())?;
    }
    if options.dry_run {
        return report(session.output, &changes, &[], "nothing was changed (--dry-run)");
    }
    if !options.yes {
        confirm(&changes, &options.file)?;
    }
    for (number, change) in changes.iter().enumerate() {
        let body = change.body.as_ref();
        let called = session.server.call(change.method.clone(), &change.path, &[], body).await;
        if let Err(error) = called {
            let outcome =
                if error.may_have_happened() { Outcome::Unknown } else { Outcome::Failed };
            let mut outcomes = vec![Outcome::Done; number];
            outcomes.push(outcome);
            if session.output == Output::Json {
                report(session.output, &changes, &outcomes, "")?;
            }
            return Err(failure(session, &error, &changes, &outcomes));
        }
    }
    let outcomes = vec![Outcome::Done; changes.len()];
    report(session.output, &changes, &outcomes, &format!("{} changed", changes.len()))
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    Unknown,
}

/// A change as a line of a difference.
fn line(change: &Change) -> String {
    format!("{} {}", change.sign.as_str(), printable(&change.text))
}

/// Asks on a terminal.
fn confirm(changes: &[Change], file: &Path) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || file == Path::new("-") {
        let text = "nobody can be asked here: --yes changes it, --dry-run only shows it";
        return Err(Failure::Usage(text.to_owned()));
    }
    let deleted = changes.iter().filter(|change| change.sign == Sign::Delete).count();
    let loss = match deleted {
        0 => String::new(),
        some => format!(", {some} of them deletions, which cannot be undone"),
    };
    let mut error = io::stderr();
    // Who cannot be asked does not answer.
    drop(write!(error, "ams: {} changes{loss}. Make them? [y/N] ", changes.len()));
    drop(error.flush());
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::Other(format!("standard input: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Other(String::from("nothing was changed"))),
    }
}

/// Says what came of it: `words` to people, the changes to scripts.
fn report(
    output: Output,
    changes: &[Change],
    outcomes: &[Outcome],
    words: &str,
) -> Result<(), Failure> {
    if output == Output::Text {
        return print::lines(&[words.to_owned()]);
    }
    let outcomes = outcomes.iter().map(Some).chain(std::iter::repeat(None));
    let changes: Vec<_> = changes
        .iter()
        .zip(outcomes)
        .map(|(change, outcome)| {
            json!({
                "change": match change.sign {
                    Sign::Make => "make",
                    Sign::Alter => "alter",
                    Sign::Delete => "delete",
                },
                "what": change.text,
                "outcome": match outcome {
                    None => Value::from("not done"),
                    Some(Outcome::Done) => Value::from("done"),
                    Some(Outcome::Failed) => Value::from("failed"),
                    Some(Outcome::Unknown) => Value::from("unknown"),
                },
            })
        })
        .collect();
    table::json(&json!({"changes": changes}))
}

/// What was done before `error`, and what was not.
fn failure(
    session: &Session,
    error: &CallError,
    changes: &[Change],
    outcomes: &[Outcome],
) -> Failure {
    let mut text = format!("{error}{}", session.advice(error));
    let outcomes = outcomes.iter().map(Some).chain(std::iter::repeat(None));
    for (change, outcome) in changes.iter().zip(outcomes) {
        let word = match outcome {
            Some(Outcome::Done) => "done:    ",
            Some(Outcome::Failed) => "refused: ",
            Some(Outcome::Unknown) => "unknown: ",
            None => "not done:",
        };
        text.push_str(&format!("\n  {word} {}", line(change)));
    }
    text.push_str("\n  the same command goes on from here, once the reason is gone");
    Failure::Other(text)
}
