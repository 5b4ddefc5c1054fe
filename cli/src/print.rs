//! Lines for people and scripts: standard output, and one last line on standard error.

use std::io::{self, Write as _};

use crate::failure::Failure;

/// Writes `lines` to standard output, at once.
pub(crate) fn lines(lines: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written =
        lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    written.map_err(|error| Failure::Other(format!("cannot write to standard output: {error}")))
}

/// Says on standard error what somebody may want to know.
pub(crate) fn note(text: &str) {
    // The work goes on if nobody can be told.
    drop(writeln!(io::stderr(), "ams: {text}"));
}

/// Says why the process ends.
pub(crate) fn error(text: &str) {
    // Nobody is left to be told if this fails.
    drop(writeln!(io::stderr(), "ams: {text}"));
}
