"""A consumer dies: mail, verdict, series, shipped rule. It comes back: closing mail, and all is well."""

import re
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

import requests

import panels
from checks import Checks, Failed, equal, expect, wait_for
from house import Ams, Mail, MailSink, Prometheus, clean_environment, metrics_page, sample

PROJECT, TOPIC = "STALL", "orders"
BILLING, AUDIT, STEADY = "billing", "audit", "steady"
OWNER, AUDITOR, OPERATOR = "owner@example.org", "auditor@example.org", "operators@example.org"
REFUSED = "refused@example.org"
STALLED = ("no_consumer", "not_acking", "stalled_other")
ROW = ["project", "subscription", "topic", "state", "reason", "severity", "since", "backlog", "oldestUnackedAt",
       "oldestUnackedAgeSeconds", "stallThresholdSeconds", "evidence", "advice"]
MIN_STALL = 5


def environment(sink: MailSink) -> dict[str, str]:
    """AMS as these checks want it."""
    return {
        "AMS_BROKER__REPORT__EVERY": "1s", "AMS_METRICS__ALERT__MIN_STALL": f"{MIN_STALL}s",
        "AMS_METRICS__SMTP__URL": sink.url, "AMS_METRICS__SMTP__FROM": "ams@example.org",
        "AMS_METRICS__ALERT__TO": OPERATOR,
    }


class Consumers:
    """Pull and acknowledge on each of their subscriptions a few times a second."""

    def __init__(self, ams: Ams, names: list[str]) -> None:
        self._session, self.names = ams.session(), set(names)
        self._over = threading.Event()
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            for name in list(self.names):
                try:
                    drain(self._session, name)
                except Exception as error:  # shown by the check that uses it
                    self.errors.append(f"{name}: {error}")

    def stop(self) -> None:
        self._over.set()
        self._thread.join(timeout=30)


def drain(session, name: str) -> int:
    """One pull and its acknowledgement."""
    path = f"/v1/projects/{PROJECT}/subscriptions/{name}"
    pulled = session.good("POST", path + ":pull", {"maxMessages": "100"})["receivedMessages"]
    if pulled:
        session.good("POST", path + ":acknowledge", {"ackIds": [pulled[-1]["ackId"]]})
    return len(pulled)


def publish(session, count: int) -> None:
    session.good("POST", f"/v1/projects/{PROJECT}/topics/{TOPIC}:publish",
                 {"messages": [{"data": "b3JkZXI="}] * count})


def selector(name: str) -> str:
    return f'{{project="{PROJECT}",subscription="{name}"}}'


def rows(ams: Ams, **query: str) -> dict[str, dict]:
    """GET /v1/subscriptions by subscription name."""
    answer = requests.get(ams.metrics + "/v1/subscriptions", params={"project": PROJECT, **query}, timeout=10)
    expect(answer.status_code == 200, answer.text)
    equal(list(answer.json()), ["asOf", "subscriptions"], "keys of the page")
    return {row["subscription"]: row for row in answer.json()["subscriptions"]}


def unix(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def prepare(ams: Ams) -> None:
    session = ams.session()
    session.good("POST", f"/v1/projects/{PROJECT}", {"description": "a consumer dies"})
    session.good("POST", f"/v1/projects/{PROJECT}/members/auditor", {
        "email": AUDITOR, "projects": [{"project": PROJECT, "roles": ["consumer"]}]})
    session.good("PUT", f"/v1/projects/{PROJECT}/topics/{TOPIC}")
    for name in (BILLING, AUDIT, STEADY):
        session.good("PUT", f"/v1/projects/{PROJECT}/subscriptions/{name}",
                     {"topic": f"projects/{PROJECT}/topics/{TOPIC}", "ackDeadlineSeconds": 1})
    session.good("POST", f"/v1/projects/{PROJECT}/subscriptions/{AUDIT}:modifyAcl",
                 {"authorized_users": ["auditor"]})


def opening_mail(mail: Mail, name: str) -> None:
    """What observability.md 2 asks of its content."""
    message = mail.message
    expect(f"{PROJECT}/{name}" in mail.subject and "CRIT" in mail.subject.upper(), f"subject {mail.subject!r}")
    equal(message.get_content_type(), "multipart/alternative", "content type")
    for header in ("Date", "Message-ID", "From", "To"):
        expect(message[header], f"no {header}")
    equal(str(message["Auto-Submitted"]), "auto-generated", "Auto-Submitted")
    equal(str(message["To"]).count("@"), 1, "recipients shown to each other")
    for kind in ("plain", "html"):
        text = mail.body(kind)
        expect(text, f"no text/{kind} part")
        for wanted in (f"{PROJECT}/{name}", TOPIC, "curl", "stallAfter", "backlog"):
            expect(wanted in text, f"text/{kind} does not say {wanted!r}:\n{text[:1500]}")
        expect(any(state in text for state in STALLED), f"text/{kind} names no state")
        expect(re.search(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", text), f"text/{kind} says no time")
    expect("<script" not in mail.body("html") and "http-equiv" not in mail.body("html"), "active content")


def run(checks: Checks, ams: Ams, sink: MailSink, prometheus: Prometheus, binary: Path, root: Path) -> None:
    """The whole story."""
    session = ams.session()
    prepare(ams)
    with checks.check("alert: settings are taken, shown last, refused when wrong"):
        path = f"/v1/projects/{PROJECT}/subscriptions/{BILLING}"
        equal(session.good("POST", path + ":modifyAlert", {"alert": {"contacts": [OWNER, REFUSED]}}), {})
        shown = session.good("GET", path)
        equal((list(shown)[-1], shown["alert"]), ("alert", {"contacts": [OWNER, REFUSED]}), "alert")
        expect("alert" not in session.good("GET", path.replace(BILLING, AUDIT)), "alert where none is set")
        for wrong in ({"stallAfter": "soon"}, {"colour": "red"}, {"contacts": ["a@b.c"] * 21}, {"severityCap": "loud"}):
            answer = session.call("POST", path + ":modifyAlert", {"alert": wrong})
            equal((answer.status_code, answer.json()["error"]["message"]), (400, "Invalid Alert Arguments"), f"{wrong}")
        equal(session.good("GET", path)["alert"], shown["alert"], "a refused object changes nothing")
    consumers = Consumers(ams, [BILLING, AUDIT, STEADY])
    try:
        die_and_return(checks, ams, sink, prometheus, consumers, root)
    finally:
        consumers.stop()
    with checks.check("alert: `ams alert test --to` sends one mail and says what the relay said"):
        def alert_test(to: str) -> subprocess.CompletedProcess:
            return subprocess.run([str(binary), "alert", "test", "--to", to], capture_output=True, text=True,
                                  timeout=60, env=clean_environment(environment(sink)), cwd=ams.data.parent)
        done = alert_test("test@example.org")
        equal(done.returncode, 0, done.stdout + done.stderr)
        equal(len(sink.to("test@example.org")), 1, "mails")
        expect(len(done.stdout.splitlines()) >= 3, f"steps are not reported:\n{done.stdout}")
        done = alert_test(REFUSED)
        equal(done.returncode, 1, "exit code when refused")
        expect("550" in done.stdout + done.stderr, f"the refusal is not shown:\n{done.stdout}{done.stderr}")


def die_and_return(checks: Checks, ams: Ams, sink: MailSink, prometheus: Prometheus, consumers: Consumers,
                   root: Path) -> None:
    session = ams.session()
    with checks.check("healthy: a working consumer is judged idle or healthy, without a mail"):
        publish(session, 5)
        wait_for("drained", 20, lambda: session.good(
            "GET", f"/v1/projects/{PROJECT}/subscriptions/{BILLING}:offsets")["current"] == 5)
        wait_for("verdicts", 30, lambda: {rows(ams)[n]["state"] for n in (BILLING, AUDIT, STEADY)} <= {"idle", "healthy"})
        time.sleep(MIN_STALL + 3)
        equal([mail.subject for mail in sink.mails], [], "mails")
        equal(consumers.errors[:2], [], "consumers")
    consumers.names = {STEADY}
    time.sleep(0.5)
    published_at = time.time()
    publish(session, 7)
    opening: dict[str, Mail] = {}
    for name, address, road in ((BILLING, OWNER, "alert.contacts"), (AUDIT, AUDITOR, "the ACL's users")):
        with checks.check(f"stall: {PROJECT}/{name} is mailed to {road}"):
            mail = wait_for("opening mail", 90, lambda: sink.to(address))[0]
            opening[name] = mail
            checks.figure(f"publish to mail, {name}, s", round(mail.received_at - published_at, 2))
            opening_mail(mail, name)
    with checks.check("stall: Prometheus has state, severity, clock, threshold, backlog"):
        for name in (BILLING, AUDIT):
            wait_for("severity 2", 30, lambda: prometheus.value(f"ams_subscription_severity{selector(name)}") == 2)
            states = prometheus.query(f"ams_subscription_state{selector(name)}")
            equal([s["metric"]["state"] in STALLED for s in states], [True], f"only the present state: {states}")
            since = prometheus.value(f"ams_subscription_waiting_since_timestamp_seconds{selector(name)}")
            expect(since and abs(since - published_at) < 3, f"waiting since {since}, published {published_at}")
            oldest = prometheus.value(f"ams_subscription_oldest_unacked_message_timestamp_seconds{selector(name)}")
            expect(oldest and abs(oldest - published_at) < 3, f"oldest {oldest}, published {published_at}")
            equal(prometheus.value(f"ams_subscription_stall_threshold_seconds{selector(name)}"), MIN_STALL)
            equal(prometheus.value(f"ams_subscription_backlog_messages{selector(name)}"), 7, "backlog")
            equal(prometheus.value(f"ams_subscription_acked_messages_total{selector(name)}"), 5, "acked")
    with checks.check("stall: GET /v1/subscriptions says the same, with evidence and advice"):
        every = rows(ams)
        for name in (BILLING, AUDIT):
            row = every[name]
            equal(list(row), ROW, "keys")
            series = prometheus.query(f"ams_subscription_state{selector(name)}")[0]["metric"]
            equal((row["state"], row["reason"] or ""), (series["state"], series.get("reason", "")), "state")
            equal((row["severity"], row["backlog"], row["topic"], row["stallThresholdSeconds"]),
                  ("crit", 7, TOPIC, MIN_STALL), "row")
            expect(row["evidence"] and row["advice"], f"{row}")
            expect(abs(unix(row["oldestUnackedAt"]) - published_at) < 3, row["oldestUnackedAt"])
            expect(row["state"] in opening[name].body("plain"), "the mail names another state")
        expect(every[STEADY]["state"] in ("idle", "healthy"), f"{every[STEADY]}")
        equal(set(rows(ams, state=every[BILLING]["state"])) & {STEADY}, set(), "?state= filters")
    with checks.check("stall: the shipped rule is pending, then fires, for the two and not for the third"):
        wait_for("pending alert", 30, lambda: prometheus.query(
            f'ALERTS{{alertname="AmsSubscriptionStalled",subscription="{BILLING}"}}'))
        equal(prometheus.query(f'ALERTS{{alertname="AmsSubscriptionStalled",subscription="{STEADY}"}}'), [])
    with checks.check("stall: the time of the last mail taken is exposed"):
        taken = wait_for("a mail in Prometheus", 20,
                         lambda: prometheus.value("max(ams_alerter_last_smtp_ok_timestamp_seconds)"))
        expect(published_at < taken <= time.time(), f"taken at {taken}, published at {published_at}")
    with checks.check("dashboards: every query of every panel and variable answers on this house"):
        panels.execute(checks, prometheus, root)
    with checks.check("stall: the shipped rule fires after its `for`"):
        firing = 'ALERTS{alertname="AmsSubscriptionStalled",alertstate="firing"}'
        wait_for("firing alert", 120, lambda: {s["metric"]["subscription"] for s in prometheus.query(firing)}
                 == {BILLING, AUDIT}, every=1)
        alerts = prometheus.get("/api/v1/alerts")["alerts"]
        text = next(a["annotations"]["description"] for a in alerts
                    if a["labels"].get("subscription") == BILLING and a["labels"]["alertname"] == "AmsSubscriptionStalled")
        expect("Backlog 7 messages" in text, text)
        equal(sorted({a["labels"]["alertname"] for a in alerts}
                     - {"AmsSubscriptionStalled", "AmsWatchdog", "AmsMailsUndeliverable"}), [], "other alerts")
    with checks.check("stall: one refused recipient is counted and does not keep the mail from the other"):
        expect(REFUSED in sink.refused, "the refused recipient was never tried")
        page = metrics_page(ams)
        bounced = sample(page, "ams_alerter_notifications_total", kind="open", outcome="bounced")
        expect(bounced and bounced >= 1, f"bounced {bounced}")
        equal(sample(page, "ams_alerter_mail_configured"), 1, "mails are on")
        equal(len(sink.to(OWNER)), 1, "mails to the owner so far")
    resumed_at = time.time()
    consumers.names = {BILLING, AUDIT, STEADY}
    for name, address in ((BILLING, OWNER), (AUDIT, AUDITOR)):
        with checks.check(f"well again: {PROJECT}/{name} gets one closing mail in the same thread"):
            closing = wait_for("closing mail", 90, lambda: sink.to(address)[1:])[0]
            checks.figure(f"resume to mail, {name}, s", round(closing.received_at - resumed_at, 2))
            expect(f"{PROJECT}/{name}" in closing.subject, closing.subject)
            first = str(opening[name].message["Message-ID"])
            expect(first in str(closing.message["In-Reply-To"]), "In-Reply-To is not the opening mail")
            expect(first in str(closing.message["References"]), "References")
            expect(str(closing.message["Message-ID"]) != first, "the same Message-ID")
            expect("7" in closing.body("plain"), "the closing mail does not say the peak backlog")
    with checks.check("well again: series and verdicts say so, the clock is gone"):
        for name in (BILLING, AUDIT):
            wait_for("severity 0", 30, lambda: prometheus.value(f"ams_subscription_severity{selector(name)}") == 0)
            wait_for("no clock", 30, lambda: not prometheus.query(
                f"ams_subscription_waiting_since_timestamp_seconds{selector(name)}"))
            equal(prometheus.value(f"ams_subscription_backlog_messages{selector(name)}"), 0)
            equal(prometheus.value(f"ams_subscription_acked_messages_total{selector(name)}"), 12)
        equal(set(rows(ams)), {BILLING, AUDIT, STEADY}, "rows")
    with checks.check("well again: one opening and one closing mail each, none about the third, none to others"):
        time.sleep(MIN_STALL + 3)
        equal((len(sink.to(OWNER)), len(sink.to(AUDITOR))), (2, 2), "mails")
        expect(not any(STEADY in mail.subject for mail in sink.mails), "a mail about the steady one")
        equal({mail.recipient for mail in sink.mails}, {OWNER, AUDITOR}, "recipients")
    with checks.check("books: backlog = enqueued - acked - skipped - lost + replayed, on every subscription"):
        books(metrics_page(ams))
    with checks.check("promtool check metrics is content with /metrics"):
        done = subprocess.run(["promtool", "check", "metrics"], input=metrics_page(ams), capture_output=True,
                              text=True, timeout=30)
        equal((done.returncode, done.stdout + done.stderr), (0, ""), "promtool")


def books(page: str) -> None:
    """The sum over everything that ever became eligible, per subscription."""
    names = set(re.findall(r'ams_subscription_backlog_messages\{[^}]*project="([^"]+)",subscription="([^"]+)"', page))
    if not names:
        raise Failed("no subscription on /metrics")
    for project, subscription in sorted(names):
        def of(name: str) -> float:
            return sample(page, f"ams_subscription_{name}", project=project, subscription=subscription) or 0

        lost = sum(sample(page, "ams_subscription_lost_messages_total", project=project, subscription=subscription,
                          reason=reason) or 0 for reason in ("retention", "overflow", "topic_deleted", "damage", "purge"))
        due = (of("enqueued_messages_total") - of("acked_messages_total") - of("skipped_messages_total") - lost
               + of("replayed_messages_total"))
        equal(of("backlog_messages"), due, f"{project}/{subscription}")
