//! The outbox against a relay that misbehaves.

use std::sync::Arc;
use std::time::Duration;

use metrics_svc::clock::{Clock as _, ManualClock, Time};
use metrics_svc::db::{Closing, Commit, Db, Kind, NewMail};
use metrics_svc::notify::{
    About, Links, Mailer, Pace, Pause, Relay as Settings, Stage, Story, Tally, Written, test_mail,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::relay::{OnData, Relay};

struct Bench {
    dir: TempDir,
    relay: Relay,
    db: Db,
    mailer: Arc<Mailer>,
    tally: Arc<Tally>,
    clock: Arc<ManualClock>,
    pause: Pause,
}

fn settings(relay: &Relay) -> Settings {
    let timeout = Duration::from_millis(300);
    Settings::new(&relay.url(), None, None, "AMS <ams@example.org>", timeout).unwrap()
}

fn mailer(relay: &Relay, db: &Db, clock: &Arc<ManualClock>, tally: &Arc<Tally>) -> Arc<Mailer> {
    let links =
        Links { public: String::from("http://m"), api: String::from("https://a"), grafana: None };
    let clock = Arc::<ManualClock>::clone(clock);
    let pace = Pace::bounded_by(None);
    Mailer::new(db.clone(), Some(settings(relay)), links, pace, clock, Arc::clone(tally))
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let relay = Relay::start().await;
        let clock = ManualClock::at(Time::from_secs(1_790_000_000));
        let db = Db::open(dir.path()).unwrap();
        let tally = Arc::new(Tally::default());
        let mailer = mailer(&relay, &db, &clock, &tally);
        Self { dir, relay, db, mailer, tally, clock, pause: Pause::default() }
    }

    async fn turn(&mut self) {
        self.mailer.turn(&mut self.pause, &CancellationToken::new()).await.unwrap();
    }

    async fn open(&self, incident: u128, recipients: &[&str]) {
        self.tell(Kind::Open, incident, recipients).await;
    }

    async fn tell(&self, kind: Kind, incident: u128, recipients: &[&str]) {
        let now = self.clock.wall();
        let story = story(incident, now);
        let mails = recipients.iter().map(|recipient| NewMail {
            incident: story.incident,
            kind,
            recipient: (*recipient).to_owned(),
            merge_key: story.merge_key(),
            body: Written::Story(Box::new(story.clone())).to_json(),
            due_at: now,
            expires_at: now.plus(Duration::from_secs(86_400)),
        });
        let commit = Commit { mails: mails.collect(), ..Commit::default() };
        self.db.commit(Arc::new(commit), now).await.unwrap();
    }

    async fn close(&self, incident: u128, only_if_told: bool) {
        let now = self.clock.wall();
        let mut story = story(incident, now);
        story.closed = Some((now, String::from("well again")));
        let closing = Closing {
            incident: story.incident,
            merge_key: story.merge_key(),
            body: Written::Story(Box::new(story)).to_json(),
            only_if_told,
            due_at: now,
            expires_at: now.plus(Duration::from_secs(86_400)),
        };
        let commit = Commit { closings: vec![closing], ..Commit::default() };
        self.db.commit(Arc::new(commit), now).await.unwrap();
    }

    async fn waiting(&self) -> u64 {
        self.db.queue().await.unwrap().waiting
    }

    fn counted(&self, kind: &str, outcome: &str) -> u64 {
        let mails = self.tally.mails();
        mails.iter().find(|(k, o, _)| *k == kind && *o == outcome).unwrap().2
    }
}

fn story(incident: u128, now: Time) -> Story {
    Story {
        incident: Uuid::from_u128(incident),
        about: About::Subscription,
        project: String::from("proj"),
        subject: format!("sub{incident}"),
        topic: String::from("top"),
        state: String::from("no_consumer"),
        reason: String::from("gone"),
        severity: String::from("crit"),
        since: now,
        opened_at: now,
        told_at: now,
        closed: None,
        backlog: 1,
        oldest_at: Some(now),
        peak_backlog: 1,
        lost: 0,
        evidence: std::collections::BTreeMap::new(),
        advice: String::new(),
        threshold: Duration::from_secs(600),
        threshold_from: String::from("default"),
        note: String::new(),
    }
}

#[tokio::test]
async fn a_refused_recipient_bounces_and_the_other_gets_the_mail() {
    let mut bench = Bench::new().await;
    bench.relay.refuse("bad@example.org");
    bench.open(1, &["bad@example.org", "good@example.org"]).await;
    bench.turn().await;
    let mails = bench.relay.taken();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, "good@example.org");
    assert_eq!((bench.counted("open", "sent"), bench.counted("open", "bounced")), (1, 1));
    assert_eq!(bench.waiting().await, 0, "a bounced mail is not tried again");

    bench.close(1, false).await;
    bench.turn().await;
    let mails = bench.relay.taken();
    assert_eq!(mails.len(), 2, "whoever never got the opening mail gets no closing one");
    assert_eq!(mails[1].to, "good@example.org");
    assert_eq!(mails[1].header("In-Reply-To"), mails[0].header("Message-ID"));
    assert!(mails[1].header("In-Reply-To").is_some());
}

#[tokio::test]
async fn a_deferred_mail_waits_its_time_and_is_the_same_mail() {
    let mut bench = Bench::new().await;
    bench.relay.next(OnData::Defer);
    bench.open(1, &["ann@example.org"]).await;
    bench.turn().await;
    bench.turn().await;
    assert_eq!((bench.relay.taken().len(), bench.waiting().await), (0, 1));
    assert_eq!(bench.counted("open", "retry"), 1, "not before its time");
    bench.clock.advance(Duration::from_secs(31));
    bench.turn().await;
    assert_eq!((bench.relay.taken().len(), bench.waiting().await), (1, 0));
}

#[tokio::test]
async fn a_reply_lost_after_the_message_gives_the_same_message_id_once_more() {
    let mut bench = Bench::new().await;
    bench.relay.next(OnData::LoseReply);
    bench.open(1, &["ann@example.org"]).await;
    bench.turn().await;
    bench.clock.advance(Duration::from_secs(31));
    bench.turn().await;
    let mails = bench.relay.taken();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].text, mails[1].text, "byte for byte");
    assert_eq!(bench.waiting().await, 0);
}

#[tokio::test]
async fn a_kill_between_the_250_and_the_status_gives_the_same_message_id_once_more() {
    let mut bench = Bench::new().await;
    bench.open(1, &["ann@example.org"]).await;
    bench.turn().await;
    let path = bench.dir.path().join("metrics.sqlite3");
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.execute("UPDATE outbox SET status = 'waiting', settled_at = NULL", []).unwrap();
    bench.mailer = mailer(&bench.relay, &bench.db, &bench.clock, &bench.tally);
    bench.turn().await;
    let mails = bench.relay.taken();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
}

#[tokio::test]
async fn a_relay_that_refuses_us_makes_all_mails_wait() {
    let mut bench = Bench::new().await;
    bench.relay.refuse_sender(true);
    bench.open(1, &["ann@example.org", "bob@example.org"]).await;
    bench.turn().await;
    assert_eq!(bench.relay.connections(), 1, "the second is not even tried");
    bench.clock.advance(Duration::from_secs(10));
    bench.turn().await;
    assert_eq!((bench.relay.connections(), bench.waiting().await), (1, 2));
    bench.relay.refuse_sender(false);
    bench.clock.advance(Duration::from_secs(21));
    bench.turn().await;
    assert_eq!((bench.relay.taken().len(), bench.waiting().await), (2, 0));
}

#[tokio::test]
async fn a_stalling_relay_is_given_up_on_in_time_and_a_refused_message_bounces() {
    let mut bench = Bench::new().await;
    bench.relay.next(OnData::Stall);
    bench.relay.next(OnData::Refuse);
    bench.open(1, &["ann@example.org"]).await;
    bench.turn().await;
    assert_eq!(bench.counted("open", "retry"), 1);
    bench.clock.advance(Duration::from_secs(31));
    bench.turn().await;
    assert_eq!((bench.counted("open", "bounced"), bench.waiting().await), (1, 0));
}

#[tokio::test]
async fn a_mail_nobody_takes_for_a_day_expires_and_is_counted() {
    let mut bench = Bench::new().await;
    bench.relay.refuse_sender(true);
    bench.open(1, &["ann@example.org"]).await;
    bench.close(1, false).await;
    bench.turn().await;
    bench.clock.advance(Duration::from_secs(86_401));
    bench.turn().await;
    assert_eq!(bench.counted("open", "expired"), 1);
    assert_eq!(bench.waiting().await, 0, "its closing mail is called off");
    assert!(bench.relay.taken().is_empty());
}

#[tokio::test]
async fn the_closing_mail_never_overtakes_the_opening_one() {
    let mut bench = Bench::new().await;
    bench.relay.next(OnData::Defer);
    bench.open(1, &["ann@example.org"]).await;
    bench.turn().await;
    bench.close(1, false).await;
    bench.turn().await;
    assert!(bench.relay.taken().is_empty());
    bench.clock.advance(Duration::from_secs(31));
    bench.turn().await;
    bench.turn().await;
    let subjects: Vec<String> = bench.relay.taken().iter().map(|mail| mail.subject()).collect();
    assert!(subjects[0].starts_with("[CRIT]") && subjects[1].starts_with("[OK]"), "{subjects:?}");
}

#[tokio::test]
async fn a_mail_of_a_change_keeps_its_place_between_the_two_others() {
    let mut bench = Bench::new().await;
    let of = |bench: &Bench, to: &str| {
        let mails = bench.relay.taken();
        let mails = mails.iter().filter(|mail| mail.to == to);
        mails.map(|mail| mail.subject().chars().take(4).collect()).collect::<Vec<String>>()
    };
    let (ann, bob) = ("ann@example.org", "bob@example.org");
    bench.relay.next(OnData::Defer);
    bench.open(1, &[ann]).await;
    bench.turn().await;
    bench.tell(Kind::Change, 1, &[ann, bob]).await;
    bench.clock.advance(Duration::from_secs(31));
    bench.turn().await;
    assert_eq!(
        (of(&bench, ann).len(), of(&bench, bob).len()),
        (1, 1),
        "not before the opening one"
    );
    bench.relay.next(OnData::Defer);
    bench.turn().await;
    bench.close(1, false).await;
    bench.clock.advance(Duration::from_secs(31));
    bench.turn().await;
    assert_eq!(of(&bench, ann), ["[CRI", "[CRI"], "the end waits for what was deferred");
    assert_eq!(of(&bench, bob), ["[CRI", "[OK]"], "who was told of the change hears the end");
    bench.turn().await;
    assert_eq!(of(&bench, ann), ["[CRI", "[CRI", "[OK]"]);
    let mails = bench.relay.taken();
    let of_ann: Vec<_> = mails.iter().filter(|mail| mail.to == ann).collect();
    assert_eq!(of_ann[1].header("In-Reply-To"), of_ann[0].header("Message-ID"));
    assert_ne!(of_ann[1].header("Message-ID"), of_ann[0].header("Message-ID"));
    assert_eq!((bench.counted("change", "sent"), bench.waiting().await), (2, 0));
}

#[tokio::test]
async fn an_incident_deleted_before_anybody_was_told_sends_nothing() {
    let mut bench = Bench::new().await;
    bench.open(1, &["ann@example.org"]).await;
    bench.close(1, true).await;
    bench.turn().await;
    assert!(bench.relay.taken().is_empty());
    assert_eq!(bench.waiting().await, 0);
}

#[tokio::test]
async fn two_incidents_are_two_mails_and_three_are_one_that_stays_one_when_repeated() {
    let mut bench = Bench::new().await;
    for incident in 1..=2 {
        bench.open(incident, &["two@example.org"]).await;
    }
    for incident in 11..=13 {
        bench.open(incident, &["three@example.org"]).await;
    }
    bench.relay.refuse("nobody@example.org");
    bench.turn().await;
    let to = |who: &str| {
        let mails = bench.relay.taken();
        mails.into_iter().filter(|mail| mail.to == who).collect::<Vec<_>>()
    };
    assert_eq!(to("two@example.org").len(), 2);
    let merged = to("three@example.org");
    assert_eq!(merged.len(), 1);
    let text = merged[0].text.replace("=\r\n", "");
    for incident in 11..=13_u128 {
        assert!(text.contains(&Uuid::from_u128(incident).to_string()), "{incident}");
    }

    for incident in 11..=13 {
        bench.close(incident, false).await;
    }
    bench.relay.next(OnData::LoseReply);
    bench.turn().await;
    bench.clock.advance(Duration::from_secs(31));
    bench.open(14, &["three@example.org"]).await;
    bench.turn().await;
    let mails = bench.relay.taken();
    let closings: Vec<_> = mails.iter().filter(|mail| mail.subject().starts_with("[OK]")).collect();
    assert_eq!(closings.len(), 2);
    assert_eq!(closings[0].text, closings[1].text);
    assert_eq!(closings[0].header("In-Reply-To"), merged[0].header("Message-ID"));
}

#[tokio::test]
async fn a_mail_sent_while_the_database_refuses_is_not_sent_again() {
    let mut bench = Bench::new().await;
    bench.open(1, &["ann@example.org"]).await;
    let path = bench.dir.path().join("metrics.sqlite3");
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = bench.mailer.turn(&mut bench.pause, &CancellationToken::new()).await;
    assert!(refused.is_err(), "an attempt that cannot be written down is not made");
    assert!(bench.relay.taken().is_empty());
    raw.execute_batch("ROLLBACK").unwrap();
    bench.turn().await;
    bench.turn().await;
    assert_eq!(bench.relay.taken().len(), 1);
}

#[tokio::test]
async fn a_test_mail_reports_every_step() {
    let relay = Relay::start().await;
    let mut steps = Vec::new();
    let now = Time::from_secs(1_790_000_000);
    let mut keep = |step: &metrics_svc::notify::Step| steps.push(step.clone());
    test_mail(&settings(&relay), "ann@example.org", now, &mut keep).await.unwrap();
    let stages: Vec<Stage> = steps.iter().map(|step| step.stage).collect();
    let want =
        [Stage::Connect, Stage::Greeting, Stage::MailFrom, Stage::RcptTo, Stage::Data, Stage::Quit];
    assert_eq!(stages, want);
    assert_eq!(steps[4].outcome, Ok(String::from("250 2.0.0 taken")));
    assert!(relay.taken()[0].subject().starts_with("[TEST]"));

    relay.refuse("nobody@example.org");
    let refused = test_mail(&settings(&relay), "nobody@example.org", now, &mut |_| ()).await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.stage, refused.permanent), (Stage::RcptTo, true));
    assert!(refused.text.contains("no such user"), "{refused}");
}

#[tokio::test]
async fn starttls_is_required_when_it_was_asked_for() {
    let relay = Relay::start().await;
    let url = format!("smtp+starttls://{}", relay.addr);
    let timeout = Duration::from_secs(2);
    let asked = Settings::new(&url, None, None, "ams@example.org", timeout).unwrap();
    let sent = test_mail(&asked, "ann@example.org", Time::from_secs(1), &mut |_| ()).await;
    assert_eq!(sent.unwrap_err().stage, Stage::Tls);
    assert!(relay.taken().is_empty());
}

#[tokio::test]
async fn nobody_listening_is_a_failed_connect() {
    let relay = Relay::start().await;
    let url = "smtp://127.0.0.1:1";
    let timeout = Duration::from_secs(2);
    let nobody = Settings::new(url, None, None, "ams@example.org", timeout).unwrap();
    let sent = test_mail(&nobody, "ann@example.org", Time::from_secs(1), &mut |_| ()).await;
    let failure = sent.unwrap_err();
    assert_eq!((failure.stage, failure.permanent), (Stage::Connect, false));
    assert_eq!(relay.connections(), 0);
}
