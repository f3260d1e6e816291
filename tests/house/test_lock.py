"""The locks agree with what `pyproject.toml` declares, and are renewed whole or not at all."""

from __future__ import annotations

import functools
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mainline import lock
from mainline.errors import MainlineError, SettingsError

ROOT = Path(__file__).resolve().parents[2]
NAMES = [entry.name for entry in lock.locks(ROOT)]
PLATFORMS = [
    {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix"},
    {"sys_platform": "linux", "platform_machine": "aarch64", "os_name": "posix"},
    {"sys_platform": "darwin", "platform_machine": "arm64", "os_name": "posix"},
    {"sys_platform": "win32", "platform_machine": "AMD64", "os_name": "nt"},
]
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
TARGETS = [
    {
        **default_environment(), **platform, "python_version": version,
        "platform_system": SYSTEMS[platform["sys_platform"]],
        "python_full_version": f"{version}.0", "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for platform in PLATFORMS
    for version in ("3.11", "3.12", "3.13", "3.14")
]  # fmt: skip
# A uv that writes its answer to the file after `-o`, or fails at the lock that FAILS names.
FAKE_UV = """\
#!/bin/sh
case "$*" in *{fails}*) echo 'no solution found' >&2; exit 1;; esac
while [ "$1" != -o ]; do shift; done
echo 'six==9.9.9' > "$2"
"""


@functools.cache
def entries(name: str) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a lock with their hashes."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        words, *hashes = re.split(r"\s+--hash=", line.strip())
        found.append((Requirement(words), hashes))
    return found


def declared(name: str) -> list[Requirement]:
    """What `pyproject.toml` asks of a lock."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    group = name.removeprefix("requirements").removesuffix(".txt").lstrip("-")
    if group == "":
        words = document["project"]["dependencies"]
    elif group == "uv":
        words = document["tool"]["mainline"]["bootstrap"]
    else:
        words = document["dependency-groups"][group]
    return [Requirement(word) for word in words]


def wanted_on(entry: Requirement, target: dict[str, str]) -> bool:
    """Whether a requirement counts on one platform and Python."""
    return entry.marker is None or entry.marker.evaluate(target)


def installed(name: str, target: dict[str, str]) -> dict[str, str]:
    """The versions that a lock installs on one platform and Python."""
    return {
        canonicalize_name(entry.name): next(iter(entry.specifier)).version
        for entry, _ in entries(name)
        if wanted_on(entry, target)
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_package_is_pinned_by_hash(name):
    """A lock holds pins with hashes and nothing else: no address, no option, no comment."""
    assert (ROOT / name).read_text().count("\n--") == 0
    for entry, hashes in entries(name):
        assert [spec.operator for spec in entry.specifier] == ["=="], entry
        assert entry.url is None
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in hashes), entry


@pytest.mark.parametrize("name", NAMES)
def test_lock_satisfies_the_declaration(name):
    """On each supported platform and Python a lock has what is declared, and once."""
    for target in TARGETS:
        have = installed(name, target)
        for wanted in declared(name):
            if wanted_on(wanted, target):
                version = have.get(canonicalize_name(wanted.name))
                assert version is not None, f"{wanted} on {target['sys_platform']}"
                assert wanted.specifier.contains(version, prereleases=True), wanted
        assert len(have) == sum(wanted_on(entry, target) for entry, _ in entries(name))


@pytest.mark.parametrize("name", ["requirements-serve.txt", "requirements-dev.txt"])
def test_locks_agree_on_what_they_share(name):
    """A package of several locks has one version, so that the image runs what was proved."""
    for target in TARGETS:
        first, other = installed("requirements.txt", target), installed(name, target)
        assert {p: first[p] for p in first.keys() & other.keys()} == {
            p: other[p] for p in first.keys() & other.keys()
        }


def test_serving_is_lean():
    """The image holds what predicts and what serves, not what trains, reports or versions."""
    have = installed("requirements-serve.txt", TARGETS[0])
    assert not have.keys() & {
        "dvc",
        "gto",
        "evidently",
        "matplotlib",
        "copier",
        "pytest",
        "pandera",
    }
    assert len(have) <= 90


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the declarations and locks, and a uv that a test may make fail."""

    def make(fails: str = "nothing-fails") -> Path:
        root = tmp_path / "project"
        root.mkdir()
        for name in ["pyproject.toml", *NAMES]:
            shutil.copy2(ROOT / name, root)
        uv = tmp_path / "uv"
        uv.write_text(FAKE_UV.format(fails=fails))
        uv.chmod(0o755)
        monkeypatch.setattr(lock, "find_uv", lambda beside: str(uv))
        return root

    return make


def test_renewing_tells_what_changed(project):
    """Each lock is replaced, and each changed pin is told."""
    root = project()
    changes = lock.run(root)
    assert {(root / name).read_text() for name in NAMES} == {"six==9.9.9\n"}
    assert "requirements-uv.txt: six - -> 9.9.9" in changes
    assert any(line.startswith("requirements.txt: dvc 3") for line in changes)


def test_unsolvable_group_changes_no_lock(project):
    """Where one lock cannot be solved none is changed, and nothing is left beside them."""
    root = project(fails=":dev")
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    with pytest.raises(SettingsError, match=r"requirements-dev.txt cannot be solved: no solution"):
        lock.run(root)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


def test_missing_declarations_are_named(tmp_path):
    """Without a readable `pyproject.toml` the cause is named."""
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(SettingsError, match=r"pyproject\.toml cannot be read"):
        lock.locks(tmp_path)


def test_locking_without_uv_is_one_sentence(tmp_path, monkeypatch):
    """Without uv, and none to be had, the cause is named and nothing is written."""
    monkeypatch.setattr(lock, "find_uv", lambda beside: None)
    with pytest.raises(MainlineError, match="needs uv"):
        lock.run(tmp_path)
