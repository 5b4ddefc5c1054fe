"""What schemathesis loads (SCHEMATHESIS_HOOKS): names that exist, waits that end, one more check, a count.

Environment: FUZZ_PROJECT the project that is asked most, FUZZ_COUNT a file to write the number of requests to.
"""

import atexit
import json
import os
import re
import zlib
from pathlib import Path

import schemathesis

PROJECT = os.environ["FUZZ_PROJECT"]
SEEN = {"requests": 0, "statuses": {}}
KNOWN = {"topic": ["t", "u"], "subscription": ["s", "r"], "schema": ["x"], "snapshot": ["n"], "user": ["m"]}
# These end or rename what the others need: they get names of their own.
ENDING = ("projectsDelete", "projectsUpdate", "usersDelete", "usersUpdate", "usersRefreshToken",
          "projectsRemoveUser", "topicsDelete", "subscriptionsDelete", "schemasDelete", "schemasUpdate")
# 5xx that the contract gives to clients' mistakes and to limits.
NAMED = ("no ack pending", "wrong ack", "Storage quota of the project is exhausted")


def often(text: object, of: int) -> bool:
    """Whether a generated value is exchanged: by the value, so that a seed gives the same requests."""
    return zlib.crc32(repr(text).encode()) % of != 0


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    return exchanged(context.operation, path_parameters)


def exchanged(operation, path_parameters):
    """Four of five lawful names as names of what exists."""
    if not path_parameters or not hasattr(path_parameters, "items"):
        return path_parameters
    ending = operation.definition.raw.get("operationId") in ENDING
    changed = dict(path_parameters)
    for name, value in path_parameters.items():
        if not often(value, 5) or not re.fullmatch("[A-Za-z0-9_-]+", str(value)):
            continue
        if name == "project":
            changed[name] = PROJECT + "Q" if ending and len(path_parameters) == 1 else PROJECT
        elif name in KNOWN and not ending:
            known = KNOWN[name]
            changed[name] = known[zlib.crc32(repr(value).encode()) // 7 % len(known)]
    return changed


@schemathesis.hook
def map_body(context, body):
    """References to what exists."""
    if not isinstance(body, dict):
        return body
    body = dict(body)
    operation = context.operation.definition.raw.get("operationId")
    if operation == "subscriptionsCreate" and often(body, 4):
        body["topic"] = f"projects/{PROJECT}/topics/t"
    if operation == "snapshotsCreate" and often(body, 4):
        body["subscription"] = f"projects/{PROJECT}/subscriptions/s"
    if operation == "subscriptionsAcknowledge" and often(body, 4):
        body["ackIds"] = [f"projects/{PROJECT}/subscriptions/s:{zlib.crc32(repr(body).encode()) % 4}"]
    if operation == "subscriptionsSeek" and often(body, 4):
        body = {"snapshot": f"projects/{PROJECT}/snapshots/n"}
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    """What the other hooks do not see: the cases of the coverage phase; and no wait is a long one."""
    if case.meta is not None and case.meta.phase.name.value == "coverage":
        case.path_parameters = exchanged(case.operation, case.path_parameters)
    for part in (case.query, case.body):
        if isinstance(part, dict) and re.fullmatch("[0-9]+(\\.0)?", str(part.get("waitSeconds"))):
            part["waitSeconds"] = min(int(float(part["waitSeconds"])), 1)


@schemathesis.hook
def after_call(context, case, response):
    SEEN["requests"] += 1
    key = str(response.status_code)
    SEEN["statuses"][key] = SEEN["statuses"].get(key, 0) + 1


@schemathesis.check
def named_fault(ctx, response, case):
    """Of all 5xx only those that the contract names."""
    if response.status_code >= 500:
        message = response.json()["error"]["message"]
        assert message in NAMED, f"{response.status_code} {message}"


@atexit.register
def save() -> None:
    Path(os.environ["FUZZ_COUNT"]).write_text(json.dumps(SEEN), encoding="utf-8")
