//! The words of the broker: names, ids, messages, heads, progress, records.
//!
//! Plain values and pure state machines. Nothing here waits, reads a clock, touches a disk or knows
//! a wire format; time comes in as an argument. Stored forms carry a version, and what is unknown is
//! refused, never guessed.

pub mod alert;
pub mod audit;
pub mod batch;
pub mod codec;
pub mod cumulative;
pub mod entry;
pub mod holes;
pub mod ids;
pub mod individual;
pub mod names;
pub mod progress;
pub mod push;
pub mod records;
pub mod requests;
pub mod retention;
pub mod roles;

pub use alert::AlertSettings;
pub use batch::{Batch, BatchBuilder, Data, MessageRef};
pub use clock::Time;
pub use codec::Malformed;
pub use cumulative::{AckVerdict, Seek};
pub use entry::{DayFigures, Entry, Head, Mark};
pub use holes::{Hole, Holes};
pub use ids::{Offset, ProjectId, RegistrationId, SchemaId, SubscriptionId, TopicId, UserId};
pub use individual::{LeaseId, Leased};
pub use names::{
    InvalidName, ProjectName, SchemaName, SnapshotName, SubscriptionName, TopicName, UserName,
    lawful,
};
pub use progress::{Counters, DeadLetter, Facts, HandedOut, Lost, Progress, Window};
pub use push::{InvalidPush, PushRequest, PushSettings};
pub use requests::{Known, Request};
pub use retention::RetentionSettings;
