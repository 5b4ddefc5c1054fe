"""One line a check, and what failed, in the end."""

import json
import sys
import time
import traceback
from contextlib import contextmanager


class Failed(Exception):
    """A check did not hold."""


def expect(condition: object, what: str) -> None:
    """Fails the check unless `condition` holds."""
    if not condition:
        raise Failed(what)


def equal(got: object, wanted: object, what: str = "") -> None:
    """Fails the check unless both are equal; shows both."""
    if got != wanted:
        raise Failed(f"{what}: got {got!r}, wanted {wanted!r}")


class Checks:
    """Runs checks, prints them, remembers figures for the report."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.figures: dict[str, object] = {}

    @contextmanager
    def check(self, name: str):
        """A check: its line is printed when the block ends. A failure does not stop the next one."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:  # a check may fail in any way; all of them are failures
            self.failed.append(name)
            print(f"FAILED  {name}  ({time.monotonic() - began:.2f} s)\n        {error}", flush=True)
            if not isinstance(error, Failed):
                traceback.print_exc(file=sys.stdout)
        else:
            self.passed += 1
            print(f"ok      {name}  ({time.monotonic() - began:.2f} s)", flush=True)

    def figure(self, name: str, value: object) -> None:
        """A measured value, for people and for the report."""
        self.figures[name] = value
        print(f"        {name}: {value}", flush=True)

    def save(self, path) -> None:
        """The report as JSON."""
        report = {"passed": self.passed, "failed": self.failed, "figures": self.figures}
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def wait_for(what: str, seconds: float, probe, every: float = 0.2):
    """Polls `probe` until it answers something true, which is returned; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            answer = probe()
            if answer:
                return answer
            last = answer
        except Exception as error:  # not ready yet
            last = error
        if time.monotonic() > deadline:
            raise Failed(f"no {what} within {seconds:.0f} s (last: {last!r})")
        time.sleep(every)
