"""schemathesis holds the server to its own description: whatever it makes of it is answered or refused in the described form."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.conftest import Start

pytest.importorskip("schemathesis", reason="it is the judge")
# It makes a hundred requests, and the engine answers those that are right.
pytestmark = pytest.mark.slow

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)


def test_the_server_keeps_to_its_own_description(start: Start, tmp_path: Path) -> None:
    with start(most_new_tokens=2) as running:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json"),
                *("--phases", "fuzzing", "--max-examples", "40", "--seed", "1", "--request-timeout", "60"),
                *("--checks", ",".join(CHECKS), "--no-color", "--generation-database", "none"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,  # it leaves a folder of its own
            timeout=300,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "6 passed" in done.stdout
