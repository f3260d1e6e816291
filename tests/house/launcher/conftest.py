"""A small checkout: the launcher, the modules that set up, and locks of one tiny local package."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tools

ROOT = Path(__file__).resolve().parents[3]
MODULES = ("__init__", "alone", "environment", "errors", "install", "progress")
MAIN = """\
import json, os, sys, tiny
if "exit" in sys.argv[1:]:
    sys.exit(int(sys.argv[-1]))
from importlib.util import find_spec
print(json.dumps({"words": sys.argv[1:], "tiny": tiny.VERSION, "prefix": sys.prefix,
                  "dev": find_spec("tinydev") is not None, "env": dict(os.environ)}))
"""
# A uv that notes each call and, while the file `hold` is there, dawdles over an installation.
UV = """\
#!/bin/sh
echo "$*" >> '{log}'
if [ "$1" = pip ]; then
  touch '{log}.reached'
  while [ -e '{hold}' ]; do sleep 0.05; done
fi
exec '{uv}' "$@"
"""


def wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of one module `name` with a console script of the same name."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n\n\ndef main():\n    print(VERSION)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = [f"{info}/RECORD,,"]
    for place, text in files.items():
        raw = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record.append(f"{place},sha256={raw.rstrip('=')},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join(record) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in files.items():
            archive.writestr(place, text)
    return path


class Checkout:
    """A folder with a launcher, its own folder of programs for PATH, and a uv that is watched."""

    def __init__(self, root: Path, work: Path) -> None:
        self.root, self.work, self.bin = root, work, work / "bin"
        self.log, self.hold = work / "uv.log", work / "hold"
        self.venv = root / ".venv"
        self.started: list[subprocess.Popen[str]] = []
        (root / "src" / "mainline").mkdir(parents=True)
        self.bin.mkdir(exist_ok=True)
        shutil.copy2(ROOT / "mainline", root / "mainline")
        for module in MODULES:
            shutil.copy2(ROOT / f"src/mainline/{module}.py", root / f"src/mainline/{module}.py")
        (root / "src/mainline/__main__.py").write_text(MAIN)
        self.lock("1.0")
        self.lock("1.0", "tinydev", "requirements-dev.txt")
        for program in ("git", "sh", "sleep", "touch"):
            self.program(program, shutil.which(program))
        self.with_uv()

    def program(self, name: str, target: str | Path | None) -> None:
        """Let PATH find `target` under `name`."""
        assert target is not None
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).symlink_to(target)

    def with_uv(self) -> None:
        """Put the watched uv on PATH."""
        text = UV.format(log=self.log, hold=self.hold, uv=tools.uv())
        (self.bin / "uv").write_text(text)
        (self.bin / "uv").chmod(0o755)

    def without_uv(self) -> None:
        """Take uv off PATH."""
        (self.bin / "uv").unlink()

    def lock(self, version: str, name: str = "tiny", lock: str = "requirements.txt") -> None:
        """Make `lock` name this version of the package `name`, by place and hash.

        Versions that follow each other in one environment should differ in length, or Python
        takes its bytecode of the one for that of the other (same size, same second).
        """
        package = wheel(self.work, name, version)
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        (self.root / lock).write_text(f"{name} @ {package.as_uri()} --hash=sha256:{digest}\n")

    def environ(self, **more: str) -> dict[str, str]:
        """A process environment in which only the folder of programs is on PATH."""
        kept = ("HOME", "LANG", "TMPDIR", "PIP_CERT", "SSL_CERT_FILE")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        kept_too = {n: v for n, v in os.environ.items() if n.startswith(("PIP_", "UV_"))}
        return {**env, **kept_too, "PATH": str(self.bin), **more}

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start `mainline WORDS` in a process group of its own."""
        child = subprocess.Popen(
            [base_python(), str(self.root / "mainline"), *words], cwd=self.work,
            env=self.environ(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding="utf-8", start_new_session=True, preexec_fn=tools.hear_control_c,
        )  # fmt: skip
        self.started.append(child)
        return child

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `mainline WORDS` to its end."""
        child = self.start(*words, **more)
        out, err = child.communicate(timeout=300)
        return subprocess.CompletedProcess(words, child.returncode, out, err)

    def told(self, *words: str, **more: str) -> dict[str, Any]:
        """What the command, which must succeed, found around it."""
        done = self.run(*words, **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def calls(self) -> int:
        """How often uv was called so far."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def wait_for_install(self) -> None:
        """Wait until a held installation has begun."""
        reached = Path(f"{self.log}.reached")
        until = time.monotonic() + 120
        while not reached.exists():
            assert time.monotonic() < until, "uv was never called"
            time.sleep(0.02)

    def end(self) -> None:
        """End everything that was started."""
        self.hold.unlink(missing_ok=True)
        for child in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()


def base_python() -> str:
    """The Python behind the one that runs the tests."""
    return getattr(sys, "_base_executable", None) or sys.executable


@pytest.fixture
def checkouts(tmp_path: Path) -> Iterator[Callable[[str], Checkout]]:
    """Make small checkouts by the names of their folders."""
    made: list[Checkout] = []

    def make(name: str) -> Checkout:
        made.append(Checkout(tmp_path / name, tmp_path))
        return made[-1]

    yield make
    for checkout in made:
        checkout.end()


@pytest.fixture
def checkout(checkouts: Callable[[str], Checkout]) -> Checkout:
    """One small checkout."""
    return checkouts("one")
