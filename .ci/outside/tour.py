"""The README's tour, typed with curl as a stranger would."""

import json
import re
import socket
import ssl
import stat
import subprocess

from checks import Checks, Failed, equal, expect
from house import Ams, metrics_page


class Curl:
    """`curl --cacert CA -H x-api-key: TOKEN ...`"""

    def __init__(self, ams: Ams, token: str) -> None:
        self._ams, self._token = ams, token

    def __call__(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        """Status and body text."""
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", self._ams.ca,
                   "--request", method, "--header", "@-", "--write-out", "\n%{http_code}"]
        if body is not None:
            command += ["--data", body]
        done = subprocess.run([*command, self._ams.https + path], input=f"x-api-key: {self._token}\n",
                              capture_output=True, text=True, timeout=30)
        expect(done.returncode == 0, f"curl {method} {path}: {done.stderr}")
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text


def error_of(answer: tuple[int, str]) -> tuple[int, str, str]:
    """Status, message, status text of an error envelope, which must be whole."""
    status, text = answer
    error = json.loads(text)["error"]
    equal(error["code"], status, "error.code")
    return status, error["message"], error["status"]


def run(checks: Checks, ams: Ams) -> None:
    """All of it, on a fresh house."""
    curl = Curl(ams, ams.admin_token)
    with checks.check("start: addresses and the token's path are printed, ready comes last, the token is not shown"):
        expect(re.fullmatch(r"https://[^:]+:\d+", ams.https), f"API address {ams.https!r}\n{ams.output}")
        expect(re.fullmatch(r"http://[^:]+:\d+", ams.metrics), f"metrics address {ams.metrics!r}\n{ams.output}")
        expect(str(ams.data / "admin.token") in ams.output, "the path of admin.token is not printed")
        expect(ams.lines[-1].rstrip().endswith("ready"), f"last line {ams.lines[-1]!r}")
        expect(ams.admin_token not in ams.output, "the admin's token is printed")
    with checks.check("start: secrets are for their owner only, the token file has no newline"):
        for name in ("admin.token", "token.key", "ingest.secret"):
            mode = stat.S_IMODE((ams.data / name).stat().st_mode)
            equal(oct(mode), "0o600", name)
        expect(re.fullmatch(r"\S{32,}", ams.admin_token), "admin.token is no bare token")
        expect("BEGIN CERTIFICATE" in (ams.data / "tls/ca.pem").read_text(), "ca.pem is no certificate")
        expect((ams.data / "broker").is_dir() and (ams.data / "metrics").is_dir(), "no broker/ and metrics/")
    with checks.check("start: a strict OpenSSL client trusts the certificate, by each name; without its CA nobody does"):
        strict = ssl.create_default_context(cafile=ams.ca)
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        port = int(ams.endpoint.rpartition(":")[2])
        for name in ("localhost", "127.0.0.1", "::1", socket.gethostname()):
            with socket.create_connection(("127.0.0.1", port), 10) as raw, \
                    strict.wrap_socket(raw, server_hostname=name) as tls:
                expect(tls.version() in ("TLSv1.2", "TLSv1.3"), f"{name}: {tls.version()}")
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as raw:
                ssl.create_default_context().wrap_socket(raw, server_hostname="localhost").close()
        except ssl.SSLCertVerificationError:
            pass
        else:
            raise Failed("trusted without its CA")
    with checks.check("tour: /v1/status and /v1/version are open, the metrics listener is healthy"):
        status, text = Curl(ams, "")("GET", "/v1/status")
        equal((status, json.loads(text)["status"]), (200, "ok"), "status")
        equal(Curl(ams, "")("GET", "/v1/version")[0], 200, "version")
        expect("ams_alerter_last_evaluation_timestamp_seconds" in metrics_page(ams), "no figures")
    with checks.check("tour: a project, a user, a topic, a subscription, their ACLs"):
        status, text = curl("POST", "/v1/projects/TOUR", '{"description": "the tour"}')
        equal((status, json.loads(text)["name"]), (200, "TOUR"), text)
        status, text = curl("POST", "/v1/projects/TOUR/members/anna", json.dumps({
            "email": "anna@example.org",
            "projects": [{"project": "TOUR", "roles": ["publisher", "consumer"]}]}))
        equal(status, 200, text)
        token = json.loads(text)["token"]
        expect(re.fullmatch(r"[0-9a-f]{64}", token), f"token {token!r}")
        status, text = curl("PUT", "/v1/projects/TOUR/topics/news")
        equal((status, json.loads(text)["name"]), (200, "/projects/TOUR/topics/news"), text)
        status, text = curl("PUT", "/v1/projects/TOUR/subscriptions/reader",
                            '{"topic": "projects/TOUR/topics/news", "ackDeadlineSeconds": 30}')
        shown = json.loads(text)
        equal(status, 200, text)
        equal(list(shown), ["name", "topic", "pushConfig", "ackDeadlineSeconds", "createdOn"], "keys")
        equal((shown["name"], shown["topic"], shown["ackDeadlineSeconds"]),
              ("/projects/TOUR/subscriptions/reader", "/projects/TOUR/topics/news", 30), "subscription")
        for resource in ("topics/news", "subscriptions/reader"):
            equal(curl("POST", f"/v1/projects/TOUR/{resource}:modifyAcl", '{"authorized_users": ["anna"]}'),
                  (200, ""), resource)
    anna = Curl(ams, token)
    with checks.check("tour: publish, pull, acknowledge with the user's token"):
        status, text = anna("POST", "/v1/projects/TOUR/topics/news:publish",
                             '{"messages": [{"attributes": {"lang": "en"}, "data": "aGVsbG8="}, {"data": "d29ybGQ="}]}')
        equal((status, json.loads(text)), (200, {"messageIds": ["0", "1"]}), "publish")
        status, text = anna("POST", "/v1/projects/TOUR/subscriptions/reader:pull", '{"maxMessages": "10"}')
        equal(status, 200, text)
        first, second = json.loads(text)["receivedMessages"]
        equal(first["ackId"], "projects/TOUR/subscriptions/reader:0", "ackId")
        equal(list(first["message"]), ["messageId", "attributes", "data", "publishTime"], "keys")
        equal((first["message"]["attributes"], first["message"]["data"]), ({"lang": "en"}, "aGVsbG8="), "first")
        equal((second["message"]["messageId"], second["message"]["data"]), ("1", "d29ybGQ="), "second")
        expect("attributes" not in second["message"], "attributes of a message without")
        equal(anna("POST", "/v1/projects/TOUR/subscriptions/reader:acknowledge",
                    '{"ackIds": ["projects/TOUR/subscriptions/reader:1"]}'), (200, "{}"), "acknowledge")
        status, text = anna("POST", "/v1/projects/TOUR/subscriptions/reader:pull", '{"maxMessages": "10"}')
        equal((status, json.loads(text)), (200, {"receivedMessages": []}), "empty pull")
        status, text = anna("GET", "/v1/projects/TOUR/subscriptions/reader:offsets")
        equal(text, '{\n   "max": 2,\n   "min": 0,\n   "current": 2\n}', "offsets")
    with checks.check("tour: ?key= works, and every no is the envelope"):
        status, _ = Curl(ams, "")("GET", f"/v1/projects/TOUR/subscriptions/reader:offsets?key={token}")
        equal(status, 200, "?key=")
        equal(error_of(Curl(ams, "")("GET", "/v1/projects/TOUR/topics/news")), (401, "Unauthorized", "UNAUTHORIZED"))
        equal(error_of(Curl(ams, "0" * 64)("GET", "/v1/projects/TOUR/topics/news"))[0], 401)
        equal(error_of(anna("PUT", "/v1/projects/TOUR/topics/mine")),
              (403, "Access to this resource is forbidden", "FORBIDDEN"))
        equal(error_of(curl("GET", "/v1/projects/TOUR/topics/none")), (404, "Topic doesn't exist", "NOT_FOUND"))
        equal(error_of(curl("GET", "/v1/projects/NONE/topics/none")), (404, "project doesn't exist", "NOT_FOUND"))
        equal(error_of(curl("PUT", "/v1/projects/TOUR/topics/news")), (409, "Topic already exists", "ALREADY_EXISTS"))
        equal(error_of(curl("PUT", "/v1/projects/TOUR/topics/a.b")), (400, "Invalid topic name", "INVALID_ARGUMENT"))
    with checks.check("tour: a token is in no log line"):
        log = ams.log.read_text(encoding="utf-8", errors="replace")
        expect(token not in log and ams.admin_token not in log, "a token is in the log")
