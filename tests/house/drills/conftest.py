"""Targets to be drilled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rollout.rig import Rig, rig


@pytest.fixture(scope="module")
def module_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One target for all drills of a file, with version a live."""
    with rig(tmp_path_factory.mktemp("target")) as found:
        yield found


@pytest.fixture
def live(module_rig: Rig) -> Iterator[Rig]:
    """A target with version a live and in order, which it is again afterwards."""
    yield module_rig
    module_rig.put_in_order()
