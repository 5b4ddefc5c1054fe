"""An incident outlives everything: the relay is down, the process is killed twice, and still there is
one opening and one closing mail, in one thread."""

import time
from pathlib import Path

from checks import Checks, equal, expect, wait_for
from house import Ams, MailSink, free_port, metrics_page, sample
from stall import MIN_STALL

PROJECT, OWNER = "HELD", "holder@example.org"
PATH = f"/v1/projects/{PROJECT}/subscriptions/s"


def run(checks: Checks, binary: Path, folder: Path) -> None:
    """The whole story; about a minute."""
    port = free_port()
    environment = {
        "AMS_BROKER__REPORT__EVERY": "1s", "AMS_METRICS__ALERT__MIN_STALL": f"{MIN_STALL}s",
        "AMS_METRICS__SMTP__URL": f"smtp://127.0.0.1:{port}", "AMS_METRICS__SMTP__FROM": "ams@example.org",
    }

    def start() -> Ams:
        return Ams(binary, folder / "incident", folder / "incident.log", environment=environment).wait_ready()

    ams, sink = start(), None
    try:
        with checks.check("incident: while the relay is down the mail waits in the outbox"):
            session = ams.session()
            session.good("POST", f"/v1/projects/{PROJECT}", {"alert": {"contacts": [OWNER]}, "description": "held"})
            session.good("PUT", f"/v1/projects/{PROJECT}/topics/t")
            session.good("PUT", PATH, {"topic": f"projects/{PROJECT}/topics/t", "ackDeadlineSeconds": 1})
            session.good("POST", f"/v1/projects/{PROJECT}/topics/t:publish", {"messages": [{"data": "MQ=="}]})
            session.good("POST", PATH + ":pull", {"maxMessages": "1"})
            wait_for("waiting mail", 60, lambda: sample(metrics_page(ams), "ams_alerter_outbox_messages") == 1)
            oldest = sample(metrics_page(ams), "ams_alerter_outbox_oldest_timestamp_seconds")
            expect(oldest and 0 <= time.time() - oldest < 60, f"oldest {oldest}")
        with checks.check("incident: after kill -9 the mail is still there and goes out once the relay is up"):
            ams.kill()
            ams = start()
            equal(sample(metrics_page(ams), "ams_alerter_incidents", severity="crit"), 1, "open incidents")
            sink = MailSink(port)
            opening = wait_for("opening mail", 60, lambda: sink.to(OWNER))[0]
            expect(f"{PROJECT}/s" in opening.subject, opening.subject)
            wait_for("empty outbox", 20, lambda: sample(metrics_page(ams), "ams_alerter_outbox_messages") == 0)
        with checks.check("incident: killed again, it is closed by one mail in the same thread"):
            ams.kill()
            ams = start()
            session = ams.session()
            pulled = session.good("POST", PATH + ":pull", {"maxMessages": "1"})["receivedMessages"]
            session.good("POST", PATH + ":acknowledge", {"ackIds": [pulled[0]["ackId"]]})
            closing = wait_for("closing mail", 60, lambda: sink.to(OWNER)[1:])[0]
            expect(str(opening.message["Message-ID"]) in str(closing.message["References"]), "another thread")
            time.sleep(MIN_STALL + 3)
            equal([mail.subject for mail in sink.mails[2:]], [], "further mails")
            equal(sample(metrics_page(ams), "ams_alerter_incidents", severity="crit"), 0, "open incidents")
    finally:
        ams.kill()
        if sink:
            sink.stop()
