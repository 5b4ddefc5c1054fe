"""schemathesis on the OpenAPI document of the running broker, with each role's token and with none.

Every answer must be one that the document tells: status, content type, headers, body, and the text of a refusal; of 5xx
only those that the contract names. Then the data must be sound. AMS_CI_SEED repeats a run; failures are shown with curl.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from checks import Checks, equal, expect
from house import Ams, Session, clean_environment

HERE = Path(__file__).resolve().parent
LEAST = 5_000
CONFORMING = ("status_code_conformance", "content_type_conformance", "response_headers_conformance",
              "response_schema_conformance", "named_fault")
# Each user's roles: in the project, in the service.
ROLES = {
    "project_admin": (["project_admin"], []),
    "consumer_publisher": (["consumer", "publisher"], []),
    "metrics_viewer": ([], ["metrics_viewer"]),
    "push_worker": ([], ["push_worker"]),
    "nobody": ([], []),
    # The last one: it may end everybody else, the admin who furnishes too.
    "service_admin": ([], ["service_admin"]),
}
# Examples of an operation, and phases: more for those that get further than the gate.
EXAMPLES = {"service_admin": 15, "project_admin": 10, "consumer_publisher": 8}
ALL, SHORT = "coverage,fuzzing,stateful", "fuzzing,stateful"


def furnish(admin: Session, name: str, roles: tuple[list[str], list[str]]) -> str:
    """A project of that name's own with everything in it, and a user's token."""
    project = "P" + name
    for each in (project, project + "Q"):
        admin.good("POST", f"/v1/projects/{each}", {})
    base = f"/v1/projects/{project}"
    of_project, of_service = roles
    body = {"service_roles": of_service,
            "projects": [{"project": project, "roles": of_project}] if of_project else []}
    token = admin.good("POST", f"/v1/users/{name}", body)["token"] if name != "nobody" else ""
    if admin.call("GET", "/v1/users/m").status_code != 200:
        admin.good("POST", "/v1/users/m", {})
    admin.good("POST", f"{base}/members/m:add", {"roles": ["consumer", "publisher"]})
    admin.good("POST", f"{base}/schemas/x", {"type": "json", "schema": {"type": "object"}})
    members = [name] if of_project else []
    for topic, subscription in (("t", "s"), ("u", "r")):
        admin.good("PUT", f"{base}/topics/{topic}")
        admin.good("PUT", f"{base}/subscriptions/{subscription}", {"topic": f"projects/{project}/topics/{topic}"})
        admin.good("POST", f"{base}/topics/{topic}:publish", {"messages": [{"data": "MQ=="}] * 4})
        admin.good("POST", f"{base}/topics/{topic}:modifyAcl", {"authorized_users": members})
        admin.good("POST", f"{base}/subscriptions/{subscription}:modifyAcl", {"authorized_users": members})
    admin.good("PUT", f"{base}/snapshots/n", {"subscription": f"projects/{project}/subscriptions/s"})
    return token


def attack(checks: Checks, ams: Ams, folder: Path, name: str, token: str, seed: str) -> int:
    """One run; the number of requests."""
    count = folder / f"fuzz-{name}.json"
    environment = {"SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(HERE), "FUZZ_PROJECT": "P" + name,
                   "FUZZ_COUNT": str(count), "NO_PROXY": "127.0.0.1,localhost", "NO_COLOR": "1"}
    program = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(HERE / "fuzz.toml"),
               "run", f"{ams.https}/openapi.json", "--url", ams.https, "--tls-verify", ams.ca,
               "--checks", ",".join(CONFORMING), "--phases", ALL if name in EXAMPLES else SHORT,
               "--max-examples", str(EXAMPLES.get(name, 4)), "--seed", seed, "--request-timeout", "20",
               "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off",
               "--output-sanitize", "false", "--no-shrink"]
    if token:
        program += ["--header", f"x-api-key:{token}"]
    done = subprocess.run(program, cwd=folder, env=clean_environment(environment), capture_output=True, text=True,
                          timeout=600)
    seen = json.loads(count.read_text(encoding="utf-8"))
    checks.figure(f"fuzz as {name}", f"{seen['requests']} requests, {seen['statuses']}")
    equal(done.returncode, 0, done.stdout[-12_000:] + done.stderr[-2_000:])
    expect(seen["requests"] > 100, seen)
    return seen["requests"]


def run(checks: Checks, binary: Path, folder: Path) -> None:
    seed, began, requests = os.environ.get("AMS_CI_SEED", "20"), time.monotonic(), 0
    checks.figure("fuzz: seed", seed)
    data = folder / "fuzz"
    ams = Ams(binary, data, folder / "fuzz.log").wait_ready()
    try:
        tokens = {name: furnish(ams.session(), name, roles) for name, roles in ROLES.items()}
        for name, token in tokens.items():
            with checks.check(f"fuzz: as {name}, every answer is one that the document tells"):
                requests += attack(checks, ams, folder, name, token, seed)
        with checks.check(f"fuzz: {LEAST} requests or more, and the broker stands"):
            checks.figure("fuzz: requests", requests)
            checks.figure("fuzz: s", round(time.monotonic() - began))
            expect(requests >= LEAST, requests)
            equal(ams.terminate(15)[0], 0, ams.tail())
    finally:
        ams.kill()
    with checks.check("fuzz: ams check finds nothing wrong after it"):
        done = subprocess.run([str(binary), "check", "--data", str(data)], capture_output=True, text=True, timeout=120,
                              env=clean_environment({}))
        equal(done.returncode, 0, done.stdout + done.stderr)
