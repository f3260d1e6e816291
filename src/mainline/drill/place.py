"""Where drills are held: throw-away clones of what is committed, and a process for each drill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainline import throwaway
from mainline.compare.base import lend_cache
from mainline.data.split import bucket, split_keys
from mainline.data.store import dvc, pull
from mainline.drill import rows
from mainline.drill.kinds import AS_IT_IS, WORSE, Drill, Found
from mainline.environment import WINDOWS, surroundings
from mainline.errors import MainlineError
from mainline.files import write_text
from mainline.git import git

# Beyond this many rows whole keys of the split are left out, so that a drill stays short.
MOST_ROWS = 60_000
STAGES = ("validate", "train", "evaluate")


class DrillFailed(MainlineError):
    """The drills could not be held."""

    status = 12


@dataclass
class Place:
    """A folder with the bases, the clones made from them, and the processes in them."""

    source: Path
    folder: Path
    code: Path | None = None
    children: set[subprocess.Popen[str]] = field(default_factory=set)
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self) -> str:
        """Make the clone with its data; returns a sentence where rows were left out."""
        base = self.folder / AS_IT_IS
        throwaway.found(self.source, base, "drill")
        (self.folder / "tmp").mkdir()
        lend_cache(self.source, base)
        pull(base)
        # From here on nothing is written to the cache of the checkout.
        self._own_cache(base)
        left_out = self._subsample(base)
        dvc(base, "add", "--quiet", "data")
        return left_out

    def _own_cache(self, clone: Path) -> None:
        text = '[cache]\n    dir = "{}"\n    type = copy\n'.format(self.folder / "cache")
        write_text(clone / ".dvc" / "config.local", text)

    def _subsample(self, base: Path) -> str:
        found = rows.read(base)
        if len(found.raw) <= MOST_ROWS:
            return ""
        share = MOST_ROWS / len(found.raw)
        split, rules = found.options.split, found.rules
        kind = "row" if split.kind == "time" else split.kind
        keys = split_keys(found.frame, split.model_copy(update={"kind": kind}), rules)
        # Another salt than that of the split, which would leave out whole parts.
        kept = {key: bucket("drill", key) < 1000 * share for key in keys.unique()}
        keep = keys.map(kept).to_numpy(dtype=bool)
        rows.write(base, found.raw[keep])
        return f"{int(keep.sum())} of {len(keep)} rows are used, whole keys of the split at a time"

    def train(self, name: str) -> list[Found]:
        """Train the base `name` and commit it with its lock; returns what it does not pass.

        Raises DrillFailed when its pipeline fails: then no drill would show anything.
        """
        tree = self.folder / name
        if name == WORSE:
            self._clone(AS_IT_IS, tree)
        told = self._process(tree, name)
        found = [Found(**c) for c in told.get("checks", ())]
        bad = [f.reason for f in found if f.verdict in ("FAIL", "ERROR")]
        # The worse base may fail what it likes; its model only has to be there.
        if told.get("crash") or (bad and name == AS_IT_IS) or not (tree / "models").is_dir():
            said = told.get("na") or told.get("crash") or "; ".join(bad) or "it has no model"
            raise DrillFailed(
                f"What is committed cannot be drilled: {said}", "Mend that: `./mainline check`"
            )
        with suppress(MainlineError):  # a stage after a failed one has nothing to keep
            for stage in STAGES:
                dvc(tree, "commit", "--force", "--quiet", stage)
        git(tree, "add", "--all")
        git(tree, "commit", "--quiet", "--no-verify", "--amend", "--no-edit")
        return found

    def hold(self, drill: Drill, until: str = "") -> dict[str, Any]:
        """Hold one drill in a clone of its base; returns what its process told."""
        tree = self.folder / f"drill-{drill.name}"
        shutil.rmtree(tree, ignore_errors=True)
        try:
            self._clone(drill.base, tree)
            git(tree, "checkout", "--quiet", "-b", "drill")
            return self._process(tree, drill.name, until)
        except MainlineError as error:
            return {"crash": str(error)}
        finally:
            shutil.rmtree(tree, ignore_errors=True)

    def _clone(self, name: str, target: Path) -> None:
        """A clone of a base with its data, model and reports, as copies or hard links.

        Nothing is ever written into a file: each is made anew and put in its place.
        """
        base = self.folder / name
        git(self.folder, "clone", "--quiet", str(base), str(target))
        throwaway.configure(target, "drill")
        self._own_cache(target)
        for part in ("data", "models", "reports", "build"):
            if (base / part).is_dir():
                shutil.copytree(base / part, target / part, dirs_exist_ok=True)

    def _process(self, tree: Path, name: str, until: str = "") -> dict[str, Any]:
        out = self.folder / f"{name}.json"
        out.unlink(missing_ok=True)
        words = [sys.executable, "-m", "mainline.drill.one", name, str(out)]
        with self.lock:
            if self.stopped:
                return {"crash": "stopped"}
            child = subprocess.Popen(
                [*words, until] if until else words, cwd=tree, env=self._environment(tree),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, encoding="utf-8", errors="replace", start_new_session=True,
            )  # fmt: skip
            self.children.add(child)
        try:
            _, err = child.communicate()
        finally:
            if child.poll() is not None:  # else Control-C came, and `stop` has to end it
                self.children.discard(child)
        if child.returncode == 0 and out.is_file():
            return dict(json.loads(out.read_text("utf-8")))
        lines = [line for line in err.strip().splitlines() if line.strip()]
        return {"crash": (lines or [f"ended with {child.returncode}"])[-1][:300]}

    def _environment(self, tree: Path) -> dict[str, str]:
        """Of CI nothing is passed on: a drill is no pull request, and nobody accepts it."""
        env = surroundings(tree, sys.executable)
        gone = [k for k in env if k.startswith(("GITHUB_", "GIT_DIR", "GIT_WORK", "GIT_INDEX"))
                or k in ("MAINLINE_ROOT", "MAINLINE_UNDECIDED", "DVC_STAGE")]  # fmt: skip
        for name in gone:
            del env[name]
        env["TMPDIR"] = env["TEMP"] = env["TMP"] = str(self.folder / "tmp")
        if self.code is not None:
            env["PYTHONPATH"] = os.pathsep.join([str(self.code), env["PYTHONPATH"]])
        return env

    def stop(self) -> None:
        """End every process that was started, and those that they started."""
        with self.lock:
            self.stopped = True
            for child in list(self.children):
                with suppress(ProcessLookupError):
                    if WINDOWS:
                        child.kill()
                    else:
                        os.killpg(child.pid, signal.SIGKILL)


@contextmanager
def opened(source: Path) -> Iterator[Place]:
    """A place that is cleaned up whatever happens."""
    place = Place(source, Path(tempfile.mkdtemp(prefix="mainline-drill-")))
    with throwaway.cleaned(place.folder, place.stop):
        yield place
