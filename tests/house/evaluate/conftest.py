"""What the tests of evaluation share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rooms


@pytest.fixture
def room(tmp_path: Path) -> Callable[..., rooms.Room]:
    """`room(model, features, task=..., n=...)`: a trained project on made-up rows."""
    numbers = itertools.count()

    def make(*words: Any, **options: Any) -> rooms.Room:
        return rooms.on_made_up_rows(tmp_path / f"room{next(numbers)}", *words, **options)

    return make
