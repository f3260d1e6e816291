"""The commands of a rollout: a registered version is found, built, and taken through its stages."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mainline import environment, registry, settings
from mainline.compare import base as bases
from mainline.data import schema
from mainline.errors import DataError, MainlineError, RaceError, UsageError
from mainline.evaluate import evaluate, predictions
from mainline.files import digest_file, digest_tree
from mainline.register import verify
from mainline.registry import Version
from mainline.rollout import admit, host, rollout
from mainline.rollout.local import LocalTarget
from mainline.rollout.rehearse import rehearse
from mainline.rollout.spread import recorded
from mainline.rollout.steps import Place
from mainline.rollout.target import Target, opened
from mainline.serve import build
from mainline.serve.batch import json_rows
from mainline.variables import lent
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

    def difference(self, new: str, old: str | None) -> dict[str, Any] | None:
        """How both answer the same rows (first scores), which the guard must see again."""
        if old is None or old not in self.answers:
            return None
        return recorded([a[0] for a in self.answers[new]], [a[0] for a in self.answers[old]])


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
    each stage; raises PlatformError (23) where Envoy or supervisor cannot run, UsageError (2) where
    `serving/` serves what no rehearsal started, RaceError (24) where another command is at work.
    """
    options = settings.load(root)
    if options.rollout.plan != "offline":
        host.require_platform()
    version = registry.find(root, options.model.name, name)
    admit.require(root, version)
    here = LocalTarget(root / "serving")
    _require_stage(here)
    environ = {}
    if down and not os.environ.get("MAINLINE_KEY"):
        # Nobody but this rehearsal asks its services, and they are gone after it: no key is needed.
        environ["MAINLINE_KEYS"] = os.environ.get("MAINLINE_KEYS", "")
    with lent(environ):
        found = _rehearsed(root, version, here, down=down, rate=rate, told=told)
    done = StepVerdict("rollout", tuple(map(_stage_check, found)), {"model": version.digest})
    done.write(root)
    return done


def _rehearsed(
    root: Path, version: Version, here: LocalTarget, *,
    down: bool, rate: float | None, told: Told | None,
) -> list[StepVerdict]:  # fmt: skip
    """The verdicts of all stages; `down` ends what runs `here` afterwards."""
    try:
        bento = bento_of(root, version)
        stable = _stable(root, version, here, "rehearsal")
        traffic = traffic_of(root, [bento, *([stable] if stable else [])])
        assert version.digest is not None
        old = build.check(stable)["digest"] if stable else None
        return rehearse(
            root, version.name, bento, version.digest, rows=traffic.rows, expected=traffic.answers,
            rate=rate, golden=GOLDEN, connections=CONNECTIONS,
            on_progress=told, recorded=traffic.difference(version.digest, old), target=here.folder,
        )  # fmt: skip
    except RaceError:
        down = False  # what runs here is that of the other command
        raise
    finally:
        if down:
            rollout.down(root, target=here)


def _require_stage(here: Target) -> None:
    """Raise UsageError where something is served here that was not started by a rehearsal."""
    if not here.observe()["up"]:
        return
    begun = [e for e in here.history() if e.get("event") in ("first", "started")]
    if begun and begun[-1].get("by") != "rehearsal":
        raise UsageError(
            f"{here.address} serves {here.read().version}, which a rehearsal would end",
            "Rehearse in another checkout, or run `./mainline rollout down` first",
        )


def _stable(root: Path, version: Version, there: Target, by: str | None) -> Path | None:
    """The Bento that takes the traffic now; what stands at prod is started where nothing does.

    None where there is none, or where it is of another major version: its requests are others.
    """
    served = served_by(root, version.model, there)
    if served is None:
        production = registry.at_stage(root, version.model, "prod")
        if production is None or production.digest == version.digest or production.digest is None:
            return None
        if production.number[0] != version.number[0]:
            return None
        bento = bento_of(root, production)
        begun = rollout.start(root, production.name, bento, production.digest, target=there, by=by)
        if begun.verdict.status != 0:
            raise MainlineError(
                f"What stands at prod, {production.tag}, does not start: {begun.checks[-1].reason}",
                "Roll back to a version that does: `./mainline promote VERSION`",
            )
        return bento
    if served.digest == version.digest or served.number[0] != version.number[0]:
        return None
    return bento_of(root, served)


def served_by(root: Path, model: str, there: Target) -> Version | None:
    """The registered version that takes the traffic now, None where nothing does.

    Raises UsageError where that is no version known here.
    """
    now = there.read()
    if now.stable is None or not now.stable.port or not there.observe()["up"]:
        return None
    return registry.find(root, model, now.stable.version)


def _stage_check(verdict: StepVerdict) -> Check:
    """A stage's verdict as one check: its worst reason."""
    first = next((c for c in verdict.checks if c.verdict is verdict.verdict), None)
    name = verdict.step.removeprefix("rollout-")
    reason = first.reason if first else verdict.skipped or "nothing was measured"
    return Check(
        name, verdict.verdict, f"{name}: {reason}", n=first.n if first else None, scope=name
    )


def begin(
    root: Path,
    name: str,
    *,
    supersede: bool = False,
    revert: bool = False,
    target: Place = None,
    say: Callable[[str], None] | None = None,
) -> StepVerdict:
    """`mainline rollout start`: the version beside the stable one, without traffic yet.

    Live requests have no offline answers, so the guard holds the shadow's paired difference against
    the one that both versions show on held-out rows; a few of those rows are asked before anything
    else. `revert` is for a model that was healthy in production before. Whatever is wrong with the
    version is said before traffic is touched; the rest as in `rollout.start`.
    """
    options = settings.load(root)
    version = registry.find(root, options.model.name, name)
    admit.require(root, version)
    with opened(target, root) as there:
        if isinstance(there, LocalTarget) and options.rollout.plan != "offline":
            host.require_platform()
        admit.require_turn(root, version, there.read(), revert)
        served = served_by(root, version.model, there)
        plan = admit.plan_of(root, version, served, options.rollout.plan, revert)
        bento = bento_of(root, version)
        offline = options.rollout.plan == "offline"
        stable = None if offline else _stable(root, version, there, None)
        traffic = traffic_of(root, [bento, *([stable] if stable else [])])
        assert version.digest is not None
        old = str(build.check(stable)["digest"]) if stable else None
        return rollout.start(
            root, version.name, bento, version.digest, target=there, supersede=supersede,
            recorded=traffic.difference(version.digest, old), golden=traffic.rows[:GOLDEN],
            answers=traffic.answers[version.digest][:GOLDEN], plan=plan, say=say,
        )  # fmt: skip
