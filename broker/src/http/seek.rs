//! `subscriptions:seek` (ours, by Google's REST name): to a time.

use jiff::Timestamp;
use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, object, text};
use super::reply::Reply;
use crate::domain::{ProjectName, SubscriptionName, Time};
use crate::service::Caller;

/// `POST /v1/projects/{project}/subscriptions/{subscription}:seek`, `{"time": RFC 3339}`. A time
/// before 1970 is the oldest one.
pub(super) async fn seek(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct SeekBody(String);

    impl<'de> Fields<'de> for SeekBody {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "time" => self.0 = text(map)?,
                _ => return Ok(false),
            }
            Ok(true)
        }
    }

    const INVALID: Refusal = Refusal::Argument(argument::SEEK);
    let body = call.body.read().await?;
    let SeekBody(time) = object(&body).map_err(|_| INVALID)?;
    let stamp = time.parse::<Timestamp>().map_err(|_| INVALID)?.as_nanosecond();
    let time = Time(u64::try_from(stamp.max(0)).unwrap_or(u64::MAX));
    call.broker.seek_to_time(caller, name, time).await?;
    Ok(Reply::ok(String::from("{}")))
}
