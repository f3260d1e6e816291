"""The digests that a verdict stands on: code, data, split, policy."""

from __future__ import annotations

from pathlib import Path

from mainline.files import digest_files, digest_json, visible_files

CODE = ("src", "params.yaml", "schema.yaml", "dvc.yaml", "requirements.txt")
TRAINING = ("src", "params.yaml", "schema.yaml", "data.dvc", "dvc.yaml", "requirements.txt")
POLICY = ("tests/data", "tests/model")


def code_digest(root: Path) -> str:
    """The digest of everything that decides what a model is, but the data."""
    return digest_files(_files(root, CODE), root)


def policy_digest(root: Path, gate: object, salt: str) -> str:
    """The digest of what a pull request may not loosen: limits, split salt, the two test folders.

    `gate` is the `gate` section as plain data.
    """
    return digest_json([gate, salt, digest_files(_files(root, POLICY), root)])


def lock_digest(root: Path) -> str | None:
    """The digest of `requirements.txt`; None where there is none."""
    lock = root / "requirements.txt"
    return digest_files([lock], root) if lock.exists() else None


def _files(root: Path, names: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        path = root / name
        found += visible_files(path) if path.is_dir() else [path]
    return [f for f in found if f.suffix != ".pyc" and f.is_file()]
