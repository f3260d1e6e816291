"""The policy of main: a pull request cannot loosen the gate that judges it.

Policy is all that decides whether a change may be merged or released: limits, split, which rows
are judged and how rows become decisions, the contract of the data, the two test folders, the
workflows, the pipeline and the house itself. On a branch it is compared with main where the branch
left it, not with production: what was merged meanwhile a person has accepted. On main the changes
since the base are listed and ask nobody again, or one changed limit would hold back each release.

What this cannot hold: the forker's own code runs in the process that judges it, so code that is
out to cheat has to be seen by a person, which is what the review of a pull request is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mainline import settings
from mainline.compare.meaning import Change, column_changes, differing, flat, of_file
from mainline.errors import SettingsError
from mainline.git import dirty, git, head, on_main, resolve
from mainline.settings import Gate, Settings
from mainline.verdict import Check, Verdict

# Whole sections, or keys of them.
GUARDED_SETTINGS = ("model", "split", "features.build", "train.estimator", "train.trusted",
                    "train.window_days", "evaluate.slices", "evaluate.threshold", "gate",
                    "release", "rollout", "monitor.maturity_days")  # fmt: skip
# Everything under src/ but the forker's room: a module there can take the place of any other.
GUARDED = ("tests/data", "tests/model", "tests/conftest.py", "tests/__init__.py", "conftest.py",
           ".github", "dvc.yaml", ".dvcignore", ".dvc/config", "mainline", "mainline.cmd",
           "pyproject.toml", "src", ":(exclude)src/project", ":(exclude)src/sample")  # fmt: skip
TOLD = 3


@dataclass(frozen=True)
class Policy:
    """Where the policy is read from (`commit`; None: there is none yet) and its settings.

    `merged` is set on main. `broken` says why the settings there cannot be read.
    """

    commit: str | None
    settings: Settings | None = None
    merged: bool = False
    broken: str | None = None


def find(root: Path, base: str | None) -> Policy:
    """The policy that judges HEAD, whose model is compared with that of the commit `base`."""
    merged = on_main(root)
    commit = base if merged else branched_from(root) or base
    text = git(root, "show", f"{commit}:params.yaml", check=False) if commit else ""
    if not text:
        return Policy(None, merged=merged)
    try:
        return Policy(commit, settings.parse(text), merged)
    except SettingsError as error:
        return Policy(commit, None, merged, str(error))


def branched_from(root: Path) -> str | None:
    """The commit of main that this branch starts from; None without a main of this history."""
    main = resolve(root, "origin/main") or resolve(root, "main")
    here = head(root)
    if main is None or here is None:
        return None
    return git(root, "merge-base", here, main, check=False) or None


def gate_of(base: Settings | None, own: Settings) -> Gate:
    """The limits that count: those of the policy, where it has the same task."""
    return base.gate if base and base.model.task == own.model.task else own.gate


def changes(root: Path, commit: str, old: Settings | None, own: Settings) -> list[Change]:
    """What of the policy differs between `commit`, whose settings are `old`, and what stands here.

    Uncommitted files count too.
    """
    found = list(differing(*(guarded(s) for s in (old, own)))) if old else []
    found += _key_changes(root, commit, {s.release.public_key for s in (old, own) if s})
    schemas = git(root, "show", f"{commit}:schema.yaml", check=False), _text(root, "schema.yaml")
    found += [Change(f"schema.yaml {c.name}", c.base, c.candidate)
              for c in column_changes(*schemas)]  # fmt: skip
    return found + file_changes(root, commit, GUARDED)


def _key_changes(root: Path, commit: str, names: set[str | None]) -> list[Change]:
    """The key file that verifies signatures, wherever either side says it is."""
    named = sorted(f":(literal){n}" for n in names if n)
    return file_changes(root, commit, named) if named else []


def guarded(options: Settings) -> dict[str, str]:
    """The guarded settings as dotted keys, defaults among them."""
    everything = options.model_dump(mode="json")
    out: dict[str, str] = {}
    for name in GUARDED_SETTINGS:
        found = everything
        for part in name.split("."):
            found = found[part]
        out.update({k: v for k, v in flat(found, name).items() if v not in ("[]", "{}")})
    return out


def file_changes(root: Path, commit: str, paths: Sequence[str]) -> list[Change]:
    """Files under `paths` that do something else than at `commit`; untracked ones are new."""
    listed = git(root, "diff", "--name-only", "--no-renames", "-z", commit, "--", *paths,
                 check=False).split("\0")  # fmt: skip
    out = []
    for name in sorted({*filter(None, listed), *dirty(root, *paths)}):
        there = bool(git(root, "ls-tree", commit, "--", name, check=False))
        here = (root / name).exists()
        if there and here:
            old, new = git(root, "show", f"{commit}:{name}", check=False), _text(root, name)
            if of_file(name, old) != of_file(name, new):
                out.append(Change(name, "there", "changed"))
        elif there or here:
            out.append(Change(name, *(("there", "removed") if there else (None, "added"))))
    return out


def _text(root: Path, name: str) -> str:
    path = root / name
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return path.read_text("utf-8", errors="replace").rstrip("\n") if path.is_file() else ""


def judge(root: Path, policy: Policy, own: Settings) -> tuple[Check, list[Change]]:
    """PASS where the policy is that of main, or its changes are merged; else INCONCLUSIVE."""
    if policy.commit is None and _lacks_main(root):
        reason = ("No main was found here, so nobody knows what this would change: run "
                  "`git fetch origin main`, or call the branch that is released main")  # fmt: skip
        return Check("policy", Verdict.INCONCLUSIVE, reason), []
    if policy.commit is None:
        reason = "There is no base yet, so the policy is the candidate's"
        return Check("policy", Verdict.PASS, reason), []
    found = changes(root, policy.commit, policy.settings, own)
    if policy.broken:
        found.insert(0, Change("params.yaml", f"unreadable ({policy.broken})", "readable"))
    if not found:
        reason = "Limits, split, contract, tests, workflows and the house are those of main"
        return Check("policy", Verdict.PASS, reason), []
    used = "the base" if policy.merged else "main"
    if policy.merged:
        here = head(root)
        loose = changes(root, here, base_of(root, here), own) if here else found
        if not loose:
            reason = f"Changed and merged: {told(found)}. The limits of {used} were used"
            return Check("policy", Verdict.PASS, reason, value=len(found)), found
        found = loose
    reason = f"Changed, so a person decides: {told(found)}. The limits of {used} were used"
    return Check("policy", Verdict.INCONCLUSIVE, reason, value=len(found), limit=0), found


def _lacks_main(root: Path) -> bool:
    """Whether there is a history, and no main in it."""
    count = git(root, "rev-list", "--count", "--max-count=2", "HEAD", check=False)
    return count == "2" and not (resolve(root, "origin/main") or resolve(root, "main"))


def base_of(root: Path, commit: str) -> Settings | None:
    """The settings at `commit` itself."""
    try:
        return settings.parse(git(root, "show", f"{commit}:params.yaml", check=False))
    except SettingsError:
        return None


def told(found: Sequence[Change]) -> str:
    """The first few changes, and how many more there are."""
    more = f" and {len(found) - TOLD} more" if len(found) > TOLD else ""
    return "; ".join(map(str, found[:TOLD])) + more


def check(root: Path, commit: str | None, own: Settings) -> Check:
    """The check on the policy beside the model base `commit`."""
    return judge(root, find(root, commit), own)[0]
