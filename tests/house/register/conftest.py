"""What the tests of the registry share: a repository that can be registered at once."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for the modules beside the tests

from faked import shop  # noqa: E402 - it is beside this file

__all__ = ["shop"]
