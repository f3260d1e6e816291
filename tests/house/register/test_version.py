"""Which number comes next: what a caller sees, what makes the model, what is data."""

from __future__ import annotations

from pathlib import Path

import faked
import pytest
from small import git

from mainline.register import register
from mainline.register.version import bump, following, same_inputs
from mainline.registry import Version

AMOUNT = ("{name: amount, type: number, role: feature, max_missing: 0, hard: {min: 0}, "
          "soft: {max: 20000}}")  # fmt: skip
CHANNEL = "categories: [pos, online, app, phone]"
MAJOR = {
    "a column less": ("schema.yaml", f"  - {AMOUNT}\n", ""),
    "a column more": ("schema.yaml", f"  - {AMOUNT}\n",
                      f"  - {AMOUNT}\n  - {{name: x, type: number, role: feature}}\n"),
    "a column renamed": ("schema.yaml", "name: amount,", "name: sum,"),
    "another type": ("schema.yaml", "{name: hour, type: integer", "{name: hour, type: number"),
    "no feature any more": ("schema.yaml", "{name: distance_km, type: number, role: feature",
                            "{name: distance_km, type: number, role: drop"),
    "a narrower hard limit": ("schema.yaml", "hard: {min: 0, max: 23}", "hard: {min: 1, max: 23}"),
    "a wider hard limit": ("schema.yaml", "hard: {min: 0, max: 23}", "hard: {min: 0, max: 24}"),
    "one category more": ("schema.yaml", CHANNEL, "categories: [pos, online, app, phone, chat]"),
    "a list that is open now": ("schema.yaml", CHANNEL, f"allow_new: true, {CHANNEL}"),
    "may be missing now": ("schema.yaml", "amount, type: number, role: feature, max_missing: 0,",
                           "amount, type: number, role: feature, max_missing: 0.1,"),
    "the row id": ("schema.yaml", "row_id: transaction_id", "row_id: null"),
    "the positive class": ("params.yaml", "positive: 1", "positive: 0"),
    "the target": ("params.yaml", "target: is_fraud", "target: was_fraud"),
}  # fmt: skip
MINOR = {
    "features": ("src/project/model.py", "a = 1", "a = 2"),
    "an argument": ("params.yaml", "max_iter: 150", "max_iter: 140"),
    "the seed": ("params.yaml", "seed: 0", "seed: 1"),
    "how much history": ("params.yaml", "window_days: 240", "window_days: 200"),
    "the split": ("params.yaml", "salt: mainline-1", "salt: mainline-2"),
    "the entry of the features": ("params.yaml", "project.features:build", "project.other:build"),
    "the threshold": ("params.yaml", "max_fpr, value: 0.02", "max_fpr, value: 0.03"),
    "which labels count": ("params.yaml", "maturity_days: 30", "maturity_days: 40"),
    "a soft limit": ("schema.yaml", "soft: {max: 20000}", "soft: {max: 30000}"),
    "a category of an open list": ("schema.yaml", "categories: [FR, DE,", "categories: [DE,"),
    "how much may be missing": ("schema.yaml", "max_missing: 0.8, hard", "max_missing: 0.7, hard"),
    "the packages": ("requirements.txt", "2.0.0", "2.0.1"),
}  # fmt: skip
NONE = {
    "the rollout": ("params.yaml", "latency_ms: 250", "latency_ms: 200"),
    "the gate": ("params.yaml", "delta: 0.03", "delta: 0.02"),
    "the service's limits": ("params.yaml", "max_rows: 1000", "max_rows: 500"),
    "the metrics that are shown": ("params.yaml", "slices: [age_band, channel]", "slices: []"),
    "retraining": ("params.yaml", "cooldown_days: 14", "cooldown_days: 7"),
    "the log": ("params.yaml", "window: 7D", "window: 14D"),
    "signing": ("params.yaml", "unsigned: allow", "unsigned: refuse"),
    "a comment": ("params.yaml", "# the class that", "# that class which"),
}  # fmt: skip


def after(shop: Path, edit: tuple[str, str, str]) -> tuple[str, bool]:
    """The number after v1.2.3 at the commit before `edit`, and whether inputs are as before."""
    latest = Version("card-fraud", (1, 2, 3), git(shop, "rev-parse", "HEAD"))
    commit = faked.edit(shop, *edit)
    return following(shop, latest, commit), same_inputs(shop, latest.commit, commit)


@pytest.mark.parametrize("name", MAJOR)
def test_what_the_service_accepts_or_answers_is_major(shop: Path, name: str) -> None:
    """In either direction: a caller has to know."""
    assert after(shop, MAJOR[name]) == ("v2.0.0", False)


@pytest.mark.parametrize("name", MINOR)
def test_what_makes_another_model_of_the_same_data_is_minor(shop: Path, name: str) -> None:
    """Code, packages, and the settings that training reads."""
    assert after(shop, MINOR[name]) == ("v1.3.0", False)


@pytest.mark.parametrize("name", NONE)
def test_what_makes_no_other_model_asks_for_no_version(shop: Path, name: str) -> None:
    """The inputs are those that were; were it another model all the same, it is no minor one."""
    assert after(shop, NONE[name]) == ("v1.2.4", True)


def test_other_data_alone_is_a_patch(shop: Path) -> None:
    """And other inputs, so that it is trained and proved."""
    latest = Version("card-fraud", (1, 2, 3), git(shop, "rev-parse", "HEAD"))
    commit = faked.data(shop, "two")
    assert following(shop, latest, commit) == "v1.2.4"
    assert not same_inputs(shop, latest.commit, commit)


@pytest.mark.parametrize(
    ("interface", "making", "number"),
    [(True, True, (3, 0, 0)), (False, True, (2, 4, 0)), (False, False, (2, 3, 5))],
)
def test_the_next_number(interface: bool, making: bool, number: tuple[int, int, int]) -> None:
    """Major for what callers see, minor for code and parameters, patch for data alone."""
    latest = Version("m", (2, 3, 4), "c")
    assert bump(latest, interface, making) == number
    assert bump(None, interface, making) == (1, 0, 0)


def test_settings_of_an_older_house_are_compared_as_they_are(shop: Path) -> None:
    """Keys that are known no more are no reason to fail, and their going is a change."""
    faked.edit(shop, "params.yaml", "window_days: 240", "days_of_old: 240")
    edit = ("params.yaml", "days_of_old: 240", "window_days: 240")
    assert after(shop, edit) == ("v1.3.0", False)


def test_the_number_counts_on_from_the_newest_whatever_came_first(shop: Path) -> None:
    """From commit to registry: data, code, interface."""
    seen = [register.run(shop, push=True)["version"]]
    for change in ("data", "code", "interface"):
        if change == "data":
            faked.data(shop, "two")
        else:
            faked.edit(
                shop, *(MINOR["features"] if change == "code" else MAJOR["a column renamed"])
            )
        faked.push(shop)
        seen.append(register.run(shop, push=True)["version"])
    assert seen == ["v1.0.0", "v1.0.1", "v1.1.0", "v2.0.0"]
