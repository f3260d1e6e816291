"""Over twenty tables of the simulator no sound model and no harmless change is held back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small
from copies import copy_tree

from mainline import settings
from mainline.compare import judge
from mainline.compare.difference import Pair
from mainline.data import schema, validate
from mainline.drill import edits, harmless, model_faults, rows
from mainline.evaluate import evaluate, predictions
from mainline.train import bundle, train
from mainline.verdict import StepVerdict, Verdict, worst

pytestmark = pytest.mark.slow
SEEDS = range(20)
# Two thousand rows a month have some 120 positives among the test rows. With 600 a month there
# are 36, and a model that is better by a little is often left open.
ROWS, MONTHS = 2000, 6
SLIGHT = 0.05  # share of rows that the base does not see where the candidate sees them


@dataclass(frozen=True)
class Trained:
    """What a model says of the test rows, and its file."""

    found: predictions.Predictions
    model: bytes
    verdict: StepVerdict


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample project without its data."""
    root = tmp_path_factory.mktemp("project")
    copy_tree(root)
    small.git(root, "init", "--quiet")
    small.git(root, "add", "--all")
    small.git(root, "commit", "--quiet", "--message", "The sample")
    return root


@pytest.fixture
def fresh_modules() -> Iterator[None]:
    """This process sees no module of the project that another test loaded."""
    path = list(sys.path)
    yield
    forget()
    sys.path[:] = path


def forget() -> None:
    """Let go of the forker's modules, which Python keeps."""
    for name in [n for n in sys.modules if n.split(".")[0] == "project"]:
        del sys.modules[name]


def trained(root: Path, proved: bool = False) -> Trained:
    """Train and score what stands in `root`; with all checks of the model where asked."""
    forget()
    sys.path.insert(0, str(root / "src"))
    try:
        verdict = train.run(root)
        if proved:
            verdict = evaluate.run(root)
        content = (root / "models" / "model.skops").read_bytes()
        return Trained(scored(root), content, verdict)
    finally:
        sys.path.remove(str(root / "src"))


def scored(root: Path) -> predictions.Predictions:
    """What the model in `root` says of the test rows."""
    options, rules = settings.load(root), schema.load(root)
    frame, part = evaluate.held_out(root, options, rules)
    model = bundle.load(root / "models", root)
    scores = model.predict(frame)
    y = bundle.encode_target(frame[rules.target], model.task, model.meta["classes"])
    found = predictions.assemble(frame, rules, y, scores, model.decide(scores), part)
    return found.of("test")


def verdict(base: Trained, candidate: Trained, root: Path) -> Verdict:
    """What the comparison says of the gate's metric and its guardrails."""
    entity = pd.factorize(base.found.frame["entity"])[0]
    pair = Pair("binary", base.found.y, base.found.scores, base.found.decisions,
                candidate.found.scores, candidate.found.decisions, entity)  # fmt: skip
    gate = settings.load(root).gate
    checks = judge.judge(pair, [gate.metric, *gate.guardrails], gate, {"metrics": []})
    return worst(c.verdict for c in checks)


def table(root: Path, seed: int) -> None:
    """Half a year of the simulator."""
    from sample.feed import raw_month

    folder = root / "data" / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    for month in range(1, MONTHS + 1):
        frame = raw_month(month, n=ROWS, seed=1000 + seed)
        frame.to_parquet(folder / f"2024-{month:02}.parquet", index=False)


def reset(root: Path) -> None:
    """The code as it was committed."""
    small.git(root, "checkout", "--quiet", "--", "src/project")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("fresh_modules")
def test_harmless_changes_pass(project: Path, seed: int) -> None:
    """No check of data or model stops the sample; a comment, a new name and a move change nothing.

    The model of each is the same to the last byte, which a comparison passes as unchanged.
    """
    reset(project)
    table(project, seed)
    checked = validate.run(project)
    assert checked.verdict is Verdict.PASS, bad(checked)
    base = trained(project, proved=True)
    assert base.verdict.verdict is Verdict.PASS, bad(base.verdict)
    for change in (harmless.comment, harmless.refactoring, harmless.renamed):
        change(project)
        candidate = trained(project)
        assert candidate.model == base.model, change.__name__
        assert np.array_equal(candidate.found.scores, base.found.scores)
        reset(project)


@pytest.mark.parametrize(("share", "least"), [(model_faults.HANDICAP, 20), (SLIGHT, 19)])
@pytest.mark.usefixtures("fresh_modules")
def test_a_better_model_passes(project: Path, share: float, least: int) -> None:
    """Against a base that does not see some of the rows, the model that does never fails.

    Measured: blind in 30% of the rows it passes on all 20 tables, in 5% on 19; there a person is
    asked once, because these rows leave it open.
    """
    verdicts = []
    for seed in SEEDS:
        reset(project)
        table(project, seed)
        candidate = trained(project)
        typical = model_faults.typical_row(rows.read(project))
        edits.blank(project, edits.BY_VALUES, {"typical": typical, "share": share})
        verdicts.append(verdict(trained(project), candidate, project))
    assert set(verdicts) <= {Verdict.PASS, Verdict.INCONCLUSIVE}, verdicts
    assert verdicts.count(Verdict.PASS) >= least, verdicts


def bad(found: StepVerdict) -> list[str]:
    """The reasons of what did not pass."""
    return [c.reason for c in found.checks if c.verdict is not Verdict.PASS]
