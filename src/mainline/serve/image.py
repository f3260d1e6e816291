"""The image of a Bento: its Dockerfile held against our own rules, and built where that works.

The rules are asked whether there is a Docker or not, so that a machine without one says before the
release what a release would stumble over.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainline.errors import DataError, PlatformError
from mainline.serve import build

FILE = Path("env", "docker", "Dockerfile")
TOOLS = ("docker", "podman")
PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:\d+\.\d+\.\d+(-[a-z0-9.]+)*$")
# Packages that bring a compiler, headers or a way to fetch more.
COMPILERS = re.compile(
    r"\b(build-essential|gcc|g\+\+|clang|make|cmake|gfortran|rustc|cargo|golang|[\w.-]+-dev|curl"
    r"|wget|git|gnupg2?)\b"
)
SECRET = re.compile(r"key|token|secret|passw", re.IGNORECASE)
VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass
class Stage:
    """One FROM and what follows it: instructions as (name, text)."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The texts of its instructions of one name."""
        return [text for found, text in self.instructions if found == name]


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile, with the defaults of its ARGs put in their place."""
    stages: list[Stage] = []
    defaults: dict[str, str] = {}
    for name, rest in _instructions(text):
        if name == "FROM":
            words = rest.split()
            base = VARIABLE.sub(lambda m: defaults.get(m[1], m[0]), words[0])
            stages.append(Stage(base, words[2] if len(words) == 3 else str(len(stages))))
        elif stages:
            stages[-1].instructions.append((name, rest))
        elif name == "ARG":
            key, _, value = rest.partition("=")
            defaults[key] = value
    return stages


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        yield name.upper(), rest.strip()


def faults(bento: Path) -> list[str]:
    """What is wrong with the image of a built Bento: sentences, none where it keeps our rules."""
    try:
        stages = parse((bento / FILE).read_text("utf-8"))
    except OSError:
        return [f"{FILE.as_posix()} is missing"]
    if not stages:
        return [f"{FILE.as_posix()} has no FROM"]
    found = [fault for stage in stages for fault in _of_stage(bento, stage, stages)]
    return [*found, *_of_last(stages[-1]), *_of_lock(bento)]


def _of_stage(bento: Path, stage: Stage, stages: list[Stage]) -> Iterator[str]:
    if stage.base not in {s.name for s in stages} and not PINNED.search(stage.base):
        yield f"The base {stage.base!r} is not pinned by a full version or a digest"
    for text in stage.all("RUN"):
        if tools := COMPILERS.search(text):
            yield f"RUN installs or uses {tools[0]!r}"
        if re.search(r"\bpip\b.*\binstall\b", text) and not (
            "--require-hashes" in text and "--only-binary :all:" in text
        ):
            yield "pip installs what no hash vouches for, or builds it"
    for _ in stage.all("ADD"):
        yield "ADD unpacks and fetches; use COPY"
    for text in (*stage.all("ENV"), *stage.all("ARG")):
        if names := [n for n in re.findall(r"(\w+)=", text) if SECRET.search(n)]:
            yield f"{names[0]} would be readable in the image"
    for text in stage.all("COPY"):
        words = text.split()
        if any(word.startswith("--from=") for word in words):
            continue
        for source in [w for w in words if not w.startswith("--")][:-1]:
            path = (bento / source).resolve()
            if not path.exists() or not path.is_relative_to(bento.resolve()):
                yield f"COPY {source}: it is not in the Bento"


def _of_last(stage: Stage) -> Iterator[str]:
    users = stage.all("USER")
    if not users or users[-1].partition(":")[0] in ("root", "0"):
        yield "It runs as root"
    if not any("CMD [" in text for text in stage.all("HEALTHCHECK")):
        yield "It has no health check, or one that needs a shell"
    if not any(text.startswith("[") for text in stage.all("ENTRYPOINT")):
        yield "Its entry point needs a shell, which keeps SIGTERM to itself"
    labels = " ".join(stage.all("LABEL"))
    for name in ("org.opencontainers.image.version", "mainline.model.digest"):
        if f"{name}=" not in labels:
            yield f"The label {name} is missing"


def _of_lock(bento: Path) -> Iterator[str]:
    lock = bento / "env" / "python" / "requirements.txt"
    if not lock.is_file() or "--hash=sha256:" not in lock.read_text("utf-8"):
        yield "The lock in the Bento has no hashes"


def run(bento: Path) -> dict[str, Any]:
    """Check the image of `bento`, and build it where a Docker or Podman answers.

    Returns image (its tag or None), faults (none) and text. Raises DataError (20) when a rule is
    broken, PlatformError (23) when the tool is there and the image cannot be built.
    """
    wrong = faults(bento)
    if wrong:
        raise DataError(f"The image of {bento.name} breaks a rule: {wrong[0]}", "Mend its template")
    record = build.check(bento)
    tag = f"{record['name']}:{record['version']}"
    tool = engine()
    if tool is None:
        text = f"No Docker or Podman answers here: the context of the image {tag} was checked only"
        return {"image": None, "faults": [], "text": text}
    done = subprocess.run(
        [tool, "build", "--file", str(bento / FILE), "--tag", tag, str(bento)],
        capture_output=True, text=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or "no message").splitlines()[-1][:300]
        raise PlatformError(f"{Path(tool).name} could not build the image {tag} ({said})")
    return {"image": tag, "faults": [], "text": f"The image {tag} is built"}


def engine() -> str | None:
    """The program that builds images here; None where there is none, or its daemon is not up."""
    for name in TOOLS:
        path = shutil.which(name)
        if path is None:
            continue
        try:
            asked = subprocess.run(
                [path, "info"],
                capture_output=True,
                timeout=20,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if asked.returncode == 0:
            return path
    return None
