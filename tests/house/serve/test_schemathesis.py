"""schemathesis over the OpenAPI document, against the service started from the built Bento."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = 10  # a path, a phase and a kind of data
# What no schema says: a prediction from the future, a label of a time to come.
UNSAID = "positive_data_acceptance"
# It holds 413 for no refusal of what is too much.
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 408, 413, 415, 422]
"""
Launch = Callable[..., AbstractContextManager[Any]]


def st(url: str, folder: Path, *more: str) -> str:
    """Run it; what it found, when it found something."""
    program = Path(sys.executable).with_name("st")
    if not program.exists():
        pytest.skip("schemathesis is not installed")
    (folder / "schemathesis.toml").write_text(CONFIG)
    done = subprocess.run(
        [str(program), "run", f"{url}/openapi.json", "--checks", "all", "--seed", "7",
         "--max-examples", str(EXAMPLES), "--request-timeout", "20", "--no-color",
         "--generation-database", "none", "--max-time", "60", *more],
        cwd=folder, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.slow
def test_what_the_document_says_is_so(launch: Launch, tmp_path: Path) -> None:
    """No 5xx; statuses, headers, types and bodies as promised; what breaks the schema is refused.

    /explain is asked for one row that works and for refusals elsewhere: it may say 503 while it
    starts.
    """
    labels = tmp_path / "labels"
    labels.mkdir()
    with launch(MAINLINE_LABELS=str(labels)) as service:
        found = st(service.url, tmp_path, "--exclude-path", "/explain", "--exclude-path",
                   "/feedback")  # fmt: skip
        if found:
            pytest.fail(found)
        found = st(service.url, tmp_path, "--include-path", "/feedback", "--exclude-checks", UNSAID)
        if found:
            pytest.fail(found)
        assert "Traceback" not in service.output, service.output[-5000:]
