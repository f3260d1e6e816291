"""What the house's own tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tools


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], Path]:
    """The path of a program by its name; the test is skipped, or fails if it is required."""

    def find(name: str) -> Path:
        return getattr(tools, name)()

    return find
