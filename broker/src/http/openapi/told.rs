//! What is told of each route: its parameters, bodies, answers and refusals. The match over
//! [`Route`] has no `_` arm: a new route does not compile until somebody describes it. Names of
//! parameters and schemas are those of `components.json`.

use std::time::Duration;

use super::super::error::{Refusal, argument};
use super::ANY;
use crate::domain::{InvalidName, InvalidPush};
use crate::push::Unheard;
use crate::service::{Bounded, Error, Invalid, NotBase64, Route, Violation};

/// Stands in a refusal for a text that differs from answer to answer.
pub(super) const TEXT: &str = "{}";
/// The same of a number.
pub(super) const NUMBER: u64 = 987_654_321;

/// What a route takes and gives, beside what follows from its row: names, token, rights, faults.
pub(super) struct Told {
    pub(super) summary: &'static str,
    /// Parameters of query and head, by their names in `components.json`.
    pub(super) parameters: &'static [&'static str],
    pub(super) token: Token,
    pub(super) body: Body,
    pub(super) answer: Answer,
    pub(super) refusals: Vec<Refusal>,
}

/// Whether a token is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Needed,
    /// With one, more is shown.
    Helps,
    Unread,
}

/// What is sent, by the schema's name.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Unread,
    MayBeAbsent(&'static str),
    Needed(&'static str),
}

/// What 200 comes with.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// Nothing.
    Empty,
    /// JSON, by the schema's name.
    Json(&'static str),
    /// A page for people.
    Html,
}

/// The limits in force, which texts name.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) messages: u64,
    pub(super) attributes: u64,
    pub(super) body: u64,
    pub(super) retention: Duration,
}

const fn told(summary: &'static str) -> Told {
    Told {
        summary,
        parameters: &[],
        token: Token::Needed,
        body: Body::Unread,
        answer: Answer::Empty,
        refusals: Vec::new(),
    }
}

impl Told {
    fn asks(self, parameters: &'static [&'static str]) -> Self {
        Self { parameters, ..self }
    }

    fn token(self, token: Token) -> Self {
        Self { token, ..self }
    }

    fn reads(self, body: Body) -> Self {
        Self { body, ..self }
    }

    fn takes(self, schema: &'static str) -> Self {
        self.reads(Body::Needed(schema))
    }

    fn gives(self, schema: &'static str) -> Self {
        Self { answer: Answer::Json(schema), ..self }
    }

    fn or(mut self, refusals: impl IntoIterator<Item = Refusal>) -> Self {
        self.refusals.extend(refusals);
        self
    }

    fn arguments<const N: usize>(self, texts: [&'static str; N]) -> Self {
        self.or(texts.map(Refusal::Argument))
    }

    fn facts(self, facts: impl IntoIterator<Item = Error>) -> Self {
        self.or(facts.into_iter().map(Refusal::Fact))
    }

    fn paged(self) -> Self {
        self.arguments([argument::PAGE_SIZE]).facts([Error::InvalidPageToken])
    }
}

const PAGE: &[&str] = &["pageSize", "pageToken", "nextPageToken"];
const PAGE_OF_USERS: &[&str] = &["project", "details", "pageSize", "pageToken", "nextPageToken"];
const PAGE_OF_MEMBERS: &[&str] = &["details", "pageSize", "pageToken", "nextPageToken"];
const PAGE_OF_AUDIT: &[&str] = &["since", "pageSize", "pageToken", "nextPageToken"];
const WINDOW: &[&str] = &["projects", "start_date", "end_date"];
const DATES: [&str; 3] = [argument::START_DATE, argument::END_DATE, argument::DATES];

/// What a message's schema may find.
fn findings() -> [Error; 5] {
    let violation = || Violation { field: TEXT.into(), description: TEXT.into() };
    let place = usize::try_from(NUMBER).unwrap_or(usize::MAX);
    [
        Error::MessageNotBase64(place, NotBase64(place)),
        Error::MessageInvalid(place, Invalid::NotJson(TEXT.into())),
        Error::MessageInvalid(place, Invalid::Datum(TEXT.into())),
        Error::MessageInvalid(place, Invalid::Violations(vec![violation()])),
        Error::MessageInvalid(place, Invalid::Violations(vec![violation(), violation()])),
    ]
}

/// What may be wrong with a push configuration.
fn push() -> [Error; 5] {
    [
        InvalidPush::Kind,
        InvalidPush::Endpoint,
        InvalidPush::Authorization,
        InvalidPush::MattermostUrl,
        InvalidPush::Retry,
    ]
    .map(Error::Push)
}

/// What may be wrong with the roles a body gives.
fn roles() -> [Error; 1] {
    [Error::InvalidRole(TEXT.into())]
}

/// What may be wrong with the memberships a body gives.
fn memberships() -> Vec<Error> {
    // A name may hold no braces.
    let duplicate = ANY.parse().ok().map(Error::DuplicateProject);
    duplicate.into_iter().chain([Error::InvalidProject(TEXT.into())]).collect()
}

/// The routes that ask nobody for rights, by their pattern.
pub(super) fn open(pattern: &str) -> Option<Told> {
    Some(match pattern {
        "/v1/status" => told("Whether the service is up.")
            .asks(&["detailsOfStatus"])
            .token(Token::Helps)
            .gives("Status")
            .facts([Error::Unauthorized, Error::Forbidden]),
        "/v1/version" => told("Which build this is.").token(Token::Helps).gives("Version"),
        "/v1/users/profile" => {
            told("The token's own user.").gives("User").facts([Error::Unauthorized])
        }
        "/v1/users/usageReport" => {
            told("What the projects that the token's user administers were given.")
                .asks(WINDOW)
                .gives("UsageReport")
                .facts([Error::Unauthorized])
                .arguments(DATES)
        }
        "/openapi.json" => told("This document.").token(Token::Unread).gives("Document"),
        "/docs" => Told {
            answer: Answer::Html,
            ..told("This document as a page for people.").token(Token::Unread)
        },
        _ => return None,
    })
}

/// The routes that ask for rights.
pub(super) fn of(route: Route, limits: Limits) -> Told {
    use Error::{
        AlreadyAMember, NotAMember, ObjectQuota, OffsetOutOfBounds, SchemaNotFound,
        SnapshotNotFound, SubscriptionNotFound, TopicGone, TopicNotFound, UserExists, UserNotFound,
    };
    let retention = || Refusal::Retention { longest: limits.retention };
    match route {
        Route::AmsMetrics => told("Load of the nodes.").gives("Metrics"),
        Route::AmsVaMetrics => told("What projects were given, by days.")
            .asks(WINDOW)
            .gives("VaMetrics")
            .facts([Error::UnknownProject(TEXT.into())])
            .arguments(DATES),
        Route::UsersByToken => told("The user of a token.").gives("User").facts([UserNotFound]),
        Route::UsersByUuid => told("A user by its uuid.").gives("User").facts([UserNotFound]),
        Route::UsersList => told("The users, newest first.")
            .asks(PAGE_OF_USERS)
            .gives("Users")
            .paged()
            .facts([Error::ProjectFilterNotFound]),
        Route::UsersShow => told("A user.").gives("User").facts([UserNotFound]),
        Route::UsersRefreshToken => {
            told("Gives a user a new token; the old one ends.").gives("User").facts([UserNotFound])
        }
        Route::UsersCreate => told("Makes a user.")
            .takes("UserBody")
            .gives("User")
            .arguments([argument::USER])
            .facts([UserExists])
            .facts(roles())
            .facts(memberships()),
        Route::UsersUpdate => told("Changes a user; empty texts leave things as they are.")
            .takes("UserBody")
            .gives("User")
            .arguments([argument::USER])
            .facts([UserNotFound, Error::UserNameTaken, Error::Name(InvalidName("user"))])
            .facts(roles())
            .facts(memberships()),
        Route::UsersDelete => told("Deletes a user.").facts([UserNotFound]),
        Route::RegistrationsNewUser => told("Files somebody's wish to be a user.")
            .takes("RegistrationBody")
            .gives("Registration")
            .arguments([argument::USER])
            .facts([UserExists, Error::Name(InvalidName("user"))]),
        Route::RegistrationsAcceptNewUser => told("Makes the user that a registration asks for.")
            .gives("User")
            .facts([Error::RegistrationNotFound, UserExists]),
        Route::RegistrationsDeclineNewUser => told("Declines a registration.")
            .takes("DeclineBody")
            .gives("EmptyObject")
            .or([Refusal::UnreadableBody])
            .facts([Error::RegistrationNotFound]),
        Route::RegistrationsDelete => {
            told("Deletes a registration.").facts([Error::RegistrationNotFound])
        }
        Route::RegistrationsShow => {
            told("A registration.").gives("Registration").facts([Error::RegistrationNotFound])
        }
        Route::RegistrationsList => told("The registrations that fit all that is asked.")
            .asks(&[
                "registrationStatus",
                "registrationName",
                "registrationEmail",
                "registrationOrganization",
                "activation_token",
            ])
            .gives("Registrations"),
        Route::AuditList => told("Who changed what, when and from where; newest first.")
            .asks(PAGE_OF_AUDIT)
            .gives("AuditLog")
            .paged()
            .arguments([argument::SINCE]),
        Route::ProjectsAudit => told("Who changed what in this project; newest first.")
            .asks(PAGE_OF_AUDIT)
            .gives("AuditLog")
            .paged()
            .arguments([argument::SINCE]),
        Route::ProjectsList => told("All projects.").gives("Projects"),
        Route::ProjectsMetrics => told("Figures of a project.").gives("Metrics"),
        Route::ProjectsAddUser => told("Makes a user a member of the project.")
            .takes("MembershipBody")
            .gives("User")
            .or([Refusal::UnreadableBody])
            .facts([UserNotFound, AlreadyAMember])
            .facts(roles()),
        Route::ProjectsRemoveUser => {
            told("Ends a membership.").gives("EmptyObject").facts([UserNotFound, NotAMember])
        }
        Route::ProjectsShowUser => {
            told("A member of the project.").gives("User").facts([UserNotFound])
        }
        Route::ProjectsCreateUser => told("Makes a user that is a member of this project alone.")
            .takes("UserBody")
            .gives("User")
            .arguments([argument::USER])
            .facts([UserExists])
            .facts(roles()),
        Route::ProjectsUpdateUser => told("Changes a member's roles in this project.")
            .takes("UserBody")
            .gives("User")
            .arguments([argument::USER])
            .facts([UserNotFound, NotAMember])
            .facts(roles()),
        Route::ProjectsListUsers => told("The members of the project, newest first.")
            .asks(PAGE_OF_MEMBERS)
            .gives("Users")
            .paged(),
        Route::ProjectsShow => told("A project.").gives("Project"),
        Route::ProjectsCreate => told("Makes a project.")
            .takes("NewProject")
            .gives("Project")
            .arguments([argument::PROJECT, argument::ALERT])
            .facts([Error::ProjectExists]),
        Route::ProjectsUpdate => told("Changes a project; empty texts leave things as they are.")
            .takes("ProjectChanges")
            .gives("Project")
            .or([Refusal::UnreadableBody])
            .facts([Error::ProjectNameTaken]),
        Route::ProjectsDelete => told("Deletes a project and all that is in it."),
        Route::ProjectsModifyAlert => told("Replaces what a project says of alarms.")
            .takes("AlertBody")
            .arguments([argument::ALERT]),
        Route::SubscriptionsList => told("The subscriptions of the project, newest first.")
            .asks(PAGE)
            .gives("Subscriptions")
            .paged(),
        Route::SubscriptionsListByTopic => told("The names of a topic's subscriptions.")
            .gives("SubscriptionNames")
            .facts([TopicNotFound]),
        Route::SubscriptionsOffsets => told("Where a subscription stands in its topic.")
            .gives("Offsets")
            .facts([SubscriptionNotFound]),
        Route::SubscriptionsTimeToOffset => told("The first offset at or after a time.")
            .asks(&["time"])
            .gives("Offset")
            .arguments([argument::ZULU])
            .facts([SubscriptionNotFound, Error::TimeOutOfBounds]),
        Route::SubscriptionsAcl => {
            told("Which consumers may pull.").gives("Acl").facts([SubscriptionNotFound])
        }
        Route::SubscriptionsMetrics => {
            told("Figures of a subscription.").gives("Metrics").facts([SubscriptionNotFound])
        }
        Route::SubscriptionsShow => {
            told("A subscription.").gives("Subscription").facts([SubscriptionNotFound])
        }
        Route::SubscriptionsCreate => {
            told("Makes a subscription, which begins at the topic's end.")
                .takes("NewSubscription")
                .gives("Subscription")
                .arguments([argument::SUBSCRIPTION, argument::ALERT, argument::TOPIC_REF])
                .arguments([argument::ACK_MODE, argument::DEAD_LETTERS])
                .facts([TopicNotFound, Error::SubscriptionExists, Error::PushDisabled, ObjectQuota])
                .facts(push())
        }
        Route::SubscriptionsDelete => told("Deletes a subscription.").facts([SubscriptionNotFound]),
        Route::SubscriptionsPull => told("Hands out the messages behind the position.")
            .takes("PullBody")
            .gives("ReceivedMessages")
            .arguments([argument::PULL])
            .facts([SubscriptionNotFound, TopicGone, Error::PushDisabled]),
        Route::SubscriptionsAcknowledge => told("Moves the position behind what was handled.")
            .takes("AckBody")
            .gives("EmptyObject")
            .arguments([argument::ACK, argument::ACK_ID])
            .facts([SubscriptionNotFound])
            .facts([Error::AckTimeout, Error::NoAckPending, Error::WrongAck]),
        Route::SubscriptionsVerifyPushEndpoint => {
            told("Asks the push endpoint for the verification hash.")
                .facts([SubscriptionNotFound, Error::PushDisabled, Error::NotHttpPush])
                .facts([Error::PushVerified, Error::WrongVerificationHash])
                .or([Unheard::NotAllowed, Unheard::Unreachable, Unheard::WrongStatus]
                    .map(Refusal::Unheard))
        }
        Route::SubscriptionsModifyPushConfig => {
            told("Replaces where a subscription is pushed to; without anything it is pulled.")
                .takes("PushConfigBody")
                .arguments([argument::SUBSCRIPTION])
                .facts([SubscriptionNotFound, Error::PushDisabled])
                .facts(push())
        }
        Route::SubscriptionsModifyAckDeadline => told("Changes the seconds that an ack may take.")
            .takes("AckDeadlineBody")
            .arguments([argument::ACK_DEADLINE, argument::ACK_ID])
            .facts([SubscriptionNotFound]),
        Route::SubscriptionsModifyOffset => told("Moves the position to an offset.")
            .takes("OffsetBody")
            .arguments([argument::OFFSET])
            .facts([SubscriptionNotFound, OffsetOutOfBounds]),
        Route::SubscriptionsSeek => told("Moves the position to a time or to a snapshot.")
            .takes("SeekBody")
            .gives("EmptyObject")
            .arguments([argument::SEEK])
            .facts([SubscriptionNotFound, SnapshotNotFound, TopicGone, Error::SnapshotOfAnother]),
        Route::SubscriptionsModifyAcl => told("Replaces the consumers that may pull.")
            .takes("Acl")
            .arguments([argument::SUBSCRIPTION_ACL])
            .facts([SubscriptionNotFound, Error::UsersNotFound(vec![TEXT.into()])]),
        Route::SubscriptionsModifyAlert => told("Replaces what a subscription says of alarms.")
            .takes("AlertBody")
            .arguments([argument::ALERT])
            .facts([SubscriptionNotFound]),
        Route::SnapshotsList => told("The snapshots of the project, newest first.")
            .asks(PAGE)
            .gives("Snapshots")
            .paged(),
        Route::SnapshotsShow => told("A snapshot.").gives("Snapshot").facts([SnapshotNotFound]),
        Route::SnapshotsCreate => told("Keeps a subscription's position under a name.")
            .takes("NewSnapshot")
            .gives("Snapshot")
            .arguments([argument::SNAPSHOT, argument::SUBSCRIPTION_REF])
            .facts([SubscriptionNotFound, TopicGone, Error::SnapshotExists, ObjectQuota]),
        Route::SnapshotsDelete => told("Deletes a snapshot.").facts([SnapshotNotFound]),
        Route::TopicsList => {
            told("The topics of the project, newest first.").asks(PAGE).gives("Topics").paged()
        }
        Route::TopicsAcl => {
            told("Which publishers may publish.").gives("Acl").facts([TopicNotFound])
        }
        Route::TopicsRead => {
            told("A topic's messages, without a subscription and without a trace.")
                .asks(&["offset", "maxMessages", "waitSeconds"])
                .gives("ReadMessages")
                .arguments([argument::READ])
                .facts([TopicNotFound, OffsetOutOfBounds])
        }
        Route::TopicsMetrics => told("Figures of a topic.").gives("Metrics").facts([TopicNotFound]),
        Route::TopicsShow => told("A topic.").gives("Topic").facts([TopicNotFound]),
        Route::TopicsCreate => told("Makes a topic.")
            .reads(Body::MayBeAbsent("NewTopic"))
            .gives("Topic")
            .or([Refusal::UnreadableBody, retention()])
            .arguments([argument::ALERT, argument::RETENTION_BYTES, argument::SCHEMA_REF])
            .facts([SchemaNotFound, Error::TopicExists, ObjectQuota]),
        Route::TopicsDelete => told("Deletes a topic and its messages.").facts([TopicNotFound]),
        Route::TopicsPublish => told("Keeps messages; durable when answered, all or none.")
            .asks(&["idempotencyKey"])
            .takes("PublishBody")
            .gives("MessageIds")
            .arguments([argument::MESSAGE, argument::IDEMPOTENCY_KEY])
            .or([
                Refusal::TooManyMessages { count: NUMBER, limit: limits.messages },
                Refusal::TooManyAttributes { count: NUMBER, limit: limits.attributes },
            ])
            .facts([TopicNotFound, Error::ByteQuota, Error::SchemaUnusable])
            .facts([Error::KeyReused, Error::KeyQuota])
            .facts([Bounded::UserBytes, Bounded::ProjectBytes].map(|rate| Error::Rate(rate, 1)))
            .facts(findings()),
        Route::TopicsModifyAcl => told("Replaces the publishers that may publish.")
            .takes("Acl")
            .arguments([argument::TOPIC_ACL])
            .facts([TopicNotFound, Error::UsersNotFound(vec![TEXT.into()])]),
        Route::TopicsModifyAlert => told("Replaces what a topic says of alarms.")
            .takes("AlertBody")
            .arguments([argument::ALERT])
            .facts([TopicNotFound]),
        Route::TopicsModifyRetention => told("Replaces what a topic keeps.")
            .takes("RetentionBody")
            .or([retention()])
            .arguments([argument::RETENTION_BYTES])
            .facts([TopicNotFound]),
        Route::TopicsAttachSchema => told("Has messages judged by a schema from now on.")
            .reads(Body::MayBeAbsent("AttachBody"))
            .or([Refusal::UnreadableBody])
            .arguments([argument::SCHEMA_REF])
            .facts([TopicNotFound, SchemaNotFound]),
        Route::TopicsDetachSchema => {
            told("Has messages judged by no schema.").facts([TopicNotFound])
        }
        Route::SchemasValidateMessage => told("Judges a message by a schema.")
            .takes("Payload")
            .gives("Validated")
            .or([Refusal::UnreadableBody])
            .arguments([argument::SCHEMA_PAYLOAD])
            .facts([SchemaNotFound, Error::SchemaUnusable])
            .facts(findings()),
        Route::SchemasCreate => told("Makes a schema.")
            .takes("SchemaBody")
            .gives("Schema")
            .arguments([argument::SCHEMA])
            .facts([Error::SchemaLanguage, Error::SchemaRefused(TEXT.into())])
            .facts([Error::SchemaExists, ObjectQuota]),
        Route::SchemasShow => told("A schema.").gives("Schema").facts([SchemaNotFound]),
        Route::SchemasList => told("The schemas of the project.").gives("Schemas"),
        Route::SchemasUpdate => told("Changes a schema; what is empty stays as it is.")
            .takes("SchemaBody")
            .gives("Schema")
            .arguments([argument::SCHEMA, argument::SCHEMA_REF])
            .facts([Error::SchemaLanguage, Error::SchemaRefused(TEXT.into())])
            .facts([SchemaNotFound, Error::SchemaExists]),
        Route::SchemasDelete => told("Deletes a schema.").facts([SchemaNotFound]),
    }
}
