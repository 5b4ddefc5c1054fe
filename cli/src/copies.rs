//! `ams backup`, `ams restore`, `ams check`, `ams repair`: copies of the store and what is in them.

use std::path::Path;
use std::sync::Arc;

use broker::app::Repaired;
use broker::clock::SystemClock;
use broker::control::{self, ControlError};
use broker::store::{Checked, Copied, CopyProgress, CopyStage};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Config;
use crate::failure::Failure;
use crate::print;

/// A bar on standard error, if that is a terminal.
#[derive(Clone)]
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        // A template that does not parse leaves the default one.
        if let Ok(style) =
            ProgressStyle::with_template("{msg:9} [{bar:40}] {bytes}/{total_bytes} {eta}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    fn show(&self, stage: CopyStage, done: u64, all: u64) {
        self.0.set_message(match stage {
            CopyStage::Copying => "copying",
            CopyStage::Verifying => "verifying",
            CopyStage::Checking => "checking",
            CopyStage::Writing => "writing",
        });
        self.0.set_length(all);
        self.0.set_position(done);
    }

    /// What tells it how far the work is.
    fn progress(&self) -> CopyProgress {
        let shown = self.clone();
        Arc::new(move |stage, done, all| shown.show(stage, done, all))
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// Copies the store of `data`, running or not, to `to`.
pub(crate) async fn backup(data: &Path, to: &Path, dry_run: bool) -> Result<(), Failure> {
    let absolute = std::path::absolute(to)
        .map_err(|error| Failure::Usage(format!("{}: {error}", to.display())))?;
    let bar = Bar::new();
    let show = |stage, done, all| bar.show(stage, done, all);
    let copied = match control::backup(data, absolute.clone(), dry_run, show).await {
        Ok(copied) => Ok(copied),
        Err(ControlError::Nobody) => {
            let done = broker::app::backup(data, &absolute, dry_run, bar.progress()).await;
            done.map_err(Failure::from)
        }
        Err(ControlError::Refused(text)) => Err(Failure::Usage(text)),
        Err(ControlError::Damaged(text)) => Err(Failure::Damaged(text)),
        Err(ControlError::Failed(text)) => Err(Failure::Other(text)),
    };
    bar.end();
    let copied = copied?;
    if dry_run {
        let text = format!("{} files, {} bytes would be copied", copied.files, copied.bytes);
        return print::lines(&[text]);
    }
    let to = to.display();
    print::lines(&[
        format!("{} files, {} bytes copied to {to}, and read back", copied.files, copied.bytes),
        format!(
            "not in it: {}, without which tokens cannot be shown",
            data.join("token.key").display()
        ),
    ])?;
    sound(&copied.checked)
}

/// Makes the backup `from` the store of `data`.
pub(crate) async fn restore(data: &Path, from: &Path, dry_run: bool) -> Result<(), Failure> {
    let bar = Bar::new();
    let progress = bar.progress();
    let restored = broker::app::restore(from, (!dry_run).then_some(data), progress).await;
    bar.end();
    let Copied { files, bytes, checked } = restored?;
    let what = format!("{files} files, {bytes} bytes of {}", from.display());
    if dry_run {
        print::lines(&[format!("{what} are as they were copied and can be restored")])?;
        return sound(&checked);
    }
    let key = data.join("token.key");
    let mut lines = vec![format!("{what} restored to {}: a store of its own", data.display())];
    if !key.exists() {
        lines.push(format!("before the first start put the old token.key at {}", key.display()));
    }
    print::lines(&lines)?;
    sound(&checked)
}

/// Checks the backup `backup`, or the store of `data`, which must not run.
pub(crate) async fn check(data: &Path, backup: Option<&Path>) -> Result<(), Failure> {
    let bar = Bar::new();
    let progress = bar.progress();
    let checked = broker::app::check(data, backup, progress).await;
    bar.end();
    let checked = checked?;
    print::lines(&[format!(
        "{} topics, {} entries, {} subscriptions, {} scopes; {} frames, {} bytes read",
        checked.topics,
        checked.entries,
        checked.subscriptions,
        checked.scopes,
        checked.frames,
        checked.bytes
    )])?;
    sound(&checked)
}

/// Gives up what is damaged in the store of `data`, which must not run.
pub(crate) async fn repair(config: &Config, data: &Path, dry_run: bool) -> Result<(), Failure> {
    let bar = Bar::new();
    let progress = bar.progress();
    let clock = SystemClock::start();
    let repaired =
        broker::app::repair(&config.broker, data, clock.as_ref(), dry_run, progress).await;
    bar.end();
    let Repaired { losses, checked } = repaired?;
    let mut lines = Vec::new();
    for loss in &losses {
        let (from, last) = (loss.from, loss.to.0.saturating_sub(1));
        let name = format!("/projects/{}/topics/{}", loss.project, loss.topic);
        lines.push(format!("messages {from} to {last} of {name}"));
        for (subscription, count) in &loss.subscriptions {
            lines.push(format!("  of them {count} not acknowledged by {subscription}"));
        }
    }
    lines.push(match (losses.len(), dry_run) {
        (0, _) => String::from("nothing to give up"),
        (_, true) => String::from("would be given up; --dry-run: nothing was changed"),
        (_, false) => String::from("given up: passed over from now on, and counted as lost"),
    });
    print::lines(&lines)?;
    if dry_run && !losses.is_empty() { Ok(()) } else { sound(&checked) }
}

/// Prints what is damaged, if anything is.
fn sound(checked: &Checked) -> Result<(), Failure> {
    let recorded = checked.recorded.iter().map(|damage| format!("given up: {damage}"));
    let mut lines: Vec<String> = recorded.collect();
    let open = checked.damage.len() + checked.references.len();
    if open == 0 {
        let no = if lines.is_empty() { "no damage found" } else { "no other damage found" };
        lines.push(String::from(no));
        return print::lines(&lines);
    }
    lines.extend(checked.damage.iter().map(ToString::to_string));
    lines.extend(checked.references.iter().cloned());
    print::lines(&lines)?;
    Err(Failure::Damaged(format!("{open} places are damaged")))
}
