//! `ams completion` and `ams man`: what shells and `man` want to know, from the one definition of
//! the command line.

use std::io::{self, Write as _};
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;
use crate::failure::Failure;

/// Prints the completions of `shell`.
pub(super) fn completion(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ams", &mut text);
    write(&text)
}

/// Prints the page of the program, or writes all pages into `directory`.
pub(super) fn man(directory: Option<&Path>) -> Result<(), Failure> {
    if let Some(directory) = directory {
        return clap_mangen::generate_to(Args::command(), directory)
            .map_err(|error| Failure::Other(format!("{}: {error}", directory.display())));
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(Args::command())
        .render(&mut text)
        .map_err(|error| Failure::Other(format!("no manual page: {error}")))?;
    write(&text)
}

fn write(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Other(format!("cannot write to standard output: {error}")))
}
