"""Starts and stops what the checks need: AMS, Prometheus, a mail sink. Ends only what it started."""

import email
import email.policy
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import requests
from aiosmtpd.controller import Controller

from checks import expect, wait_for


def free_port() -> int:
    """A port nobody listens on now; for programs that cannot say which one they took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment(extra: dict[str, str]) -> dict[str, str]:
    """Ours without AMS_* and proxies of whoever runs the checks."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return kept | extra


class Program:
    """A child process whose standard output is read line by line."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path, cwd: Path) -> None:
        self.lines: list[str] = []
        self.log = log
        self._stderr = log.open("ab")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            arguments, env=clean_environment(environment), cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(list(self.lines))

    def exit_code(self, seconds: float) -> int:
        """Waits for its end."""
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=2)
        self._stderr.close()
        return code

    def terminate(self, seconds: float = 10) -> tuple[int, float]:
        """SIGTERM; the exit code and how long it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code(seconds), time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.exit_code(10)

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Ams(Program):
    """The built binary. Start-up lines as `design.md` 6 promises them."""

    def __init__(self, binary: Path, data: Path, log: Path, arguments: list[str] | None = None,
                 environment: dict[str, str] | None = None) -> None:
        self.data = data
        self.https = self.metrics = ""
        if arguments is None:
            arguments = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
        super().__init__([str(binary), *arguments, "--data", str(data)], environment or {}, log, log.parent)

    def wait_ready(self, seconds: float = 60) -> "Ams":
        """Until it says `ready`; reads where it listens."""
        while not re.search(r"\bready\s*$", self.output):
            if self.process.poll() is not None:
                raise RuntimeError(f"ams ended with {self.process.returncode}:\n{self.output}\n{self.tail()}")
            if time.monotonic() - self.started > seconds:
                raise RuntimeError(f"ams is not ready after {seconds} s:\n{self.output}\n{self.tail()}")
            time.sleep(0.005)
        self.ready_after = time.monotonic() - self.started
        api = re.search(r"\bAPI (https://[^\s:/]+:\d+|https://\[[^\]]+\]:\d+)", self.output)
        metrics = re.search(r"\bmetrics (http://[^\s/]+:\d+)/metrics", self.output)
        self.https = api[1] if api else ""
        self.metrics = metrics[1] if metrics else ""
        return self

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the API."""
        return self.https.removeprefix("https://")

    @property
    def ca(self) -> str:
        return str(self.data / "tls/ca.pem")

    @property
    def admin_token(self) -> str:
        return (self.data / "admin.token").read_text(encoding="ascii")

    def session(self, token: str | None = None) -> "Session":
        return Session(self, self.admin_token if token is None else token)


class Session:
    """Plain HTTPS calls with one token."""

    def __init__(self, ams: Ams, token: str) -> None:
        self._ams = ams
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.verify = ams.ca
        self._http.headers["x-api-key"] = token

    def call(self, method: str, path: str, body: object = None, timeout: float = 30) -> requests.Response:
        return self._http.request(method, self._ams.https + path, json=body, timeout=timeout)

    def good(self, method: str, path: str, body: object = None) -> dict:
        """A call that must answer 200; its body."""
        answer = self.call(method, path, body)
        expect(answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else {}


def metrics_page(ams: Ams) -> str:
    answer = requests.get(ams.metrics + "/metrics", timeout=10)
    expect(answer.status_code == 200, f"/metrics: {answer.status_code} {answer.text[:200]}")
    return answer.text


def sample(page: str, name: str, **labels: str) -> float | None:
    """The value of one series of a /metrics page."""
    for line in page.splitlines():
        match = re.match(name + r"(?:\{(.*)\})? (\S+)$", line)
        if match:
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[1] or ""))
            if all(found.get(key) == value for key, value in labels.items()):
                return float(match[2])
    return None


class Mail:
    """A mail that the sink took."""

    def __init__(self, recipient: str, raw: bytes) -> None:
        self.received_at = time.time()
        self.recipient = recipient
        self.message = email.message_from_bytes(raw, policy=email.policy.default)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    def body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return part.get_content() if part else ""


class MailSink:
    """A real SMTP server. Recipients that begin with `refused` are refused with 550."""

    def __init__(self, port: int | None = None) -> None:
        self.mails: list[Mail] = []
        self.refused: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=port or free_port())
        self._controller.start()
        self.url = f"smtp://127.0.0.1:{self._controller.port}"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            self.refused.append(address)
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        for recipient in envelope.rcpt_tos:
            self.mails.append(Mail(recipient, envelope.original_content))
        return "250 taken"

    def to(self, recipient: str) -> list[Mail]:
        return [mail for mail in list(self.mails) if mail.recipient == recipient]

    def stop(self) -> None:
        self._controller.stop()


class Prometheus:
    """A real Prometheus that scrapes AMS each second and evaluates the shipped rules."""

    def __init__(self, target: str, rules: Path, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(rules, folder / "rules.yml")
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            "rule_files: [rules.yml]\n"
            "scrape_configs:\n"
            f"  - {{job_name: ams, static_configs: [{{targets: ['{target}']}}]}}\n", encoding="utf-8")
        self.program = Program(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], {}, folder / "log", folder)
        wait_for("Prometheus", 30, lambda: requests.get(self.url + "/-/ready", timeout=2).status_code == 200)

    def get(self, path: str, **params: object) -> dict:
        answer = requests.get(self.url + path, params=params, timeout=20).json()
        expect(answer["status"] == "success", f"{path} {params}: {answer.get('error')}")
        return answer["data"]

    def query(self, expression: str) -> list[dict]:
        return self.get("/api/v1/query", query=expression)["result"]

    def value(self, expression: str) -> float | None:
        """The value of the only series, `None` without one."""
        found = self.query(expression)
        expect(len(found) <= 1, f"{expression} has {len(found)} series")
        return float(found[0]["value"][1]) if found else None

    def stop(self) -> None:
        self.program.terminate(20)
