"""What a reviewer is told above a report by code that the pull request did not write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mainline.errors import MainlineError
from mainline.github import GitHub
from mainline.limits import DataLimits, ModelLimits
from mainline.report.escape import markdown_code
from mainline.settings import Gate, Split

# Who changes one of these changes what judges it: the house, its tests, workflows, the pipeline.
JUDGES = re.compile(
    r"\.github/|src/mainline/|mainline(\.cmd)?$|tests/(data|model|house)/|tests/conftest\.py$"
    r"|dvc\.yaml$|requirements[\w-]*\.txt$|pyproject\.toml$|reports/verdicts/"
)
SETTINGS = "params.yaml"
POLICY = frozenset({"gate", "split", "build", "estimator", *Gate.model_fields, *Split.model_fields,
                    *DataLimits.model_fields, *ModelLimits.model_fields})  # fmt: skip
CHANGED = re.compile(r"^[+-]\s*(?:- *)?[{\"']?(\w+)[\"']?\s*:", re.MULTILINE)
MOST_LISTED = 3000  # files: GitHub lists no more
MOST_NAMES = 5
BAD = ("FAIL", "ERROR", "INCONCLUSIVE")


def of(github: GitHub, number: int) -> str:
    """A banner where the pull request changes what judges it, or where that cannot be seen."""
    try:
        files = github.get_all(f"pulls/{number}/files")
    except MainlineError as error:
        return _alert(f"Which files this pull request changes could not be read: {error.cause} "
                      "Its verdict may have been made by its own code.")  # fmt: skip
    if len(files) >= MOST_LISTED:
        return _alert("This pull request changes more files than GitHub lists. Its verdict may "
                      "have been made by its own code.")  # fmt: skip
    found = judges(files)
    if not found:
        return ""
    named = ", ".join(markdown_code(name, 200) for name in found[:MOST_NAMES])
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    return _alert(f"This pull request changes what judges it: {named}{more}. Its verdict was made "
                  "by its own code: read these changes before you believe it.")  # fmt: skip


def judges(files: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names, old ones too, of changed files that judge, in GitHub's order."""
    found = []
    for changed in files:
        names = [str(changed.get(key) or "") for key in ("filename", "previous_filename")]
        found += [n for n in names if JUDGES.match(n) or (n == SETTINGS and _limits(changed))]
    return list(dict.fromkeys(found))


def _limits(changed: Mapping[str, Any]) -> bool:
    """Whether a line of the policy is among those changed; without the lines it may be."""
    patch = changed.get("patch")
    if not isinstance(patch, str):
        return True
    return bool(POLICY & set(CHANGED.findall(patch)))


def of_run(conclusion: str, report: str) -> str:
    """A banner where a run did not succeed and the report that it left does not say so."""
    title = report.lstrip("\ufeff\n ").partition("\n")[0]
    if conclusion in ("", "success") or any(word in title for word in BAD):
        return ""
    ended = re.sub(r"[^a-z_]", "", conclusion)
    return _alert(f"The run that left this report ended with `{ended}`: believe the run.")


def _alert(text: str) -> str:
    return f"> [!CAUTION]\n> {text}\n"
