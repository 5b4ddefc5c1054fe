//! The words of a judgement: states, reasons, verdicts, incidents.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::evidence::Evidence;
use crate::clock::Time;
use crate::series::{AlertSettings, Severity};

/// The floor of the threshold without a setting: deployments and cold starts take minutes.
pub(crate) const DEFAULT_MIN_STALL: Duration = Duration::from_secs(600);

/// What the operator sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeSettings {
    /// Replaces the 10 minute floor of the threshold, the 60 minute limit of held leases and the
    /// 2 minutes of `seen`; if it is less than 10 minutes, no hold is longer than it.
    pub min_stall: Duration,
    /// Alarm settings of the whole service, in force where nobody else says something.
    pub service: AlertSettings,
    /// Who gets what concerns the service itself, and what reaches nobody else.
    pub operators: Vec<String>,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            min_stall: DEFAULT_MIN_STALL,
            service: AlertSettings::default(),
            operators: Vec::new(),
        }
    }
}

impl JudgeSettings {
    /// `usual`, unless the operator set a shorter `min_stall`: no hold exceeds that. For holds,
    /// the evaluation's period and the waiting of grouped mails.
    pub fn hold(&self, usual: Duration) -> Duration {
        if self.min_stall < DEFAULT_MIN_STALL { usual.min(self.min_stall) } else { usual }
    }

    /// How often to evaluate: 15 s, never longer than `min_stall`.
    pub fn evaluate_every(&self) -> Duration {
        self.hold(Duration::from_secs(15)).max(Duration::from_millis(100))
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

words! {
    /// State of a subscription, or kind of a trouble of the service.
    State {
        /// The owning broker is silent: nothing is known.
        Unknown = "unknown",
        /// Calls end in faults of the service: nobody else is to blame.
        ServiceFault = "service_fault",
        /// Messages nobody ever acknowledged are being removed.
        Losing = "losing",
        /// Nobody ever used it, or its topic is deleted.
        Orphan = "orphan",
        /// Messages wait and nobody comes for them.
        NoConsumer = "no_consumer",
        /// Somebody takes messages and does not acknowledge them.
        NotAcking = "not_acking",
        /// Messages wait, and none of the others explains it.
        StalledOther = "stalled_other",
        /// Much of what is taken is refused and goes to the dead-letter topic.
        DeadLettering = "dead_lettering",
        /// Nothing waits.
        Idle = "idle",
        /// Something waits, not too long.
        Healthy = "healthy",
        /// A broker sends no reports (an incident of the service, never of a subscription).
        TelemetryBlind = "telemetry_blind",
    }
}

impl State {
    /// Whether it is one of the stalls, which count together (rows 6 to 7a).
    pub const fn is_stall(self) -> bool {
        matches!(self, Self::NoConsumer | Self::NotAcking | Self::StalledOther)
    }
}

words! {
    /// Why a state holds.
    Reason {
        /// The consumer stopped pulling.
        Gone = "gone",
        /// The consumer took messages and was not heard of again.
        LeftHolding = "left_holding",
        /// The consumer calls and is refused.
        PullDenied = "pull_denied",
        /// Somebody keeps the deadlines of unacknowledged messages alive.
        HoldsLeases = "holds_leases",
        /// It pulls and never acknowledges.
        NeverAcks = "never_acks",
        /// Its acknowledgements come after the deadline.
        AcksTooLate = "acks_too_late",
        /// Its acknowledgements are refused.
        AcksRejected = "acks_rejected",
        /// All that waits is handed out, nothing is left to deliver.
        WindowFull = "window_full",
        /// The topic is deleted.
        TopicDeleted = "topic_deleted",
        /// Never pulled or refused since it was created.
        Unused = "unused",
        /// Lost by age.
        Retention = "retention",
        /// Lost by size.
        Overflow = "overflow",
        /// Lost by damage of the store.
        Damage = "damage",
        /// No report of the broker.
        NoReport = "no_report",
        /// Calls end in faults.
        CallsFail = "calls_fail",
        /// The store has stopped for good.
        StoreStopped = "store_stopped",
        /// The store has no room.
        StoreFull = "store_full",
        /// What is stored is damaged.
        StoreDamaged = "store_damaged",
        /// Clocks contradict each other.
        ClockFault = "clock_fault",
    }
}

/// The judgement of one subscription, as REST, Prometheus and mails show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// State shown, after its hysteresis.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// How bad, after `severityCap`.
    pub severity: Severity,
    /// Since when, on our clock: for a stall the start of its clock, else when the state began.
    pub since: Time,
    /// How long something may wait now before it is a stall.
    pub threshold: Duration,
    /// Start of the stall clock, on our clock; `None` while nothing waits.
    pub waiting_since: Option<Time>,
    /// Publish time of the oldest unacknowledged message; `None` while nothing waits.
    pub oldest_unacked_at: Option<Time>,
    /// Its age on its broker's clock.
    pub oldest_unacked_age: Duration,
    /// Messages not acknowledged.
    pub backlog: u64,
    /// Whether the owner wants no mail now.
    pub muted: bool,
    /// What the judgement rests on.
    pub evidence: Evidence,
    /// What to do, with the exact command; empty when there is nothing to do.
    pub advice: String,
}

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// One subscription; its owners are told.
    Subscription,
    /// A broker is silent; operators are told.
    TelemetryBlind,
    /// Calls fail; operators are told.
    ServiceFault,
    /// The store of a broker has stopped; operators are told.
    StoreStopped,
    /// The store refuses what needs room; operators are told.
    StoreFull,
    /// Reading met damaged data; operators are told.
    StoreDamaged,
    /// Clocks contradict each other, so nothing is trimmed; operators are told.
    ClockFault,
}

/// Why an incident ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum CloseReason {
    /// It is well again.
    Recovered,
    /// The subscription was deleted.
    Deleted {
        /// Who did it; empty when not known.
        by: String,
    },
    /// The topic was deleted, so nothing can be waiting for a consumer any more.
    TopicDeleted {
        /// Who did it; empty when not known.
        by: String,
    },
}

/// One trouble from its beginning to its end: never two of one subject at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id, kept over restarts.
    pub id: Uuid,
    /// What it is about.
    pub kind: IncidentKind,
    /// The subscription; `None` for troubles of the service.
    pub subscription: Option<Uuid>,
    /// The silent broker; `None` for the other kinds.
    pub broker: Option<String>,
    /// Id of the project; `None` for troubles of the service.
    pub project_id: Option<Uuid>,
    /// Name of the project; empty for troubles of the service.
    pub project: String,
    /// Name of the subscription; empty for troubles of the service.
    pub subscription_name: String,
    /// Name of the topic; empty for troubles of the service.
    pub topic: String,
    /// State now, or at its end the last one of the trouble.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// How bad, after `severityCap`.
    pub severity: Severity,
    /// When it was opened, on our clock.
    pub opened_at: Time,
    /// Since when the trouble lasts, on our clock.
    pub since: Time,
    /// When it ended.
    pub closed_at: Option<Time>,
    /// Why it ended.
    pub close_reason: Option<CloseReason>,
    /// Largest backlog seen while it was open.
    pub peak_backlog: u64,
    /// Messages lost in it that nobody had ever acknowledged.
    pub lost: u64,
    /// Messages lost before it, by the same count.
    pub lost_before: u64,
    /// What the judgement rests on.
    pub evidence: BTreeMap<String, Value>,
    /// What to do.
    pub advice: String,
    /// The threshold in force.
    pub threshold: Duration,
    /// States it went through: when, which.
    pub history: Vec<(Time, State)>,
    /// No mail before this time.
    pub muted_until: Option<Time>,
    /// Whether the owner wants no mail now. When it ends, an update says so.
    pub muted: bool,
    /// Whether a mail said that it began; see [`super::Judge::mark_mailed`].
    pub mailed_open: bool,
    /// The state that the last of its mails told; `None` also where a row is older than this
    /// field.
    #[serde(default)]
    pub mailed_state: Option<State>,
    /// Whether a mail said that it had become another trouble.
    #[serde(default)]
    pub mailed_change: bool,
}

impl Incident {
    /// Notes that a mail tells what it is now.
    pub const fn mark_mailed(&mut self) {
        self.mailed_change = self.mailed_open;
        self.mailed_open = true;
        self.mailed_state = Some(self.state);
    }

    /// Whether it has become another trouble than its mail told: who was told of dead letters
    /// need not know of a stall, and the other way round. That is told once.
    pub fn change_is_untold(&self) -> bool {
        let of_letters = |state: State| state == State::DeadLettering;
        let other = |told: State| of_letters(told) != of_letters(self.state);
        self.mailed_open && !self.mailed_change && self.mailed_state.is_some_and(other)
    }
}

/// What became of an incident in one evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum IncidentChange {
    /// It is new.
    Opened(Incident),
    /// State, reason, severity, mute, peak or losses changed.
    Updated(Incident),
    /// It ended.
    Closed(Incident),
}

impl IncidentChange {
    /// The incident.
    pub const fn incident(&self) -> &Incident {
        match self {
            Self::Opened(incident) | Self::Updated(incident) | Self::Closed(incident) => incident,
        }
    }
}
