"""kill -9 in a publish storm, over and over on one data directory; then everything is read back."""

import base64
import http.client
import json
import random
import ssl
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import history
from checks import Checks, Failed, equal, expect, wait_for
from history import OK, REFUSED, UNKNOWN, Batch
from house import Ams, metrics_page, sample
from stall import books

PUBLISHERS = 8
TOPICS = ("storm-a", "storm-b")
PROJECT = "STORM"


class Door:
    """Where the broker listens now; publishers wait here while it is dead."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._address: tuple[str, int] | None = None
        self.over = False

    def open(self, ams: Ams) -> None:
        host, _, port = ams.endpoint.rpartition(":")
        with self._changed:
            self._address = (host, int(port))
            self._changed.notify_all()

    def shut(self, over: bool = False) -> None:
        with self._changed:
            self._address = None
            self.over = over
            self._changed.notify_all()

    def address(self) -> tuple[str, int] | None:
        """The address; waits for one; `None` when the storm is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._address or self.over)
            return self._address


class Client:
    """One keep-alive HTTPS connection."""

    def __init__(self, ca: str, token: str) -> None:
        self._tls = ssl.create_default_context(cafile=ca)
        self._token = token
        self._connection: http.client.HTTPSConnection | None = None

    def post(self, address: tuple[str, int], path: str, body: object) -> tuple[int, bytes]:
        """Status and body. `ConnectionRefusedError` = not sent; any other error = outcome unknown."""
        if self._connection is None:
            connection = http.client.HTTPSConnection(*address, timeout=30, context=self._tls)
            try:
                connection.connect()
            except OSError as error:
                raise ConnectionRefusedError(str(error)) from error
            self._connection = connection
        try:
            self._connection.request("POST", path, json.dumps(body), {"x-api-key": self._token})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def publish_until_over(client: int, ca: str, token: str, door: Door, batches: list[Batch],
                       odd: list[str]) -> None:
    """One publisher. No batch is sent twice, so a doubled message is always the broker's doing."""
    chance = random.Random(client)
    path = f"/v1/projects/{PROJECT}/topics/{TOPICS[client % len(TOPICS)]}:publish"
    https = Client(ca, token)
    number = 0
    while (address := door.address()) is not None:
        batch = Batch(client, number, chance.choice((1, 1, 2, 5, 10, 30, 100)))
        messages = [{"data": base64.b64encode(batch.text(i).encode()).decode()} for i in range(batch.count)]
        try:
            status, body = https.post(address, path, {"messages": messages})
        except ConnectionRefusedError:
            https.close()
            time.sleep(0.01)
            continue  # not sent; its number is used again
        except (OSError, http.client.HTTPException):
            batches.append(batch)
            number += 1
            continue
        if status == 200:
            batch.ids = [int(text) for text in json.loads(body)["messageIds"]]
            batch.outcome = OK
        elif status in (500, 503):
            batch.outcome = UNKNOWN
        else:
            batch.outcome = REFUSED
            odd.append(f"{status} {body[:200]!r}")
        batches.append(batch)
        number += 1
    https.close()


@dataclass
class Consumer:
    """Pulls and acknowledges through the storm: what was acknowledged never comes again."""

    acknowledged: int = 0
    attempted: int = 0
    pulls: int = 0
    violations: list[str] = field(default_factory=list)

    def run(self, ca: str, token: str, door: Door) -> None:
        https = Client(ca, token)
        name = f"projects/{PROJECT}/subscriptions/storm-watcher"
        while (address := door.address()) is not None:
            try:
                status, body = https.post(address, f"/v1/{name}:pull", {"maxMessages": "50"})
                if status != 200:
                    continue
                ids = [int(m["message"]["messageId"]) for m in json.loads(body)["receivedMessages"]]
                if not ids:
                    time.sleep(0.005)
                    continue
                self.pulls += 1
                if not self.acknowledged <= ids[0] <= self.attempted:
                    self.violations.append(
                        f"pull began at {ids[0]}, acknowledged {self.acknowledged}, tried {self.attempted}")
                if ids != list(range(ids[0], ids[0] + len(ids))):
                    self.violations.append(f"pull with a hole: {ids[:5]}...")
                self.attempted = max(self.attempted, ids[-1] + 1)
                status, _ = https.post(address, f"/v1/{name}:acknowledge", {"ackIds": [f"{name}:{ids[-1]}"]})
                if status == 200:
                    self.acknowledged = ids[-1] + 1
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)
        https.close()


def read_back(ams: Ams, subscription: str) -> list[tuple[int, str]]:
    """Everything the subscription holds, by pull and acknowledge."""
    session = ams.session()
    name = f"projects/{PROJECT}/subscriptions/{subscription}"
    stored: list[tuple[int, str]] = []
    while True:
        pulled = session.good("POST", f"/v1/{name}:pull", {"maxMessages": "1000"})["receivedMessages"]
        if not pulled:
            return stored
        for item in pulled:
            text = base64.b64decode(item["message"]["data"]).decode()
            stored.append((int(item["message"]["messageId"]), text))
        session.good("POST", f"/v1/{name}:acknowledge", {"ackIds": [pulled[-1]["ackId"]]})


def prepare(ams: Ams) -> None:
    session = ams.session()
    session.good("POST", f"/v1/projects/{PROJECT}", {"description": "crash cycles"})
    for topic in TOPICS:
        session.good("PUT", f"/v1/projects/{PROJECT}/topics/{topic}")
        session.good("PUT", f"/v1/projects/{PROJECT}/subscriptions/{topic}-all",
                     {"topic": f"projects/{PROJECT}/topics/{topic}", "ackDeadlineSeconds": 60})
    session.good("PUT", f"/v1/projects/{PROJECT}/subscriptions/storm-watcher",
                 {"topic": f"projects/{PROJECT}/topics/{TOPICS[0]}", "ackDeadlineSeconds": 60})


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def run(checks: Checks, binary: Path, folder: Path, cycles: int) -> None:
    """The crash table."""
    with checks.check("crash: the checker flags every planted fault and nothing else"):
        checks.figure("planted histories", history.self_test())
    data, log = folder / "storm-data", folder / "storm.log"
    environment = {"AMS_BROKER__REPORT__EVERY": "1s"}
    ams = Ams(binary, data, log, environment=environment).wait_ready()
    try:
        prepare(ams)
        door, odd, watcher = Door(), [], Consumer()
        batches: dict[int, list[Batch]] = {client: [] for client in range(PUBLISHERS)}
        threads = [threading.Thread(target=publish_until_over, daemon=True,
                                    args=(client, ams.ca, ams.admin_token, door, batches[client], odd))
                   for client in range(PUBLISHERS)]
        threads.append(threading.Thread(target=watcher.run, daemon=True,
                                        args=(ams.ca, ams.admin_token, door)))
        for thread in threads:
            thread.start()
        chance, restarts = random.Random(), []
        with checks.check(f"crash: {cycles} times kill -9 under {PUBLISHERS} publishers, each start serves again"):
            for _ in range(cycles):
                answered = sum(b.outcome == OK for many in batches.values() for b in list(many))
                door.open(ams)
                deadline = time.monotonic() + 20
                while sum(b.outcome == OK for many in batches.values() for b in list(many)) == answered:
                    expect(time.monotonic() < deadline, f"nothing is accepted within 20 s\n{ams.tail()}")
                    time.sleep(0.01)
                time.sleep(chance.uniform(0.05, 1.5))
                ams.process.kill()
                door.shut()
                ams.exit_code(10)
                ams = Ams(binary, data, log, environment=environment).wait_ready()
                restarts.append(ams.ready_after)
        door.shut(over=True)
        for thread in threads:
            thread.join(timeout=40)
        judge(checks, ams, batches, odd, watcher, restarts, cycles)
    finally:
        ams.kill()


def judge(checks: Checks, ams: Ams, batches: dict[int, list[Batch]], odd: list[str], watcher: Consumer,
          restarts: list[float], cycles: int) -> None:
    """Reads all back and compares."""
    totals = {kind: 0 for kind in history.KINDS}
    counts = {OK: 0, UNKNOWN: 0, REFUSED: 0}
    for many in batches.values():
        for batch in many:
            counts[batch.outcome] += batch.count
    read = 0
    for place, topic in enumerate(TOPICS):
        with checks.check(f"crash: {topic} holds what was acknowledged, once, whole, where it was told"):
            stored = read_back(ams, f"{topic}-all")
            read += len(stored)
            sent = [b for client, many in batches.items() if client % len(TOPICS) == place for b in many]
            found = history.check(sent, stored)
            for kind, items in found.items():
                totals[kind] += len(items)
            bad = [f"{kind}: {items[:3]}" for kind, items in found.items() if items]
            expect(not bad, f"{bad}")
            expect(any(b.outcome == OK for b in sent), "nothing was acknowledged: the check proves nothing")
            wait_for(f"{len(stored)} published on /metrics", 15, lambda: sample(
                metrics_page(ams), "ams_topic_published_messages_total", project=PROJECT, topic=topic) == len(stored))
            wait_for("all acknowledged on /metrics", 15, lambda: sample(
                metrics_page(ams), "ams_subscription_acked_messages_total", project=PROJECT,
                subscription=f"{topic}-all") == len(stored))
    with checks.check("crash: the books of every subscription balance after all the kills"):
        page = metrics_page(ams)
        books(page)
        counted = sample(page, "ams_subscription_acked_messages_total", project=PROJECT, subscription="storm-watcher")
        expect(watcher.acknowledged <= counted <= watcher.attempted,
               f"{counted} counted, {watcher.acknowledged} answered, {watcher.attempted} tried")
    with checks.check("crash: no publish was refused, and acknowledged messages never came again"):
        equal(odd[:3], [], "odd answers")
        equal(watcher.violations[:3], [], "watcher")
        expect(watcher.pulls > 0, "the watcher pulled nothing")
    table = {
        "cycles": len(restarts), "publishers": PUBLISHERS, "acknowledged": counts[OK],
        "unknown": counts[UNKNOWN], "read back": read, **totals,
        "restart p50 s": round(statistics.median(restarts), 3) if restarts else None,
        "restart max s": round(max(restarts), 3) if restarts else None,
    }
    checks.figures["crash"] = table
    print("\n| " + " | ".join(table) + " |\n|" + "---|" * len(table) + "\n| "
          + " | ".join(str(value) for value in table.values()) + " |\n", flush=True)
    if len(restarts) < cycles:
        raise Failed(f"only {len(restarts)} of {cycles} cycles ran")
