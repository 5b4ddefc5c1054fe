//! `subscriptions:seek` (ours, by Google's REST name): to a time or to a snapshot.

use jiff::Timestamp;
use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, object, text};
use super::reply::Reply;
use super::snapshots::short_name;
use crate::domain::{ProjectName, SubscriptionName, Time};
use crate::service::Caller;

/// `POST /v1/projects/{project}/subscriptions/{subscription}:seek`: `{"time": RFC 3339}`, where one
/// before 1970 is the oldest one, or `{"snapshot": "projects/P/snapshots/S"}`.
pub(super) async fn seek(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct SeekBody {
        time: String,
        snapshot: String,
    }

    impl<'de> Fields<'de> for SeekBody {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "time" => self.time = text(map)?,
                "snapshot" => self.snapshot = text(map)?,
                _ => return Ok(false),
            }
            Ok(true)
        }
    }

    const INVALID: Refusal = Refusal::Argument(argument::SEEK);
    let body = call.body.read().await?;
    let SeekBody { time, snapshot } = object(&body).map_err(|_| INVALID)?;
    match (time.as_str(), snapshot.as_str()) {
        (time, "") => {
            let stamp = time.parse::<Timestamp>().map_err(|_| INVALID)?.as_nanosecond();
            let time = Time(u64::try_from(stamp.max(0)).unwrap_or(u64::MAX));
            call.broker.seek_to_time(caller, name, time).await?;
        }
        ("", snapshot) => {
            let snapshot = short_name(snapshot, "snapshots").ok_or(INVALID)?;
            let snapshot = snapshot.parse().map_err(|_| INVALID)?;
            call.broker.seek_to_snapshot(caller, name, &snapshot).await?;
        }
        _ => return Err(INVALID),
    }
    Ok(Reply::ok(String::from("{}")))
}
