"""A change of limits or tests is tried against those of main too, on the same data and model.

So nobody can loosen a test and pass it in one pull request. What fails main's own data or model as
well is no fault of the change, and a person decides.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mainline import suite
from mainline.compare.meaning import Change
from mainline.compare.policy import Policy
from mainline.data import validate
from mainline.data.schema import Schema
from mainline.evaluate import proof
from mainline.git import git
from mainline.inputs import MAKING, making_sections
from mainline.settings import Settings
from mainline.verdict import Check, Verdict

WHOSE = "main's "
TESTS = ("tests/__init__.py", "tests/conftest.py", "conftest.py")
APART = "Loosen it in a pull request of its own"


def check(
    root: Path, policy: Policy, own: Settings, rules: Schema, changes: Sequence[Change]
) -> list[Check]:
    """Main's limits and tests that do not hold here, and one PASS that counts those that do.

    Nothing where neither limits nor tests changed, or where the change is merged.
    """
    if policy.commit is None or policy.merged:
        return []
    base = own if policy.settings is None else own.model_copy(update={"gate": policy.settings.gate})
    same_data = _same(root, policy, own, ("data.dvc",))
    same_model = same_data and _same(root, policy, own, MAKING)
    out: list[Check] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, same in (("data", same_data), ("model", same_model)):
            limits = any(c.name.startswith(f"gate.{name}.") for c in changes)
            tests = any(c.name.startswith((f"tests/{name}/", *TESTS)) for c in changes)
            found: list[Check] = []
            if tests or limits:
                source = extract(root, policy.commit, f"tests/{name}", Path(folder) / name)
            if limits or (tests and name == "model"):
                found += _limits(root, name, base, rules, source)
            if tests and (source / "tests" / name).is_dir():
                found += suite.run(root, f"tests/{name}", source=source, kind=WHOSE)
            out += _summed(found, name, same)
    return out


def _limits(root: Path, name: str, base: Settings, rules: Schema, source: Path) -> list[Check]:
    if name == "data":
        return validate.checks(root, base, rules)
    return proof.checks(root, base, rules, source=source)


def _same(root: Path, policy: Policy, own: Settings, paths: Sequence[str]) -> bool:
    """Whether these files, and the settings that make a model, are those of main."""
    old = policy.settings
    if old is None or making_sections(old) != making_sections(own):
        return False
    return not git(root, "diff", "--name-only", str(policy.commit), "--", *paths, check=False)


def extract(root: Path, commit: str, folder: str, target: Path) -> Path:
    """Put the tests in `folder` as they were at `commit` under `target`; returns `target`."""
    target.mkdir(parents=True)
    listed = git(root, "ls-tree", "--name-only", "-z", commit, "--", folder, *TESTS, check=False)
    names = [n for n in listed.split("\0") if n]
    if names:
        archive = target / "tests.tar"
        git(root, "archive", f"--output={archive}", commit, "--", *names)
        with tarfile.open(archive) as stream:
            stream.extractall(target, filter="data")
        archive.unlink()
    return target


def _summed(found: Sequence[Check], name: str, same: bool) -> list[Check]:
    """Those that did not pass, named as main's, and one PASS for the rest."""
    out = [_named(c, same) for c in found if c.verdict is not Verdict.PASS]
    passed = len(found) - len(out)
    if passed:
        reason = f"{passed} checks of the {name} pass by main's limits and tests too"
        out.append(Check(f"{WHOSE}{name} checks", Verdict.PASS, reason, n=passed))
    return out


def _named(check: Check, same: bool) -> Check:
    name = check.name if check.name.startswith(WHOSE) else f"{WHOSE}{check.name}"
    reason = f"By main's limits and tests: {check.reason}"
    if check.verdict is Verdict.FAIL and same:
        reason = f"{reason}; main itself fails this, so a person decides"
        return replace(check, name=name, verdict=Verdict.INCONCLUSIVE, reason=reason)
    return replace(check, name=name, reason=f"{reason}. {APART}")
