//! Every metric, spelt once: OTLP name, Prometheus name, unit and help text.
//!
//! Words only. The broker fills them, metrics-svc shows them, dashboards and rules are checked
//! against [`REPORTED`] and [`DERIVED`].

/// What kind of figure a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Cumulative, never goes down within one life of its object.
    Counter,
    /// Any value.
    Gauge,
}

/// One metric that travels from a broker to metrics-svc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Metric {
    /// Its name in OTLP.
    pub otlp: &'static str,
    /// Its name in Prometheus; empty when it is not exposed.
    pub prometheus: &'static str,
    /// UCUM unit for OTLP.
    pub unit: &'static str,
    /// Kind.
    pub kind: Kind,
    /// The extra label of its points, empty for none.
    pub label: &'static str,
    /// Help text.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident = $kind:ident $otlp:literal $prometheus:literal $unit:literal [$label:literal] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $name: Metric = Metric {
                otlp: $otlp,
                prometheus: $prometheus,
                unit: $unit,
                kind: Kind::$kind,
                label: $label,
                help: $help,
            };
        )+

        /// All metrics that brokers report.
        pub const REPORTED: &[Metric] = &[$($name),+];
    };
}

metrics! {
    BROKER_CALLS = Counter "ams.broker.calls" "ams_broker_calls_total" "{call}" ["outcome"] "Publish, pull and acknowledge calls by verb and outcome (ok, refused, fault) since the broker started.";
    BROKER_STORE_FAULTS = Counter "ams.broker.store_faults" "ams_broker_store_faults_total" "{fault}" ["reason"] "Requests that the store refused because it is full, has stopped, or found its data damaged, by reason (full, stopped, damaged), since the broker started; a stop counts once, when the process ends. Reason clock: sweeps of retention that trimmed nothing because clocks or stamps contradict each other.";

    PROJECT_STORED = Gauge "ams.project.stored.bytes" "ams_project_stored_bytes" "By" [""] "Bytes that the topics of the project keep in the store, packed: what its quota is compared with.";
    PROJECT_QUOTA = Gauge "ams.project.stored.quota" "ams_project_stored_quota_bytes" "By" [""] "Most bytes that the topics of the project may keep together; 0 = there is no quota.";

    TOPIC_VERSION = Gauge "ams.topic.version" "" "1" [""] "Next offset of the topic: the version of its record.";
    TOPIC_START = Gauge "ams.topic.start" "" "1" [""] "Oldest offset still kept.";
    TOPIC_PUBLISHED = Counter "ams.topic.published.messages" "ams_topic_published_messages_total" "{message}" [""] "Messages durably accepted.";
    TOPIC_PUBLISHED_BYTES = Counter "ams.topic.published.bytes" "ams_topic_published_bytes_total" "By" [""] "Payload and attribute bytes durably accepted.";
    TOPIC_PUBLISHED_AMS_BYTES = Counter "ams.topic.published.ams_bytes" "" "By" [""] "Bytes as AMS counts them: the length of the data texts.";
    TOPIC_LAST_PUBLISH = Gauge "ams.topic.last_publish" "ams_topic_last_publish_timestamp_seconds" "s" [""] "When a message was last accepted, Unix time; 0 = never.";
    TOPIC_RETAINED = Gauge "ams.topic.retained.messages" "ams_topic_retained_messages" "{message}" [""] "Messages still stored.";
    TOPIC_DAMAGED = Gauge "ams.topic.damaged.messages" "ams_topic_damaged_messages" "{message}" ["state"] "Of the messages still stored, those that are damaged, by state: unrepaired = met by a read or the scrubber since the broker started, and not given up; given_up = passed over since `ams repair`.";

    SUB_VERSION = Gauge "ams.subscription.version" "" "1" [""] "How often the subscription's progress was saved: the version of its record.";
    SUB_TOPIC_HEAD = Gauge "ams.subscription.topic_head" "" "1" [""] "Next offset of its topic when the reporter looked.";
    SUB_POSITION = Gauge "ams.subscription.position" "" "1" [""] "Oldest unacknowledged offset.";
    SUB_ENQUEUED = Counter "ams.subscription.enqueued.messages" "ams_subscription_enqueued_messages_total" "{message}" [""] "Messages that became eligible for delivery.";
    SUB_DELIVERED = Counter "ams.subscription.delivered.messages" "ams_subscription_delivered_messages_total" "{message}" [""] "Messages handed out, repeats included.";
    SUB_DELIVERED_BYTES = Counter "ams.subscription.delivered.bytes" "ams_subscription_delivered_bytes_total" "By" [""] "Bytes handed out, as AMS counts them.";
    SUB_REDELIVERED = Counter "ams.subscription.redelivered.messages" "ams_subscription_redelivered_messages_total" "{message}" [""] "Messages handed out again.";
    SUB_ACKED = Counter "ams.subscription.acked.messages" "ams_subscription_acked_messages_total" "{message}" [""] "Distinct messages acknowledged.";
    SUB_ACKED_BYTES = Counter "ams.subscription.acked.bytes" "ams_subscription_acked_bytes_total" "By" [""] "Their bytes, as AMS counts them.";
    SUB_LATE_ACKS = Counter "ams.subscription.late_acks" "ams_subscription_late_acks_total" "{ack}" [""] "Acknowledgements that came after their deadline.";
    SUB_REFUSED_ACKS = Counter "ams.subscription.refused_acks" "ams_subscription_refused_acks_total" "{ack}" [""] "Acknowledgements refused for another reason than lateness.";
    SUB_NACKED = Counter "ams.subscription.nacked.messages" "ams_subscription_nacked_messages_total" "{message}" [""] "Messages given back.";
    SUB_EXTENSIONS = Counter "ams.subscription.deadline_extensions" "ams_subscription_deadline_extensions_total" "{extension}" [""] "Deadlines extended.";
    SUB_EXPIRED = Counter "ams.subscription.expired_ack_deadlines" "ams_subscription_expired_ack_deadlines_total" "{deadline}" [""] "Deadlines that ran out unacknowledged.";
    SUB_DEAD_LETTERED = Counter "ams.subscription.dead_lettered.messages" "ams_subscription_dead_lettered_messages_total" "{message}" ["outcome"] "Messages handed out as often as the dead-letter policy allows, by outcome: moved to the dead-letter topic; failed = could not be written there and come again, once per attempt, since the broker started.";
    SUB_LAST_DEAD_LETTER = Gauge "ams.subscription.last_dead_letter" "ams_subscription_last_dead_letter_timestamp_seconds" "s" [""] "When a message was last moved to the dead-letter topic in this life of its topic, Unix time; 0 = never.";
    SUB_DEAD_LETTER_END = Gauge "ams.subscription.dead_letter_end" "" "1" [""] "Behind the offset of that message; 0 = there is none.";
    SUB_SKIPPED = Counter "ams.subscription.skipped.messages" "ams_subscription_skipped_messages_total" "{message}" [""] "Messages passed by seeking forward.";
    SUB_REPLAYED = Counter "ams.subscription.replayed.messages" "ams_subscription_replayed_messages_total" "{message}" [""] "Messages brought back by seeking backward.";
    SUB_LOST = Counter "ams.subscription.lost.messages" "ams_subscription_lost_messages_total" "{message}" ["reason"] "Messages removed before they were acknowledged, by reason (retention, overflow, topic_deleted, damage, purge).";
    SUB_LOST_NEVER_ACKED = Counter "ams.subscription.lost_never_acked.messages" "ams_subscription_lost_never_acked_messages_total" "{message}" [""] "Lost messages that had never been acknowledged before.";
    SUB_PULLS = Counter "ams.subscription.pull_requests" "ams_subscription_pull_requests_total" "{call}" ["outcome"] "Pulls by outcome (messages, empty, denied, error) since the broker started.";
    SUB_BACKLOG = Gauge "ams.subscription.backlog.messages" "ams_subscription_backlog_messages" "{message}" [""] "Messages not acknowledged.";
    SUB_AVAILABLE = Gauge "ams.subscription.available.messages" "ams_subscription_available_messages" "{message}" [""] "Messages that could be delivered now.";
    SUB_OUTSTANDING = Gauge "ams.subscription.outstanding.messages" "ams_subscription_outstanding_messages" "{message}" [""] "Messages delivered whose deadline still holds.";
    SUB_HEAD_ATTEMPTS = Gauge "ams.subscription.head_attempts" "ams_subscription_head_attempts" "{delivery}" [""] "Deliveries of the oldest unacknowledged message.";
    SUB_HEAD_ENQUEUED_AT = Gauge "ams.subscription.head_enqueued_at" "ams_subscription_oldest_unacked_message_timestamp_seconds" "s" [""] "Publish time of the oldest unacknowledged message, Unix time; 0 = nothing waits.";
    SUB_LAST_PULL = Gauge "ams.subscription.last_pull" "ams_subscription_last_pull_timestamp_seconds" "s" [""] "Last admitted pull, Unix time; 0 = never.";
    SUB_LAST_DELIVERY = Gauge "ams.subscription.last_delivery" "ams_subscription_last_delivery_timestamp_seconds" "s" [""] "Last pull that brought messages, Unix time; 0 = never.";
    SUB_LAST_ACK = Gauge "ams.subscription.last_ack" "ams_subscription_last_ack_timestamp_seconds" "s" [""] "Last accepted acknowledgement, Unix time; 0 = never.";
    SUB_LAST_PROGRESS = Gauge "ams.subscription.last_progress" "ams_subscription_last_progress_timestamp_seconds" "s" [""] "When the position last moved by an acknowledgement or a forward seek, Unix time; 0 = never.";
    SUB_LAST_BACKWARD_SEEK = Gauge "ams.subscription.last_backward_seek" "" "s" [""] "Last backward seek, Unix time; 0 = never.";
    SUB_EXCUSING_SEEK = Gauge "ams.subscription.excusing_seek" "" "s" [""] "Last backward seek that restarts the stall clock, Unix time; 0 = never.";
}

/// Metrics that metrics-svc itself makes: name, kind, help.
pub const DERIVED: &[(&str, Kind, &str)] = &[
    (
        "ams_subscription_info",
        Kind::Gauge,
        "Always 1; joins project and subscription to the topic and the delivery type.",
    ),
    (
        "ams_subscription_waiting_since_timestamp_seconds",
        Kind::Gauge,
        "Start of the stall clock, Unix time; absent while nothing waits.",
    ),
    (
        "ams_subscription_stall_threshold_seconds",
        Kind::Gauge,
        "How long something may wait before it is a stall.",
    ),
    (
        "ams_subscription_ack_deadline_seconds",
        Kind::Gauge,
        "The subscription's acknowledgement deadline.",
    ),
    ("ams_subscription_severity", Kind::Gauge, "0 = ok or info, 1 = warning, 2 = critical."),
    (
        "ams_subscription_state",
        Kind::Gauge,
        "Always 1; only the present state and its reason are exposed.",
    ),
    ("ams_topic_subscriptions", Kind::Gauge, "Subscriptions attached to the topic."),
    ("ams_project_topics", Kind::Gauge, "Topics of the project."),
    ("ams_project_subscriptions", Kind::Gauge, "Subscriptions of the project."),
    (
        "ams_metrics_ingest_last_report_timestamp_seconds",
        Kind::Gauge,
        "When each broker last reported, Unix time.",
    ),
    (
        "ams_metrics_ingest_report_interval_seconds",
        Kind::Gauge,
        "How often each broker says it reports.",
    ),
    (
        "ams_metrics_ingest_reports_total",
        Kind::Counter,
        "Reports received, by outcome (accepted, stale, rejected).",
    ),
    ("ams_metrics_database_up", Kind::Gauge, "1 while metrics-svc can write its database."),
    ("ams_alerter_incidents", Kind::Gauge, "Open incidents, by severity."),
    (
        "ams_alerter_mail_configured",
        Kind::Gauge,
        "1 when an SMTP relay is set, 0 when mails are off.",
    ),
    (
        "ams_alerter_notifications_total",
        Kind::Counter,
        "Mails, by kind (open, change, resolve, notice, test) and outcome (sent, retry, bounced, expired).",
    ),
    (
        "ams_alerter_unreachable_total",
        Kind::Counter,
        "Incidents for which nobody could be reached, so the operators were.",
    ),
    ("ams_alerter_outbox_messages", Kind::Gauge, "Mails that wait to be sent."),
    (
        "ams_alerter_outbox_oldest_timestamp_seconds",
        Kind::Gauge,
        "When the oldest waiting mail was written, Unix time; absent when none waits.",
    ),
    (
        "ams_alerter_last_evaluation_timestamp_seconds",
        Kind::Gauge,
        "When the subscriptions were last judged, Unix time.",
    ),
    (
        "ams_alerter_last_smtp_ok_timestamp_seconds",
        Kind::Gauge,
        "When the relay last took a mail, Unix time; 0 = never.",
    ),
];

/// Attribute keys of reports.
pub mod attribute {
    /// Uuid of a topic life or subscription.
    pub const RESOURCE_ID: &str = "ams.resource.id";
    /// Project name.
    pub const PROJECT: &str = "ams.project";
    /// Topic name.
    pub const TOPIC: &str = "ams.topic";
    /// Subscription name.
    pub const SUBSCRIPTION: &str = "ams.subscription";
    /// Why messages were lost.
    pub const REASON: &str = "reason";
    /// What is done about damage.
    pub const STATE: &str = "state";
    /// What became of a call.
    pub const OUTCOME: &str = "outcome";
    /// Which call: publish, pull, acknowledge.
    pub const VERB: &str = "verb";
    /// The store, 16 hex digits.
    pub const STORE: &str = "ams.store.id";
    /// Which broker.
    pub const INSTANCE: &str = "service.instance.id";
    /// What kind of program.
    pub const SERVICE: &str = "service.name";
    /// Number of the request, from 1.
    pub const SEQUENCE: &str = "ams.report.sequence";
    /// The reporter's wall clock when it looked, Unix nanoseconds.
    pub const TIME: &str = "ams.report.time_unix_nano";
    /// When the reporter started, Unix nanoseconds.
    pub const STARTED_AT: &str = "ams.report.started_at_unix_nano";
    /// How often it reports, milliseconds.
    pub const INTERVAL: &str = "ams.report.interval_ms";
}
