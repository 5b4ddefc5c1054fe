//! The catalogue of errors (`ams-contract.md` 3, `design.md` 6): every fact in a client's language.

#![warn(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;
use std::time::Duration;

use super::reply::Reply;
use crate::domain::{InvalidName, InvalidPush};
use crate::push::Unheard;
use crate::service::{Bounded, Error, Invalid, StoreError, StoreFault};

/// Why a request is not answered with 200.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// A verb stopped.
    Fact(Error),
    /// No such path, or not with this method.
    UnknownPath,
    /// `/v1/version` alone knows its methods (O27).
    WrongMethod,
    /// The body cannot be read, or is not JSON where AMS says no more than that.
    UnreadableBody,
    /// An argument is not what the route takes; the text says which.
    Argument(&'static str),
    /// A push endpoint did not answer as it must to be verified.
    Unheard(Unheard),
    /// Not a duration that a topic may keep its messages for.
    Retention { longest: Duration },
    /// More messages in one publish than the limit.
    TooManyMessages { count: u64, limit: u64 },
    /// More attributes on one message than the limit.
    TooManyAttributes { count: u64, limit: u64 },
    /// A body beyond the limit; `size` is what its head said, else what was read so far.
    TooLarge { size: u64, limit: u64 },
    /// The body did not come in time.
    SlowBody,
    /// The body is compressed or otherwise encoded.
    EncodedBody,
    /// A handler died.
    Panicked,
}

/// The messages of [`Refusal::Argument`].
pub(super) mod argument {
    pub(in super::super) const PROJECT: &str = "Invalid Project Arguments";
    pub(in super::super) const USER: &str = "Invalid User Arguments";
    pub(in super::super) const SUBSCRIPTION: &str = "Invalid Subscription Arguments";
    pub(in super::super) const SCHEMA: &str = "Invalid Schema Arguments";
    pub(in super::super) const SCHEMA_PAYLOAD: &str = "Invalid Schema Payload Arguments";
    pub(in super::super) const MESSAGE: &str = "Invalid Message Arguments";
    pub(in super::super) const PULL: &str = "Invalid Pull Parameters Arguments";
    pub(in super::super) const ALERT: &str = "Invalid Alert Arguments";
    pub(in super::super) const RETENTION_BYTES: &str =
        "Invalid retentionBytes(needs a whole number of bytes, at least 1) Arguments";
    pub(in super::super) const READ: &str = "Invalid Read Arguments";
    pub(in super::super) const SNAPSHOT: &str = "Invalid Snapshot Arguments";
    pub(in super::super) const SUBSCRIPTION_REF: &str = "Invalid Subscription name";
    pub(in super::super) const SINCE: &str = "Invalid since(needs a time as RFC 3339) Arguments";
    pub(in super::super) const IDEMPOTENCY_KEY: &str =
        "Invalid Idempotency-Key(needs 1 to 255 characters) Arguments";
    pub(in super::super) const SEEK: &str = "Invalid Seek Arguments";
    pub(in super::super) const OFFSET: &str = "Invalid Offset Arguments";
    pub(in super::super) const TOPIC_ACL: &str = "Invalid Topic ACL Arguments";
    pub(in super::super) const SUBSCRIPTION_ACL: &str = "Invalid Subscription ACL Arguments";
    pub(in super::super) const ACK_DEADLINE: &str =
        "Invalid ackDeadlineSeconds(needs value between 0 and 600) Arguments";
    pub(in super::super) const ACK_MODE: &str =
        "Invalid ackMode(needs value cumulative or individual) Arguments";
    pub(in super::super) const DEAD_LETTERS: &str = "Invalid deadLetterPolicy(needs another topic of the project as deadLetterTopic, \
         maxDeliveryAttempts from 1 to 100, and ackMode individual) Arguments";
    pub(in super::super) const ACK: &str = "Invalid ack parameter";
    pub(in super::super) const ACK_ID: &str = "Invalid ack id";
    pub(in super::super) const TOPIC_REF: &str = "Invalid Topic name";
    pub(in super::super) const SCHEMA_REF: &str = "wrong schema name declaration";
    pub(in super::super) const PAGE_SIZE: &str = "Invalid page size";
    pub(in super::super) const START_DATE: &str = "Start date is not in valid format";
    pub(in super::super) const END_DATE: &str = "End date is not in valid format";
    pub(in super::super) const DATES: &str = "Start date cannot be after the end date";
    pub(in super::super) const ZULU: &str = "Time is not in valid Zulu format.";
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Fact(error)
    }
}

impl From<InvalidName> for Refusal {
    fn from(name: InvalidName) -> Self {
        Self::Fact(name.into())
    }
}

impl Refusal {
    /// Whether it is our fault, not the client's.
    pub(super) const fn is_fault(&self) -> bool {
        match self {
            Self::Fact(error) => error.is_fault(),
            Self::Panicked => true,
            Self::UnknownPath
            | Self::WrongMethod
            | Self::UnreadableBody
            | Self::Argument(_)
            | Self::Unheard(_)
            | Self::Retention { .. }
            | Self::TooManyMessages { .. }
            | Self::TooManyAttributes { .. }
            | Self::TooLarge { .. }
            | Self::SlowBody
            | Self::EncodedBody => false,
        }
    }

    /// The store's trouble, if that is why.
    pub(super) const fn store_fault(&self) -> Option<StoreFault> {
        if let Self::Fact(error) = self { error.store_fault() } else { None }
    }

    /// The answer.
    pub(super) fn reply(&self) -> Reply {
        let (code, status, message, retry_after) = self.row();
        Reply { retry_after, ..Reply::envelope(code, status, &message) }
    }

    /// Status code, its name, message, and seconds after which to come again.
    pub(super) fn row(&self) -> (u16, &'static str, Cow<'static, str>, Option<u32>) {
        let (code, status, message): (u16, &'static str, Cow<'static, str>) = match self {
            Self::Fact(error) => return fact(error),
            Self::UnknownPath => (404, "NOT_FOUND", "404 page not found".into()),
            Self::WrongMethod => (405, "METHOD_NOT_ALLOWED", "Method not allowed".into()),
            Self::UnreadableBody => (400, "BAD_REQUEST", "Invalid Request Body".into()),
            Self::Argument(message) => (400, "INVALID_ARGUMENT", (*message).into()),
            Self::Unheard(why) => {
                let why = match why {
                    Unheard::NotAllowed => "Push endpoint's address or port is not allowed",
                    Unheard::Unreachable => "Push endpoint cannot be reached",
                    Unheard::WrongStatus => "Wrong response status code",
                };
                (401, "UNAUTHORIZED", format!("Endpoint verification failed.{why}").into())
            }
            Self::Retention { longest } => {
                let longest = humantime::format_duration(*longest);
                let message = format!(
                    "Invalid retention(needs a duration such as 90s, 15m or 7d, at most {longest}) \
                     Arguments"
                );
                (400, "INVALID_ARGUMENT", message.into())
            }
            Self::TooManyMessages { count, limit } => {
                let message = format!("Too many messages: {count}, the limit is {limit}");
                (400, "INVALID_ARGUMENT", message.into())
            }
            Self::TooManyAttributes { count, limit } => {
                let message = format!("Too many attributes: {count}, the limit is {limit}");
                (400, "INVALID_ARGUMENT", message.into())
            }
            Self::TooLarge { size, limit } => {
                let message =
                    format!("Message size is too large: {size} bytes, the limit is {limit}");
                (413, "INVALID_ARGUMENT", message.into())
            }
            Self::SlowBody => (408, "TIMEOUT", "Request body timeout".into()),
            Self::EncodedBody => {
                (415, "UNSUPPORTED_MEDIA_TYPE", "Content-Encoding is not supported".into())
            }
            Self::Panicked => (500, "INTERNAL_SERVER_ERROR", "Internal Error".into()),
        };
        (code, status, message, None)
    }
}

/// The service's facts. No `_` arm: a new one does not compile until somebody gives it a row.
fn fact(error: &Error) -> (u16, &'static str, Cow<'static, str>, Option<u32>) {
    const BUSY: &str = "Service is temporarily unavailable";
    let (code, status, message): (u16, &'static str, Cow<'static, str>) = match error {
        Error::Name(name) => (400, "INVALID_ARGUMENT", name.to_string().into()),
        Error::Unauthorized => (401, "UNAUTHORIZED", "Unauthorized".into()),
        Error::Forbidden => (403, "FORBIDDEN", "Access to this resource is forbidden".into()),
        Error::NotAMember => (
            403,
            "FORBIDDEN",
            "Access to this resource is forbidden. User is not a member of the project".into(),
        ),
        Error::ProjectNotFound => (404, "NOT_FOUND", "project doesn't exist".into()),
        Error::UnknownProject(name) => {
            (404, "NOT_FOUND", format!("Project {name} doesn't exist").into())
        }
        Error::TopicNotFound => (404, "NOT_FOUND", "Topic doesn't exist".into()),
        Error::SubscriptionNotFound => (404, "NOT_FOUND", "Subscription doesn't exist".into()),
        Error::SnapshotNotFound => (404, "NOT_FOUND", "Snapshot doesn't exist".into()),
        Error::UserNotFound => (404, "NOT_FOUND", "User doesn't exist".into()),
        Error::RegistrationNotFound => (404, "NOT_FOUND", "User registration doesn't exist".into()),
        Error::UsersNotFound(users) => {
            (404, "NOT_FOUND", format!("User(s): {} do not exist", users.join(", ")).into())
        }
        Error::SchemaNotFound => (404, "NOT_FOUND", "Schema doesn't exist".into()),
        Error::SchemaExists => (409, "ALREADY_EXISTS", "Schema already exists".into()),
        Error::SchemaLanguage => {
            (400, "INVALID_ARGUMENT", "Schema type can only be 'json' or 'avro'".into())
        }
        Error::SchemaRefused(text) => (400, "INVALID_ARGUMENT", text.clone().into()),
        Error::SchemaUnusable => {
            (500, "INTERNAL_SERVER_ERROR", "Could not load schema for topic".into())
        }
        Error::MessageNotBase64(i, why) => {
            let message = format!("Message {i} is not in valid base64 enocding,{why}");
            (400, "INVALID_ARGUMENT", message.into())
        }
        Error::MessageInvalid(i, why) => (400, "INVALID_ARGUMENT", invalid(*i, why).into()),
        Error::TopicGone => (409, "CONFLICT", "Subscription's topic doesn't exist".into()),
        Error::ProjectExists => (409, "ALREADY_EXISTS", "Project already exists".into()),
        Error::TopicExists => (409, "ALREADY_EXISTS", "Topic already exists".into()),
        Error::SubscriptionExists => (409, "ALREADY_EXISTS", "Subscription already exists".into()),
        Error::SnapshotExists => (409, "ALREADY_EXISTS", "Snapshot already exists".into()),
        Error::SnapshotOfAnother => (409, "CONFLICT", "Snapshot is of another topic".into()),
        Error::UserExists => (409, "ALREADY_EXISTS", "User already exists".into()),
        Error::AlreadyAMember => {
            (409, "CONFLICT", "User is already a member of the project".into())
        }
        Error::UserNameTaken => {
            (400, "INVALID_ARGUMENT", "invalid user name change, name already exists".into())
        }
        Error::ProjectFilterNotFound => (404, "NOT_FOUND", "ProjectUUID doesn't exist".into()),
        Error::ProjectNameTaken => {
            (400, "INVALID_ARGUMENT", "invalid project name change, name already exists".into())
        }
        Error::InvalidProject(name) => {
            (400, "INVALID_ARGUMENT", format!("invalid project: {name}").into())
        }
        Error::InvalidRole(role) => {
            (400, "INVALID_ARGUMENT", format!("invalid role: {role}").into())
        }
        Error::DuplicateProject(name) => {
            (400, "INVALID_ARGUMENT", format!("duplicate reference of project {name}").into())
        }
        Error::PushDisabled => (409, "CONFLICT", "Push functionality is currently disabled".into()),
        Error::Push(why) => (400, "INVALID_ARGUMENT", invalid_push(*why).into()),
        Error::NotHttpPush => (409, "CONFLICT", "Subscription is not in http push mode".into()),
        Error::PushVerified => (409, "CONFLICT", "Push endpoint is already verified".into()),
        Error::WrongVerificationHash => {
            let message = "Endpoint verification failed.Wrong verification hash";
            (401, "UNAUTHORIZED", message.into())
        }
        Error::AckTimeout => (408, "TIMEOUT", "ack timeout".into()),
        Error::NoAckPending => (500, "INTERNAL_SERVER_ERROR", "no ack pending".into()),
        Error::WrongAck => (500, "INTERNAL_SERVER_ERROR", "wrong ack".into()),
        Error::OffsetOutOfBounds => (400, "INVALID_ARGUMENT", "Offset out of bounds".into()),
        Error::TimeOutOfBounds => (
            409,
            "CONFLICT",
            "Timestamp is out of bounds for the subscription's topic/partition".into(),
        ),
        Error::InvalidPageToken => (400, "INVALID_ARGUMENT", "Invalid page token".into()),
        Error::ObjectQuota => {
            (429, "RESOURCE_EXHAUSTED", "Object quota of the project is exhausted".into())
        }
        Error::KeyReused => (409, "CONFLICT", "Idempotency-Key was used for other messages".into()),
        Error::Rate(rate, seconds) => {
            let message = match rate {
                Bounded::UserRequests => "Request quota of the user is exhausted",
                Bounded::ProjectRequests => "Request quota of the project is exhausted",
                Bounded::UserBytes => "Publish quota of the user is exhausted",
                Bounded::ProjectBytes => "Publish quota of the project is exhausted",
                Bounded::UserObjects => "Creation quota of the user is exhausted",
            };
            return (429, "RESOURCE_EXHAUSTED", message.into(), Some(*seconds));
        }
        Error::KeyQuota => {
            let message = "Too many Idempotency-Keys were used in the last ten minutes";
            return (429, "RESOURCE_EXHAUSTED", message.into(), Some(10));
        }
        Error::Unavailable | Error::Store(StoreError::Unavailable | StoreError::Stopped) => {
            return (503, "UNAVAILABLE", BUSY.into(), Some(1));
        }
        Error::ByteQuota => {
            let message = "Storage quota of the project is exhausted";
            return (503, "RESOURCE_EXHAUSTED", message.into(), Some(10));
        }
        Error::Store(StoreError::Full) => {
            return (503, "RESOURCE_EXHAUSTED", "Storage is full".into(), Some(10));
        }
        // File and offset are for the log alone.
        Error::Store(StoreError::Corrupt(_)) => {
            (500, "INTERNAL_SERVER_ERROR", "Backend Error".into())
        }
    };
    (code, status, message, None)
}

/// What AMS says of a push configuration that is none.
const fn invalid_push(why: InvalidPush) -> &'static str {
    match why {
        InvalidPush::Kind => {
            "Push configuration type can only be of 'http_endpoint' or 'mattermost'"
        }
        InvalidPush::Endpoint => "Push endpoint should be addressed by a valid https url",
        InvalidPush::Authorization => {
            "Authorization header type can only be of 'autogen' or 'disabled' type"
        }
        InvalidPush::MattermostUrl => "Field mattermostUrl cannot be empty",
        InvalidPush::Retry => "Retry policy can only be of 'linear' or 'slowstart' type",
    }
}

/// What AMS says of a message that its schema refuses.
fn invalid(i: usize, why: &Invalid) -> String {
    match why {
        Invalid::NotJson(text) => format!("Message {i} data is not valid JSON format,{text}"),
        Invalid::Datum(text) => format!("Message {i} is not valid.{text}"),
        Invalid::Violations(list) => match list.as_slice() {
            [one] => format!("Message {i} data is not valid,{}: {}", one.field, one.description),
            several => {
                let told = several
                    .iter()
                    .enumerate()
                    .map(|(n, one)| format!("{}){}: {}.", n + 1, one.field, one.description));
                format!("Message {i} data is not valid.{}", told.collect::<String>())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::{Duration, InvalidPush, Refusal, Unheard, argument};
    use crate::domain::InvalidName;
    use crate::service::{Bounded, Error, Invalid, NotBase64, StoreError, Violation};

    /// Everything the door may answer but 200: a change of wording shows here.
    #[test]
    fn the_whole_catalogue() {
        let text = String::from;
        let violation = || Violation { field: text("a.b"), description: text("is bad") };
        let arguments = [
            argument::PROJECT,
            argument::USER,
            argument::SUBSCRIPTION,
            argument::SCHEMA,
            argument::SCHEMA_PAYLOAD,
            argument::MESSAGE,
            argument::PULL,
            argument::ALERT,
            argument::RETENTION_BYTES,
            argument::READ,
            argument::SNAPSHOT,
            argument::SUBSCRIPTION_REF,
            argument::SINCE,
            argument::IDEMPOTENCY_KEY,
            argument::SEEK,
            argument::OFFSET,
            argument::TOPIC_ACL,
            argument::SUBSCRIPTION_ACL,
            argument::ACK_DEADLINE,
            argument::ACK_MODE,
            argument::DEAD_LETTERS,
            argument::ACK,
            argument::ACK_ID,
            argument::TOPIC_REF,
            argument::SCHEMA_REF,
            argument::PAGE_SIZE,
            argument::ZULU,
            argument::START_DATE,
            argument::END_DATE,
            argument::DATES,
        ];
        let own = [
            Refusal::UnknownPath,
            Refusal::WrongMethod,
            Refusal::UnreadableBody,
            Refusal::Unheard(Unheard::NotAllowed),
            Refusal::Unheard(Unheard::Unreachable),
            Refusal::Unheard(Unheard::WrongStatus),
            Refusal::Retention { longest: Duration::from_secs(30 * 86_400) },
            Refusal::TooManyMessages { count: 3, limit: 2 },
            Refusal::TooManyAttributes { count: 3, limit: 2 },
            Refusal::TooLarge { size: 3, limit: 2 },
            Refusal::SlowBody,
            Refusal::EncodedBody,
            Refusal::Panicked,
        ];
        let facts = [
            Error::Name(InvalidName("topic")),
            Error::Unauthorized,
            Error::Forbidden,
            Error::NotAMember,
            Error::ProjectNotFound,
            Error::UnknownProject(text("p")),
            Error::TopicNotFound,
            Error::SubscriptionNotFound,
            Error::SnapshotNotFound,
            Error::UserNotFound,
            Error::RegistrationNotFound,
            Error::UsersNotFound(vec![text("a"), text("b")]),
            Error::SchemaNotFound,
            Error::SchemaExists,
            Error::SchemaLanguage,
            Error::SchemaRefused(text("why")),
            Error::SchemaUnusable,
            Error::MessageNotBase64(1, NotBase64(3)),
            Error::MessageInvalid(1, Invalid::NotJson(text("EOF"))),
            Error::MessageInvalid(1, Invalid::Datum(text("why"))),
            Error::MessageInvalid(1, Invalid::Violations(vec![violation()])),
            Error::MessageInvalid(1, Invalid::Violations(vec![violation(), violation()])),
            Error::TopicGone,
            Error::ProjectExists,
            Error::TopicExists,
            Error::SubscriptionExists,
            Error::SnapshotExists,
            Error::SnapshotOfAnother,
            Error::UserExists,
            Error::AlreadyAMember,
            Error::UserNameTaken,
            Error::ProjectFilterNotFound,
            Error::ProjectNameTaken,
            Error::InvalidProject(text("p")),
            Error::InvalidRole(text("r")),
            Error::DuplicateProject("p".parse().unwrap()),
            Error::PushDisabled,
            Error::Push(InvalidPush::Kind),
            Error::Push(InvalidPush::Endpoint),
            Error::Push(InvalidPush::Authorization),
            Error::Push(InvalidPush::MattermostUrl),
            Error::Push(InvalidPush::Retry),
            Error::NotHttpPush,
            Error::PushVerified,
            Error::WrongVerificationHash,
            Error::AckTimeout,
            Error::ByteQuota,
            Error::NoAckPending,
            Error::WrongAck,
            Error::OffsetOutOfBounds,
            Error::TimeOutOfBounds,
            Error::InvalidPageToken,
            Error::ObjectQuota,
            Error::KeyReused,
            Error::KeyQuota,
            Error::Rate(Bounded::UserRequests, 1),
            Error::Rate(Bounded::ProjectRequests, 2),
            Error::Rate(Bounded::UserBytes, 3),
            Error::Rate(Bounded::ProjectBytes, 4),
            Error::Rate(Bounded::UserObjects, 5),
            Error::Unavailable,
            Error::Store(StoreError::Unavailable),
            Error::Store(StoreError::Stopped),
            Error::Store(StoreError::Full),
            Error::Store(StoreError::Corrupt("secret file".into())),
        ];
        let mut table = String::new();
        let all = arguments.map(Refusal::Argument).into_iter();
        for refusal in all.chain(own).chain(facts.map(Refusal::Fact)) {
            let (code, status, message, retry) = refusal.row();
            let ours = if refusal.is_fault() { " [fault]" } else { "" };
            let retry = retry.map(|s| format!(" [retry after {s} s]")).unwrap_or_default();
            writeln!(table, "{code} {status} {message}{ours}{retry}").unwrap();
        }
        assert_eq!(table, CATALOGUE);
    }

    const CATALOGUE: &str = "\
400 INVALID_ARGUMENT Invalid Project Arguments
400 INVALID_ARGUMENT Invalid User Arguments
400 INVALID_ARGUMENT Invalid Subscription Arguments
400 INVALID_ARGUMENT Invalid Schema Arguments
400 INVALID_ARGUMENT Invalid Schema Payload Arguments
400 INVALID_ARGUMENT Invalid Message Arguments
400 INVALID_ARGUMENT Invalid Pull Parameters Arguments
400 INVALID_ARGUMENT Invalid Alert Arguments
400 INVALID_ARGUMENT Invalid retentionBytes(needs a whole number of bytes, at least 1) Arguments
400 INVALID_ARGUMENT Invalid Read Arguments
400 INVALID_ARGUMENT Invalid Snapshot Arguments
400 INVALID_ARGUMENT Invalid Subscription name
400 INVALID_ARGUMENT Invalid since(needs a time as RFC 3339) Arguments
400 INVALID_ARGUMENT Invalid Idempotency-Key(needs 1 to 255 characters) Arguments
400 INVALID_ARGUMENT Invalid Seek Arguments
400 INVALID_ARGUMENT Invalid Offset Arguments
400 INVALID_ARGUMENT Invalid Topic ACL Arguments
400 INVALID_ARGUMENT Invalid Subscription ACL Arguments
400 INVALID_ARGUMENT Invalid ackDeadlineSeconds(needs value between 0 and 600) Arguments
400 INVALID_ARGUMENT Invalid ackMode(needs value cumulative or individual) Arguments
400 INVALID_ARGUMENT Invalid deadLetterPolicy(needs another topic of the project as deadLetterTopic, maxDeliveryAttempts from 1 to 100, and ackMode individual) Arguments
400 INVALID_ARGUMENT Invalid ack parameter
400 INVALID_ARGUMENT Invalid ack id
400 INVALID_ARGUMENT Invalid Topic name
400 INVALID_ARGUMENT wrong schema name declaration
400 INVALID_ARGUMENT Invalid page size
400 INVALID_ARGUMENT Time is not in valid Zulu format.
400 INVALID_ARGUMENT Start date is not in valid format
400 INVALID_ARGUMENT End date is not in valid format
400 INVALID_ARGUMENT Start date cannot be after the end date
404 NOT_FOUND 404 page not found
405 METHOD_NOT_ALLOWED Method not allowed
400 BAD_REQUEST Invalid Request Body
401 UNAUTHORIZED Endpoint verification failed.Push endpoint's address or port is not allowed
401 UNAUTHORIZED Endpoint verification failed.Push endpoint cannot be reached
401 UNAUTHORIZED Endpoint verification failed.Wrong response status code
400 INVALID_ARGUMENT Invalid retention(needs a duration such as 90s, 15m or 7d, at most 30days) Arguments
400 INVALID_ARGUMENT Too many messages: 3, the limit is 2
400 INVALID_ARGUMENT Too many attributes: 3, the limit is 2
413 INVALID_ARGUMENT Message size is too large: 3 bytes, the limit is 2
408 TIMEOUT Request body timeout
415 UNSUPPORTED_MEDIA_TYPE Content-Encoding is not supported
500 INTERNAL_SERVER_ERROR Internal Error [fault]
400 INVALID_ARGUMENT Invalid topic name
401 UNAUTHORIZED Unauthorized
403 FORBIDDEN Access to this resource is forbidden
403 FORBIDDEN Access to this resource is forbidden. User is not a member of the project
404 NOT_FOUND project doesn't exist
404 NOT_FOUND Project p doesn't exist
404 NOT_FOUND Topic doesn't exist
404 NOT_FOUND Subscription doesn't exist
404 NOT_FOUND Snapshot doesn't exist
404 NOT_FOUND User doesn't exist
404 NOT_FOUND User registration doesn't exist
404 NOT_FOUND User(s): a, b do not exist
404 NOT_FOUND Schema doesn't exist
409 ALREADY_EXISTS Schema already exists
400 INVALID_ARGUMENT Schema type can only be 'json' or 'avro'
400 INVALID_ARGUMENT why
500 INTERNAL_SERVER_ERROR Could not load schema for topic [fault]
400 INVALID_ARGUMENT Message 1 is not in valid base64 enocding,illegal base64 data at input byte 3
400 INVALID_ARGUMENT Message 1 data is not valid JSON format,EOF
400 INVALID_ARGUMENT Message 1 is not valid.why
400 INVALID_ARGUMENT Message 1 data is not valid,a.b: is bad
400 INVALID_ARGUMENT Message 1 data is not valid.1)a.b: is bad.2)a.b: is bad.
409 CONFLICT Subscription's topic doesn't exist
409 ALREADY_EXISTS Project already exists
409 ALREADY_EXISTS Topic already exists
409 ALREADY_EXISTS Subscription already exists
409 ALREADY_EXISTS Snapshot already exists
409 CONFLICT Snapshot is of another topic
409 ALREADY_EXISTS User already exists
409 CONFLICT User is already a member of the project
400 INVALID_ARGUMENT invalid user name change, name already exists
404 NOT_FOUND ProjectUUID doesn't exist
400 INVALID_ARGUMENT invalid project name change, name already exists
400 INVALID_ARGUMENT invalid project: p
400 INVALID_ARGUMENT invalid role: r
400 INVALID_ARGUMENT duplicate reference of project p
409 CONFLICT Push functionality is currently disabled
400 INVALID_ARGUMENT Push configuration type can only be of 'http_endpoint' or 'mattermost'
400 INVALID_ARGUMENT Push endpoint should be addressed by a valid https url
400 INVALID_ARGUMENT Authorization header type can only be of 'autogen' or 'disabled' type
400 INVALID_ARGUMENT Field mattermostUrl cannot be empty
400 INVALID_ARGUMENT Retry policy can only be of 'linear' or 'slowstart' type
409 CONFLICT Subscription is not in http push mode
409 CONFLICT Push endpoint is already verified
401 UNAUTHORIZED Endpoint verification failed.Wrong verification hash
408 TIMEOUT ack timeout
503 RESOURCE_EXHAUSTED Storage quota of the project is exhausted [retry after 10 s]
500 INTERNAL_SERVER_ERROR no ack pending
500 INTERNAL_SERVER_ERROR wrong ack
400 INVALID_ARGUMENT Offset out of bounds
409 CONFLICT Timestamp is out of bounds for the subscription's topic/partition
400 INVALID_ARGUMENT Invalid page token
429 RESOURCE_EXHAUSTED Object quota of the project is exhausted
409 CONFLICT Idempotency-Key was used for other messages
429 RESOURCE_EXHAUSTED Too many Idempotency-Keys were used in the last ten minutes [retry after 10 s]
429 RESOURCE_EXHAUSTED Request quota of the user is exhausted [retry after 1 s]
429 RESOURCE_EXHAUSTED Request quota of the project is exhausted [retry after 2 s]
429 RESOURCE_EXHAUSTED Publish quota of the user is exhausted [retry after 3 s]
429 RESOURCE_EXHAUSTED Publish quota of the project is exhausted [retry after 4 s]
429 RESOURCE_EXHAUSTED Creation quota of the user is exhausted [retry after 5 s]
503 UNAVAILABLE Service is temporarily unavailable [fault] [retry after 1 s]
503 UNAVAILABLE Service is temporarily unavailable [fault] [retry after 1 s]
503 UNAVAILABLE Service is temporarily unavailable [fault] [retry after 1 s]
503 RESOURCE_EXHAUSTED Storage is full [fault] [retry after 10 s]
500 INTERNAL_SERVER_ERROR Backend Error [fault]
";
}
