"""Secrets as canaries (docs/reliability.md, F29): none may be seen in logs, pages, mails, stores or backups."""

import subprocess
from pathlib import Path

import requests

import stall
from checks import Checks, equal, expect
from house import Ams, MailSink, clean_environment, metrics_page

# Files that exist to hold one secret each.
KEPT = {"admin.token", "token.key", "ingest.secret"}


def everywhere(ams: Ams, token: str) -> list[requests.Response]:
    """Shows `token` in each place where a client may put it by right or by mistake, but as a name: the log tells
    the names of what is asked for."""
    def ask(method: str, path: str, **options: object) -> requests.Response:
        return requests.request(method, ams.https + path, verify=ams.ca, timeout=20, **options)

    header = {"x-api-key": token}
    return [
        ask("GET", "/v1/projects", headers=header),
        ask("GET", f"/v1/projects?key={token}"),
        ask("GET", f"/v1/projects/CANARY/topics/t?key={token}&key={token}"),
        ask("GET", f"/v1/nowhere/{token}"),
        ask("GET", f"/v1/users:byToken/{token}", headers=header),
        ask("GET", "/v1/users/profile", headers=header),
        ask("GET", "/v1/projects", headers={"Authorization": f"Bearer {token}"}),
        ask("POST", "/v1/projects/CANARY/topics/t:publish", headers=header, data=f'{{"messages": [{{"{token}": '),
        ask("POST", "/v1/projects/CANARY/topics/t:publish", headers=header, json={token: token}),
        ask("PUT", "/v1/projects/CANARY/topics/t", headers=header, json={"schema": token}),
        ask("BREW", f"/v1/projects?key={token}"),
    ]


def held_in(folder: Path, secrets: dict[str, str]) -> set[str]:
    """Names of the secrets that a file below `folder` holds, with the file."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in KEPT:
            content = path.read_bytes()
            found |= {f"{name} in {path}" for name, secret in secrets.items() if secret.encode("latin-1") in content}
    return found


def run(checks: Checks, binary: Path, folder: Path) -> None:
    """On a server of its own, whose log says all it can."""
    sink = MailSink()
    ams = Ams(binary, folder / "canary", folder / "canary.log",
              environment=stall.environment(sink) | {"AMS_LOG__FILTER": "trace"}).wait_ready()
    backup = folder / "canary-backup"
    try:
        session = ams.session()
        session.good("POST", "/v1/projects/CANARY", {"description": "secrets"})
        session.good("PUT", "/v1/projects/CANARY/topics/t")
        session.good("PUT", "/v1/projects/CANARY/subscriptions/s", {"topic": "projects/CANARY/topics/t"})
        roles = [{"project": "CANARY", "roles": ["publisher", "consumer"]}]
        user = session.good("POST", "/v1/users/canary", {"projects": roles, "email": "canary@example.org"})
        filed = session.good("POST", "/v1/registrations", {"name": "canary2", "email": "canary2@example.org"})
        secrets = {
            "admin's token": ams.admin_token,
            "user's first token": user["token"],
            "user's second token": session.good("POST", "/v1/users/canary:refreshToken")["token"],
            "registration's token": filed["activation_token"],
            "unknown token": "feedface" * 8,
            "key of tokens": (ams.data / "token.key").read_bytes().decode("latin-1"),
            "secret of the ingest port": (ams.data / "ingest.secret").read_text(encoding="ascii").strip(),
        }
        with checks.check("no answer of an error repeats a secret"):
            for name in ("admin's token", "user's first token", "user's second token", "unknown token"):
                for answer in everywhere(ams, secrets[name]):
                    if answer.status_code >= 400:
                        expect(secrets[name] not in answer.text, f"{answer.request.method} {answer.url}: {answer.text}")
        with checks.check("no page of figures shows a secret"):
            page = metrics_page(ams)
            equal([name for name, secret in secrets.items() if secret in page], [], "/metrics")
        done = subprocess.run([str(binary), "backup", str(backup), "--data", str(ams.data)], capture_output=True,
                              env=clean_environment({}), timeout=60, text=True)
        equal(done.returncode, 0, done.stdout + done.stderr)
        equal(ams.terminate(15)[0], 0, ams.tail())
        with checks.check("no store, history or backup holds a secret in clear"):
            equal(held_in(ams.data, secrets) | held_in(backup, secrets), set(), "stores")
            # That they would be found: the file that is to hold one does.
            equal((ams.data / "admin.token").read_text(encoding="ascii"), secrets["admin's token"], "admin.token")
        with checks.check("no log and no mail shows a secret, at the loudest level"):
            log = ams.output + ams.log.read_bytes().decode("latin-1")
            mails = "".join(mail.message.as_string() for mail in sink.mails) + done.stdout + done.stderr
            expect("CANARY" in log, "the log is not loud: nothing is shown by this")
            equal([name for name, secret in secrets.items() if secret in log + mails], [], "log and mails")
    finally:
        ams.kill()
        sink.stop()
