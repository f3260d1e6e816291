"""What the tests of the monitor share."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import toy


@pytest.fixture
def make_production(tmp_path: Path):
    """A function that makes a small production in a new folder; see `toy.make`."""
    return functools.partial(toy.make, tmp_path)
