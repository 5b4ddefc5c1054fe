//! Reports in any order, directories in any number of requests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use telemetry::names;
use uuid::Uuid;

use super::*;

const NOW: Time = Time::from_secs(1_790_000_000);
const PROJECT: Uuid = Uuid::from_u128(1);

fn record(id: u128, version: u64, backlog: u64) -> Record {
    let point =
        Point { metric: &names::SUB_BACKLOG, label: String::new(), value: Value::Count(backlog) };
    Record::new(Uuid::from_u128(id), version, NOW, vec![point])
}

fn report(sequence: u64, at: u64, subscriptions: Vec<Record>) -> Report {
    Report {
        instance: String::from("b1"),
        store: String::from("s1"),
        sequence,
        sent_at: NOW.plus(Duration::from_secs(at)),
        started_at: NOW,
        interval: Duration::from_secs(10),
        projects: Vec::new(),
        topics: Vec::new(),
        subscriptions,
        calls: Vec::new(),
        store_faults: Vec::new(),
        rejected: 0,
    }
}

fn project(id: Uuid) -> Object {
    Object::Project(Project { id, name: id.to_string(), alert: AlertSettings::default() })
}

fn subscription(id: u128) -> Object {
    Object::Subscription(Subscription {
        id: Uuid::from_u128(id),
        project: Uuid::nil(),
        name: format!("s{id}"),
        topic: String::from("t"),
        topic_id: None,
        ack_deadline_seconds: 10,
        dead_letter_topic: None,
        acl: Box::default(),
        created: NOW,
        alert: None,
    })
}

fn change(scope: Scope, from: Option<u64>, to: u64, objects: Vec<Object>) -> DirectoryChange {
    let store = String::from("s1");
    DirectoryChange { store, scope, from, to, objects, deleted: Vec::new(), more: false }
}

fn deleted(kind: ObjectKind, id: u128) -> Deleted {
    let (name, by) = (String::from("x"), String::from("anna"));
    Deleted { kind, id: Uuid::from_u128(id), name, by, at: Some(NOW) }
}

fn names_of(series: &Series) -> BTreeSet<String> {
    series.subscriptions().map(|view| view.subscription.name.clone()).collect()
}

fn whole(series: &mut Series) {
    let service = change(Scope::Service, None, 5, vec![project(PROJECT)]);
    assert_eq!(series.take_directory(service), DirectoryTaken::default());
    let inside = vec![subscription(10), subscription(11)];
    let inside = change(Scope::Project(PROJECT), None, 7, inside);
    assert_eq!(series.take_directory(inside), DirectoryTaken::default());
}

#[test]
fn the_first_answer_to_a_broker_asks_for_everything_until_it_came() {
    let mut series = Series::new();
    assert!(series.take_report(report(8, 0, vec![]), NOW).resync);
    assert!(series.take_report(report(9, 10, vec![]), NOW).resync);
    let late = change(Scope::Project(PROJECT), Some(7), 8, vec![subscription(12)]);
    assert!(series.take_directory(late).resync);
    assert_eq!(names_of(&series), BTreeSet::new());
    whole(&mut series);
    assert!(!series.take_report(report(10, 20, vec![]), NOW).resync);
}

#[test]
fn a_change_from_another_version_is_not_applied_and_asks_for_everything() {
    let mut series = Series::new();
    whole(&mut series);
    let scope = Scope::Project(PROJECT);
    assert!(series.take_directory(change(scope, Some(9), 10, vec![subscription(12)])).resync);
    assert!(series.take_directory(change(scope, Some(6), 8, vec![subscription(12)])).resync);
    assert_eq!(names_of(&series), BTreeSet::from(["s10".into(), "s11".into()]));
    let next = change(scope, Some(7), 8, vec![subscription(12)]);
    assert!(!series.take_directory(next.clone()).resync);
    assert!(!series.take_directory(next).resync, "a repeat whose answer was lost");
    assert_eq!(names_of(&series).len(), 3);
}

#[test]
fn figures_of_a_project_are_the_latest_and_go_with_it() {
    let mut series = Series::new();
    whole(&mut series);
    let of = |sequence, at, bytes| {
        let point = Point { value: Value::Count(bytes), ..stored() };
        let record = Record::new(PROJECT, 0, NOW, vec![point]);
        Report { projects: vec![record], ..report(sequence, at, vec![]) }
    };
    let bytes = |series: &Series| {
        series.project_figures(PROJECT).map(|held| held.record.count(&names::PROJECT_STORED))
    };
    assert_eq!(bytes(&series), None);
    series.take_report(of(2, 20, 200), NOW);
    let late = series.take_report(of(1, 10, 100), NOW);
    assert_eq!((bytes(&series), late.stale), (Some(200), 1));
    series.take_report(of(3, 30, 50), NOW);
    assert_eq!(bytes(&series), Some(50), "it may fall");
    let mut gone = change(Scope::Service, Some(5), 6, vec![]);
    gone.deleted.push(Deleted { id: PROJECT, ..deleted(ObjectKind::Project, 0) });
    assert!(!series.take_directory(gone).resync);
    assert_eq!(bytes(&series), None);
}

fn stored() -> Point {
    Point { metric: &names::PROJECT_STORED, label: String::new(), value: Value::Count(0) }
}

#[test]
fn after_the_last_request_of_a_whole_scope_what_was_not_named_is_gone() {
    let mut series = Series::new();
    whole(&mut series);
    series.take_report(report(1, 0, vec![record(10, 1, 1), record(11, 1, 1)]), NOW);
    let scope = Scope::Project(PROJECT);
    let first = DirectoryChange { more: true, ..change(scope, None, 9, vec![subscription(12)]) };
    assert!(series.take_directory(first).deleted.is_empty());
    assert_eq!(names_of(&series).len(), 3, "not before the last request");
    let last = change(scope, None, 9, vec![subscription(11)]);
    let taken = series.take_directory(last.clone());
    assert_eq!(taken.deleted.len(), 1);
    assert_eq!(taken.deleted[0].id, Uuid::from_u128(10));
    assert_eq!(names_of(&series), BTreeSet::from(["s11".into(), "s12".into()]));
    assert!(series.is_gone(Uuid::from_u128(10), PROJECT));
    // The last request once more (its answer was lost) takes nothing away.
    assert!(series.take_directory(last).deleted.is_empty());
    assert_eq!(names_of(&series).len(), 2);
}

#[test]
fn a_deleted_project_takes_everything_in_it_and_names_who_did_it() {
    let mut series = Series::new();
    whole(&mut series);
    let mut gone = change(Scope::Service, Some(5), 6, vec![]);
    gone.deleted = vec![deleted(ObjectKind::Project, 1)];
    let taken = series.take_directory(gone);
    assert_eq!(taken.deleted.len(), 3);
    assert!(taken.deleted.iter().all(|deleted| deleted.by == "anna"));
    assert_eq!(series.deletion(Uuid::from_u128(10)).unwrap().by, "anna");
    assert_eq!(names_of(&series), BTreeSet::new());
    assert!(series.is_gone(Uuid::from_u128(10), PROJECT));
}

#[test]
fn nothing_counts_as_gone_before_the_directory_was_sent() {
    let mut series = Series::new();
    let id = Uuid::from_u128(10);
    assert!(!series.is_gone(id, PROJECT));
    series.take_directory(change(Scope::Service, None, 5, vec![project(PROJECT)]));
    assert!(!series.is_gone(id, PROJECT));
    series.take_directory(change(Scope::Project(PROJECT), None, 5, vec![]));
    assert!(series.is_gone(id, PROJECT));
}

#[test]
fn a_restored_store_begins_anew_and_late_words_of_the_old_one_do_not_count() {
    let mut series = Series::new();
    whole(&mut series);
    series.take_report(report(1, 0, vec![record(10, 100, 1)]), NOW);
    let changes =
        DirectoryChange { store: String::from("s2"), ..change(Scope::Service, Some(5), 6, vec![]) };
    assert!(series.take_directory(changes).resync);
    let mut restored = report(1, 60, vec![record(10, 90, 2)]);
    (restored.store, restored.instance) = (String::from("s2"), String::from("b2"));
    let taken = series.take_report(restored.clone(), NOW);
    assert!(taken.resync && taken.dropped == 1, "its directory comes first");
    let service = DirectoryChange {
        store: String::from("s2"),
        ..change(Scope::Service, None, 3, vec![project(PROJECT)])
    };
    assert!(!series.take_directory(service).resync);
    let inside = DirectoryChange {
        store: String::from("s2"),
        ..change(Scope::Project(PROJECT), None, 3, vec![subscription(10)])
    };
    assert!(!series.take_directory(inside).resync);
    series.take_report(restored, NOW);
    assert_eq!(series.take_report(report(2, 70, vec![record(10, 101, 9)]), NOW).dropped, 1);
    let view = series.subscription(Uuid::from_u128(10)).unwrap();
    assert_eq!(view.held.unwrap().record.version, 90);
    assert_eq!(series.brokers().map(|broker| broker.instance.as_str()).collect::<Vec<_>>(), ["b2"]);
}

#[test]
fn a_broker_that_started_later_takes_the_place_of_the_one_before_it() {
    let mut series = Series::new();
    series.take_report(report(5, 0, vec![]), NOW);
    let mut next = report(1, 30, vec![]);
    (next.instance, next.started_at) = (String::from("b2"), NOW.plus(Duration::from_secs(25)));
    assert!(series.take_report(next, NOW).resync);
    // A late report of the first one is no sign of life.
    assert!(!series.take_report(report(6, 10, vec![]), NOW).resync);
    let alive: Vec<&str> = series.brokers().map(|broker| broker.instance.as_str()).collect();
    assert_eq!(alive, ["b2"]);
}

#[test]
fn tokens_admit_to_everything_or_to_the_own_projects() {
    let mut series = Series::new();
    let user = |id: u128, token: &str, service: &[&str]| {
        Object::User(User {
            id: Uuid::from_u128(id),
            name: String::new(),
            email: String::new(),
            token_sha256: token.to_owned(),
            projects: BTreeMap::from([(PROJECT, BTreeSet::from([String::from("consumer")]))]),
            service_roles: service.iter().map(|role| (*role).to_owned()).collect(),
        })
    };
    let users = vec![
        user(1, "aa", &["service_admin"]),
        user(2, "bb", &["admin_viewer"]),
        user(3, "cc", &["metrics_viewer"]),
        user(4, "dd", &["push_worker"]),
        user(5, "", &["service_admin"]),
    ];
    series.take_directory(change(Scope::Service, None, 1, users));
    for token in ["aa", "bb", "cc"] {
        assert_eq!(series.admit(token), Some(Viewer::All));
    }
    let own = series.admit("dd").unwrap();
    assert!(own.sees(PROJECT) && !own.sees(Uuid::from_u128(2)));
    for unknown in ["", "ee", "AA"] {
        assert_eq!(series.admit(unknown), None);
    }
}

#[test]
fn a_broker_is_silent_after_three_of_its_own_intervals() {
    let mut series = Series::new();
    series.take_report(report(1, 0, vec![]), NOW);
    let broker = series.brokers().next().unwrap();
    assert!(broker.is_fresh(NOW.plus(Duration::from_secs(30))));
    assert!(!broker.is_fresh(NOW.plus(Duration::from_secs(31))));
}

#[test]
fn the_clock_of_a_broker_is_told_by_its_fastest_report_until_it_is_set() {
    let mut series = Series::new();
    let second = Duration::from_secs(1);
    let mut hear = |sequence: u64, sent: u64, received: u64| {
        let received = NOW.plus(second * u32::try_from(received).unwrap());
        series.take_report(report(sequence, sent, vec![]), received);
        let broker = series.brokers().next().unwrap();
        let behind = received.0.abs_diff(broker.clock(received).0) / 1_000_000_000;
        (behind, broker.clock_step_at)
    };
    // Our clock is 100 s ahead, reports take 0 to 5 s.
    assert_eq!(hear(1, 0, 105), (105, None));
    assert_eq!(hear(2, 10, 111), (101, None));
    assert_eq!(hear(3, 20, 125), (101, None));
    // One slow report is judged on its own difference and not kept.
    assert_eq!(hear(4, 30, 300), (270, None));
    assert_eq!(hear(5, 40, 302), (262, Some(NOW.plus(second * 30))), "two that agree: it was set");
    assert_eq!(hear(6, 50, 310), (260, Some(NOW.plus(second * 30))));
    // The fastest is forgotten after twelve more.
    for sequence in 7..18 {
        hear(sequence, sequence * 10, sequence * 10 + 265);
    }
    assert_eq!(hear(18, 180, 445).0, 265);
    // A single odd one in between changes nothing.
    assert_eq!(hear(19, 190, 190).0, 0);
    assert_eq!(hear(20, 200, 465).0, 265);
}

#[test]
fn records_of_resources_that_nobody_named_are_bounded() {
    let mut series = Series::new();
    let many = (0..12_000_u128).map(|id| record(id, 1, 1)).collect();
    let taken = series.take_report(report(1, 0, many), NOW);
    assert_eq!((taken.accepted, taken.dropped), (10_000, 2_000));
    whole(&mut series);
    assert_eq!(series.subscriptions.len(), 2, "a complete directory forgets the others");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn repeats_losses_and_order_of_reports_never_change_the_final_records(
        saves in prop::collection::vec((0..4_u128, 0..3_u64), 1..30),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..80),
    ) {
        // One record a report, in the order a broker sends them; versions never fall.
        let mut versions = [0_u64; 4];
        let sent: Vec<Report> = saves
            .iter()
            .zip(1_u64..)
            .map(|((id, step), n)| {
                let version = &mut versions[usize::try_from(*id).unwrap()];
                *version += step;
                report(n, n * 10, vec![record(*id, *version, n)])
            })
            .collect();
        let mut straight = Series::new();
        for report in &sent {
            straight.take_report(report.clone(), NOW);
        }
        // Any order, any repeats, any losses - but the last word on each resource arrives.
        let mut shuffled = Series::new();
        let mut last: BTreeMap<Uuid, &Report> = BTreeMap::new();
        for report in &sent {
            last.insert(report.subscriptions[0].id, report);
        }
        let mut arriving: Vec<&Report> = last.into_values().collect();
        for (index, in_front) in order {
            let report = index.get(&sent);
            if in_front { arriving.insert(0, report) } else { arriving.push(report) }
        }
        for report in arriving {
            shuffled.take_report(report.clone(), NOW);
        }
        prop_assert_eq!(&straight.subscriptions, &shuffled.subscriptions);
    }
}
