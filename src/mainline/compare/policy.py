"""The policy of the base: a pull request cannot loosen the gate that judges it."""

from __future__ import annotations

from pathlib import Path

from mainline import settings
from mainline.errors import SettingsError
from mainline.git import dirty, git, on_main
from mainline.settings import Gate, Settings
from mainline.verdict import Check, Verdict

# What decides whether a change may be merged, besides the limits in params.yaml.
GUARDED = ("tests/data", "tests/model", ".github/workflows")


def base_settings(root: Path, commit: str | None) -> Settings | None:
    """The settings at `commit`; None where there are none, or none that can be read."""
    if commit is None:
        return None
    text = git(root, "show", f"{commit}:params.yaml", check=False)
    try:
        return settings.parse(text) if text else None
    except SettingsError:
        return None


def gate_of(base: Settings | None, own: Settings) -> Gate:
    """The limits that count: those of the base, where it has the same task."""
    return base.gate if base and base.model.task == own.model.task else own.gate


def check(root: Path, commit: str | None, base: Settings | None, own: Settings) -> Check:
    """PASS where limits, salt and guarded files are those of the base, else INCONCLUSIVE.

    On main a person has merged the change already: it is listed, and asks nobody again. Else one
    changed limit would hold back every later release, whose base is the last one.
    """
    if commit is None or base is None:
        return Check(
            "policy", Verdict.PASS, "There is no base yet, so the policy is the candidate's"
        )
    changed = [
        f"gate.{name}: {getattr(base.gate, name)!r} -> {getattr(own.gate, name)!r}"
        for name in Gate.model_fields
        if getattr(base.gate, name) != getattr(own.gate, name)
    ]
    if base.split != own.split:
        changed.append("split")
    for key in ("build", "estimator"):
        old, new = (getattr(s.features if key == "build" else s.train, key) for s in (base, own))
        if old != new:
            changed.append(f"{key}: {old} -> {new}")
    names = git(root, "diff", "--name-only", commit, "HEAD", "--", *GUARDED, check=False)
    changed += names.splitlines()
    if not changed:
        return Check(
            "policy", Verdict.PASS, "Limits, split and guarded files are those of the base"
        )
    if on_main(root) and not dirty(root, "params.yaml", *GUARDED):
        return Check(
            "policy", Verdict.PASS,
            f"Changed and merged: {'; '.join(changed)}. The base's limits were used",
            value=len(changed),
        )  # fmt: skip
    return Check(
        "policy", Verdict.INCONCLUSIVE,
        f"Changed, so a person decides: {'; '.join(changed)}. The base's limits were used",
        value=len(changed), limit=0,
    )  # fmt: skip
