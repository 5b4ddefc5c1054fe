//! `/v1/status` and `/v1/version`: open, what ansible checks and probes ask first.

use super::call::Call;
use super::error::Refusal;
use super::json::Writer;
use super::reply::Reply;

/// When the binary was built, if the build said so in `AMS_BUILD_TIME`.
const BUILD_TIME: &str = match option_env!("AMS_BUILD_TIME") {
    Some(time) => time,
    None => "unknown",
};

/// `GET /v1/status`
pub(super) async fn status(call: &Call<'_>) -> Result<Reply, Refusal> {
    if call.query.get("details").as_deref() == Some("true") {
        call.broker.may_see_details(call.token.as_deref())?;
    }
    let mut json = Writer::narrow();
    json.object(|json| {
        json.key("status").text("ok");
        json.key("push_functionality").text("disabled");
    });
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/version`. The keys are those of AMS, which is written in Go.
pub(super) async fn version(call: &Call<'_>) -> Result<Reply, Refusal> {
    let sees_details = call.broker.may_see_details(call.token.as_deref()).is_ok();
    let mut json = Writer::narrow();
    json.object(|json| {
        json.key("build_time").text(BUILD_TIME);
        json.key("golang").text("none");
        json.key("compiler").text("rustc");
        json.key("os").text(std::env::consts::OS);
        json.key("architecture").text(std::env::consts::ARCH);
        if sees_details {
            json.key("release").text(env!("CARGO_PKG_VERSION"));
        }
        json.optional("hostname", &call.settings.proxy_hostname);
    });
    Ok(Reply::ok(json.finish()))
}
