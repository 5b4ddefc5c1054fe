//! Where a subscription's messages are pushed, and how: what is asked for, judged by the rules of
//! `ams-contract.md` 12.1 and 12.2, and what is kept of it.

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Milliseconds between two pushes where nobody says otherwise.
const PERIOD_MS: u64 = 3_000;

/// What a client asks for, unjudged: a text that is not given is empty, a number 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushRequest {
    /// `http_endpoint` or `mattermost`; where it is empty, an address alone says which (O58).
    pub kind: String,
    /// Of an `http_endpoint`.
    pub endpoint: String,
    /// Of an `http_endpoint`: most messages of one push.
    pub max_messages: i64,
    /// Of an `http_endpoint`: `autogen` or `disabled`.
    pub authorization: String,
    /// `linear` or `slowstart`; empty = `linear`.
    pub retry: String,
    /// Milliseconds; 0 and less = 3,000.
    pub period: i64,
    /// Of a `mattermost`.
    pub mattermost_url: String,
    /// Of a `mattermost`.
    pub mattermost_username: String,
    /// Of a `mattermost`.
    pub mattermost_channel: String,
    /// `None` = as it is, at first no.
    pub base64_decode: Option<bool>,
}

/// Random texts, sealed, for whatever of them is needed: never used twice.
#[derive(Debug, Clone)]
pub struct FreshSecrets {
    /// What the endpoint is to be sent as `Authorization`.
    pub authorization: String,
    /// What it has to answer to be verified.
    pub verification_hash: String,
}

/// Why nothing can be pushed as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPush {
    /// The type is none.
    #[error("unknown push type")]
    Kind,
    /// The endpoint is no absolute https URL with a host.
    #[error("push endpoint is no https url")]
    Endpoint,
    /// The type of authorization is none.
    #[error("unknown authorization type")]
    Authorization,
    /// There is no Mattermost URL.
    #[error("no mattermost url")]
    MattermostUrl,
    /// The retry policy is none.
    #[error("unknown retry policy")]
    Retry,
}

impl PushRequest {
    /// Of a new subscription; the objections come in the order of `ams-contract.md` 12.1.
    pub fn of_new(&self, fresh: FreshSecrets) -> Result<PushSettings, InvalidPush> {
        let destination = self.destination(None, fresh)?;
        Ok(self.settings(destination, self.retry()?, None))
    }

    /// In place of what was `before` (`None`: it was pulled); the objections come in the order of
    /// `ams-contract.md` 12.2.
    pub fn in_place_of(
        &self,
        before: Option<&PushSettings>,
        fresh: FreshSecrets,
    ) -> Result<PushSettings, InvalidPush> {
        let retry = self.retry()?;
        Ok(self.settings(self.destination(before, fresh)?, retry, before))
    }

    fn settings(
        &self,
        destination: Destination,
        retry: Retry,
        before: Option<&PushSettings>,
    ) -> PushSettings {
        // O31, mended: AMS forgets it whenever something else is changed.
        let kept = before.is_some_and(|before| before.base64_decode);
        PushSettings { destination, retry, base64_decode: self.base64_decode.unwrap_or(kept) }
    }

    fn retry(&self) -> Result<Retry, InvalidPush> {
        match self.retry.as_str() {
            "" | "linear" => {
                let given = u64::try_from(self.period).ok().filter(|period| *period > 0);
                Ok(Retry::Linear { period_ms: given.unwrap_or(PERIOD_MS) })
            }
            "slowstart" => Ok(Retry::Slowstart),
            _ => Err(InvalidPush::Retry),
        }
    }

    fn destination(
        &self,
        before: Option<&PushSettings>,
        fresh: FreshSecrets,
    ) -> Result<Destination, InvalidPush> {
        match self.kind.as_str() {
            "http_endpoint" => self.http(before, fresh),
            "mattermost" => self.mattermost(),
            "" if !self.endpoint.is_empty() => self.http(before, fresh),
            "" if !self.mattermost_url.is_empty() => self.mattermost(),
            _ => Err(InvalidPush::Kind),
        }
    }

    fn mattermost(&self) -> Result<Destination, InvalidPush> {
        if self.mattermost_url.is_empty() {
            return Err(InvalidPush::MattermostUrl);
        }
        Ok(Destination::Mattermost(Mattermost {
            url: self.mattermost_url.clone(),
            username: self.mattermost_username.clone(),
            channel: self.mattermost_channel.clone(),
        }))
    }

    fn http(
        &self,
        before: Option<&PushSettings>,
        fresh: FreshSecrets,
    ) -> Result<Destination, InvalidPush> {
        let endpoint = Endpoint::try_from(self.endpoint.clone())?;
        let present = before.and_then(PushSettings::http);
        let authorization = match (self.authorization.as_str(), before, present) {
            ("autogen", ..) | ("", None, _) => Some(fresh.authorization),
            ("disabled", ..) | ("", Some(_), None) => None,
            ("", Some(_), Some(present)) => present.authorization_sealed.clone(),
            _ => return Err(InvalidPush::Authorization),
        };
        let kept = present.map_or(0, |present| present.max_messages);
        let max_messages = match (self.max_messages, kept) {
            (0, 0) => 1,
            (0, kept) => kept,
            (given, _) => given,
        };
        let same = present.filter(|present| present.endpoint == endpoint);
        let hash =
            same.map_or(fresh.verification_hash, |same| same.verification_hash_sealed.clone());
        Ok(Destination::HttpEndpoint(HttpEndpoint {
            endpoint,
            max_messages,
            authorization_sealed: authorization,
            verification_hash_sealed: hash,
            verified: same.is_some_and(|same| same.verified),
        }))
    }
}

/// Where to and how a subscription is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushSettings {
    /// Where to.
    pub destination: Destination,
    /// When again.
    pub retry: Retry,
    /// Whether the data is pushed decoded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base64_decode: bool,
}

impl PushSettings {
    /// Its endpoint, unless it pushes otherwise.
    pub const fn http(&self) -> Option<&HttpEndpoint> {
        match &self.destination {
            Destination::HttpEndpoint(http) => Some(http),
            Destination::Mattermost(_) => None,
        }
    }

    /// Whether messages may be pushed there.
    pub const fn is_verified(&self) -> bool {
        match &self.destination {
            Destination::HttpEndpoint(http) => http.verified,
            Destination::Mattermost(_) => true,
        }
    }
}

/// Where messages are pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// To any server that wants them.
    HttpEndpoint(HttpEndpoint),
    /// Into a channel.
    Mattermost(Mattermost),
}

impl Destination {
    /// The name on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::HttpEndpoint(_) => "http_endpoint",
            Self::Mattermost(_) => "mattermost",
        }
    }
}

/// A server that takes messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpEndpoint {
    /// Where.
    pub endpoint: Endpoint,
    /// Most messages of one push; AMS checks no bound.
    pub max_messages: i64,
    /// What it is sent as `Authorization`, sealed as tokens are; `None` = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_sealed: Option<String>,
    /// What it has to answer to be verified, sealed as tokens are.
    pub verification_hash_sealed: String,
    /// Whether it did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verified: bool,
}

/// A channel of a Mattermost. Nobody verifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mattermost {
    /// Of its hook; AMS does not check that it is one.
    pub url: String,
    /// As whom; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Where; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel: String,
}

/// When the next push comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Retry {
    /// Always after the same time.
    Linear {
        /// Milliseconds, more than 0.
        period_ms: u64,
    },
    /// Sooner after a success, later after a failure.
    Slowstart,
}

impl Retry {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Slowstart => "slowstart",
        }
    }

    /// Milliseconds; 0 where it is not always the same (O59).
    pub const fn period_ms(self) -> u64 {
        match self {
            Self::Linear { period_ms } => period_ms,
            Self::Slowstart => 0,
        }
    }
}

/// An absolute https URL with a host, as its owner wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    text: String,
    host: Host,
    port: u16,
}

impl Endpoint {
    /// The URL as given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host, as the parser understands it that also dials it: `0x7f.1` is 127.0.0.1 here too.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host, and port unless it is 443: nothing of the rest, in which there may be secrets.
    pub fn authority(&self) -> String {
        if self.port == 443 {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Where its owner has to lay the verification hash (`ams-contract.md` 12.3).
    pub fn verification_url(&self) -> String {
        format!("https://{}/ams_verification_hash", self.authority())
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidPush;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // What the parser would silently mend, and AMS does not take: blanks around, line ends
        // within, `https:host`, `https:///host`, `https:\\host`.
        let (scheme, rest) = text.split_once("://").ok_or(InvalidPush::Endpoint)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_sound = scheme.eq_ignore_ascii_case("https")
            && !authority.is_empty()
            && !authority.contains(['\\', ' '])
            && !text.chars().any(char::is_control);
        let url = Url::parse(&text).ok().filter(|_| is_sound).ok_or(InvalidPush::Endpoint)?;
        let host = url.host().ok_or(InvalidPush::Endpoint)?.to_owned();
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(443), text })
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.text
    }
}

#[cfg(test)]
mod tests;
