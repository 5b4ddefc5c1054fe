"""The README's tour, copied from the page and run as it stands (only the ports are replaced)."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

from checks import Checks, Failed, equal, expect
from house import Ams, clean_environment


def block(page: str, language: str, heading: str) -> str:
    """The first block of that language below the heading."""
    _, found, rest = page.partition(f"\n{heading}\n")
    match = re.search(rf"^```{language}\n(.*?)^```$", rest, re.MULTILINE | re.DOTALL)
    if not found or not match:
        raise Failed(f"README has no {language} block below {heading!r}")
    return match[1]


def here(ams: Ams, text: str) -> str:
    """With the ports of the running house."""
    return text.replace("localhost:8443", ams.endpoint).replace("localhost:9464", ams.metrics.removeprefix("http://"))


def bodies(output: str) -> list[dict]:
    """The JSON objects in the output of the tour."""
    found, decoder, at = [], json.JSONDecoder(), 0
    while (at := output.find("{", at)) >= 0:
        value, end = decoder.raw_decode(output[at:])
        found.append(value)
        at += end
    return found


def run(checks: Checks, ams: Ams, root: Path) -> None:
    """Shell block, then the Python block; both in the directory that holds ./ams-data."""
    folder = ams.data.parent
    with checks.check("README: the tour's shell block does what it says"):
        page = (root / "README.md").read_text(encoding="utf-8")
        script = here(ams, block(page, "bash", "## Tour"))
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True,
                              timeout=60, env=clean_environment({"NO_PROXY": "localhost,127.0.0.1"}))
        equal(done.returncode, 0, done.stdout + done.stderr)
        answers = bodies(done.stdout)
        errors = [answer for answer in answers if "error" in answer]
        equal(errors, [], "errors")
        expect({"messageIds": ["0"]} in answers, f"nothing was published:\n{done.stdout}")
        pulled = [a["receivedMessages"] for a in answers if "receivedMessages" in a]
        expect(pulled and len(pulled[0]) == 1, f"nothing was pulled:\n{done.stdout}")
        expect(base64.b64decode(pulled[0][0]["message"]["data"]), "no data")
        expect(any("asOf" in answer for answer in answers), "no verdicts")
    with checks.check("README: the tour's Python block does what it says"):
        program = here(ams, block((root / "README.md").read_text(encoding="utf-8"), "python", "## Tour"))
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60,
                              env=clean_environment({"REQUESTS_CA_BUNDLE": "ams-data/tls/ca.pem",
                                                     "NO_PROXY": "localhost,127.0.0.1"}))
        equal(done.returncode, 0, done.stdout + done.stderr)
        expect("from Python" in done.stdout, f"nothing was pulled:\n{done.stdout}")
