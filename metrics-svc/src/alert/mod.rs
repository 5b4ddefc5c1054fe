//! Judgement: which subscription is in trouble, why and since when (`observability.md` 1.5), and
//! who is to be told. Pure: no I/O and no clock; what it remembers is handed out to be saved and
//! handed in again after a start.

mod advice;
mod classify;
mod evidence;
mod facts;
mod incidents;
mod judge;
mod letters;
mod memory;
mod packed;
mod recipients;
mod service;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use evidence::Evidence;
pub use judge::{Evaluation, Judge};
pub use memory::SavedSubscription;
pub use recipients::{Recipients, Step, recipients};
pub use state::{
    CloseReason, Incident, IncidentChange, IncidentKind, JudgeSettings, Reason, State, Verdict,
};
