//! Why a verb stopped: facts, named once, translated by each door in one exhaustive table.

use super::quotas::Rate as Bounded;
use crate::domain::{InvalidName, InvalidPush, ProjectName};
use crate::schema::{Invalid, NotBase64};
use crate::store::StoreError;

/// What is wrong with the store when it refuses for longer than a moment: the operators' affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// No room.
    Full,
    /// It has stopped for good.
    Stopped,
    /// What is stored is damaged.
    Damaged,
    /// The clocks contradict each other, or what was stamped by them: nothing is trimmed.
    Clock,
}

/// A fact. Which client mistake or fault of ours it is follows from it ([`Error::is_fault`]).
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// No token, an unknown one, or a user without any role here.
    #[error("unauthorized")]
    Unauthorized,
    /// The roles or the ACL say no.
    #[error("forbidden")]
    Forbidden,
    /// The user is not a member of the project it was to be changed in.
    #[error("user is not a member of the project")]
    NotAMember,
    /// No such project.
    #[error("project not found")]
    ProjectNotFound,
    /// A report was asked about a project that is none.
    #[error("project {0} not found")]
    UnknownProject(String),
    /// No such topic.
    #[error("topic not found")]
    TopicNotFound,
    /// No such subscription.
    #[error("subscription not found")]
    SubscriptionNotFound,
    /// No such snapshot.
    #[error("snapshot not found")]
    SnapshotNotFound,
    /// No such user.
    #[error("user not found")]
    UserNotFound,
    /// No such schema.
    #[error("schema not found")]
    SchemaNotFound,
    /// The schema's name is taken.
    #[error("schema exists")]
    SchemaExists,
    /// A schema of a language that is none.
    #[error("unknown schema language")]
    SchemaLanguage,
    /// The definition does not compile: the compiler's text.
    #[error("schema refused: {0}")]
    SchemaRefused(String),
    /// What is stored of the schema does not compile any more.
    #[error("stored schema does not compile")]
    SchemaUnusable,
    /// The data of a message with a schema is not base64; the message's place comes first.
    #[error("message {0}: {1}")]
    MessageNotBase64(usize, NotBase64),
    /// A message is not what its schema wants; its place comes first.
    #[error("message {0}: {1}")]
    MessageInvalid(usize, Invalid),
    /// No such registration, or it was decided already.
    #[error("registration not found")]
    RegistrationNotFound,
    /// These names of an ACL are no members of the project, in the order given.
    #[error("users not found: {0:?}")]
    UsersNotFound(Vec<String>),
    /// The subscription's topic was deleted.
    #[error("the subscription's topic is gone")]
    TopicGone,
    /// The project's name is taken.
    #[error("project exists")]
    ProjectExists,
    /// The topic's name is taken.
    #[error("topic exists")]
    TopicExists,
    /// The subscription's name is taken.
    #[error("subscription exists")]
    SubscriptionExists,
    /// The snapshot's name is taken.
    #[error("snapshot exists")]
    SnapshotExists,
    /// A snapshot of another topic, or of an earlier one of the same name.
    #[error("snapshot of another topic")]
    SnapshotOfAnother,
    /// The user's name is taken.
    #[error("user exists")]
    UserExists,
    /// The user is in the project already.
    #[error("user is a member already")]
    AlreadyAMember,
    /// A user cannot be renamed to a name in use.
    #[error("user name is taken")]
    UserNameTaken,
    /// A list was asked for the users of a project that does not exist.
    #[error("project of the filter not found")]
    ProjectFilterNotFound,
    /// A project cannot be renamed to a name in use.
    #[error("project name is taken")]
    ProjectNameTaken,
    /// A membership names an unknown project.
    #[error("invalid project {0}")]
    InvalidProject(String),
    /// A text names no role of the wanted kind.
    #[error("invalid role {0}")]
    InvalidRole(String),
    /// Two memberships name one project.
    #[error("duplicate project {0}")]
    DuplicateProject(ProjectName),
    /// A push configuration was asked for while push is off.
    #[error("push is disabled")]
    PushDisabled,
    /// Nothing can be pushed as asked.
    #[error(transparent)]
    Push(#[from] InvalidPush),
    /// The subscription is not pushed to an endpoint that could be verified.
    #[error("not in http push mode")]
    NotHttpPush,
    /// The push endpoint was verified already.
    #[error("push endpoint is verified already")]
    PushVerified,
    /// The push endpoint does not answer the verification hash.
    #[error("wrong verification hash")]
    WrongVerificationHash,
    /// The window's deadline passed (408).
    #[error("ack timeout")]
    AckTimeout,
    /// Nothing was handed out.
    #[error("no ack pending")]
    NoAckPending,
    /// It was not handed out by the last pull.
    #[error("wrong ack")]
    WrongAck,
    /// An offset outside start..=end.
    #[error("offset out of bounds")]
    OffsetOutOfBounds,
    /// No message at or after the time.
    #[error("time out of bounds")]
    TimeOutOfBounds,
    /// A page token that is none.
    #[error("invalid page token")]
    InvalidPageToken,
    /// The project has as many objects as it may have.
    #[error("object quota of the project is exhausted")]
    ObjectQuota,
    /// The project's topics keep as many bytes as they may.
    #[error("storage quota of the project is exhausted")]
    ByteQuota,
    /// The idempotency key was used for other messages.
    #[error("idempotency key used for other messages")]
    KeyReused,
    /// As many idempotency keys as can be remembered were used lately.
    #[error("too many idempotency keys")]
    KeyQuota,
    /// A rate is used up: which, and after how many seconds to come again.
    #[error("{0:?} over their rate")]
    Rate(Bounded, u32),
    /// The outcome is unknown, the broker drains, or a queue is full: the client should come again.
    #[error("temporarily unavailable")]
    Unavailable,
    /// The store would not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Whether it is our fault, not the client's: such calls count towards `service_fault`.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Unavailable | Self::SchemaUnusable | Self::Store(_))
    }

    /// The store's trouble that operators are told of, if that is why. A stop is told once, by
    /// who ends the process.
    pub const fn store_fault(&self) -> Option<StoreFault> {
        match self {
            Self::Store(StoreError::Full) => Some(StoreFault::Full),
            Self::Store(StoreError::Corrupt(_)) => Some(StoreFault::Damaged),
            _ => None,
        }
    }
}
