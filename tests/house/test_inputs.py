"""The digests that a verdict stands on change with what they name, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import edit

from mainline import inputs, settings


@pytest.mark.parametrize(
    ("name", "old", "new", "changes"),
    [
        ("params.yaml", "delta: 0.03", "delta: 0.04", False),
        ("params.yaml", "max_iter: 150", "max_iter: 151", True),
        ("params.yaml", "salt: mainline-1", "salt: mainline-2", True),
        ("params.yaml", "latency_ms: 250", "latency_ms: 251", False),
        ("params.yaml", "value: 0.02}", "value: 0.03}", True),
        ("schema.yaml", "max: 20000", "max: 20001", True),
        ("src/project/features.py", "1.0 +", "2.0 +", True),
        ("dvc.yaml", "desc: the data", "desc: data", False),
    ],
)
def test_the_digest_of_the_code_is_of_what_makes_a_model(
    repository: Path, name: str, old: str, new: str, changes: bool
) -> None:
    """Code, schema, lock and the sections that train; not the gate, not the rollout."""
    before = inputs.code_digest(repository)
    edit(repository, name, old, new)
    assert (inputs.code_digest(repository) != before) is changes


def test_compiled_files_and_caches_do_not_count(repository: Path) -> None:
    """Running the tests makes no other code."""
    before = inputs.code_digest(repository)
    cache = repository / "src" / "project" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "more.pyc").write_bytes(b"x")
    assert inputs.code_digest(repository) == before


def test_the_policy_is_limits_salt_and_the_two_folders(repository: Path) -> None:
    """An edited test, another limit, another salt: another policy."""
    gate = settings.load(repository).gate.model_dump(mode="json")
    before = inputs.policy_digest(repository, gate, "s")
    assert inputs.policy_digest(repository, {**gate, "delta": 1}, "s") != before
    assert inputs.policy_digest(repository, gate, "t") != before
    (repository / "tests" / "model").mkdir(parents=True, exist_ok=True)
    (repository / "tests" / "model" / "test_more.py").write_text("")
    assert inputs.policy_digest(repository, gate, "s") != before
