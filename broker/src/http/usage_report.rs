//! What projects were given, for those who account for it (`ams-contract.md` 11.5).

use jiff::civil::Date;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::Writer;
use super::metrics;
use super::path::Query;
use super::reply::Reply;
use crate::service::{self, Caller, Days, ProjectVolume};

/// `GET /v1/metrics/va_metrics`
pub(super) async fn va_metrics(call: &Call<'_>, caller: &Caller) -> Result<Reply, Refusal> {
    let days = window(call)?;
    let volumes = call.broker.volumes(caller, days, names(call.query).as_deref())?;
    let mut json = Writer::narrow();
    write(&mut json, &volumes);
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/users/usageReport`: of the projects that the token's user administers. Without any
/// the report is empty.
pub(super) async fn usage_report(call: &Call<'_>) -> Result<Reply, Refusal> {
    let own = call.broker.own_projects(call.token.as_deref(), names(call.query).as_deref())?;
    let days = window(call)?;
    let nodes = if own.is_empty() { Vec::new() } else { service::nodes() };
    let volumes = call.broker.volumes_of(&own, days);
    let mut json = Writer::indented();
    json.object(|json| {
        write(json.key("va_metrics"), &volumes);
        let operational = json.key("operational_metrics");
        metrics::write_nodes(operational, &nodes, call.broker.clock().wall());
    });
    Ok(Reply::ok(json.finish()))
}

/// The names in `projects`, a comma list.
fn names(query: Query<'_>) -> Option<Vec<String>> {
    let list = query.get("projects")?;
    Some(list.split(',').map(str::to_owned).collect())
}

/// `start_date` to `end_date`, by default all days up to today; objections in AMS's order.
fn window(call: &Call<'_>) -> Result<Days, Refusal> {
    let read = |key, default, objection| match call.query.get(key) {
        None => Ok(default),
        Some(text) => day(&text).ok_or(Refusal::Argument(objection)),
    };
    let today = i64::from(call.broker.clock().wall().day());
    let first = read("start_date", 0, argument::START_DATE)?;
    let last = read("end_date", today, argument::END_DATE)?;
    if first > last {
        return Err(Refusal::Argument(argument::DATES));
    }
    Ok(Days { first, last })
}

/// Days from 1970-01-01 to `YYYY-MM-DD`, and to nothing else.
fn day(text: &str) -> Option<i64> {
    let parts: Vec<_> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return None };
    let has = |text: &str, digits| text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    if !(has(year, 4) && has(month, 2) && has(day, 2)) {
        return None;
    }
    let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    let epoch = Date::new(1970, 1, 1).ok()?;
    Some(i64::from(date.since(epoch).ok()?.get_days()))
}

fn write(json: &mut Writer, volumes: &[ProjectVolume]) {
    let sum = |of: fn(&ProjectVolume) -> u64| volumes.iter().map(of).fold(0, u64::saturating_add);
    json.object(|json| {
        json.key("projects_metrics").object(|json| {
            json.key("projects").list(|json| {
                for volume in volumes {
                    write_project(json, volume);
                }
            });
            json.key("total_message_count").number(sum(|volume| volume.messages));
            let average = sum(|volume| volume.average_hundredths);
            hundredths(json.key("average_daily_messages"), average);
        });
        json.key("total_users_count").number(sum(|volume| volume.users as u64));
        json.key("total_topics_count").number(sum(|volume| volume.topics as u64));
        json.key("total_subscriptions_count").number(sum(|volume| volume.subscriptions as u64));
    });
}

fn write_project(json: &mut Writer, volume: &ProjectVolume) {
    json.object(|json| {
        json.key("project").text(volume.project.as_str());
        json.key("message_count").number(volume.messages);
        hundredths(json.key("average_daily_messages"), volume.average_hundredths);
        json.key("topics_count").number(volume.topics);
        json.key("subscriptions_count").number(volume.subscriptions);
        json.key("users_count").number(volume.users);
    });
}

/// The number of that many hundredths.
#[expect(clippy::cast_precision_loss, reason = "an average beyond 2^53 need not be exact")]
fn hundredths(json: &mut Writer, hundredths: u64) {
    json.float(hundredths as f64 / 100.0);
}

#[cfg(test)]
mod tests {
    use super::day;

    #[test]
    fn only_the_one_format_is_a_date() {
        assert_eq!(day("1970-01-01"), Some(0));
        assert_eq!(day("1969-12-31"), Some(-1));
        assert_eq!(day("2018-10-04"), Some(17_808));
        for bad in ["", "2018-1-01", "2018-10-1", "18-10-01", "2018-02-30", "2018-10-01T00:00:00Z"]
        {
            assert_eq!(day(bad), None, "{bad}");
        }
        assert_eq!(day("+018-10-01"), None);
    }
}
