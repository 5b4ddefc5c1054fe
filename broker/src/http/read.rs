//! `topics:read` (ours): the messages of a topic, without a subscription and without a trace.

use std::time::Duration;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::Writer;
use super::pull::write_messages;
use super::reply::Reply;
use crate::domain::{ProjectName, TopicName};
use crate::service::{Caller, ReadFrom};

/// How many messages are read where nothing is said.
const MESSAGES: u64 = 100;

/// `GET /v1/projects/{project}/topics/{topic}:read?offset=&maxMessages=&waitSeconds=`
pub(super) async fn read(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    let number = |key: &str| match call.query.get(key) {
        None => Ok(None),
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| Refusal::Argument(argument::READ)),
    };
    let from = match number("offset")?.unwrap_or_default() {
        back @ ..0 => ReadFrom::End(back.unsigned_abs()),
        at => ReadFrom::Offset(at.unsigned_abs()),
    };
    let most = match number("maxMessages")? {
        None => MESSAGES,
        Some(most @ 1..) => most.unsigned_abs(),
        Some(_) => return Err(Refusal::Argument(argument::READ)),
    };
    let wait = match number("waitSeconds")? {
        None => None,
        Some(seconds @ 1..=60) => Some(Duration::from_secs(seconds.unsigned_abs())),
        Some(_) => return Err(Refusal::Argument(argument::READ)),
    };
    let mut read = call.broker.read_topic(caller, name, from, most, wait).await?;
    call.keep_share(&mut read.messages);
    let mut json = Writer::indented();
    let mut outcome = Ok(());
    json.object(|json| {
        outcome = write_messages(json, "messages", &read.messages, None);
        json.key("min").number(read.min.0);
        json.key("max").number(read.max.0);
        json.key("next").number(read.next.0);
    });
    outcome?;
    Ok(Reply::ok(json.finish()))
}
