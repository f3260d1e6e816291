"""The digests that a verdict stands on: code, data, split, policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mainline import settings
from mainline.files import digest_files, digest_json, visible_files
from mainline.settings import Settings

# What decides which model comes out of a table: the dependencies of the stage `train` in dvc.yaml.
MAKING = (
    "src/project",
    "src/mainline/data",
    "src/mainline/train",
    "schema.yaml",
    "requirements.txt",
)
SECTIONS = ("model", "split", "features", "train")
# Where a commit may have changed the model, the data among it.
TRAINING = (*MAKING, "params.yaml", "data.dvc", "dvc.yaml")
POLICY = ("tests/data", "tests/model")


def code_digest(root: Path) -> str:
    """The digest of what makes a model, but the data: code, schema, lock, sections of params.yaml.

    A verdict that carries another one is of other code.
    """
    files = digest_files(_files(root, MAKING), root)
    return digest_json([files, making_sections(settings.load(root))])


def making_sections(options: Settings) -> dict[str, Any]:
    """The settings that decide which model comes out of a table."""
    sections = {name: getattr(options, name).model_dump(mode="json") for name in SECTIONS}
    sections["threshold"] = options.evaluate.threshold.model_dump(mode="json")
    sections["maturity_days"] = options.monitor.maturity_days
    return sections


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
