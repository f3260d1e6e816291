"""The text of a retrain pull request, and of the issue where a pull request would be no help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mainline.monitor.text import code, escape, quality_table, windows_table
from mainline.proposal import Text

HEADINGS = {
    "quality": "quality fell",
    "drift": "production has drifted",
    "drift-few-labels": "production has drifted, and its labels are not there yet",
    "labels": "new labels",
    "age": "the model is old",
    "incident": "the feed looks broken",
}
MARK = "<!-- mainline:{what} {columns} -->"


@dataclass(frozen=True)
class NewRows:
    """What a new model would learn from that the present one did not."""

    rows: int
    labelled: int
    positives: int | None  # None where the task has no positive class
    since: str | None


def pull_request(found: Mapping[str, Any], new: NewRows, labels_added: int) -> Text:
    """Why, with which new rows, and what the candidate is judged on; `found` is monitor.json."""
    asked, model = found["trigger"], found["model"]["name"]
    positives = "" if new.positives is None else f", {new.positives} of them positive"
    lines = [
        MARK.format(what="retrain", columns=drifted(found)),
        f"**Why:** {escape(asked['reason'])}.",
        "",
        f"**New since the present model** (rows after {(new.since or 'its training')[:10]}): "
        f"{new.rows} rows, {new.labelled} with a final label{positives}; "
        f"{labels_added} labels were collected for this pull request.",
        "",
        "**What the candidate is judged on:** twice against production, on rows that neither model "
        "was trained on: it must be better on the newest matured rows, and not worse on the older "
        "held-out ones. All history pooled would hide the gain.",
        "",
        "Labels are censored by what the model did: a payment that it blocked has no outcome.",
        "",
        "<details><summary>What production looked like</summary>",
        "",
        *windows_table(found),
        "",
        *quality_table(found),
        "",
        "</details>",
        "",
        "This branch is kept up to date until a person commits to it. It is never merged by a "
        "machine. Closed with the label `drift-accepted`, the columns above no longer alarm.",
    ]
    return Text(f"Retrain {model}: {HEADINGS[asked['kind']]}", "\n".join(lines) + "\n")


def issue(found: Mapping[str, Any]) -> Text:
    """An issue for what a new model would not mend: a broken feed, or drift without labels."""
    asked, model = found["trigger"], found["model"]["name"]
    then = {
        "incident": "Nothing is retrained while the feed is broken: a model would learn the fault.",
        "drift-few-labels": "It is looked at again each day; a pull request follows when enough "
        "labels of the drifted rows have matured.",
    }[asked["kind"]]
    lines = [
        MARK.format(what=asked["kind"], columns=drifted(found)),
        f"**{escape(asked['reason'])}.**",
        "",
        then,
        "",
        *windows_table(found),
    ]
    return Text(
        f"{code(model)}: {HEADINGS[asked['kind']]}".replace("`", ""), "\n".join(lines) + "\n"
    )


def drifted(found: Mapping[str, Any]) -> str:
    """The columns over their threshold in the newest judged window, for a machine to read back."""
    judged = [w for w in found["windows"] if w["columns"]]
    names = [n for n, c in judged[-1]["columns"].items() if c["over"]] if judged else []
    return ",".join(n.encode("utf-8").hex() for n in sorted(names))
