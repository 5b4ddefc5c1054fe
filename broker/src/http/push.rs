//! Where a subscription is pushed to (`ams-contract.md` 5.5, 12.1-12.3).

use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, Object, Writer, boolean, integer, object, text};
use super::reply::Reply;
use crate::domain::{ProjectName, PushRequest, SubscriptionName};
use crate::push;
use crate::service::{Caller, PushView};

/// What AMS says of a subscription that nothing is delivered to.
const NOT_DELIVERED: &str = "Push server is currently unavailable";

/// A push configuration: any member that is not zero asks for push.
#[derive(Debug, Default)]
pub(super) struct PushConfig {
    is_wanted: bool,
    request: PushRequest,
}

impl PushConfig {
    /// What is asked for; `None` = that the subscription be pulled.
    pub(super) fn into_request(self) -> Option<PushRequest> {
        self.is_wanted.then_some(self.request)
    }
}

impl<'de> Fields<'de> for PushConfig {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        let request = &mut self.request;
        // AMS makes these itself, whatever is given.
        let mut generated = String::new();
        self.is_wanted |= match key {
            "maxmessages" => {
                request.max_messages = integer(map)?;
                request.max_messages != 0
            }
            "base64decode" => {
                request.base64_decode = map.next_value()?;
                request.base64_decode == Some(true)
            }
            "verified" => boolean(map)?,
            "authorizationheader" => {
                let Object(given) = map.next_value::<Object<Authorization>>()?;
                request.authorization = given.kind;
                !request.authorization.is_empty() || given.has_value
            }
            "retrypolicy" => {
                let Object(given) = map.next_value::<Object<RetryPolicy>>()?;
                (request.retry, request.period) = (given.kind, given.period);
                !request.retry.is_empty() || request.period != 0
            }
            _ => {
                let field = match key {
                    "type" => &mut request.kind,
                    "pushendpoint" => &mut request.endpoint,
                    "mattermosturl" => &mut request.mattermost_url,
                    "mattermostusername" => &mut request.mattermost_username,
                    "mattermostchannel" => &mut request.mattermost_channel,
                    "verificationhash" => &mut generated,
                    _ => return Ok(false),
                };
                *field = text(map)?;
                !field.is_empty()
            }
        };
        Ok(true)
    }
}

#[derive(Default)]
struct Authorization {
    kind: String,
    has_value: bool,
}

impl<'de> Fields<'de> for Authorization {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "type" => self.kind = text(map)?,
            "value" => self.has_value = !text(map)?.is_empty(),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Default)]
struct RetryPolicy {
    kind: String,
    period: i64,
}

impl<'de> Fields<'de> for RetryPolicy {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "type" => self.kind = text(map)?,
            "period" => self.period = integer(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Default)]
struct Body(Object<PushConfig>);

impl<'de> Fields<'de> for Body {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        if key == "pushconfig" {
            self.0 = map.next_value()?;
        }
        Ok(key == "pushconfig")
    }
}

/// `POST /v1/projects/{project}/subscriptions/{subscription}:modifyPushConfig`; a body without a
/// configuration turns push off (O61).
pub(super) async fn modify(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let body = call.body.read().await?;
    let Body(Object(push)) =
        object(&body).map_err(|_| Refusal::Argument(argument::SUBSCRIPTION))?;
    call.broker.set_subscription_push(caller, name, push.into_request()).await?;
    Ok(Reply::empty())
}

/// `POST /v1/projects/{project}/subscriptions/{subscription}:verifyPushEndpoint`
pub(super) async fn verify(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let endpoint = call.broker.push_endpoint(caller, name)?;
    let answered = push::verification(&endpoint, call.reach).await.map_err(Refusal::Unheard)?;
    call.broker.verify_push_endpoint(caller, name, answered).await?;
    Ok(Reply::empty())
}

/// The body of the answer to a deletion of what was pushed: what the push server says of it.
pub(super) fn deleted() -> Reply {
    let mut json = Writer::compact();
    json.object(|json| json.key("message").text(NOT_DELIVERED));
    Reply::ok(json.finish())
}

/// Writes the key `pushStatus` of what is verified.
pub(super) fn write_status(json: &mut Writer, push: &PushView) {
    if push.verified {
        json.key("pushStatus").text(NOT_DELIVERED);
    }
}

/// Writes the key `pushConfig`. All keys are there for pull subscriptions too: clients read them
/// unasked.
pub(super) fn write(json: &mut Writer, push: &PushView) {
    json.key("pushConfig").object(|json| {
        json.key("type").text(push.kind);
        json.key("pushEndpoint").text(&push.endpoint);
        json.key("maxMessages").number(push.max_messages);
        json.key("authorizationHeader").object(|json| {
            json.optional("type", push.authorization);
            json.optional("value", &push.authorization_value);
        });
        json.key("retryPolicy").object(|json| {
            if !push.retry.is_empty() {
                json.key("type").text(push.retry);
                // O59: under `slowstart` too, where AMS leaves it out and the Python library dies.
                json.key("period").number(push.period_ms);
            }
        });
        json.key("verificationHash").text(&push.verification_hash);
        json.key("verified").boolean(push.verified);
        json.key("mattermostUrl").text(&push.mattermost_url);
        json.key("mattermostUsername").text(&push.mattermost_username);
        json.key("mattermostChannel").text(&push.mattermost_channel);
        json.key("base64Decode").boolean(push.base64_decode);
    });
}
