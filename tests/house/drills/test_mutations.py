"""Each gate taken out, turned round or renamed in a copy of the house: its drill must notice.

A text that is to be changed and is not there any more fails the test: somebody rewrote the gate,
and the mutation has to be written anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from copies import ROOT
from drills.gates import Held, place_on

pytestmark = pytest.mark.slow
HOUSE = ROOT / "src" / "mainline"


@dataclass(frozen=True)
class Mutation:
    """`old` in a file of the house becomes `new`; then `check` is not there any more.

    The drill is held up to the step `until` (all of them), and `check`, `step: name (VERDICT)`,
    must be gone from what blocks it.
    """

    name: str
    file: str
    old: str
    new: str
    drill: str = ""
    until: str = ""
    check: str = ""


def of(drill: str, until: str, check: str) -> Callable[..., Mutation]:
    """Mutations that the same drill must notice by the same check."""
    return lambda name, file, old, new: Mutation(name, file, old, new, drill, until, check)


leak = of("leaked-target", "validate", "validate: case_score: leakage (FAIL)")
mail = of("emails", "validate", "validate: remark: personal (FAIL)")
share = of("shared-rows", "validate", "validate: shared rows (FAIL)")
column = of("schema-change", "validate", "validate: failed_logins_24h: present (FAIL)")
kind = of("type-change", "validate", "validate: failed_logins_24h: type number (FAIL)")
flat = of("constant-model", "evaluate", "evaluate: scores vary (FAIL)")
chance = of("inverted-labels", "evaluate", "evaluate: ranks better than chance (FAIL)")
guess = of("inverted-labels", "evaluate", "evaluate: beats a constant answer (FAIL)")
seed = of("unfixed-seed", "evaluate", "evaluate: trains the same again (FAIL)")
delta = of("raised-delta", "", "compare: policy (INCONCLUSIVE)")
tests = of("edited-tests", "", "compare: policy (INCONCLUSIVE)")
label = of("poisoned-labels", "", "compare: relabelled (INCONCLUSIVE)")
half = of("half-gone", "", "compare: rows lost (INCONCLUSIVE)")
lock = of("memorised-lock", "", "compare: reproduction (FAIL)")
classes = of("inverted-class", "", "compare: same classes (INCONCLUSIVE)")
salt = of("other-salt", "", "compare: same split (INCONCLUSIVE)")
worse = of("worse-model", "", "compare: average_precision")
stale = of("foreign-verdict", "", "gate: evaluate (ERROR)")
model = of("foreign-model", "", "gate: model (ERROR)")
brought = of("committed-verdicts", "", "gate: verdicts (ERROR)")
required = of("raised-delta", "", "gate: compare (INCONCLUSIVE)")

MUTATIONS = (
    leak("leakage removed", "data/validate.py",
         "    found += leakage.check_alone(frame, keep, options, rules)\n", ""),
    leak("leakage turned round", "data/leakage.py", "one.value < suspect", "one.value >= suspect"),
    leak("leakage asks only", "data/leakage.py", "one.value >= (limits.leakage or 1)",
         "one.value < (limits.leakage or 1)"),
    leak("leakage renamed", "data/leakage.py", 'f"{name}: leakage", verdict',
         'f"{name}: drip", verdict'),
    mail("personal data removed", "data/validate.py",
         "*of_target, *personal.check(raw, options.gate.data, rules)", "*of_target"),
    mail("personal data turned round", "data/personal.py", "if odds > DOUBT:", "if odds <= DOUBT:"),
    mail("personal data renamed", "data/personal.py", 'f"{name}: personal"', 'f"{name}: private"'),
    share("shared rows removed", "data/parts.py", ", check_rows(rows, part, options, rules)]", "]"),
    share("shared rows turned round", "data/parts.py", "share > limit and not coarse",
          "share < limit and not coarse"),
    share("shared rows renamed", "data/parts.py", 'Check("shared rows"', 'Check("rows"'),
    column("presence removed", "data/contract.py",
           "checks = [_gone(c, schema) for c in schema.columns if c.name not in raw]",
           "checks = []"),
    column("presence turned round", "data/contract.py",
           "for c in schema.columns if c.name not in raw]",
           "for c in schema.columns if c.name in raw]"),
    kind("types removed", "data/contract.py", "for problem in problems:", "for problem in []:"),
    flat("scores vary turned round", "evaluate/evaluate.py",
         "Verdict.PASS if spread > 1e-9", "Verdict.PASS if spread < 1e-9"),
    flat("scores vary renamed", "evaluate/evaluate.py", '"scores vary"', '"scores"'),
    chance("chance turned round", "evaluate/evaluate.py", "Verdict.PASS if auc > 0.5",
           "Verdict.PASS if auc < 0.5"),
    chance("chance of another metric", "evaluate/evaluate.py", 'metrics.get("roc_auc", math.nan)',
           'metrics.get("auc", math.nan)'),
    guess("baselines removed", "evaluate/proof.py", '"baselines": baselines.check, ', ""),
    guess("baselines turned round", "evaluate/interval.py", "    if low > limit:\n        verdict, "
          "more = Verdict.PASS", "    if low < limit:\n        verdict, more = Verdict.PASS"),
    guess("baselines renamed", "evaluate/baselines.py", 'f"beats {SPOKEN[kind]}"',
          'f"is above {SPOKEN[kind]}"'),
    seed("determinism removed", "evaluate/proof.py", "        made += more\n",
         '        made += [] if name == "determinism" else more\n'),
    seed("determinism turned round", "evaluate/learning.py", "if stirred != first:",
         "if stirred == first:"),
    seed("determinism renamed", "evaluate/learning.py",
         'Check("trains the same again", verdict', 'Check("trains", verdict'),
    delta("policy removed", "compare/compare.py", "return [found, *again, *moved, *made]",
          "return [*again, *moved, *made]"),
    delta("policy turned round", "compare/policy.py", "    if not found:\n", "    if found:\n"),
    delta("policy without limits", "compare/policy.py", '"evaluate.threshold", "gate",',
          '"evaluate.threshold",'),
    tests("policy without tests", "compare/policy.py", '"tests/data", "tests/model", ', ""),
    label("data changes removed", "compare/compare.py", "return [found, *again, *moved, *made]",
          "return [found, *again, *made]"),
    label("labels renamed", "compare/data.py", '_limited("relabelled"', '_limited("labels"'),
    half("loss of rows turned round", "compare/data.py", "value > limit:", "value < limit:"),
    lock("reproduction removed", "compare/compare.py", "return [found, *again, *moved, *made]",
         "return [found, *again, *moved]"),
    lock("reproduction turned round", "compare/reproduce.py", "if count == 0 and",
         "if count != 0 and"),
    lock("reproduction with a wide tolerance", "compare/reproduce.py", "TOLERANCE = 1e-9",
         "TOLERANCE = 2.0"),
    classes("classes removed", "compare/compare.py", "if sides[0] != sides[1] or", "if False and"),
    salt("split turned round", "compare/compare.py",
         '"split"] != work.given["split"]', '"split"] == work.given["split"]'),
    worse("metric removed", "compare/judge.py",
          "            checks.append(check(found, verdict, gate.delta, scope))\n", ""),
    worse("metric turned round", "compare/difference.py",
          "if found.low > (0.0 if require_improvement else -delta):",
          "if found.low < (0.0 if require_improvement else -delta):"),
    worse("metric renamed", "compare/judge.py", "if found.name == gate.metric:",
          'if found.name == "no such metric":'),
    stale("verdicts of other code", "report/gate.py", 'stale = found.inputs.get("code") != code',
          "stale = False"),
    model("models of other verdicts", "report/gate.py", 'digest_tree(root / "models") != judged',
          'digest_tree(root / "models") == judged'),
    brought("verdicts that came along", "report/gate.py", "    if kept:\n", "    if not kept:\n"),
    required("a step less", "report/gate.py",
             'REQUIRED = ("validate", "train", "evaluate", "compare")',
             'REQUIRED = ("validate", "train", "evaluate")'),
)  # fmt: skip


@pytest.fixture(scope="module")
def held(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """The small sample, its base trained."""
    return place_on(sample_repository, tmp_path_factory.mktemp("drills"))


@pytest.fixture(scope="module")
def intact(held: Held) -> Callable[[Mutation], list[str]]:
    """What blocks a drill while nothing is mutated, found once for each drill."""
    known: dict[tuple[str, str], list[str]] = {}

    def blocked(mutation: Mutation) -> list[str]:
        key = (mutation.drill, mutation.until)
        if key not in known:
            known[key] = held.hold(*key).also
        return known[key]

    return blocked


def mutant(mutation: Mutation, folder: Path) -> Path:
    """A copy of the house with the mutation; returns its `src`."""
    source = folder / "src"
    shutil.copytree(HOUSE, source / "mainline", ignore=shutil.ignore_patterns("__pycache__"))
    path = source / "mainline" / mutation.file
    text = path.read_text("utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.file} holds no single {mutation.old!r}"
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return source


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_a_gate_that_is_weakened_is_noticed(
    held: Held, intact: Callable[[Mutation], list[str]], mutation: Mutation, tmp_path: Path
) -> None:
    """The check blocks its drill, and with the mutation it does not."""
    source = mutant(mutation, tmp_path)
    assert named(mutation.check, intact(mutation)), intact(mutation)
    outcome = held.hold(mutation.drill, mutation.until, source)
    assert outcome.result != "CRASHED", outcome.reason
    assert not named(mutation.check, outcome.also), outcome


def named(check: str, blocked: list[str]) -> bool:
    """Whether a check is among those that block; without a verdict any will do."""
    return any(found == check or found.startswith(f"{check} (") for found in blocked)
