"""Each gate taken out, turned round or renamed in a copy of the house: its drill must notice.

A text that is to be changed and is not there any more fails the test: somebody rewrote the gate,
and the mutation has to be written anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from copies import ROOT
from drills.gates import Held, place_on

pytestmark = pytest.mark.slow
HOUSE = ROOT / "src" / "mainline"


@dataclass(frozen=True)
class Change:
    """`old` in a file of the house becomes `new`; then one of these tests must go red.

    `tests` is a file below tests/house, and the names (`-k` of pytest) of the tests in it.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, str]


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


health = "data/test_health.py"
contract = "data/test_contract.py"
parts = "data/test_parts.py"
leaks = "data/test_leakage.py"
proof = "evaluate/test_proof.py"
judged = "rollout/test_judge.py"
logged = "rollout/test_access.py"
CHANGES = (
    Change("repeats turned round", "data/health.py", "share > limit and not coarse",
           "share < limit and not coarse", (health, "repeated_rows")),
    Change("repeats removed", "data/validate.py",
           "        health.check_duplicates(frame, limits, rules),\n", "",
           ("data/test_validate.py", "each_fault_fires and not over_20")),
    Change("rare classes turned round", "data/health.py", "count >= limits.class_rows and",
           "count < limits.class_rows and", (health, "rare_class")),
    Change("age turned round", "data/health.py", "newest < today - _age", "newest > today - _age",
           (health, "age_is_shown")),
    Change("age removed", "data/validate.py",
           "        health.check_freshness(frame, today(), limits, rules),\n", "",
           ("data/test_validate.py", "an_old_table")),
    Change("missing values turned round", "data/contract.py",
           "if share > column.max_missing and", "if share < column.max_missing and",
           (contract, "good_rows or all_failures")),
    Change("ranges removed", "data/contract.py", "if column.hard.max is not None:", "if False:",
           (contract, "all_failures")),
    Change("target removed", "data/contract.py", "    if len(counts) < 2:\n", "    if False:\n",
           (contract, "cannot_be_learnt")),
    Change("shared entities turned round", "data/parts.py",
           "if limit is not None and share > limit:", "if limit is not None and share < limit:",
           (parts, "an_entity_in_two_parts")),
    Change("classes of the parts turned round", "data/parts.py", "    if not lacking:\n",
           "    if lacking:\n", (parts, "a_part_lacks")),
    Change("columns known later removed", "data/leakage.py", "    if not ((gone and",
           "    if True or not ((gone and", (leaks, "waits_for_the_label")),
    Change("one class turned round", "data/leakage.py", "wrong_inside > NOTHING * wrong",
           "wrong_inside < NOTHING * wrong", (leaks, "one_class_only")),
    Change("the forker's tests of data removed", "data/validate.py",
           "        found += [NOT_RUN] if broken else suite.run(root, TESTS)\n", "",
           ("data/test_validate.py", "the_forkers_tests")),
    Change("a lower limit turned round", "evaluate/interval.py", "    elif high <= limit:\n",
           "    elif high > limit:\n", ("evaluate/test_interval.py", "a_limit_is_judged")),
    Change("an upper limit turned round", "evaluate/interval.py",
           "    if found.value <= limit:\n", "    if found.value > limit:\n",
           ("evaluate/test_interval.py", "a_limit_is_judged")),
    Change("learning removed", "evaluate/proof.py", '"overfit": learning.can_learn, ', "",
           (proof, "not_their_rows")),
    Change("gap removed", "evaluate/proof.py", '"gap": learning.gap,', "",
           (proof, "learning_by_heart")),
    Change("robustness removed", "evaluate/proof.py", '"robustness": robustness.check,', "",
           (proof, "noise_flips or without_a_finite")),
    Change("rows alone removed", "evaluate/robustness.py", "    if share:\n", "    if False:\n",
           (proof, "looks_at_other_rows")),
    Change("directions turned round", "evaluate/behaviour.py",
           'wrong = -steps if entry.score == "up" else steps',
           'wrong = steps if entry.score == "up" else -steps', (proof, "wrong_way")),
    Change("invariance removed", "evaluate/behaviour.py",
           "    for entry in subject.limits.invariant:\n", "    for entry in ():\n",
           (proof, "must_not_matter")),
    Change("fairness removed", "evaluate/proof.py", '"fairness": fairness.check, ', "",
           (proof, "unfair_rate")),
    Change("calibration removed", "evaluate/proof.py", '"calibration": fairness.calibration, ', "",
           (proof, "promise_too_much")),
    Change("size removed", "evaluate/proof.py", '"size": latency.size,', "",
           (proof, "large_file")),
    Change("cases turned round", "evaluate/cases.py", "if expect is not None and said[i] != expect",
           "if expect is not None and said[i] == expect",
           ("evaluate/test_cases.py", "two_classes")),
    Change("slices turned round", "compare/slices.py", "        if worse:\n",
           "        if not worse:\n", ("compare/test_slices.py", "is_broken or that_hold")),
    Change("guardrails turned round", "compare/difference.py", "    if least > limit:\n",
           "    if least < limit:\n", ("compare/test_difference.py", "guardrail")),
    Change("surely worse removed", "compare/difference.py",
           "if found.high < 0 and found.gain < -delta / 2:", "if False:",
           ("compare/test_difference.py", "non_inferiority")),
    Change("improvement not asked for", "compare/difference.py",
           "(0.0 if require_improvement else -delta)", "-delta",
           ("compare/test_difference.py", "improvement_can")),
    Change("label shift removed", "compare/data.py",
           '        checks.append(_limited("label shift"', '        (_limited("label shift"',
           ("compare/test_data_changes.py", "with_another_target")),
    Change("main's limits removed", "compare/strict.py", "out += _summed(found, name, same)",
           "out += []", ("compare/test_strict.py", "were_loosened or was_loosened")),
    Change("reproduction turned round", "compare/reproduce.py", "if count == 0 and",
           "if count != 0 and", ("compare/test_reproduce.py", "by_a_billionth")),
    Change("reproduction with a wide tolerance", "compare/reproduce.py", "TOLERANCE = 1e-9",
           "TOLERANCE = 2.0", ("compare/test_reproduce.py", "by_a_billionth")),
    Change("committed outputs removed", "compare/reproduce.py", "    if not names:\n",
           "    if names:\n", ("compare/test_reproduce.py", "outputs_that_are_committed")),
    Change("the worst decides no more", "verdict.py", "return max(verdicts", "return min(verdicts",
           ("report/test_gate.py", "worst_one")),
    Change("an old verdict is believed", "report/gate.py",
           'stale = found.inputs.get("code") != code', "stale = False",
           ("report/test_gate.py", "does_not_belong")),
    Change("a failure is lifted", "report/gate.py",
           "    if found.verdict is not Verdict.INCONCLUSIVE:\n", "    if False:\n",
           ("report/test_acceptance.py", "neither_fail_nor_error")),
    Change("a share unlike its weight passes", "rollout/judge.py", "odd = p < SHARE_ALPHA",
           "odd = False", (judged, "share_unlike")),
    Change("a lost canary goes on", "rollout/judge.py", "    if evidence.lost:\n",
           "    if False:\n", (judged, "lost_canary")),
    Change("a torn log passes", "rollout/judge.py",
           "    if evidence.unread > UNREAD * total + 1:\n", "    if False:\n",
           (judged, "lost_something")),
    Change("an outage is decided", "rollout/rates.py", "    if _outage(now, budget):\n",
           "    if False:\n", (judged, "outage")),
    Change("retries hide errors", "rollout/access.py",
           'code >= 500 or int(entry.get("attempts") or 0) > 1', "code >= 500",
           (logged, "error_of_the_assigned")),
    Change("another model is let through", "rollout/access.py", "other = model is not None and",
           "other = False and", (logged, "other_model")),
    Change("a clock that jumps ends a hold", "rollout/state.py",
           "return time.monotonic() >= self.hold_monotonic",
           "return time.time() >= self.hold_until", ("rollout/test_state.py", "does_not_jump")),
    Change("a lease of another boot", "rollout/actions.py",
           'progress.get("boot_id") != boot or not', "not",
           ("rollout/test_state.py", "lease_is_of")),
    Change("copies pile up", "rollout/route.py", "MIRRORED = 32", "MIRRORED = 4096",
           ("drills/test_rollout_arms.py", "mirror")),
)  # fmt: skip


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
edited = of("edited-tests", "", "compare: policy (INCONCLUSIVE)")
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
    edited("policy without tests", "compare/policy.py", '"tests/data", "tests/model", ', ""),
    label("data changes removed", "compare/compare.py", "return [found, *again, *moved, *made]",
          "return [found, *again, *made]"),
    label("labels renamed", "compare/data.py", '_limited("relabelled"', '_limited("labels"'),
    half("loss of rows turned round", "compare/data.py", "value > limit:", "value < limit:"),
    lock("reproduction removed", "compare/compare.py", "return [found, *again, *moved, *made]",
         "return [found, *again, *moved]"),
    lock("reproduction lets through", "compare/reproduce.py",
         "return Check(NAME, Verdict.FAIL, reason, value=worst,",
         "return Check(NAME, Verdict.PASS, reason, value=worst,"),
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


def mutant(mutation: Mutation | Change, folder: Path) -> Path:
    """A copy of the house with the mutation; returns its `src`."""
    source = folder / "src"
    shutil.copytree(HOUSE, source / "mainline", ignore=shutil.ignore_patterns("__pycache__"))
    # The lock says which environment this is; without one another would be made.
    shutil.copy(ROOT / "requirements.txt", folder)
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


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.name)
def test_a_check_that_is_weakened_turns_its_tests_red(change: Change, tmp_path: Path) -> None:
    """Of gates that no drill of every table can show: red, and not merely unable to run."""
    source = mutant(change, tmp_path)
    where, names = change.tests
    path = os.pathsep.join(map(str, (source, ROOT / "src", ROOT / "tests" / "house")))
    words = ["-m", "pytest", "-q", "-x", "-o", "pythonpath=", "-p", "no:cacheprovider",
             str(ROOT / "tests" / "house" / where), "-k", names]  # fmt: skip
    ran = subprocess.run([sys.executable, *words], cwd=ROOT, check=False, capture_output=True,
                         text=True, env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    assert ran.returncode == 1 and " failed" in ran.stdout, ran.stdout + ran.stderr
