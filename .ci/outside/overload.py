"""Far more than it can take (docs/reliability.md, F18): bounded memory, honest refusals, nothing lost, soon well again.

Bodies that stop before their last byte, clients that read nothing of large answers, pulls that wait, heads that trickle, idle
connections, and publishers that never rest, all at once. Plain HTTP, so that the clients are not the first to be out of breath.
"""

import asyncio
import base64
import json
import re
import time
from pathlib import Path

from checks import Checks, equal, expect, wait_for
from house import Ams
from sockets import GoodClient

SECONDS = 12
# MiB, the most that may ever be resident (F18: 400 on a machine of 512).
MEMORY = 400
MIB = 1 << 20
IDLE, STALLED, UNREAD, WAITING, HEADS, LARGE, SMALL = 1_500, 500, 60, 800, 200, 48, 32
# As docs/operating.md advises for a machine of 512 MiB.
SMALL_MACHINE = {"AMS_BROKER__PLAIN_LISTEN": "127.0.0.1:0", "AMS_BROKER__HTTP__BODY_LIMIT": str(5 * MIB),
                 "AMS_BROKER__SERVICE__BODIES_BYTES": str(12 * MIB),
                 "AMS_BROKER__SERVICE__ANSWERS_BYTES": str(16 * MIB), "AMS_BROKER__SERVICE__PULL_BYTES": str(4 * MIB),
                 "AMS_BROKER__STORE__EMBEDDED__CACHE_BYTES": str(16 * MIB)}
LAWFUL = {200, 408, 429, 503}
BASE = "/v1/projects/LOAD"


def resident(ams: Ams, key: str) -> int:
    """MiB, as `/proc` tells: VmRSS now, VmHWM the most so far."""
    status = Path(f"/proc/{ams.process.pid}/status").read_text(encoding="ascii")
    return int(re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)[1]) // 1024


class Crowd:
    """All the clients; what they were told."""

    def __init__(self, ams: Ams) -> None:
        address = re.search(r"plain API http://([^\s:]+):(\d+)", ams.output)
        self.host, self.port = address[1], int(address[2])
        self.token = ams.admin_token
        self.statuses: dict[int, int] = {}
        self.broken = 0  # connections that ended without an answer
        self.hints_missing = 0  # 503 without Retry-After
        self.acknowledged: dict[int, str] = {}
        self.slowest = 0.0  # publish that was taken
        self.ending = False

    def head(self, method: str, path: str, length: int) -> bytes:
        return (f"{method} {path} HTTP/1.1\r\nHost: ams\r\nx-api-key: {self.token}\r\n"
                f"Content-Length: {length}\r\n\r\n").encode()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    def saw(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    async def answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        length = re.search(r"(?im)^content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        self.saw(status)
        if status == 503 and not re.search(r"(?im)^retry-after: \d+", head):
            self.hints_missing += 1
        return status, body

    async def idle(self) -> None:
        await self.open()
        await asyncio.sleep(3600)

    async def stalled(self) -> None:
        """All of a body but its last byte, again as soon as it is told that this will not do."""
        while True:
            reader, writer = await self.open()
            try:
                writer.write(self.head("POST", f"{BASE}/topics/t:publish", MIB) + b" " * (MIB - 1))
                await writer.drain()
                await self.answer(reader)
            finally:
                writer.close()
            await asyncio.sleep(1)

    async def unread(self) -> None:
        """Asks for all there is and reads none of it."""
        _, writer = await self.open()
        body = b'{"maxMessages": "1000"}'
        writer.write(self.head("POST", f"{BASE}/subscriptions/large:pull", len(body)) + body)
        await asyncio.sleep(3600)

    async def waiting(self) -> None:
        reader, writer = await self.open()
        body = b'{"waitSeconds": "60"}'
        writer.write(self.head("POST", f"{BASE}/subscriptions/never:pull", len(body)) + body)
        await self.answer(reader)

    async def trickled_head(self) -> None:
        while True:
            _, writer = await self.open()
            writer.write(b"GET /v1/status HTTP/1.1\r\nx-slow: ")
            for _ in range(20):
                writer.write(b"x")
                await asyncio.sleep(1)
            writer.close()

    async def publisher(self, name: str, size: int) -> None:
        """Publishes without rest; a refusal is waited out for a moment only."""
        reader, writer = await self.open()
        number = 0
        while not self.ending:
            tag, number = f"{name}-{number}", number + 1
            body = json.dumps({"messages": [{"attributes": {"tag": tag}, "data": "QUJD" * (size // 4)}]}).encode()
            began = time.monotonic()
            writer.write(self.head("POST", f"{BASE}/topics/t:publish", len(body)) + body)
            await writer.drain()
            status, told = await self.answer(reader)
            if status == 200:
                self.acknowledged[int(json.loads(told)["messageIds"][0])] = tag
                self.slowest = max(self.slowest, time.monotonic() - began)
            else:
                await asyncio.sleep(0.2)

    async def forgiving(self, client) -> None:
        try:
            await client
        except (OSError, asyncio.IncompleteReadError):
            self.broken += 1

    async def rush(self) -> None:
        """Everybody at once, for a while; then all hang up."""
        bad = [self.idle() for _ in range(IDLE)] + [self.waiting() for _ in range(WAITING)]
        bad += [self.unread() for _ in range(UNREAD)] + [self.trickled_head() for _ in range(HEADS)]
        bad += [self.stalled() for _ in range(STALLED)]
        crowd = [asyncio.create_task(self.forgiving(each)) for each in bad]
        good = [asyncio.create_task(self.publisher(f"large{i}", 900_000)) for i in range(LARGE)]
        good += [asyncio.create_task(self.publisher(f"small{i}", 100)) for i in range(SMALL)]
        try:
            await asyncio.sleep(SECONDS)
            self.ending = True
            await asyncio.wait_for(asyncio.gather(*good), 20)
        finally:
            for task in crowd + good:
                task.cancel()
            await asyncio.gather(*crowd, *good, return_exceptions=True)


def stored(ams: Ams) -> dict[int, str]:
    """Tag of each message of the topic, by its offset."""
    session, tags, at = ams.session(), {}, 0
    while True:
        read = session.good("GET", f"{BASE}/topics/t:read?offset={at}&maxMessages=1000")
        for message in read["messages"]:
            tags[int(message["messageId"])] = message["attributes"]["tag"]
        if read["next"] >= read["max"]:
            return tags
        at = read["next"]


def furnish(ams: Ams) -> None:
    admin = ams.session()
    admin.good("POST", BASE, {})
    for topic, subscription in (("t", "all"), ("full", "large"), ("silent", "never")):
        admin.good("PUT", f"{BASE}/topics/{topic}")
        admin.good("PUT", f"{BASE}/subscriptions/{subscription}", {"topic": f"projects/LOAD/topics/{topic}"})
    large = base64.b64encode(bytes(700_000)).decode()
    for _ in range(20):
        admin.good("POST", f"{BASE}/topics/full:publish", {"messages": [{"data": large}] * 4})


def run(checks: Checks, binary: Path, folder: Path) -> None:
    good = None
    ams = Ams(binary, folder / "overload", folder / "overload.log", environment=SMALL_MACHINE).wait_ready()
    try:
        furnish(ams)
        checks.figure("overload: resident before, MiB", resident(ams, "VmRSS"))
        crowd, good = Crowd(ams), GoodClient(ams)
        with checks.check(f"overload: {SECONDS} s of it, only lawful answers, each 503 with Retry-After"):
            asyncio.run(crowd.rush())
            checks.figure("overload: answers", dict(sorted(crowd.statuses.items())))
            checks.figure("overload: connections that ended without one", crowd.broken)
            equal(set(crowd.statuses) - LAWFUL, set(), "statuses")
            expect(crowd.statuses.get(503) and crowd.statuses.get(200), "this was no overload")
            equal(crowd.hints_missing, 0, "503 without Retry-After")
        ended = time.monotonic()
        with checks.check(f"overload: never more than {MEMORY} MiB resident"):
            most = resident(ams, "VmHWM")
            checks.figure("overload: most resident, MiB", most)
            expect(most <= MEMORY, f"{most} MiB")
        with checks.check("overload: /v1/status is answered all along, and publishers get through"):
            good.stop()
            checks.figure("overload: slowest publish, s", round(crowd.slowest, 2))
            checks.figure("overload: slowest GET /v1/status, s", round(good.slowest, 2))
            equal(good.bad, [], "answers to a good client")
            expect(good.answers >= SECONDS and good.slowest < 4, f"{good.answers} answers, {good.slowest:.1f} s")
        with checks.check("overload: well again within 5 s"):
            session = ams.session()
            wait_for("a publish", 5, lambda: session.call("POST", f"{BASE}/topics/silent:publish",
                                                          {"messages": [{"data": "MQ=="}]}).status_code == 200)
            wait_for("a pull", 5, lambda: session.call("POST", f"{BASE}/subscriptions/large:pull",
                                                       {"maxMessages": "4"}).status_code == 200)
            checks.figure("overload: well again after, s", round(time.monotonic() - ended, 2))
            expect(time.monotonic() - ended < 5, "not well within 5 s")
        with checks.check("overload: whatever was acknowledged is there, at its offset"):
            there = stored(ams)
            checks.figure("overload: acknowledged", len(crowd.acknowledged))
            expect(len(crowd.acknowledged) > 100, crowd.acknowledged)
            lost = {at: tag for at, tag in crowd.acknowledged.items() if there.get(at) != tag}
            equal(lost, {}, "lost or moved")
        with checks.check("overload: SIGTERM ends it with 0"):
            equal(ams.terminate(15)[0], 0, ams.tail())
    finally:
        if good:
            good.stop()
        ams.kill()
