//! Moving a subscription: `ams sub seek`, and `ams replay`.

use std::time::Duration;

use broker::clock::{Clock as _, SystemClock};
use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::names::Name;
use super::options::Output;
use super::server::CallError;
use super::session::Session;
use super::table;
use crate::failure::Failure;
use crate::print;

/// Where to.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub(crate) struct Target {
    /// To this offset
    #[arg(long, value_name = "N", group = "target")]
    to_offset: Option<u64>,
    /// To the first message of the last 2h, 30m, 7d ...
    #[arg(long, value_name = "DURATION", group = "target", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// To the first message from this time on, such as 2026-11-28T08:00:00Z
    #[arg(long, value_name = "TIME", group = "target")]
    to_time: Option<Timestamp>,
    /// To the oldest message there is
    #[arg(long, group = "target")]
    to_start: bool,
    /// Behind the newest message: what waits is passed over
    #[arg(long, group = "target")]
    to_end: bool,
}

/// `ams replay`
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayOptions {
    /// The subscription
    #[arg(value_name = "SUB")]
    name: Name,
    /// From the first message of the last 2h, 30m, 7d ... on
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Duration,
    /// Only print what it would mean
    #[arg(long)]
    dry_run: bool,
}

/// What `:offsets` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offsets {
    min: u64,
    max: u64,
    current: u64,
}

/// Moves subscription `name`, or only says what that would mean.
pub(super) async fn seek(
    session: &Session,
    name: &Name,
    target: &Target,
    dry_run: bool,
) -> Result<(), Failure> {
    let path = session.subscription(name.as_str()).await?;
    let offsets = offsets(session, &path).await?;
    let to = if let Some(offset) = target.to_offset {
        offset
    } else if let Some(since) = target.since {
        at(session, &path, ago(since)?).await?
    } else if let Some(time) = target.to_time {
        at(session, &path, time).await?
    } else if target.to_start {
        offsets.min
    } else {
        offsets.max
    };
    go(session, &path, offsets, to, dry_run).await
}

/// Moves a subscription back to a time; never forward, where messages would be passed over.
pub(super) async fn replay(session: &Session, options: &ReplayOptions) -> Result<(), Failure> {
    let path = session.subscription(options.name.as_str()).await?;
    let offsets = offsets(session, &path).await?;
    let to = at(session, &path, ago(options.since)?).await?;
    if to > offsets.current {
        return session.done(&format!(
            "nothing to do: {path} stands at {}, before everything of that time ({to})",
            offsets.current
        ));
    }
    go(session, &path, offsets, to, options.dry_run).await
}

async fn offsets(session: &Session, path: &str) -> Result<Offsets, Failure> {
    let answer = session.get(&format!("{path}:offsets")).await?;
    let number = |key: &str| {
        let number = answer.get(key).and_then(Value::as_u64);
        number.ok_or_else(|| session.failure(&CallError::Foreign(format!("no `{key}`"))))
    };
    Ok(Offsets { min: number("min")?, max: number("max")?, current: number("current")? })
}

/// The first offset from `time` on.
async fn at(session: &Session, path: &str, time: Timestamp) -> Result<u64, Failure> {
    let zulu = zulu(time);
    let verb = format!("{path}:timeToOffset");
    match session.server.call(Method::GET, &verb, &[("time", &zulu)], None).await {
        Ok(answer) => answer
            .get("offset")
            .and_then(Value::as_u64)
            .ok_or_else(|| session.failure(&CallError::Foreign(String::from("no `offset`")))),
        Err(CallError::Refused { code: 409, message, .. }) => Err(Failure::Other(format!(
            "{message}\n  no message was published from {zulu} on: `ams sub offsets` shows where \
             the subscription stands; --to-end leads behind everything"
        ))),
        Err(error) => Err(session.failure(&error)),
    }
}

/// As AMS wants it: exactly three digits.
fn zulu(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The time that long ago.
pub(super) fn ago(since: Duration) -> Result<Timestamp, Failure> {
    let now = i128::from(SystemClock::start().wall().0);
    // Before 1970 there is nothing.
    let then = now.saturating_sub(i128::try_from(since.as_nanos()).unwrap_or(now)).max(0);
    Timestamp::from_nanosecond(then)
        .map_err(|error| Failure::Usage(format!("no time that long ago: {error}")))
}

async fn go(
    session: &Session,
    path: &str,
    offsets: Offsets,
    to: u64,
    dry_run: bool,
) -> Result<(), Failure> {
    let Offsets { min, max, current } = offsets;
    if !(min..=max).contains(&to) {
        let text = format!("offset {to} is out of bounds: {path} has {min} to {max}");
        return Err(Failure::Other(text));
    }
    if !dry_run {
        let body = json!({"offset": to});
        session.call(Method::POST, &format!("{path}:modifyOffset"), Some(&body)).await?;
    }
    match session.output {
        Output::Json => table::json(&json!({
            "subscription": path, "from": current, "to": to, "done": !dry_run,
            "again": current.saturating_sub(to), "skipped": to.saturating_sub(current),
            "waiting": max.saturating_sub(to),
        })),
        Output::Text => print::lines(&[meaning(path, offsets, to, dry_run)]),
    }
}

/// What a move to `to` means, in words.
fn meaning(path: &str, Offsets { max, current, .. }: Offsets, to: u64, dry_run: bool) -> String {
    let (moves, will_be, are) = match dry_run {
        true => ("would move", "would be", "would wait"),
        false => ("moved", "are", "wait now"),
    };
    let what = match to.cmp(&current) {
        std::cmp::Ordering::Less => format!("{} messages {will_be} delivered again", current - to),
        std::cmp::Ordering::Equal => String::from("it stands there already"),
        std::cmp::Ordering::Greater => {
            format!("{} messages {will_be} passed over", to - current)
        }
    };
    let waiting = max.saturating_sub(to);
    format!("{path} {moves} from offset {current} to {to}: {what}, {waiting} {are}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sent_with_three_digits() {
        let time = |text: &str| zulu(text.parse().unwrap());
        assert_eq!(time("2026-11-28T08:00:00Z"), "2026-11-28T08:00:00.000Z");
        assert_eq!(time("2026-11-28T09:00:00.123987+01:00"), "2026-11-28T08:00:00.123Z");
        let long = ago(Duration::from_secs(u64::MAX)).unwrap();
        assert_eq!(zulu(long), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_a_move_means_is_said() {
        let at = Offsets { min: 0, max: 10, current: 7 };
        assert_eq!(
            meaning("s", at, 4, true),
            "s would move from offset 7 to 4: 3 messages would be delivered again, 6 would wait"
        );
        assert_eq!(
            meaning("s", at, 10, false),
            "s moved from offset 7 to 10: 3 messages are passed over, 0 wait now"
        );
        assert_eq!(
            meaning("s", at, 7, false),
            "s moved from offset 7 to 7: it stands there already, 3 wait now"
        );
    }
}
