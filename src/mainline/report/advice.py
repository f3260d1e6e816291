"""What to do next about a check that did not pass."""

from __future__ import annotations

from fnmatch import fnmatchcase

from mainline.verdict import Check, Verdict

ACCEPT = (
    "A person decides: read what is above, then either change the pull request or put the label "
    "`accept-inconclusive` on it after the first run for this very commit began"
)
AGAIN = {
    "validate": "`./mainline validate`",
    "train": "`./mainline pipeline`",
    "evaluate": "`./mainline pipeline`",
    "compare": "`./mainline compare`",
    "serve": "`./mainline serve --try`",
}

# (step, pattern of the check's name, what to do); the first that fits. `tests/data` and
# `tests/model` are names of tests as pytest writes them; "base's " goes before what the base ran.
ADVICE = (
    ("validate", "*tests/data*", "Read the test that failed in `tests/data`; mend the data, or "
     "change the test in a pull request of its own"),
    ("validate", "*: present", "Bring the column back, or take it out of `schema.yaml`: that is a "
     "new major version, because callers of the service send it"),
    ("validate", "*: known", "Describe the column in `schema.yaml`; the role `drop` keeps it from "
     "the model"),
    ("validate", "*: missing", "Find out at the source why values are missing; raise "
     "`max_missing` in `schema.yaml` only if this is how the data will be"),
    ("validate", "*: unique", "Take the rows that are there twice out of the added file"),
    ("validate", "*split*", "Look at `split` in `params.yaml`: each part needs rows of each class"),
    ("validate", "*: classes", "Look at the target's values, and at `model.target`, `model.task` "
     "and `model.positive` in `params.yaml`"),
    ("validate", "class *", "Look whether labels are missing or written otherwise; few rows of a "
     "class may be right: `gate.data.class_rows` and `class_share`, in a pull request of its own"),
    ("validate", "duplicates", "Drop the copies from the added file"),
    ("validate", "freshness", "Add newer rows by `./mainline data add`"),
    ("validate", "*leakage", "If the column is known when the model is asked name it in "
     "`gate.data.strong`, else give it the role `drop` in `schema.yaml`"),
    ("validate", "*: later", "The column is known only after the event: give it "
     "`available: later` in `schema.yaml`"),
    ("validate", "*: one class", "Find out when this column is filled: after the event it is "
     "`available: later` in `schema.yaml`, else name it in `gate.data.strong`"),
    ("validate", "shared*", "Keep what belongs together in one part: `split.kind: entity` with "
     "its key, or drop the copies"),
    ("validate", "*personal*", "Take the values out at the source, or give the column the role "
     "`pii`; a false alarm is named in `gate.data.personal`"),
    ("validate", "*", "Mend these rows at their source; where the limit is wrong, change it in "
     "`schema.yaml` by a pull request of its own"),
    ("evaluate", "*tests/model*", "Read the test that failed in `tests/model`; mend the model, or "
     "change the test in a pull request of its own"),
    ("evaluate", "scores vary", "The estimator learnt nothing: look at the features and the "
     "arguments in `params.yaml`"),
    ("evaluate", "ranks better*", "Look whether the target is the right way round "
     "(`model.positive`) and whether the features still carry something"),
    ("evaluate", "beats*", "Look whether rows and labels belong together and the target is the "
     "right way round; a model that is no better than this is not worth serving"),
    ("evaluate", "learns*", "Look for rows and labels that are not in one order in "
     "`src/project`, and for arguments that keep the estimator from learning"),
    ("evaluate", "gap*", "It learnt its rows by heart: fewer leaves or more regularization in "
     "`train.args`, or a column that names the row"),
    ("evaluate", "trains the same*", "Give the estimator `random_state=seed` and draw no random "
     "numbers in `features.build`"),
    ("evaluate", "each row*", "Make each row in `features.build` from that row alone"),
    ("evaluate", "invariant:*", "Take the column out of the features, by the role `slice` or "
     "`drop` in `schema.yaml`"),
    ("evaluate", "direction:*", "Constrain the estimator to this direction (`monotonic_cst` in "
     "scikit-learn), or look for the rows that teach otherwise"),
    ("evaluate", "fairness:*", "Look at the rows and the threshold of the group that is worst; "
     "the limit is `gate.model.fairness`"),
    ("evaluate", "calibration*", "Calibrate on the tune part (`CalibratedClassifierCV`), or look "
     "whether the share of positives has changed"),
    ("evaluate", "case*", "Look at the case in `tests/model/cases.csv`: what is expected there is "
     "a promise; change it in a pull request of its own"),
    ("evaluate", "size*", "Fewer or smaller trees; the limit is `gate.model.size_mb`"),
    ("evaluate", "latency*", "Fewer trees or cheaper features; the limit is "
     "`gate.model.latency_ms`"),
    ("evaluate", "*", "Look at `./mainline evaluate` and the section on how the model behaves; a "
     "limit of `gate.model` is changed in a pull request of its own"),
    ("compare", "base's *", "The base's tests and limits count: mend the change, not the test"),
    ("compare", "guardrail*", "Look what moved it among the changes above; a limit is changed in a "
     "pull request of its own"),
    ("compare", "slice*", "Look at the rows of this slice: fewer of them in training, or a changed "
     "feature, is the usual cause"),
    ("compare", "same rows", "Both sides must score the same rows: look what removed some"),
    ("compare", "base reproduced", "Keep the base's model in the store, or accept the one that was "
     "trained again"),
    ("compare", "reproduc*", "The model that came along is not the one that this tree makes: take "
     "`models/` and `dvc.lock` out of the pull request, CI trains by itself"),
    ("compare", "policy", "Put limits, split, tests and workflows into a pull request of "
     "their own"),
    ("compare", "*removed*", "Look which rows are gone and bring them back; where they had to go, "
     "raise `gate.data.removed` first, in a pull request of its own"),
    ("compare", "*label*", "Look at the rows whose label changed; where a correction is right, "
     "raise `gate.data.relabelled` first, in a pull request of its own"),
    ("compare", "*", "Take back the change that lost it (parameters, features and data are above); "
     "`./mainline check` tells the same here"),
    ("serve", "starts", "Run `./mainline build` and `./mainline serve` here: what it prints says "
     "why; a package that serving lacks belongs into `requirements-serve.txt`"),
    ("serve", "answers", "Features must not depend on other rows of the table, on its order or on "
     "`MAINLINE_SERVING`: look at `src/project`"),
    ("gate", "accepted", "Take the label `accept-inconclusive` off and put it on again, as a "
     "person who may write here; the gate then runs again"),
    ("gate", "verdicts", "Take `reports/verdicts/` out of the repository: a verdict is measured"),
    ("gate", "*", "Run `./mainline check`"),
)  # fmt: skip


def next_step(step: str, check: Check) -> str:
    """One sentence, in which commands and file names stand between backticks."""
    if check.verdict is Verdict.ERROR:
        return f"Do what the reason says, then run {AGAIN.get(step, '`./mainline pipeline`')} again"
    if step == "gate":
        return _listed(step, check.name)
    if check.verdict is Verdict.INCONCLUSIVE:
        return f"{_inconclusive(step, check)}{ACCEPT}"
    return _listed(step, check.name)


def _listed(step: str, name: str) -> str:
    for owner, pattern, advice in ADVICE:
        if owner == step and fnmatchcase(name, pattern):
            return advice
    return f"Mend it and run {AGAIN.get(step, '`./mainline pipeline`')} again"


def _inconclusive(step: str, check: Check) -> str:
    if step == "compare" and check.name == "policy":
        return f"{_listed(step, check.name)}. "
    if step == "compare" and check.low is not None:
        return "These rows cannot tell: more test rows or a larger gain would. "
    return ""
