"""What changed since the base is found in the files themselves."""

from __future__ import annotations

from pathlib import Path

from mainline.git import git
from mainline.report.changes import (
    Change,
    collect,
    column_changes,
    data_changes,
    lock_changes,
    yaml_changes,
)


def test_parameters_are_compared_by_dotted_name() -> None:
    """Changed, new and removed keys are told; equal ones and comments are not."""
    old = "a: {b: 1, c: x}\nd: [1, 2]\ngone: true # why\n"
    new = "a: {b: 2, c: x}\nd: [1, 2] # now\nadded: [{name: s, weight: 5}]\n"
    assert yaml_changes(old, new) == (
        Change("a.b", "1", "2"),
        Change("gone", "true", None),
        Change("added.0.name", None, "s"),
        Change("added.0.weight", None, "5"),
    )


def test_a_broken_file_is_told_and_stops_nothing() -> None:
    """YAML that cannot be read is one line of the table."""
    changed = yaml_changes("a: 1\n", "a: [\n")
    assert Change("(the file)", None, "cannot be read as YAML") in changed


def test_columns_are_compared_by_name() -> None:
    """Order means nothing; what changed in a column is told, and a new one is one line."""
    old = "columns:\n  - {name: x, type: number, hard: {min: 0}}\n  - {name: y, type: text}\n"
    new = "columns:\n  - {name: y, type: text}\n  - {name: x, type: number, hard: {min: 2}}\n"
    assert column_changes(old, new) == (Change("x.hard.min", "0", "2"),)
    more = new + "  - {name: z, type: bool, hard: {}}\n"
    assert column_changes(new, more) == (Change("column z", None, "type: bool, hard: {}"),)


def test_locked_versions_are_compared() -> None:
    """Hashes, markers and extras are no change of version."""
    old = "a==1.0 \\\n    --hash=sha256:00\nb[x]==2 ; python_version < '3.12'\n"
    new = "a==1.1 \\\n    --hash=sha256:11\nb[x]==2\nc==3\n"
    assert lock_changes(old, new) == (Change("a", "1.0", "1.1"), Change("c", None, "3"))


def test_the_data_pointer_is_compared() -> None:
    """Digest, files and bytes of the data."""
    old = "outs:\n- md5: aa.dir\n  size: 1000\n  nfiles: 6\n  path: data\n"
    new = "outs:\n- md5: bb.dir\n  size: 2000\n  nfiles: 6\n  path: data\n"
    assert data_changes(old, new) == (
        Change("DVC digest", "aa.dir", "bb.dir"),
        Change("bytes", "1,000", "2,000"),
    )


def test_collect_reads_both_sides(tmp_path: Path) -> None:
    """The base comes from Git and the candidate from the files, whatever they are called."""
    git(tmp_path, "init", "-q")
    (tmp_path / "params.yaml").write_text("a: 1\n", "utf-8")
    (tmp_path / "requirements-old.txt").write_text("x==1\n", "utf-8")
    (tmp_path / "a b|`é.py").write_text("1\n", "utf-8")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "base")
    (tmp_path / "params.yaml").write_text("a: 2\n", "utf-8")
    (tmp_path / "requirements-old.txt").unlink()
    (tmp_path / "a b|`é.py").write_text("1\n2\n", "utf-8")
    found = collect(tmp_path, git(tmp_path, "rev-parse", "HEAD"))
    assert found.parameters == (Change("a", "1", "2"),)
    assert found.locks == (("requirements-old.txt", (Change("x", "1", None),)),)
    assert found.files == (("a b|`é.py", "1", "0"),)
