"""All drills, in the order in which they are run."""

from __future__ import annotations

from mainline.drill import data_faults as data
from mainline.drill import harmless
from mainline.drill import model_faults as model
from mainline.drill import policy_faults as policy
from mainline.drill.kinds import WORSE, Drill
from mainline.errors import UsageError

USELESS = ("evaluate: beats a constant answer", "evaluate: ranks better than chance")
ALL = (
    Drill("leaked-target", "a leaked target", ("validate: *: leakage",), data.leaked_target),
    Drill("future-feature", "a feature from the future",
          ("validate: *: leakage", "validate: *: later", "validate: *: one class"), data.future),
    Drill("declared-future", "a column that is known later as a feature", ("validate: validate",),
          data.declared_future),
    Drill("shuffled-labels", "shuffled labels", (*USELESS, "compare: relabelled"), data.shuffled),
    Drill("half-gone", "half of the data gone", ("compare: rows lost",), data.half_gone),
    Drill("poisoned-labels", "10% poisoned labels", ("compare: relabelled",), data.poisoned),
    Drill("inverted-labels", "an inverted class, in the labels", USELESS, data.inverted_labels),
    Drill("inverted-class", "an inverted class, in the settings",
          ("compare: same classes", "compare: policy"), model.inverted_class),
    Drill("constant-model", "a constant model", ("evaluate: scores vary",), model.constant),
    Drill("worse-model", "a model truly 0.03 AUC worse", ("compare: {metric}",), model.worse),
    Drill("broken-slice", "one slice broken while the mean improves", ("compare: slice *",),
          model.broken_slice, base=WORSE),
    Drill("schema-change", "a schema change: a renamed column", ("validate: *: present",),
          data.schema_change),
    Drill("type-change", "a schema change: numbers as text", ("validate: *: type *",),
          data.type_change),
    Drill("emails", "emails in a text column", ("validate: *: personal",), data.emails),
    Drill("unfixed-seed", "a seed that is not fixed", ("evaluate: trains the same again",),
          model.unseeded),
    Drill("foreign-verdict", "a verdict of another commit", ("gate: evaluate",),
          policy.keep_artifacts, tamper=policy.foreign_verdict),
    Drill("foreign-model", "a model of another commit", ("gate: model",),
          policy.keep_artifacts, tamper=policy.foreign_model),
    Drill("committed-verdicts", "verdicts that came with the commit", ("gate: verdicts",),
          harmless.comment, tamper=policy.committed_verdicts),
    Drill("shared-rows", "rows shared between train and test",
          ("validate: shared rows", "validate: duplicates"), data.shared_rows),
    Drill("raised-delta", "a raised delta", ("compare: policy",), policy.raised_delta),
    Drill("edited-tests", "an edited tests/model", ("compare: policy",), policy.edited_tests),
    Drill("other-salt", "another salt", ("compare: policy", "compare: same split"),
          policy.other_salt),
    Drill("memorised-lock", "a hand-made model that memorises the test rows, with a lock",
          ("compare: reproduction",), policy.memorised),
    Drill("memorised-model", "the same, where the pipeline believes the lock",
          ("evaluate: trains the same again", "compare: reproduction"), policy.memorised,
          steps=("validate", "evaluate", "compare")),
    Drill("comment", "a comment", (), harmless.comment),
    Drill("refactoring", "a refactoring that changes nothing", (), harmless.refactoring),
    Drill("renamed-variable", "a renamed variable", (), harmless.renamed),
    Drill("better-model", "a truly better model", (), model.better, base=WORSE),
)  # fmt: skip


def find(name: str) -> Drill:
    """A drill by its name; UsageError for one that is not known."""
    for drill in ALL:
        if drill.name == name:
            return drill
    raise UsageError(f"There is no drill {name!r}", f"Known: {', '.join(d.name for d in ALL)}")


def chosen(names: tuple[str, ...]) -> list[Drill]:
    """The drills of these names in their order; all of them without names."""
    wanted = {find(name).name for name in names}
    return [d for d in ALL if not wanted or d.name in wanted]
