"""What the tests of the registry share: a repository that can be registered at once."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for the modules beside the tests

from faked import shop

__all__ = ["shop"]
