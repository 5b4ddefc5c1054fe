"""The golden transcripts of broker/tests/contract/ against the built binary, over TLS."""

import os
import subprocess
from pathlib import Path

from checks import Checks, equal, expect
from house import Ams


def run(checks: Checks, binary: Path, folder: Path, root: Path) -> None:
    """On a server of their own: they clear it after each file."""
    ams = Ams(binary, folder / "contract", folder / "contract.log").wait_ready()
    try:
        with checks.check("every golden transcript, byte for byte, over TLS"):
            environment = os.environ | {"AMS_CONTRACT_URL": ams.https, "AMS_CONTRACT_TOKEN": ams.admin_token,
                                        "AMS_CONTRACT_CA": ams.ca}
            done = subprocess.run(
                ["cargo", "test", "--locked", "--quiet", "--workspace", "--test", "api", "--", "--ignored",
                 "--exact", "contract::every_transcript_against_an_address"],
                cwd=root, env=environment, capture_output=True, text=True, timeout=900)
            equal(done.returncode, 0, done.stdout[-4000:] + done.stderr[-2000:])
            expect("1 passed" in done.stdout, done.stdout)
    finally:
        ams.kill()
