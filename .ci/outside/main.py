"""Proves the built binary from outside:  main.py BINARY [--report DIR] [--only PART,...]

Parts: tour library contract canary stall incident edges overload sockets schemathesis. Real curl, argo-ams-library, SMTP server and Prometheus; a
temporary directory for everything; only what was started here is ended. Exit 1 if any check fails.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"

import canary
import contract
import edges
import fuzz
import incident
import library
import openapi
import overload
import readme
import sockets
import stall
import tour
from checks import Checks
from house import Ams, MailSink, Prometheus

PARTS = ("tour", "library", "contract", "canary", "stall", "incident", "edges", "overload", "sockets", "schemathesis")
ROOT = Path(__file__).resolve().parent.parent.parent


def guarded(checks: Checks, part: str, function, *arguments: object) -> None:
    """A part that ends early is a failure of its own; the other parts still run."""
    with checks.check(f"{part}: ran to its end"):
        function(*arguments)


def one_house(checks: Checks, binary: Path, folder: Path, parts: list[str]) -> None:
    """Tour, library and stall share one running AMS, so the figures at the end are of a lived-in one."""
    sink = MailSink()
    ams = prometheus = None
    try:
        ams = Ams(binary, folder / "ams-data", folder / "ams.log", environment=stall.environment(sink)).wait_ready()
        checks.figure("first start to ready, s", round(ams.ready_after, 3))
        prometheus = Prometheus(ams.metrics.removeprefix("http://"), ROOT / "dashboards/prometheus/rules.yml",
                                folder / "prometheus")
        if "tour" in parts:
            guarded(checks, "tour", tour.run, checks, ams)
            guarded(checks, "README", readme.run, checks, ams, ROOT)
            guarded(checks, "openapi", openapi.run, checks, ams)
        if "edges" in parts:
            guarded(checks, "second process", edges.run_second, checks, binary, ams)
        if "stall" in parts:
            guarded(checks, "stall", stall.run, checks, ams, sink, prometheus, binary, ROOT)
        if "library" in parts:
            guarded(checks, "library", library.run, checks, ams)
    finally:
        for program in (prometheus, sink):
            if program:
                program.stop()
        if ams:
            ams.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--only", default=",".join(PARTS))
    options = parser.parse_args()
    parts = options.only.split(",")
    if set(parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    checks, binary = Checks(), options.binary.resolve()
    with tempfile.TemporaryDirectory(prefix="ams-outside-") as name:
        folder = Path(name)
        if {"tour", "library", "stall"} & set(parts):
            guarded(checks, "house", one_house, checks, binary, folder, parts)
        if "contract" in parts:
            guarded(checks, "contract", contract.run, checks, binary, folder, ROOT)
        if "canary" in parts:
            guarded(checks, "canary", canary.run, checks, binary, folder)
        if "incident" in parts:
            guarded(checks, "incident", incident.run, checks, binary, folder)
        if "edges" in parts:
            guarded(checks, "edges", edges.run, checks, binary, folder)
        if "overload" in parts:
            guarded(checks, "overload", overload.run, checks, binary, folder)
        if "sockets" in parts:
            guarded(checks, "sockets", sockets.run, checks, binary, folder)
        if "schemathesis" in parts:
            guarded(checks, "schemathesis", fuzz.run, checks, binary, folder)
        if options.report:
            options.report.mkdir(parents=True, exist_ok=True)
            checks.save(options.report / "report.json")
            for log in folder.glob("*.log"):
                (options.report / log.name).write_bytes(log.read_bytes())
    print(f"\n{checks.passed} checks passed, {len(checks.failed)} failed")
    for name in checks.failed:
        print(f"  FAILED  {name}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
