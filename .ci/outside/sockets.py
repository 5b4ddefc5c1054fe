"""What a well-behaved client never sends (docs/reliability.md, F20): raw sockets against the built binary.

Each is refused or dropped within its documented bound (`broker.http`, here shortened), no request hides behind another, and a
good client on another connection is served all along.
"""

import re
import socket
import ssl
import threading
import time
from pathlib import Path

from checks import Checks, equal, expect
from house import Ams

# Seconds: what the settings say, and what is granted beyond.
HEAD, BODY, IDLE, UNREAD, SLACK = 2, 2, 3, 4, 3
PIPELINED = 10_000
SETTINGS = {"AMS_BROKER__PLAIN_LISTEN": "127.0.0.1:0", "AMS_BROKER__HTTP__HEAD_DEADLINE": f"{HEAD}s",
            "AMS_BROKER__HTTP__BODY_DEADLINE": f"{BODY}s", "AMS_BROKER__HTTP__KEEP_ALIVE": f"{IDLE}s",
            "AMS_BROKER__HTTP__WRITE_DEADLINE": f"{UNREAD}s", "AMS_BROKER__HTTP__BODY_RATE": "1000000"}
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/projects/P HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /v1/projects HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# Requests that must not be understood in two ways: refused (4xx, or no answer), closed, and nothing behind them is answered.
REFUSED = {
    "Content-Length and Transfer-Encoding": POST + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "Transfer-Encoding and Content-Length": POST + CHUNKED + b"Content-Length: 6\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two Content-Lengths": POST + b"Content-Length: 0\r\nContent-Length: 34\r\n\r\n" + HIDDEN,
    "Content-Length with a sign": POST + b"Content-Length: +34\r\n\r\n" + HIDDEN,
    "negative Content-Length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "Content-Length as a list": POST + b"Content-Length: 0, 34\r\n\r\n" + HIDDEN,
    "Content-Length beyond all numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + HIDDEN,
    "Content-Length that is none": POST + b"Content-Length: 0x22\r\n\r\n" + HIDDEN,
    "Transfer-Encoding twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "Transfer-Encoding that is not known": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "Transfer-Encoding with a tab for its end": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a blank before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded header": POST + b"X-Folded: a\r\n Content-Length: 34\r\n\r\n" + HIDDEN,
    "a first header with a blank before it": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n" + HIDDEN,
    "a chunk of negative size": POST + CHUNKED + b"\r\n-1\r\n" + HIDDEN,
    "a chunk size in another notation": POST + CHUNKED + b"\r\n0x0\r\n\r\n" + HIDDEN,
    "a chunk size beyond all numbers": POST + CHUNKED + b"\r\nfffffffffffffffff\r\n" + HIDDEN,
    "a chunk that does not end": POST + CHUNKED + b"\r\n3\r\nabcXX0\r\n\r\n" + HIDDEN,
    "a NUL in a header": GET + b"X-Nul: a\0b\r\n\r\n" + HIDDEN,
    "a carriage return in a header": GET + b"X-Cr: a\rContent-Length: 34\r\n\r\n" + HIDDEN,
    "a NUL in the target": b"GET /v1/\0 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "a header of 1 MiB": GET + b"X-Long: " + b"a" * (1 << 20) + b"\r\n\r\n" + HIDDEN,
    "a target of 1 MiB": b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "a thousand headers": GET + b"".join(b"X-%d: a\r\n" % i for i in range(1000)) + b"\r\n" + HIDDEN,
    "HTTP/0.9": b"GET /v1/projects\r\n\r\n" + HIDDEN,
    "HTTP/1.1 misspelt": b"GET /v1/projects HTTP/1.1x\r\nHost: a\r\n\r\n" + HIDDEN,
    "HTTP/3.7": b"GET /v1/projects HTTP/3.7\r\nHost: a\r\n\r\n" + HIDDEN,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "the beginning of TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "noise": bytes(range(256)) * 8 + b"\r\n\r\n",
}
# Odd and lawful: answered once, with one of these.
ANSWERED = {
    "chunks with extensions": (POST + CHUNKED + b"Connection: close\r\n\r\n2;a=b;c\r\n{}\r\n0;d\r\n\r\n", {401}),
    "lines that end in LF alone": (b"GET /v1/projects HTTP/1.1\nHost: a\nConnection: close\n\n", {400, 401}),
    "HTTP/1.0": (b"GET /v1/projects HTTP/1.0\r\n\r\n", {401}),
    "an upgrade to HTTP/2": (GET + b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", {401}),
    "a body of a GET": (GET + b"Content-Length: 34\r\nConnection: close\r\n\r\n" + HIDDEN, {401}),
    "an absolute target": (b"GET http://a/v1/projects HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", {401}),
    "an asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", {400, 404}),
    "a method of no meaning": (b"BREW /v1/projects HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", {404}),
}


class Target:
    """Where it listens, with and without TLS."""

    def __init__(self, ams: Ams) -> None:
        plain = re.search(r"plain API http://([^\s:]+):(\d+)", ams.output)
        self.plain = (plain[1], int(plain[2]))
        host, _, port = ams.endpoint.rpartition(":")
        self.tls = (host, int(port))
        self.token = ams.admin_token.encode()

    def connect(self, tls: bool = False) -> socket.socket:
        return socket.create_connection(self.tls if tls else self.plain, timeout=30)


def drain(connection: socket.socket, seconds: float) -> tuple[bytes, bool]:
    """What comes until the other side closes, and whether it does in time."""
    got, until = bytearray(), time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            piece = connection.recv(1 << 16)
        except TimeoutError:
            return bytes(got), False
        except OSError:  # reset
            return bytes(got), True
        if not piece:
            return bytes(got), True
        got += piece
    return bytes(got), False


def ask(target: Target, request: bytes, seconds: float, tls: bool = False) -> tuple[list[int], bool, float]:
    """The statuses that come back, whether the connection was closed, and when."""
    began = time.monotonic()
    with target.connect(tls) as connection:
        try:
            connection.sendall(request)
        except OSError:
            pass  # refused before all of it was read
        got, closed = drain(connection, seconds)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", got)]
    return statuses, closed, time.monotonic() - began


class GoodClient:
    """Asks over TLS all the while; what the worst answer was."""

    def __init__(self, ams: Ams) -> None:
        self._session, self.slowest, self.answers, self.bad = ams.session(), 0.0, 0, []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            try:
                status = self._session.call("GET", "/v1/status", timeout=10).status_code
                if status != 200:
                    self.bad.append(status)
            except OSError as error:  # every failure of requests is one
                # A connection that idled for its time may end just when it is used: once more.
                if time.monotonic() - began > 1:
                    self.bad.append(repr(error))
            self.answers += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            self._end.wait(0.05)

    def stop(self) -> None:
        self._end.set()
        self._thread.join(15)


def trickle(target: Target, first: bytes, piece: bytes, every: float, most: float, tls: bool = False) -> float:
    """Sends `first`, then piece after piece; seconds until the other side closed or refused, at most `most`."""
    with target.connect(tls) as connection:
        connection.sendall(first)
        began = time.monotonic()
        connection.settimeout(every)
        while time.monotonic() - began < most:
            try:
                if not connection.recv(1 << 16):
                    break
            except TimeoutError:
                try:
                    connection.sendall(piece)
                except OSError:
                    break
            except OSError:
                break
        return time.monotonic() - began


def slow(checks: Checks, target: Target) -> None:
    """Those who take their time, each in a thread: they wait together."""
    taken: dict[str, tuple[float, float]] = {}

    def timed(name: str, bound: float, act, *arguments: object) -> threading.Thread:
        def run() -> None:
            taken[name] = (act(*arguments, bound + SLACK), bound)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def silent(tls: bool, most: float) -> float:
        with target.connect(tls) as connection:
            began = time.monotonic()
            drain(connection, most)
            return time.monotonic() - began

    def trickled(first: bytes, piece: bytes, tls: bool, most: float) -> float:
        return trickle(target, first, piece, 0.3, most, tls)

    whole = b"GET /v1/status HTTP/1.1\r\nHost: a\r\nx-api-key: " + target.token + b"\r\n\r\n"
    body = POST + b"x-api-key: " + target.token + b"\r\nContent-Length: 5000\r\n\r\n{"
    chunks = POST + b"x-api-key: " + target.token + b"\r\n" + CHUNKED + b"\r\n"
    threads = [
        timed("a connection without a request", HEAD, silent, False),
        timed("a TLS connection without a greeting", HEAD, silent, True),
        timed("a head that trickles", HEAD, trickled, GET + b"X-Slow: ", b"x", False),
        timed("a second head that trickles", IDLE + HEAD, trickled, whole + GET + b"X-Slow: ", b"x", False),
        timed("a second head that trickles, begun late", IDLE + HEAD, trickled, whole, b"G", False),
        timed("a TLS greeting that trickles", HEAD, trickled, b"\x16\x03\x01\x02\x00", b"\x01", True),
        timed("an idle connection", IDLE, trickled, whole, b"", False),
        timed("a body that trickles", BODY, trickled, body, b" ", False),
        timed("a stranger's body in chunks that trickles", BODY, trickled, POST + CHUNKED + b"\r\n", b"1\r\n \r\n", False),
        timed("a body of OPTIONS that trickles", BODY, trickled, b"OPTIONS / HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n",
              b"1\r\n \r\n", False),
        timed("a body in chunks that trickles", BODY, trickled, chunks, b"1\r\n \r\n", False),
    ]
    for thread in threads:
        thread.join(60)
    for name, (seconds, bound) in taken.items():
        with checks.check(f"sockets: {name} is ended within {bound} s"):
            expect(seconds < bound + SLACK, f"still open after {seconds:.1f} s")
    equal(len(taken), len(threads), "all ended")


def never_read(target: Target) -> None:
    """An answer larger than all buffers, none of which is read."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(target.plain)
        connection.sendall(b"GET /v1/projects/P/topics/t:read?maxMessages=1000 HTTP/1.1\r\nHost: a\r\nx-api-key: "
                           + target.token + b"\r\n\r\n")
        time.sleep(UNREAD + SLACK)
        got, closed = drain(connection, 10)
        length = int(re.search(rb"(?i)content-length: (\d+)", got)[1])
        expect(length > 20 << 20, f"an answer of {length} bytes shows nothing")
        expect(closed and len(got) < length, f"{len(got)} of {length} bytes came, closed: {closed}")


def pipelined(target: Target) -> None:
    one = b"GET /v1/status HTTP/1.1\r\nHost: a\r\nx-api-key: " + target.token + b"\r\n\r\n"
    last = one[:-2] + b"Connection: close\r\n\r\n"
    with target.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(one * (PIPELINED - 1) + last,), daemon=True)
        sender.start()
        got, closed = drain(connection, 30)
        sender.join(5)
    equal((len(re.findall(rb"HTTP/1\.1 200 ", got)), closed), (PIPELINED, True), "answers")


def run(checks: Checks, binary: Path, folder: Path) -> None:
    ams = Ams(binary, folder / "sockets", folder / "sockets.log", environment=SETTINGS).wait_ready()
    good = None
    try:
        session = ams.session()
        session.good("POST", "/v1/projects/P", {})
        session.good("PUT", "/v1/projects/P/topics/t")
        for _ in range(8):
            session.good("POST", "/v1/projects/P/topics/t:publish", {"messages": [{"data": "QUJD" * 1_000_000}]})
        target, good = Target(ams), GoodClient(ams)
        for name, request in REFUSED.items():
            with checks.check(f"sockets: {name}: refused, closed, nothing behind it is answered"):
                statuses, closed, took = ask(target, request, HEAD + SLACK)
                expect(len(statuses) <= 1, f"answers {statuses}")
                expect(all(400 <= status < 500 or status == 505 for status in statuses), f"answers {statuses}")
                expect(closed, f"still open after {took:.1f} s, answers {statuses}")
        for name, (request, lawful) in ANSWERED.items():
            with checks.check(f"sockets: {name}: answered once"):
                statuses, closed, took = ask(target, request, HEAD + SLACK)
                expect(len(statuses) == 1 and statuses[0] in lawful, f"answers {statuses}, not one of {lawful}")
                expect(closed, f"still open after {took:.1f} s")
        with checks.check("sockets: whoever speaks no TLS on the TLS port is dropped"):
            for noise in (HIDDEN, bytes(1000), bytes.fromhex("16030100ff") + bytes(255), b"\x80" * 64):
                statuses, closed, took = ask(target, noise, HEAD + SLACK, tls=True)
                equal((statuses, closed), ([], True), f"{noise[:16]!r} after {took:.1f} s")
        with checks.check("sockets: HTTP/2 is not agreed to"):
            context = ssl.create_default_context(cafile=ams.ca)
            context.set_alpn_protocols(["h2", "http/1.1"])
            with target.connect(tls=True) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
                equal(connection.selected_alpn_protocol(), "http/1.1")
        with checks.check(f"sockets: {PIPELINED} requests at once on one connection, each is answered"):
            pipelined(target)
        slow(checks, target)
        with checks.check(f"sockets: who reads nothing of an answer is dropped within {UNREAD} s"):
            never_read(target)
        with checks.check("sockets: a good client was served all along"):
            good.stop()
            checks.figure("sockets: slowest answer to a good client, s", round(good.slowest, 2))
            equal(good.bad, [], "answers")
            expect(good.answers > 50 and good.slowest < 2, f"{good.answers} answers, slowest {good.slowest:.2f} s")
            equal(ams.terminate(15)[0], 0, ams.tail())
    finally:
        if good:
            good.stop()
        ams.kill()
