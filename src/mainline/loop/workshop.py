"""Where the loop runs: a throw-away clone, its bare remote, and the record of each step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mainline import console, throwaway
from mainline.errors import MainlineError
from mainline.files import write_text
from mainline.git import git
from mainline.register import keygen
from mainline.register.signature import KEY

NAMES = {0: "PASS", 10: "FAIL", 11: "INCONCLUSIVE", 12: "ERROR"}
# Commands whose status is a verdict; of all others 0 means only that they worked.
JUDGES = ("pipeline", "compare", "serve --try", "gate", "verify", "monitor",
          "rollout rehearse")  # fmt: skip

# Settings of the run that the loop was started in; its own jobs have theirs.
NOT_PASSED_ON = ("MAINLINE_ROOT", "MAINLINE_LOG", "PYTHONPATH", "GITHUB_STEP_SUMMARY",
                 "GITHUB_OUTPUT", "GITHUB_REPOSITORY", "GITHUB_TOKEN")  # fmt: skip


class StoryBroken(MainlineError):
    """A step of the loop ended otherwise than its story says."""

    status = 10


@dataclass
class Step:
    """One command that was run: where, its verdict or status, how long, what it said."""

    act: str
    command: str
    where: str
    verdict: str | None
    seconds: float
    status: int
    says: str
    at: float


@dataclass
class Story:
    """Everything that the page tells."""

    began: float = field(default_factory=time.monotonic)
    acts: list[dict[str, Any]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    months: list[dict[str, Any]] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    retrain: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The story as plain data."""
        kept = {k: v for k, v in self.__dict__.items() if k not in ("began", "steps")}
        return {**kept, "steps": [asdict(s) for s in self.steps]}


class Workshop:
    """A throw-away repository made of what is committed in `source`, with a bare remote."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder = source, folder
        self.remote, self.work = folder / "remote.git", folder / "work"
        self.feed, self.log, self.labels = folder / "feed", folder / "log", folder / "labels"
        self.signing: dict[str, str] = {}  # what the workflow's secret would be
        self.story = Story()
        self._children: set[subprocess.Popen[str]] = set()
        self._print = threading.Lock()

    def found(self) -> None:
        """Make the repository and its remote from HEAD of `source`."""
        git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        throwaway.found(self.source, self.work, "loop")
        git(self.work, "remote", "add", "origin", str(self.remote))
        self._sign_versions()
        self.commit(self.work, f"Start from {git(self.source, 'rev-parse', 'HEAD')[:12]}")
        git(self.work, "push", "--quiet", "--set-upstream", "origin", "main")

    def _sign_versions(self) -> None:
        """A pair of keys: what nobody signed is not released from here."""
        made = keygen.run(self.work, self.folder / "signing.pem")
        path = self.work / "params.yaml"
        text = path.read_text("utf-8").replace("unsigned: allow ", "unsigned: refuse")
        write_text(path, text.replace("public_key: null", f"public_key: {made['public']}"))
        self.signing = {KEY: Path(made["private"]).read_text("utf-8")}

    def clone(self, name: str, branch: str) -> Path:
        """Another clone of the remote, as a CI job has one, with the first one's DVC cache."""
        path = self.folder / name
        git(self.folder, "clone", "--quiet", "--branch", branch, str(self.remote), str(path))
        throwaway.configure(path, "loop")
        with (path / ".dvc" / "config.local").open("a", encoding="utf-8") as config:
            config.write(f"[cache]\n    dir = {self.work / '.dvc' / 'cache'}\n")
        return path

    def commit(self, clone: Path, subject: str) -> None:
        """Commit everything that is not ignored."""
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--no-verify", "-m", subject)

    # ---- steps ---------------------------------------------------------------------------------

    def act(self, name: str, title: str, text: str) -> dict[str, Any]:
        """Begin an act of the story."""
        act = {"id": name, "title": title, "text": text, "outcome": None, "expected": None}
        self.story.acts.append(act)
        with self._print:
            print(f"\n{title}\n  {text}", flush=True)
        return act

    def mainline(
        self, act: str, *words: str, cwd: Path | None = None, where: str = "main",
        expect: Sequence[int] = (0,), env: Mapping[str, str] | None = None,
    ) -> Step:  # fmt: skip
        """Run and record `./mainline WORDS`; StoryBroken on another status than expected."""
        cwd = cwd or self.work
        began = time.monotonic()
        shown = " ".join(["./mainline", *(self._short(w) for w in words)])
        status, out, err = self._call([sys.executable, str(cwd / "mainline"), *words], cwd, env)
        judged = " ".join(words).startswith(JUDGES)
        step = Step(
            act, shown, where, NAMES.get(status) if judged else None,
            round(time.monotonic() - began, 2), status,
            self._short(_says(out if out.strip() else err)),
            round(began - self.story.began, 2),
        )  # fmt: skip
        self.story.steps.append(step)
        self._tell(step)
        if status not in expect:
            tail = "\n".join((out + "\n" + err).strip().splitlines()[-15:])
            raise StoryBroken(
                f"`{shown}` in {where} ended with {status}, the story expects "
                f"{' or '.join(map(str, expect))}. It said:\n{tail}\n",
                f"The clone is kept in {self.folder} with `--keep`",
            )
        return step

    def _call(
        self, command: list[str], cwd: Path, env: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in NOT_PASSED_ON}
        variables = {**kept, "MAINLINE_VENV": sys.prefix, "MAINLINE_LABELS": str(self.labels),
                     **(env or {})}  # fmt: skip
        with subprocess.Popen(
            command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
        ) as child:  # fmt: skip
            self._children.add(child)
            try:
                out, err = child.communicate()
            finally:
                self._children.discard(child)
                if child.poll() is None:
                    child.terminate()
        return child.returncode, out, err

    def python(self, *words: str) -> None:
        """Run `python WORDS` in the clone: how the sample's months arrive."""
        status, _, err = self._call([sys.executable, *words], self.work,
                                    {"PYTHONPATH": str(self.work / "src")})  # fmt: skip
        if status != 0:
            raise StoryBroken(f"python {' '.join(words[:3])} failed: {err.strip()[-500:]}")

    def _short(self, word: str) -> str:
        return word.replace(str(self.folder) + os.sep, "../")

    def _tell(self, step: Step) -> None:
        first = (step.says.splitlines() or [""])[0]
        verdict = step.verdict or ("" if step.status == 0 else f"status {step.status}")
        with self._print:
            print(f"  {step.where:<15} {step.command:<44} {verdict:<13}{step.seconds:5.1f} s  "
                  f"{first[:90]}", flush=True)  # fmt: skip

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """Run independent jobs side by side, as CI does; returns what each returned, in order.

        The first error is raised when all have ended.
        """
        with ThreadPoolExecutor(len(calls)) as pool:
            futures = [pool.submit(call) for call in calls]
        return [future.result() for future in futures]

    def stop(self) -> None:
        """End every process that was started, those of the rollout too."""
        for child in list(self._children):
            child.terminate()
        for target in self.folder.glob("*/serving"):
            from mainline.rollout import rollout

            try:
                rollout.down(target.parent)
            except MainlineError as error:
                console.progress(f"loop: {error}")


def _says(text: str) -> str:
    """What a command printed, less the noise of DVC, at most 12 lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    quiet = ("> python", "'data.dvc' didn't")
    kept = [line for line in lines if not line.startswith(quiet)]
    # The verdict and the step's name stand beside it; what counts is the reasons below.
    kept = [line for line in kept if not (line.split("  ")[0] in NAMES.values()
                                          and len(line.split()) == 2)]  # fmt: skip
    return "\n".join(line.strip() for line in kept[:12])


@contextmanager
def opened(source: Path, keep: bool) -> Iterator[Workshop]:
    """A workshop that is cleaned up whatever happens."""
    shop = Workshop(source, Path(tempfile.mkdtemp(prefix="mainline-loop-")))
    with throwaway.cleaned(shop.folder, shop.stop, keep):
        yield shop
