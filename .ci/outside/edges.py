"""The edges of the process: locks, exit codes, configuration, the two programs apart, signals."""

import subprocess
from pathlib import Path

import requests

from checks import Checks, equal, expect, wait_for
from house import Ams, clean_environment, free_port, metrics_page, sample


def run_once(binary: Path, arguments: list[str], environment: dict[str, str] | None = None,
             cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([str(binary), *arguments], capture_output=True, text=True, timeout=60, cwd=cwd,
                          env=clean_environment(environment or {}))


def run_second(checks: Checks, binary: Path, running: Ams) -> None:
    """While `running` holds its directory."""
    with checks.check("second process on the same directory: exit 5 and a clear message"):
        done = run_once(binary, ["--data", str(running.data), "--listen", "127.0.0.1:0",
                                 "--metrics-listen", "127.0.0.1:0"], cwd=running.data.parent)
        equal(done.returncode, 5, done.stdout + done.stderr)
        expect("in use" in (done.stdout + done.stderr).lower(), f"message: {done.stderr}")
        equal(running.process.poll(), None, "the first one died")
        running.session().good("GET", "/v1/projects")


def run(checks: Checks, binary: Path, folder: Path) -> None:
    """Everything else."""
    with checks.check("usage and configuration errors: exit 2, the culprit is named"):
        data = str(folder / "never")
        equal(run_once(binary, ["--no-such-flag"]).returncode, 2, "unknown flag")
        done = run_once(binary, ["--data", data], {"AMS_BROKER__NO_SUCH_KEY": "1"}, folder)
        equal(done.returncode, 2, done.stderr)
        expect("no_such_key" in (done.stdout + done.stderr).lower(), done.stderr)
        done = run_once(binary, ["--data", data], {"AMS_BROKER__REPORT__EVERY": "soon"}, folder)
        equal(done.returncode, 2, done.stderr)
        expect(not (folder / "never").exists(), "a refused start made a directory")
    with checks.check("--check-config prints what would be used, secrets masked, and starts nothing"):
        done = run_once(binary, ["--data", str(folder / "never"), "--check-config"],
                        {"AMS_METRICS__SMTP__URL": "smtps://mailer:hunter2@mail.example.org",
                         "AMS_NOT_OURS": "ignored"}, folder)
        equal(done.returncode, 0, done.stderr)
        expect("mail.example.org" in done.stdout and "hunter2" not in done.stdout + done.stderr, done.stdout[-500:])
        expect(not (folder / "never").exists(), "--check-config made a directory")
    stop_and_return(checks, binary, folder)
    apart(checks, binary, folder)


def stop_and_return(checks: Checks, binary: Path, folder: Path) -> None:
    data = folder / "stopped"
    with checks.check("SIGTERM drains and exits 0 within 10 s; without SMTP /metrics says that mails are off"):
        ams = Ams(binary, data, folder / "stopped.log").wait_ready()
        try:
            equal(sample(metrics_page(ams), "ams_alerter_mail_configured"), 0, "mail_configured")
            for path in ("/healthz", "/readyz"):
                equal(requests.get(ams.metrics + path, timeout=5).status_code, 200, path)
            session = ams.session()
            session.good("POST", "/v1/projects/KEPT", {"description": "kept"})
            session.good("PUT", "/v1/projects/KEPT/topics/t")
            session.good("PUT", "/v1/projects/KEPT/subscriptions/s", {"topic": "projects/KEPT/topics/t"})
            session.good("POST", "/v1/projects/KEPT/topics/t:publish", {"messages": [{"data": "MQ=="}, {"data": "Mg=="}]})
            session.good("POST", "/v1/projects/KEPT/subscriptions/s:pull", {"maxMessages": "1"})
            session.good("POST", "/v1/projects/KEPT/subscriptions/s:acknowledge",
                         {"ackIds": ["projects/KEPT/subscriptions/s:0"]})
            token, ca = ams.admin_token, Path(ams.ca).read_bytes()
            code, seconds = ams.terminate(15)
            equal(code, 0, ams.tail())
            expect(seconds < 10, f"{seconds:.1f} s")
            checks.figure("SIGTERM to exit, s", round(seconds, 2))
        finally:
            ams.kill()
    with checks.check("the second start finds the data, the token, the CA and the position"):
        ams = Ams(binary, data, folder / "stopped.log").wait_ready()
        try:
            equal((ams.admin_token, Path(ams.ca).read_bytes()), (token, ca), "token and CA")
            pulled = ams.session().good("POST", "/v1/projects/KEPT/subscriptions/s:pull", {"maxMessages": "9"})
            equal([m["message"]["data"] for m in pulled["receivedMessages"]], ["Mg=="], "the second message")
            checks.figure("restart after a clean stop, s", round(ams.ready_after, 3))
        finally:
            ams.kill()


def apart(checks: Checks, binary: Path, folder: Path) -> None:
    """`ams broker` and `ams metrics-svc`, each on its own."""
    secret, port = folder / "shared.secret", free_port()
    secret.write_text("0123456789abcdef" * 4, encoding="ascii")
    secret.chmod(0o600)
    broker = Ams(binary, folder / "apart-broker", folder / "apart-broker.log",
                 ["broker", "--listen", "127.0.0.1:0"],
                 {"AMS_BROKER__REPORT__URL": f"http://127.0.0.1:{port}",
                  "AMS_BROKER__REPORT__SECRET_FILE": str(secret), "AMS_BROKER__REPORT__EVERY": "1s"})
    metrics = None
    try:
        with checks.check("apart: a broker serves while metrics-svc is absent"):
            broker.wait_ready()
            session = broker.session()
            session.good("POST", "/v1/projects/APART", {"description": "apart"})
            session.good("PUT", "/v1/projects/APART/topics/t")
            for _ in range(3):
                session.good("POST", "/v1/projects/APART/topics/t:publish", {"messages": [{"data": "MQ=="}] * 7})
        with checks.check("apart: metrics-svc that comes later learns everything; a token is asked for off loopback"):
            metrics = Ams(binary, folder / "apart-metrics", folder / "apart-metrics.log",
                          ["metrics-svc", "--metrics-listen", "0.0.0.0:0"],
                          {"AMS_METRICS__INGEST__LISTEN": f"127.0.0.1:{port}",
                           "AMS_METRICS__INGEST__SECRET_FILE": str(secret)}).wait_ready()
            url = f"http://127.0.0.1:{metrics.metrics.rpartition(':')[2]}/metrics"
            viewer = session.good("POST", "/v1/users/viewer", {"service_roles": ["metrics_viewer"]})["token"]

            def published() -> float | None:
                answer = requests.get(url, headers={"Authorization": f"Bearer {viewer}"}, timeout=5)
                return answer.status_code == 200 and sample(
                    answer.text, "ams_topic_published_messages_total", project="APART", topic="t") == 21

            wait_for("21 published messages", 40, published)
            equal(requests.get(url, timeout=5).status_code, 401, "without a token")
            equal(requests.get(url, headers={"x-api-key": "f" * 64}, timeout=5).status_code, 401, "a wrong token")
        with checks.check("apart: a wrong secret is refused on the ingest port"):
            answer = requests.post(f"http://127.0.0.1:{port}/v1/metrics", data=b"",
                                   headers={"Authorization": "Bearer wrong"}, timeout=5)
            equal(answer.status_code, 401, answer.text)
        with checks.check("apart: both end on SIGTERM with 0"):
            equal(metrics.terminate(15)[0], 0, "metrics-svc")
            equal(broker.terminate(15)[0], 0, "broker")
    finally:
        for program in (broker, metrics):
            if program:
                program.kill()
