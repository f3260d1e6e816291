"""The commands of a rollout: a registered version is found, built, and taken through its stages."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import environment, registry, settings
from mainline.compare import base as bases
from mainline.data import schema
from mainline.errors import DataError, MainlineError
from mainline.evaluate import evaluate, predictions
from mainline.files import digest_file, digest_tree
from mainline.register import verify
from mainline.registry import Version
from mainline.rollout import host, rollout, state
from mainline.rollout.rehearse import rehearse
from mainline.serve import build
from mainline.serve.batch import json_rows
from mainline.verdict import Check, StepVerdict, read_verdict

MOST_ROWS = 2000
GOLDEN = 5  # rows that are asked one by one before any traffic
# So many keep a batch full; a tenth of the latency objective is spent waiting for one.
CONNECTIONS = 64
Told = Callable[[str, StepVerdict], None]


@dataclass(frozen=True)
class Traffic:
    """Held-out rows to replay, and what each Bento answers to them offline, by model digest."""

    rows: list[dict[str, Any]]
    answers: dict[str, list[list[float]]]

    def difference(self, new: str, old: str | None) -> tuple[float, float] | None:
        """Mean and sd of new less old (first score), which the shadow pairs must show again."""
        if old is None or old not in self.answers:
            return None
        gap = np.array(self.answers[new])[:, 0] - np.array(self.answers[old])[:, 0]
        return float(gap.mean()), float(gap.std(ddof=1))


def bento_of(root: Path, version: Version) -> Path:
    """The built Bento of `version`, built now where it is not there.

    Its model is the registered one, byte for byte. Raises NotTrusted when the version is not what
    its tag says or nobody who is trusted signed it, DataError when the store does not have the
    model and training it again gives another.
    """
    verify.require(root, version, ask=True)
    path = root / build.HOME / "bentos" / version.model / version.name
    if path.is_dir() and build.check(path)["digest"] == version.digest:
        verify.require_bento(root, path, build.check(path))
        return path
    models = root / "models"
    if models.is_dir() and digest_tree(models) == version.digest:
        return Path(build.build(root, version.name)["path"])
    with bases.checked_out(root, bases.Base("version", version.commit, version)) as (
        tree,
        _,
        _again,
    ):
        if digest_tree(tree / "models") != version.digest:
            raise DataError(
                f"The model of {version.tag} is not in the store, and trained again it is another",
                "Push it from where it was registered: `dvc push`",
            )
        return Path(build.build(tree, version.name, out=root / build.HOME)["path"])


def build_version(root: Path, name: str | None) -> dict[str, Any]:
    """`mainline build`: the Bento of a registered version (the newest by default)."""
    version = registry.find(root, settings.load(root).model.name, name)
    path = bento_of(root, version)
    text = f"{version.tag} is built: {_beside(root, path)}"
    return {"version": version.name, "digest": version.digest, "path": str(path), "text": text}


def _beside(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def traffic_of(root: Path, bentos: list[Path]) -> Traffic:
    """Test rows as requests, and what each Bento's model answers to them offline.

    As `evaluate` left it, or else as the Bento's own code says it, in a process of its own.
    """
    rules = schema.load(root)
    frame, part = evaluate.held_out(root, settings.load(root), rules)
    frame = frame[part == "test"].head(MOST_ROWS).reset_index(drop=True)
    ids = frame[rules.row_id or schema.ROW_ID].astype(str)
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.parquet"
        frame.to_parquet(rows, index=False)
        for bento in bentos:
            digest = str(build.check(bento)["digest"])
            # Kept beside the Bento, so that stable is not asked again at every rollout.
            kept = bento / f"answers-{digest_file(rows)[7:19]}.parquet"
            if not kept.exists() and not _evaluated(root, digest, ids, kept):
                python = environment.python_for(root)
                bases.run_in(bento / "src", python, "predict", str(rows), "--out", str(kept))
            found = predictions.read(kept)
            order = pd.Index(found.frame["row_id"]).get_indexer(ids)
            answers[digest] = found.scores[order].tolist()
    features = frame[[c.name for c in rules.features]]
    return Traffic(json_rows(features, rules), answers)


def _evaluated(root: Path, digest: str, ids: pd.Series, kept: Path) -> bool:
    """Keep the answers that `evaluate` left; whether they are of this model and all these rows."""
    left = root / "reports" / "predictions.parquet"
    try:
        judged = read_verdict(root / "reports" / "verdicts" / "evaluate.json")
        found = predictions.read(left)
    except MainlineError:
        return False
    whole = judged.inputs.get("model") == digest and bool(ids.isin(found.frame["row_id"]).all())
    if whole:
        shutil.copyfile(left, kept)
    return whole


def rehearse_version(
    root: Path, name: str, *, down: bool = True, rate: float | None = None, told: Told | None = None
) -> StepVerdict:
    """`mainline rollout rehearse`: every stage against replayed held-out rows, on this machine.

    What stands at `prod` is started first where nothing runs yet. Returns one verdict, a check for
    each stage; raises PlatformError (23) where Envoy or supervisor cannot run.
    """
    host.require_platform()
    model = settings.load(root).model.name
    version = registry.find(root, model, name)
    if down and not os.environ.get("MAINLINE_KEY"):
        # Nobody but this rehearsal asks its services, and they are gone after it: no key is needed.
        os.environ.setdefault("MAINLINE_KEYS", "")
    try:
        bento = bento_of(root, version)
        stable = _stable(root, model, version)
        traffic = traffic_of(root, [bento, *([stable] if stable else [])])
        assert version.digest is not None
        old = build.check(stable)["digest"] if stable else None
        found = rehearse(
            root, version.name, bento, version.digest, rows=traffic.rows, expected=traffic.answers,
            rate=rate, golden=GOLDEN, connections=CONNECTIONS,
            on_progress=told, recorded=traffic.difference(version.digest, old),
        )  # fmt: skip
    finally:
        if down:
            rollout.down(root)
    done = StepVerdict("rollout", tuple(map(_stage_check, found)), {"model": version.digest})
    done.write(root)
    return done


def _stable(root: Path, model: str, version: Version) -> Path | None:
    """The Bento that takes the traffic now; what stands at prod is started where nothing does."""
    now = state.read(rollout.target_folder(root))
    if now.stable is not None and rollout.status(root)["up"]:
        return Path(now.stable.artifact) if now.stable.digest != version.digest else None
    production = registry.at_stage(root, model, "prod")
    if production is None or production.digest == version.digest or production.digest is None:
        return None
    bento = bento_of(root, production)
    begun = rollout.start(root, production.name, bento, production.digest, by="rehearsal")
    if begun.verdict.status != 0:
        raise MainlineError(
            f"What stands at prod, {production.tag}, does not start: {begun.checks[-1].reason}",
            "Roll back to a version that does: `./mainline promote VERSION`",
        )
    return bento


def _stage_check(verdict: StepVerdict) -> Check:
    """A stage's verdict as one check: its worst reason."""
    first = next((c for c in verdict.checks if c.verdict is verdict.verdict), None)
    name = verdict.step.removeprefix("rollout-")
    reason = first.reason if first else verdict.skipped or "nothing was measured"
    return Check(
        name, verdict.verdict, f"{name}: {reason}", n=first.n if first else None, scope=name
    )


def begin(root: Path, name: str) -> StepVerdict:
    """`mainline rollout start`: the version beside the stable one, without traffic yet.

    Live requests have no offline answers, so the guard holds the shadow's paired difference against
    the one that both versions show on held-out rows.
    """
    host.require_platform()
    model = settings.load(root).model.name
    version = registry.find(root, model, name)
    assert version.digest is not None
    bento, stable = bento_of(root, version), _stable(root, model, version)
    recorded = None
    if stable is not None:
        old = build.check(stable)["digest"]
        recorded = traffic_of(root, [bento, stable]).difference(version.digest, old)
    return rollout.start(root, version.name, bento, version.digest, recorded=recorded)
