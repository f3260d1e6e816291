"""What to do next about a check that did not pass."""

from __future__ import annotations

from mainline.verdict import Check, Verdict

ACCEPT = (
    "A person decides: read what is above, then either change the pull request or put the label "
    "`accept-inconclusive` on it after its last run began"
)
AGAIN = {
    "validate": "`./mainline validate`",
    "train": "`./mainline pipeline`",
    "evaluate": "`./mainline pipeline`",
    "compare": "`./mainline compare`",
}

# (step, how the check's name begins or ends, what to do); the first that fits.
ADVICE = (
    ("validate", ": present", "Bring the column back, or take it out of `schema.yaml`: that is a "
     "new major version, because callers of the service send it"),
    ("validate", ": known", "Describe the column in `schema.yaml`; the role `drop` keeps it from "
     "the model"),
    ("validate", ": missing", "Find out at the source why values are missing; raise "
     "`max_missing` in `schema.yaml` only if this is how the data will be"),
    ("validate", ": unique", "Take the rows that are there twice out of the added file"),
    ("validate", ": classes", "Look at the target's values, and at `model.target`, `model.task` "
     "and `model.positive` in `params.yaml`"),
    ("validate", "", "Mend these rows at their source; where the limit is wrong, change it in "
     "`schema.yaml` by a pull request of its own"),
    ("evaluate", "scores vary", "The estimator learnt nothing: look at the features and the "
     "arguments in `params.yaml`"),
    ("evaluate", "ranks better", "Look whether the target is the right way round "
     "(`model.positive`) and whether the features still carry something"),
    ("compare", "guardrail", "Look what moved it among the changes above; a limit is changed in a "
     "pull request of its own"),
    ("compare", "slice", "Look at the rows of this slice: fewer of them in training, or a changed "
     "feature, is the usual cause"),
    ("compare", "same rows", "Both sides must score the same rows: look what removed some"),
    ("compare", "base reproduced", "Keep the base's model in the store, or accept the one that was "
     "trained again"),
    ("compare", "", "Take back the change that lost it (parameters, features and data are above); "
     "`./mainline check` tells the same here"),
)  # fmt: skip


def next_step(step: str, check: Check) -> str:
    """One sentence, in which commands and file names stand between backticks."""
    if check.verdict is Verdict.ERROR:
        return f"Do what the reason says, then run {AGAIN.get(step, '`./mainline pipeline`')} again"
    if check.verdict is Verdict.INCONCLUSIVE:
        return f"{_inconclusive(step, check)}{ACCEPT}"
    for owner, mark, advice in ADVICE:
        if owner == step and (check.name.startswith(mark) or check.name.endswith(mark)):
            return advice
    return f"Mend it and run {AGAIN.get(step, '`./mainline pipeline`')} again"


def _inconclusive(step: str, check: Check) -> str:
    if step == "compare" and check.low is not None:
        return "These rows cannot tell: more test rows or a larger gain would. "
    return ""
