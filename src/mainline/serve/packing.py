"""A Bento from files: what goes into it, and BentoML that packs it, offline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mainline import settings
from mainline.errors import DataError, SettingsError

LOCK = "requirements-serve.txt"
TEMPLATE = Path("src", "mainline", "serve", "Dockerfile.template")
# Read at the start of `bentoml`: no network, and no `uv`, which it would install for itself.
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_ENABLE_FEATURES": "no_image"}


def collect(root: Path, context: Path, options: settings.Settings) -> None:
    """Copy into `context` what the service needs and nothing else."""
    skip = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*.jinja")
    shutil.copytree(root / "src" / "mainline", context / "src" / "mainline", ignore=skip)
    for entry in (options.features.build, options.train.estimator):
        top = entry.partition(":")[0].partition(".")[0]
        package, module = root / "src" / top, root / "src" / f"{top}.py"
        if package.is_dir():
            shutil.copytree(package, context / "src" / top, ignore=skip, dirs_exist_ok=True)
        elif module.is_file():
            shutil.copy(module, context / "src")
        else:
            raise SettingsError(f"The entry point {entry!r} is not under src/", "Add it there")
    shutil.copytree(root / "models", context / "models", ignore=skip)
    for name in ("schema.yaml", "params.yaml", LOCK):
        if not (root / name).is_file():
            raise DataError(f"{name} was not found", "Restore it from Git")
        shutil.copy(root / name, context)
    # BentoML parses the lock three times, and its hashes take longer than all the rest; `lock`
    # puts them back.
    names = [line.rstrip(" \\") for line in (root / LOCK).read_text("utf-8").splitlines()]
    names = [line for line in names if not line.lstrip().startswith(("--hash", "#"))]
    (context / LOCK).write_text("\n".join([*names, ""]), "utf-8")


def write_bentofile(root: Path, context: Path, record: dict[str, Any]) -> None:
    """Write bentofile.yaml with the name and labels of `record`; SettingsError if it is broken."""
    try:
        document = yaml.safe_load((root / "bentofile.yaml").read_text("utf-8"))
        document["service"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise SettingsError("bentofile.yaml is missing or damaged", "Restore it") from error
    _write_template(context, record)
    document["name"] = record["name"]
    document["labels"] = {
        "model": record["name"],
        "version": record["version"],
        "digest": record["digest"].removeprefix("sha256:")[:12],
    }
    (context / "bentofile.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def _write_template(context: Path, record: Mapping[str, Any]) -> None:
    """Give the Dockerfile's template what its labels say."""
    path = context / TEMPLATE
    if not path.is_file():  # the code of a version from before there was one
        return
    known = {k: v for k, v in record.items() if k in ("name", "version", "digest", "commit") and v}
    said = [f"{{% set mainline__{key} = {json.dumps(value)} -%}}\n" for key, value in known.items()]
    path.write_text("".join([*said, path.read_text("utf-8")]), "utf-8")


def build(context: Path, version: str, environ: Mapping[str, str]) -> None:
    """Let BentoML pack `context` into its store; SettingsError says why it would not."""
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", str(context), "--version", version,
         "--output", "tag"],
        cwd=context, env=dict(environ), capture_output=True, text=True,
        encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SettingsError(f"BentoML could not build version {version!r}: {said[:300]}")


def lock(root: Path, bento: Path) -> None:
    """Put the lock with its hashes into a built Bento, where its image is installed from."""
    shutil.copy(root / LOCK, bento / "env" / "python" / "requirements.txt")
