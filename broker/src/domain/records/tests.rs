//! The stored form of catalogue records: every value comes back, nothing unknown is accepted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::str::FromStr;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::alert::{Address, Severity};
use crate::domain::audit::Operation;
use crate::domain::push::{Destination, HttpEndpoint, Mattermost, Retry};
use crate::domain::{Hole, Holes};

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time)
}

fn name<N: fmt::Debug + FromStr<Err: fmt::Debug>>() -> impl Strategy<Value = N> {
    "[a-zA-Z0-9_-]{1,20}".prop_map(|name| name.parse().unwrap())
}

fn acl() -> impl Strategy<Value = Vec<UserId>> {
    prop::collection::vec(uuid().prop_map(UserId), 0..4)
}

fn maybe_user() -> impl Strategy<Value = Option<UserId>> {
    prop::option::of(uuid().prop_map(UserId))
}

prop_compose! {
    fn alert()(
        stall_after in prop::option::of("[1-9][0-9]{0,2}(s|m|h|d)"),
        muted_until in prop::option::of(0..4_000_000_000u64),
        contacts in prop::collection::vec("[a-z]{1,5}@[a-z]{1,5}\\.org", 0..3),
        severity_cap in prop::option::of(prop::sample::select(
            &[Severity::Info, Severity::Warn, Severity::Crit][..],
        )),
    ) -> AlertSettings {
        AlertSettings {
            stall_after: stall_after.map(|text| text.try_into().unwrap()),
            muted_until: muted_until
                .map(|seconds| Time::from_secs(seconds).to_seconds_text().try_into().unwrap()),
            contacts: contacts.into_iter().map(|text| Address::try_from(text).unwrap()).collect(),
            severity_cap,
        }
    }
}

prop_compose! {
    fn project()(
        id in uuid(),
        name in name(),
        order: u64,
        (created, modified) in (time(), time()),
        created_by in maybe_user(),
        description: String,
        alert in alert(),
    ) -> Record {
        let id = ProjectId(id);
        let record =
            ProjectRecord { id, name, order, created, modified, created_by, description, alert };
        Record::Project(record)
    }
}

fn project_roles() -> impl Strategy<Value = Vec<ProjectRole>> {
    let all = [ProjectRole::KNOWN, &[ProjectRole::from("declared")]].concat();
    prop::collection::vec(prop::sample::select(all), 0..3)
}

fn service_roles() -> impl Strategy<Value = Vec<ServiceRole>> {
    let all = [ServiceRole::KNOWN, &[ServiceRole::from("declared")]].concat();
    prop::collection::vec(prop::sample::select(all), 0..3)
}

prop_compose! {
    fn user()(
        (id, name, order) in (uuid(), name(), any::<u64>()),
        texts: [String; 7],
        projects in prop::collection::vec((uuid(), project_roles()), 0..3),
        service_roles in service_roles(),
        (created, modified) in (time(), time()),
        created_by in maybe_user(),
    ) -> Record {
        let [token_sha256, token_sealed, email, first_name, last_name, organization, description] =
            texts;
        let projects = projects
            .into_iter()
            .map(|(project, roles)| Membership { project: ProjectId(project), roles })
            .collect();
        Record::User(UserRecord {
            id: UserId(id),
            name,
            order,
            token_sha256,
            token_sealed,
            email,
            first_name,
            last_name,
            organization,
            description,
            projects,
            service_roles,
            created,
            modified,
            created_by,
        })
    }
}

prop_compose! {
    fn registration()(
        (id, name, order) in (uuid(), name(), any::<u64>()),
        texts: [String; 6],
        status in prop::sample::select(&[
            RegistrationStatus::Pending,
            RegistrationStatus::Accepted,
            RegistrationStatus::Declined,
        ][..]),
        activation in prop::option::of(any::<[String; 2]>()),
        registered in time(),
        modified in prop::option::of(time()),
        modified_by in maybe_user(),
    ) -> Record {
        let [first_name, last_name, organization, description, email, decline_comment] = texts;
        let activation = activation.map(|[sha256, sealed]| SealedToken { sha256, sealed });
        Record::Registration(RegistrationRecord {
            id: RegistrationId(id),
            name,
            order,
            first_name,
            last_name,
            organization,
            description,
            email,
            status,
            decline_comment,
            activation,
            registered,
            modified,
            modified_by,
        })
    }
}

prop_compose! {
    fn topic()(
        id in uuid(),
        name in name(),
        order: u64,
        created in time(),
        created_by in maybe_user(),
        acl in acl(),
        alert in alert(),
        age in prop::option::of((1..100u32).prop_map(|days| format!("{days}d"))),
        bytes in prop::option::of(1..u64::MAX),
        hole in prop::option::of((0..u64::MAX, 1..u64::MAX)),
        marked: bool,
    ) -> Record {
        let id = TopicId(id);
        let age = age.map(|text| text.try_into().unwrap());
        let retention = RetentionSettings { age, bytes };
        let mut holes = Holes::default();
        if let Some((from, len)) = hole {
            holes.add(Hole { from: Offset(from), to: Offset(from.saturating_add(len)) });
        }
        Record::Topic(TopicRecord {
            id,
            name,
            order,
            created,
            created_by,
            acl,
            alert,
            retention,
            schema: None,
            holes,
            marked,
        })
    }
}

prop_compose! {
    fn push()(
        endpoint in "https://[a-z]{1,9}(:[1-9][0-9]{1,3})?(/[ -~]{0,9})?",
        max_messages: i64,
        authorization_sealed: Option<String>,
        verification_hash_sealed: String,
        (is_http, verified, base64_decode) in any::<(bool, bool, bool)>(),
        [url, username, channel] in any::<[String; 3]>(),
        retry in prop::option::of(1..u64::MAX),
    ) -> PushSettings {
        let endpoint = endpoint.try_into().unwrap();
        let destination = if is_http {
            Destination::HttpEndpoint(HttpEndpoint {
                endpoint,
                max_messages,
                authorization_sealed,
                verification_hash_sealed,
                verified,
            })
        } else {
            Destination::Mattermost(Mattermost { url, username, channel })
        };
        let retry = retry.map_or(Retry::Slowstart, |period_ms| Retry::Linear { period_ms });
        PushSettings { destination, retry, base64_decode }
    }
}

prop_compose! {
    fn subscription()(
        (id, name, topic, topic_id) in (uuid(), name(), name(), uuid()),
        (order, start, ack_deadline_seconds) in any::<(u64, u64, i64)>(),
        ended in prop::collection::btree_map(uuid().prop_map(TopicId), any::<u64>(), 0..3),
        (created, created_by) in (time(), maybe_user()),
        acl in acl(),
        alert in alert(),
        push in prop::option::of(push().prop_map(Box::new)),
    ) -> Record {
        Record::Subscription(SubscriptionRecord {
            id: SubscriptionId(id),
            name,
            order,
            topic,
            topic_id: TopicId(topic_id),
            start: Offset(start),
            ended: ended.into_iter().map(|(topic, end)| (topic, Offset(end))).collect(),
            ack_deadline_seconds,
            ack_mode: AckMode::Cumulative,
            dead_letters: None,
            acl,
            created,
            created_by,
            alert,
            push,
        })
    }
}

prop_compose! {
    fn snapshot()(
        (name, subscription, topic, topic_id) in (name(), name(), name(), uuid()),
        (order, position) in any::<(u64, u64)>(),
        (created, created_by) in (time(), maybe_user()),
    ) -> Record {
        Record::Snapshot(SnapshotRecord {
            name,
            order,
            subscription,
            topic,
            topic_id: TopicId(topic_id),
            position: Offset(position),
            created,
            created_by,
        })
    }
}

prop_compose! {
    fn trash()(
        name: String,
        deleted in time(),
        topic in prop::option::of(uuid().prop_map(TopicId)),
        subscription in prop::option::of(uuid().prop_map(SubscriptionId)),
    ) -> Record {
        Record::Trash(TrashRecord { name, deleted, topic, subscription })
    }
}

prop_compose! {
    fn usage()(
        topic in uuid().prop_map(TopicId),
        name in name(),
        days in prop::collection::vec(any::<(u32, u64, u64)>(), 0..3),
    ) -> Record {
        let mut record = UsageRecord { topic, name, month: "2026-11".to_owned(), days: Vec::new() };
        for (day, messages, ams_bytes) in days {
            record.put(DayFigures { day, messages, ams_bytes });
        }
        Record::Usage(record)
    }
}

prop_compose! {
    fn audit()(
        (order, time, user) in (any::<u64>(), time(), maybe_user()),
        operation in prop::sample::select(Operation::ALL),
        (name, address, resource, from, to) in any::<(String, String, String, String, String)>(),
        projects in prop::collection::vec(uuid().prop_map(ProjectId), 0..3),
        (added, removed) in any::<(Vec<String>, Vec<String>)>(),
    ) -> Record {
        Record::Audit(AuditRecord {
            order, time, user, name, address, operation, resource, projects, from, to, added, removed,
        })
    }
}

#[test]
fn the_word_on_the_disk_is_the_word_on_the_wire() {
    for operation in Operation::ALL {
        assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
    }
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        project(),
        registration(),
        user(),
        topic(),
        subscription(),
        snapshot(),
        trash(),
        usage(),
        audit()
    ]
}

proptest! {
    #[test]
    fn every_record_comes_back(record in record()) {
        let stored = record.encode();
        prop_assert_eq!(Record::decode_in_order(&stored), Some(record.clone()));
        // In another order.
        let mut other: Value = serde_json::from_slice(&stored).unwrap();
        let version = other.as_object_mut().unwrap().shift_remove("v").unwrap();
        other["v"] = version;
        let other = serde_json::to_vec(&other).unwrap();
        prop_assert_eq!(Record::decode_in_order(&other), None);
        prop_assert_eq!(Record::decode(&other), Ok(record));
    }

    #[test]
    fn a_cut_or_prolonged_record_is_refused(record in record()) {
        let mut bytes = record.encode();
        for len in 0..bytes.len() {
            prop_assert!(Record::decode(&bytes[..len]).is_err(), "cut to {}", len);
        }
        bytes.extend_from_slice(b"{}");
        prop_assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn an_unknown_key_kind_or_version_is_refused(record in record(), version: u8) {
        let stored: Value = serde_json::from_slice(&record.encode()).unwrap();
        let with = |key: &str, value: Value| {
            let mut stored = stored.clone();
            stored[key] = value;
            Record::decode(&serde_json::to_vec(&stored).unwrap())
        };
        prop_assert!(with("colour", json!("red")).is_err());
        prop_assert!(with("kind", json!("colour")).is_err());
        prop_assert!(with("kind", json!("Topic")).is_err());
        prop_assert_eq!(with("v", json!(version)).is_ok(), version == RECORD_VERSION);
        for key in ["v", "kind"] {
            let mut stored = stored.clone();
            stored.as_object_mut().unwrap().remove(key);
            prop_assert!(Record::decode(&serde_json::to_vec(&stored).unwrap()).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_flipped_bit_never_panics(record in record()) {
        let bytes = record.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Record::decode(&flipped) {
                prop_assert_eq!(Record::decode(&other.encode()), Ok(other));
            }
        }
    }
}

#[test]
fn a_stored_name_is_parsed_again() {
    let record = Record::Topic(TopicRecord {
        id: TopicId(Uuid::nil()),
        name: "good".parse().unwrap(),
        order: 0,
        created: Time(0),
        created_by: None,
        acl: Vec::new(),
        alert: AlertSettings::default(),
        retention: RetentionSettings::default(),
        schema: None,
        holes: Holes::default(),
        marked: false,
    });
    let text = String::from_utf8(record.encode()).unwrap();
    for usual in ["alert", "retention", "holes", "marked"] {
        assert!(!text.contains(usual), "what is usual is left out: {text}");
    }
    assert!(Record::decode(text.replace("good", "not/good").as_bytes()).is_err());
    assert!(Record::decode(text.replace("\"good\"", "\"\"").as_bytes()).is_err());
}
