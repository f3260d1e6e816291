"""The statement of a release: what its tag says, as the bytes that are signed.

Model, version and commit stand in it, so that a signature holds for one version on one commit only.
"""

from __future__ import annotations

import json
from typing import Any

from mainline.registry import Version

SCHEMA = "release/1"
FILE = "release.json"
# Who signed is known only after the signing; it is checked against the signature itself.
LEFT_OUT = ("Signed-By",)


def of(version: Version) -> dict[str, Any]:
    """The statement of `version`, from its tag alone: schema, model, version, commit, trailers."""
    trailers = {k: v for k, v in version.trailers.items() if k not in LEFT_OUT}
    return {
        "schema": SCHEMA,
        "model": version.model,
        "version": version.name,
        "commit": version.commit,
        **trailers,
    }


def content(statement: dict[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8; the same statement gives the same bytes."""
    text = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")
