"""Each proof of a model blocks the fault that it is for, and lets a sound model through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rooms

from mainline import settings
from mainline.data import schema
from mainline.evaluate import evaluate, latency, proof
from mainline.train import bundle
from mainline.verdict import Check, Verdict

FAIL, ERROR, PASS = Verdict.FAIL, Verdict.ERROR, Verdict.PASS
UNSURE = Verdict.INCONCLUSIVE
PLAIN_MODEL = "def build(seed, **args):\n    return encoded(LogisticRegression())\n"
CONSTANT = "def build(seed, **args):\n    return encoded(DummyClassifier(strategy='prior'))\n"
OWN = """\
class Own(HistGradientBoostingClassifier):
    {body}


def build(seed, **args):
    return Own(max_iter=40, categorical_features="from_dtype", random_state=seed)
"""
MISALIGNED = OWN.format(body="def fit(self, x, y): return super().fit(x, np.roll(y, 1))")
SHUFFLED = OWN.format(
    body="def fit(self, x, y): return super().fit(x, np.random.default_rng(0).permutation(y))"
)
NOT_A_NUMBER = OWN.format(
    body="""\
def predict_proba(self, x):
        scores = super().predict_proba(x)
        scores[x["b"].isna().to_numpy()] = np.nan
        return scores
"""
)
OUT_OF_RANGE = """return frame.assign(big=np.where(frame["b"] > 9, np.inf, frame["b"]))"""


def bad(checks: dict[str, Check]) -> dict[str, Verdict]:
    """The checks that did not pass."""
    return {name: c.verdict for name, c in checks.items() if c.verdict is not PASS}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_sound_model_passes(room: Callable[..., Any], task: str) -> None:
    """All checks of all tasks, at their defaults."""
    checks = room(task=task).prove()
    assert bad(checks) == {}
    assert {"beats a constant answer", "beats a linear model", "learns a small sample", "noise",
            "gap between train and test", "trains the same again", "each row stands alone",
            "missing values", "extreme values", "unseen categories", "size of the model",
            "cases"} <= set(checks)  # fmt: skip


def test_a_constant_model_is_no_better_than_a_constant(room: Callable[..., Any]) -> None:
    """It beats nothing, and learns nothing of what it is shown."""
    found = bad(room(CONSTANT).prove())
    assert found["beats a constant answer"] is FAIL
    assert found["learns a small sample"] is FAIL


@pytest.mark.parametrize("model", [MISALIGNED, SHUFFLED], ids=["misaligned", "shuffled"])
def test_labels_that_are_not_their_rows_are_noticed(room: Callable[..., Any], model: str) -> None:
    """Training code that mixes up rows and labels learns neither the table's nor planted labels."""
    assert bad(room(model).prove())["learns a small sample"] is FAIL


def test_labels_that_say_nothing_do_not_fail_sound_code(room: Callable[..., Any]) -> None:
    """A plain model on noise cannot tell its rows apart, but it learns labels that can be told."""
    made = room(PLAIN_MODEL, features="return frame[['a', 'kind']]", n=1200)
    checks, found = made.examine(overfit=0.9)
    assert found["overfit"]["share"] < 0.9 < found["overfit"]["planted"]
    assert bad({c.name: c for c in checks}) == {}


def test_leaves_for_many_rows_do_not_fail_sound_code(room: Callable[..., Any]) -> None:
    """Trees that cannot be grown on 500 rows are tried with more before they are blamed."""
    coarse = OWN.format(body="pass").replace("max_iter=40", "max_iter=40, min_samples_leaf=400")
    checks, found = room(coarse, n=6000).examine()
    assert found["overfit"]["rows"] > 2000
    assert bad({c.name: c for c in checks}) == {}


@pytest.mark.parametrize(
    ("model", "features"),
    [("def build(seed, **args):\n    return encoded(RandomForestClassifier(10))\n", "return frame"),
     ("def build(seed, **args):\n    return encoded(BaggingClassifier("
      "random_state=np.random.randint(99)))\n", "return frame"),
     ("", "return frame.assign(n=np.random.rand(len(frame)))"),
     ("", "return frame.assign(n=frame['a'] * random.random())"),
     ("", "return frame.sample(frac=1)")],
    ids=["forest", "bagging", "noise in features", "python's random", "shuffle in features"],
)  # fmt: skip
def test_a_seed_that_is_not_fixed_fails(
    room: Callable[..., Any], model: str, features: str
) -> None:
    """Global random numbers in the estimator or in the features make another model."""
    assert bad(room(model, features).prove())["trains the same again"] is FAIL


def test_a_model_file_that_this_code_does_not_make_is_not_decided(room: Callable[..., Any]) -> None:
    """Code that was changed after training makes another file, but the same one each time."""
    made = room()
    source = next((made.root / "src").glob("room*/model.py"))
    params = (made.root / "params.yaml").read_text("utf-8")
    changed = source.read_text("utf-8").replace("max_iter=40", "max_iter=20")
    source.with_name("other.py").write_text(changed, encoding="utf-8")
    params = params.replace(".model:build", ".other:build")
    (made.root / "params.yaml").write_text(params, encoding="utf-8")
    assert bad(made.prove())["trains the same again"] is UNSURE


def test_training_for_hours_is_repeated_on_a_sample(room: Callable[..., Any]) -> None:
    """`determinism: sample` trains twice on few rows, and still notices."""
    forest = "def build(seed, **args):\n    return encoded(RandomForestClassifier(10))\n"
    assert bad(room(forest).prove(determinism="sample")) == {"trains the same again": FAIL}
    assert bad(room().prove(determinism="sample")) == {}


@pytest.mark.parametrize(
    "features",
    ["return frame.assign(n=np.arange(len(frame)) / 9, a=frame['a'] + np.arange(len(frame)))",
     "return frame.assign(a=frame['a'].rank(pct=True))",
     "return frame.assign(a=frame['a'] - frame['a'].mean())",
     "return frame.assign(a=frame['a'].shift().fillna(0) + frame['a'])"],
    ids=["order", "rank", "mean", "neighbour"],
)  # fmt: skip
def test_a_feature_that_looks_at_other_rows_fails(room: Callable[..., Any], features: str) -> None:
    """The service sees one row at a time."""
    assert bad(room(features=features).prove())["each row stands alone"] is FAIL


@pytest.mark.parametrize(
    ("name", "model", "features", "column"),
    [("missing values", NOT_A_NUMBER, "return frame", "'b'"),
     ("missing values", "def build(seed, **args):\n    return LogisticRegression()\n",
      "return frame[['b', 'count']]", "'b'"),
     ("extreme values", PLAIN_MODEL, OUT_OF_RANGE, "'b'"),
     ("unseen categories", PLAIN_MODEL,
      "assert frame['kind'].notna().all(), 'unknown'\nreturn frame", "'kind'")],
    ids=["not finite", "raises", "overflow", "unseen"],
)  # fmt: skip
def test_a_row_without_a_finite_score_always_fails(
    room: Callable[..., Any], name: str, model: str, features: str, column: str
) -> None:
    """Whatever the limits: the service would answer with an error. The column is named."""
    check = room(model, features).prove()[name]
    assert (check.verdict, column in check.reason) == (FAIL, True), check


def test_columns_that_cannot_be_missing_are_not_tried(room: Callable[..., Any]) -> None:
    """A service refuses such a row, so a model that knows no missing values is sound."""
    model = "def build(seed, **args):\n    return LogisticRegression()\n"
    columns = [{"name": "b", "type": "number", "role": "feature", "max_missing": 0},
               {"name": "count", "type": "integer", "role": "feature", "max_missing": 0},
               *({"name": n, "type": "category", "role": "drop"} for n in ("a", "kind", "group")),
               {"name": "y", "type": "integer", "role": "target"}]  # fmt: skip
    assert bad(room(model, columns=columns).prove()) == {}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_decisions_that_noise_flips_fail(room: Callable[..., Any], task: str) -> None:
    """A feature that turns a hair's breadth into another number."""
    made = room(features="return frame[['a']].assign(wild=np.sin(frame['a'] * 300))", task=task)
    found = made.examine(noise=1.0)[1]["robustness"]["noise"]["share"]
    assert bad(made.prove(noise=found / 2)) == {"noise": FAIL}


def test_the_limits_on_missing_and_extreme_values_block(room: Callable[..., Any]) -> None:
    """Each is shown without a limit and judged with one."""
    made = room()
    assert bad(made.prove(missing=0.0001, extremes=0.0001)) == {
        "missing values": FAIL, "extreme values": FAIL}  # fmt: skip


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_score_that_goes_the_wrong_way_fails(room: Callable[..., Any], task: str) -> None:
    """`a` raises the target: declared so it passes, declared the other way round it fails."""
    of = {"of": "2"} if task == "multiclass" else {}
    model = (
        PLAIN_MODEL if task != "regression" else PLAIN_MODEL.replace("LogisticRegression", "Ridge")
    )
    up, down = ({"column": "a", "score": s, **of} for s in ("up", "down"))
    found = bad(room(model, task=task).prove(directional=[up, down]))
    assert found == {"direction: a down": FAIL}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_column_that_must_not_matter_and_does_fails(room: Callable[..., Any], task: str) -> None:
    """`a` decides; a slice that the model does not see changes nothing."""
    found = bad(room(task=task).prove(invariant=[{"column": "a"}, {"column": "group"}]))
    assert found == {"invariant: a": FAIL}


@pytest.mark.parametrize(
    "limits",
    [{"invariant": [{"column": "ages"}]}, {"directional": [{"column": "ages", "score": "up"}]},
     {"directional": [{"column": "kind", "score": "up"}]},
     {"fairness": [{"by": "ages", "rate": "recall"}]},
     {"fairness": [{"by": "group", "rate": "recal"}]},
     {"fairness": [{"by": "a", "rate": "recall"}]}],
)  # fmt: skip
def test_a_mistyped_name_is_an_error(room: Callable[..., Any], limits: dict[str, Any]) -> None:
    """And never a limit that holds by itself."""
    found = [c for c in room().prove(**limits).values() if c.verdict is not PASS]
    assert [c.verdict for c in found] == [ERROR]
    assert "params.yaml: gate.model." in found[0].reason


def test_an_unfair_rate_fails_where_a_limit_is_set(room: Callable[..., Any]) -> None:
    """A gap is judged with its interval; without a limit it is shown; few rows are named."""
    columns = [{"name": "a", "type": "number", "role": "feature"},
               {"name": "b", "type": "number", "role": "drop"},
               {"name": "count", "type": "integer", "role": "drop"},
               {"name": "kind", "type": "category", "role": "slice"},
               {"name": "group", "type": "category", "role": "slice"},
               {"name": "y", "type": "integer", "role": "target"}]  # fmt: skip
    made = room(columns=columns, n=4000)
    name = "fairness: recall by kind"

    def judged(limit: float | None, by: str = "kind", rate: str = "recall") -> Check:
        return made.prove(fairness=[{"by": by, "rate": rate, "limit": limit}])[
            f"fairness: {rate} by {by}"]  # fmt: skip

    shown = judged(None)
    assert (shown.verdict, shown.name) == (PASS, name)
    assert shown.value is not None and shown.low is not None
    assert judged(float(shown.value) + 0.01).verdict is PASS
    assert judged(float(shown.value) - 0.0001).verdict is UNSURE
    assert judged(0.01, "kind", "alert_rate").verdict in (PASS, UNSURE)
    few = judged(None, "group", "alert_rate")
    assert "too few rows in rare" in few.reason


def test_a_group_that_is_treated_otherwise_fails(room: Callable[..., Any]) -> None:
    """The kind `z` shifts the target, and with it the share that is called positive."""
    entry = {"by": "kind", "rate": "alert_rate", "limit": 0.02}
    assert bad(room(n=6000).prove(fairness=[entry])) == {"fairness: alert_rate by kind": FAIL}


@pytest.mark.parametrize(("task", "rate"), [("multiclass", "accuracy"), ("regression", "mae")])
def test_rates_of_other_tasks(room: Callable[..., Any], task: str, rate: str) -> None:
    """Shown with their interval."""
    found = room(task=task).examine(fairness=[{"by": "kind", "rate": rate}])[1]["fairness"][0]
    assert set(found["rates"]) == {"x", "y", "z"}
    assert found["low"] <= found["value"] <= found["high"]


def test_scores_that_promise_too_much_fail(room: Callable[..., Any]) -> None:
    """A forest that is grown to the end on noise is too sure of itself."""
    sure = OWN.format(
        body="""\
def predict_proba(self, x):
        return (super().predict_proba(x) > 0.5).astype(float) * 0.98 + 0.01
"""
    )
    assert "calibration" in bad(room(sure, n=3000).prove(calibration=0.03))
    assert bad(room().prove(calibration=0.2)) == {}


def test_learning_by_heart_a_worse_model_than_linear_and_a_large_file_fail(
    room: Callable[..., Any],
) -> None:
    """The limits `gap`, `linear` and `size_mb`."""
    made = room(n=3000)
    found = bad(made.prove(gap=0.001, linear=0.2, size_mb=0.001))
    assert found == {"gap between train and test": FAIL, "beats a linear model": FAIL,
                     "size of the model": FAIL}  # fmt: skip


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_nearest_flip_names_the_column_that_decides(
    room: Callable[..., Any], task: str
) -> None:
    """Among features of which one decides, it is the one; no value of a row is told."""
    found = room(features="return frame[['a']]", task=task).examine()[1]["nearest_flip"]
    assert [c["column"] for c in found["columns"]] == ["a"]
    assert found["columns"][0]["smallest"] <= 0.1


def test_folds_keep_entities_whole_where_there_are_enough(room: Callable[..., Any]) -> None:
    """Four customers would leave every bound open; fifty are never divided."""
    columns = [{**c, "role": "entity"} if c["name"] == "group" else c for c in rooms.COLUMNS]
    for many, whole in ((50, True), (4, False)):
        rows = rooms.table(n=1000).assign(group=[f"g{i % many}" for i in range(1000)])
        made = room(columns=columns, given=rows, entity="group")
        about = made.subject()
        folds = pd.Series(about.folds).groupby(about.test["group"].to_numpy()).nunique()
        assert bool(folds.max() == 1) is whole
        assert "beats a constant answer" not in bad(made.prove())


def test_the_proof_is_the_same_each_time(room: Callable[..., Any]) -> None:
    """All that is random is seeded, so verdict and findings are equal."""
    made = room()
    assert made.examine() == made.examine()


def test_latency_is_measured_and_stands_in_no_verdict(room: Callable[..., Any]) -> None:
    """It changes from run to run."""
    made = room()
    assert latency.measure(bundle.load(made.root / "models", made.root)) > 0
    assert "latency" not in {c.name for c in made.examine()[0]}


def test_a_base_asks_its_own_limits_and_cases(room: Callable[..., Any], tmp_path: Path) -> None:
    """`checks` with other options and another source; what hangs on neither is not done twice."""
    made = room()
    made.cases("case,expect,a\nhigh,1,3\n")
    options, rules = settings.load(made.root), schema.load(made.root)
    strict = options.gate.model.model_copy(update={"size_mb": 1e-6})
    gate = options.gate.model_copy(update={"model": strict})
    base = options.model_copy(update={"gate": gate})
    found = {c.name: c for c in proof.checks(made.root, base, rules, source=tmp_path)}
    assert bad(found) == {"size of the model": FAIL}
    assert "trains the same again" not in found
    assert found["cases"].n is None
    assert {c.name: c for c in proof.checks(made.root, options, rules)}["cases"].n == 1


def test_evaluation_writes_the_same_bytes_twice(repository: Path) -> None:
    """The verdict and what was found, of the sample; nothing but the models' own is personal."""
    files = [repository / "reports" / n for n in ("verdicts/evaluate.json", "behaviour.json")]
    seen = []
    for _ in range(2):
        done = evaluate.run(repository)
        seen.append([f.read_bytes() for f in files])
    assert seen[0] == seen[1]
    assert bad({c.name: c for c in done.checks}) == {}
    assert {"tests/model", "direction: failed_logins_24h up", "fairness: recall by age_band"} <= {
        c.name for c in done.checks}  # fmt: skip
    assert b"@" not in seen[0][1]
    assert np.isfinite([c.value for c in done.checks if isinstance(c.value, float)]).all()
    assert dataclasses.asdict(done)["inputs"]["policy"]
