#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use lettre::Address;
use lettre::message::Mailbox;
use serde_json::json;

use super::super::message::{Identity, build};
use super::*;

fn links() -> Links {
    Links {
        public: String::from("http://metrics:9464"),
        api: String::from("https://ams:8443"),
        grafana: None,
    }
}

fn story() -> Story {
    let at = |text| Time::parse_rfc3339(text).unwrap();
    Story {
        incident: Uuid::from_u128(7),
        about: About::Subscription,
        project: String::from("proj"),
        subject: String::from("sub"),
        topic: String::from("top"),
        state: String::from("not_acking"),
        reason: String::from("acks_too_late"),
        severity: String::from("crit"),
        since: at("2026-11-22T10:00:00Z"),
        opened_at: at("2026-11-22T10:10:30Z"),
        told_at: at("2026-11-22T10:12:00Z"),
        closed: None,
        backlog: 4_213,
        oldest_at: Some(at("2026-11-22T09:54:00Z")),
        peak_backlog: 4_213,
        lost: 0,
        evidence: BTreeMap::from([
            (String::from("late_acks"), json!(31)),
            (String::from("lastAckAt"), json!("2026-11-22T10:11:50Z")),
        ]),
        advice: String::from(
            "31 acknowledgements came late. Raise the deadline to 30 s:\n\
             curl -X POST -H \"x-api-key: $TOKEN\" -d '{\"ackDeadlineSeconds\":30}' \
             \"$AMS/v1/projects/proj/subscriptions/sub:modifyAckDeadline\"",
        ),
        threshold: Duration::from_secs(600),
        threshold_from: String::from("topic"),
        note: String::new(),
    }
}

#[test]
fn an_opening_mail_says_what_why_since_when_and_what_to_do() {
    let content = story().content(&links());
    insta::assert_snapshot!(content.subject, @"[CRIT] proj/sub: not acking for 12 min (backlog 4 213, oldest 18 min)");
    insta::assert_snapshot!(content.text, @r#"
    proj/sub: not acking for 12 min.

    What was seen
      subscription    proj/sub
      topic           proj/top
      state           not_acking (acks_too_late), crit
      since           2026-11-22T10:00:00Z (12 min)
      backlog         4 213 messages
      oldest message  2026-11-22T09:54:00Z (18 min)
      lost            0
      lastAckAt       2026-11-22T10:11:50Z
      late_acks       31

    Likely cause
      31 acknowledgements came late. Raise the deadline to 30 s:

    Next command (TOKEN = your access token)
      curl -X POST -H "x-api-key: $TOKEN" -d '{"ackDeadlineSeconds":30}' "https://ams:8443/v1/projects/proj/subscriptions/sub:modifyAckDeadline"

    Threshold in force
      Something may wait 10 min here before it is a stall (set on the topic). To change it (the object given replaces the one that is set):

    Command
      curl -X POST -H "x-api-key: $TOKEN" -d '{"alert":{"stallAfter":"30m"}}' "https://ams:8443/v1/projects/proj/topics/top:modifyAlert"

    To be sent no mail about it for a day
      curl -X POST -H "x-api-key: $TOKEN" -d '{"alert":{"mutedUntil":"2026-11-23T10:12:00Z"}}' "https://ams:8443/v1/projects/proj/subscriptions/sub:modifyAlert"

    All subscriptions
      http://metrics:9464/v1/subscriptions?project=proj

    -- 
    Incident 00000000-0000-0000-0000-000000000007
    "#);
}

#[test]
fn a_mail_about_dead_letters_says_the_share_where_they_are_and_one_of_them() {
    let evidence = json!({
        "deadLetterPercent": 20, "deadLetterTopic": "letters", "deadLettered": 1_204,
        "deadLettersFailed": 0, "lastDeadLetterAt": "2026-11-22T10:11:50Z",
        "lastDeadLetterId": "88213", "recentAcks": 720, "recentDeadLetters": 180,
        "recentMinutes": 15,
    });
    let story = Story {
        state: String::from("dead_lettering"),
        reason: String::new(),
        severity: String::from("warn"),
        since: Time::parse_rfc3339("2026-11-22T09:57:00Z").unwrap(),
        backlog: 0,
        oldest_at: None,
        evidence: serde_json::from_value(evidence).unwrap(),
        advice: String::from(
            "Of 900 messages 180 were moved to topic letters. Look at the last one:\n\
             curl -H \"x-api-key: $TOKEN\" \"$AMS/v1/projects/proj/topics/top:read?offset=88213\"",
        ),
        ..story()
    };
    let content = story.content(&links());
    insta::assert_snapshot!(content.subject, @"[WARN] proj/sub: 20 % dead letters for 15 min");
    insta::assert_snapshot!(content.text, @r#"
    proj/sub: 20 % dead letters for 15 min.

    What was seen
      subscription       proj/sub
      topic              proj/top
      state              dead_lettering, warn
      since              2026-11-22T09:57:00Z (15 min)
      backlog            0 messages
      lost               0
      deadLetterPercent  20
      deadLetterTopic    letters
      deadLettered       1 204
      deadLettersFailed  0
      lastDeadLetterAt   2026-11-22T10:11:50Z
      lastDeadLetterId   88213
      recentAcks         720
      recentDeadLetters  180
      recentMinutes      15

    Likely cause
      Of 900 messages 180 were moved to topic letters. Look at the last one:

    Next command (TOKEN = your access token)
      curl -H "x-api-key: $TOKEN" "https://ams:8443/v1/projects/proj/topics/top:read?offset=88213"

    To be sent no mail about it for a day
      curl -X POST -H "x-api-key: $TOKEN" -d '{"alert":{"mutedUntil":"2026-11-23T10:12:00Z"}}' "https://ams:8443/v1/projects/proj/subscriptions/sub:modifyAlert"

    All subscriptions
      http://metrics:9464/v1/subscriptions?project=proj

    -- 
    Incident 00000000-0000-0000-0000-000000000007
    "#);
}

#[test]
fn a_closing_mail_says_how_long_it_lasted_and_what_it_cost() {
    let mut story = story();
    story.closed = Some((story.told_at, String::from("well again")));
    story.lost = 12;
    let content = story.content(&links());
    insta::assert_snapshot!(content.subject, @"[OK] proj/sub: well again after 12 min (peak backlog 4 213, 12 lost)");
    insta::assert_snapshot!(content.text, @r#"
    proj/sub: well again. It had lasted 12 min.

    What was seen
      subscription  proj/sub
      topic         proj/top
      it was        not_acking (acks_too_late), crit
      since         2026-11-22T10:00:00Z
      until         2026-11-22T10:12:00Z (well again)
      peak backlog  4 213 messages
      lost          12

    Threshold in force
      Something may wait 10 min here before it is a stall (set on the topic). To change it (the object given replaces the one that is set):

    Command
      curl -X POST -H "x-api-key: $TOKEN" -d '{"alert":{"stallAfter":"30m"}}' "https://ams:8443/v1/projects/proj/topics/top:modifyAlert"

    All subscriptions
      http://metrics:9464/v1/subscriptions?project=proj

    -- 
    Incident 00000000-0000-0000-0000-000000000007
    "#);
}

#[test]
fn with_grafana_a_mail_links_to_the_subscription_and_the_hour_before_it() {
    let links = Links { grafana: Some(String::from("https://graphs")), ..links() };
    let open =
        "https://graphs/d/ams?var-project=proj&var-subscription=sub&from=1795338000000&to=now";
    assert!(story().content(&links).text.contains(open));
    let closed = Some((story().told_at, String::from("well again")));
    let content = Story { closed, ..story() }.content(&links);
    assert!(content.text.contains("&from=1795338000000&to=1795342320000"), "{}", content.text);
    assert!(content.html.contains("var-project=proj&amp;var-subscription=sub"));
}

#[test]
fn html_and_text_hold_the_same_facts() {
    let content = story().content(&links());
    for fact in ["4 213 messages", "acks_too_late", "late_acks", "https://ams:8443", "10 min"] {
        assert!(content.text.contains(fact), "{fact}");
        assert!(content.html.contains(fact), "{fact}");
    }
    assert!(!content.html.contains("<img") && !content.html.contains("src="));
}

#[test]
fn every_state_has_its_subject_and_without_advice_there_is_a_command() {
    let mut subjects = String::new();
    for (state, reason) in [
        ("no_consumer", "gone"),
        ("no_consumer", "pull_denied"),
        ("not_acking", "never_acks"),
        ("stalled_other", ""),
        ("losing", "retention"),
        ("orphan", "topic_deleted"),
    ] {
        let story = Story { state: state.to_owned(), reason: reason.to_owned(), ..story() };
        subjects.push_str(&format!("{}\n", story.subject_line()));
    }
    for (about, state) in [(About::Broker, "telemetry_blind"), (About::Service, "service_fault")] {
        let state = state.to_owned();
        let (project, advice) = (String::new(), String::new());
        let story = Story { about, state, oldest_at: None, project, advice, ..story() };
        let (words, commands) = story.advised(&links());
        assert_eq!((words.as_str(), commands.len()), ("", 1));
        subjects.push_str(&format!("{}\n  {}\n", story.subject_line(), commands[0]));
    }
    for reason in ["store_stopped", "store_full", "store_damaged", "clock_fault"] {
        let (state, reason) = (String::from("service_fault"), reason.to_owned());
        let about = About::Service;
        let story = Story { about, state, reason, oldest_at: None, ..story() };
        subjects.push_str(&format!("{}\n", story.subject_line()));
    }
    insta::assert_snapshot!(subjects, @r"
    [CRIT] proj/sub: no consumer for 12 min (backlog 4 213, oldest 18 min)
    [CRIT] proj/sub: no consumer for 12 min (backlog 4 213, oldest 18 min)
    [CRIT] proj/sub: not acking for 12 min (backlog 4 213, oldest 18 min)
    [CRIT] proj/sub: stalled for 12 min (backlog 4 213, oldest 18 min)
    [CRIT] proj/sub: losing messages, 0 lost (backlog 4 213, oldest 18 min)
    [CRIT] proj/sub: its topic was deleted (backlog 4 213, oldest 18 min)
    [CRIT] broker sub: no report for 12 min
      curl -s http://metrics:9464/metrics | grep ams_metrics_ingest_last_report
    [CRIT] AMS: calls fail for 12 min
      curl -s http://metrics:9464/metrics | grep ams_broker_calls_total
    [CRIT] AMS: the store has stopped
    [CRIT] AMS: the store has been full for 12 min
    [CRIT] AMS: stored data is damaged
    [CRIT] AMS: clocks have disagreed for 12 min
    ");
}

#[test]
fn three_of_a_kind_make_one_mail_that_lists_each() {
    let stories: Vec<Story> = (0..60_u128)
        .map(|n| Story { incident: Uuid::from_u128(n), subject: format!("sub{n}"), ..story() })
        .collect();
    let content = merged(&stories, &links()).unwrap();
    assert_eq!(content.subject, "[CRIT] proj: 60 subscriptions not_acking (acks_too_late)");
    for n in 0..50 {
        assert!(content.text.contains(&format!("proj/sub{n} ")), "{n}\n{}", content.text);
    }
    assert!(content.text.contains("and 10 more"));
    assert!(merged(&[], &links()).is_none());
}

fn headers(message: &[u8]) -> String {
    let text = String::from_utf8(message.to_vec()).unwrap();
    text.split("\r\n\r\n").next().unwrap().replace("\r\n", "\n")
}

#[test]
fn headers_let_readers_thread_and_robots_keep_silent() {
    let from: Mailbox = "AMS <ams@example.org>".parse().unwrap();
    let to: Address = "ann@example.org".parse().unwrap();
    let of = |kind| Identity {
        incident: Uuid::from_u128(7),
        kind,
        recipient: String::from("ann@example.org"),
    };
    let story = story();
    let content = story.content(&links());
    let opening = build(&from, &to, &of("open"), None, &content, story.told_at).unwrap();
    let again = build(&from, &to, &of("open"), None, &content, story.told_at).unwrap();
    assert_eq!(opening, again, "an attempt repeated is the same mail");
    insta::assert_snapshot!(headers(&opening), @r#"
    From: AMS <ams@example.org>
    To: ann@example.org
    Subject: [CRIT] proj/sub: not acking for 12 min (backlog 4 213, oldest 18
     min)
    Date: Sun, 22 Nov 2026 10:12:00 +0000
    Message-ID: <00000000-0000-0000-0000-000000000007.open.438c4c7afe60@example.org>
    Auto-Submitted: auto-generated
    X-Auto-Response-Suppress: All
    List-Id: AMS alerts <alerts.ams.example.org>
    MIME-Version: 1.0
    Content-Type: multipart/alternative;
     boundary="ams-00000000000000000000000000000007-open"
    "#);
    let closing =
        build(&from, &to, &of("resolve"), Some(&of("open")), &content, story.told_at).unwrap();
    let id = of("open").message_id("example.org");
    assert!(headers(&closing).contains(&format!("In-Reply-To: {id}\n")));
    assert!(headers(&closing).contains(&format!("References: {id}\n")));
    assert_ne!(of("open").message_id("x"), of("resolve").message_id("x"));
}

#[test]
fn hostile_names_break_neither_headers_nor_bounds() {
    let from: Mailbox = "AMS <ams@example.org>".parse().unwrap();
    let to: Address = "ann@example.org".parse().unwrap();
    let evil = "\r\nBcc: all@example.org\r\n\r\n<script>\u{202e}&\"".repeat(40);
    let evidence = (0..100).map(|n| (format!("{n}{evil}"), json!(evil))).collect();
    let worst = Story {
        project: evil.clone(),
        subject: evil.clone(),
        topic: evil.clone(),
        advice: evil.clone(),
        evidence,
        note: evil,
        ..story()
    };
    let stories = vec![worst; 60];
    for stories in [&stories[..1], &stories] {
        let content = merged(stories, &links()).unwrap();
        let identity =
            Identity { incident: Uuid::nil(), kind: "open", recipient: String::from("a@b.org") };
        let message = build(&from, &to, &identity, None, &content, Time::from_secs(1)).unwrap();
        assert!(message.len() <= 100 * 1024, "{} bytes", message.len());
        assert!(!headers(&message).lines().any(|line| line.starts_with("Bcc:")));
        assert!(!content.html.contains("<script"));
    }
}
