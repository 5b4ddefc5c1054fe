//! The audit log (ours): who changed what, when, and from where.

use jiff::Timestamp;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::Writer;
use super::paging;
use super::path::Query;
use super::reply::Reply;
use crate::domain::audit::AuditRecord;
use crate::domain::{ProjectName, Time};
use crate::service::{AuditFilter, Caller};

/// `GET /v1/audit?since=&pageSize=&pageToken=`
pub(super) async fn list(call: &Call<'_>, caller: &Caller) -> Result<Reply, Refusal> {
    let (filter, page) = (filter(call.query)?, paging::wanted(call.query)?);
    Ok(paging::reply("entries", &call.broker.audit(caller, filter, page), write))
}

/// `GET /v1/projects/{project}/audit?since=&pageSize=&pageToken=`
pub(super) async fn of_project(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let (filter, page) = (filter(call.query)?, paging::wanted(call.query)?);
    Ok(paging::reply("entries", &call.broker.project_audit(caller, filter, page)?, write))
}

/// A time before 1970 is the oldest one.
fn filter(query: Query<'_>) -> Result<AuditFilter, Refusal> {
    let Some(text) = query.get("since") else { return Ok(AuditFilter::default()) };
    let stamp = text.parse::<Timestamp>().map_err(|_| Refusal::Argument(argument::SINCE))?;
    let since = u64::try_from(stamp.as_nanosecond().max(0)).unwrap_or(u64::MAX);
    Ok(AuditFilter { since: Some(Time(since)) })
}

fn write(json: &mut Writer, line: &AuditRecord) {
    let user = line.user.map(|user| user.to_string()).unwrap_or_default();
    json.object(|json| {
        json.key("time").text(&line.time.to_seconds_text());
        json.optional("user", &line.name);
        json.optional("userUuid", &user);
        json.optional("address", &line.address);
        json.key("operation").text(line.operation.as_str());
        json.key("resource").text(&line.resource);
        json.optional("from", &line.from);
        json.optional("to", &line.to);
        for (key, names) in [("added", &line.added), ("removed", &line.removed)] {
            if !names.is_empty() {
                json.key(key).texts(names);
            }
        }
    });
}
