"""The house's own rules for workflows, and that each rule notices its breach."""

from __future__ import annotations

from pathlib import Path

import pytest
import rules
import yaml

GITHUB = Path(__file__).resolve().parents[3] / ".github"
WORKFLOWS = {path.stem: path.read_text("utf-8") for path in (GITHUB / "workflows").glob("*.yml")}


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_workflow_keeps_the_rules(name: str) -> None:
    """Pins, grants, timeouts, concurrency, credentials and length are as the house wants them."""
    assert rules.problems(name, WORKFLOWS[name]) == []


@pytest.mark.parametrize("path", sorted((GITHUB / "actions").glob("*/action.yml")), ids=str)
def test_actions_are_pinned_in_composite_actions_too(path: Path) -> None:
    """What a composite action uses is pinned like the rest."""
    assert list(rules.unpinned(path.read_text("utf-8"))) == []


def test_the_first_form_is_whole() -> None:
    """The workflows that the house promises are there."""
    assert set(WORKFLOWS) >= {"check", "train", "comment", "release", "deploy", "rollback",
                              "monitor"}  # fmt: skip


@pytest.mark.parametrize("name", ["setup", "keep"])
def test_an_action_does_what_is_promised(name: str) -> None:
    """No more and no less than `promised.txt` says."""
    text = (GITHUB / "actions" / name / "action.yml").read_text("utf-8")
    document = yaml.load(text, Loader=yaml.BaseLoader)
    assert list(rules.unlike_promise(f"action {name}", document)) == []


def test_nothing_promised_is_gone() -> None:
    """Each workflow and action of `promised.txt` is there."""
    actions = {f"action {path.parent.name}" for path in GITHUB.glob("actions/*/action.yml")}
    assert set(rules.promised()) == set(WORKFLOWS) | actions


def test_the_rules_for_the_gate_hold_without_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who changes `promised.txt` too still meets a reason."""
    broken = {
        "    if: always()\n": "can be skipped",
        "    needs: train\n": "can be skipped",
        "labeled, unlabeled": "a label does not run",
        "        run: ./mainline gate\n": "does not end with",
    }
    monkeypatch.setattr(rules, "unlike_promise", lambda *_: ())
    for line, problem in broken.items():
        changed = WORKFLOWS["train"].replace(line, "")
        assert any(problem in found for found in rules.problems("train", changed)), line
    skipping = WORKFLOWS["train"].replace(
        "    name: train\n", "    name: train\n    if: github.event.label.name == 'x'\n"
    )
    assert any("can skip it" in found for found in rules.problems("train", skipping))


def test_nothing_is_pushed_before_the_gate() -> None:
    """On main the gate stands before the first step that registers, publishes or pushes."""
    steps = yaml.safe_load(WORKFLOWS["release"])["jobs"]["register"]["steps"]
    words = [step.get("run", "") for step in steps]
    gate = words.index("./mainline gate")
    assert "if" not in steps[gate]
    acts = ("register", "publish", "git ", "gh ")
    first = min(i for i, w in enumerate(words) if any(act in w for act in acts))
    assert gate < first


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("train", "permissions: {}", "permissions: write-all", "permissions at the top"),
        ("train", "    timeout-minutes: 60\n", "", "no timeout"),
        ("train", "contents: read # to check out", "contents: write # why not", "may write"),
        ("train", "contents: read # to check out", "contents: read", "has no reason"),
        ("train", "persist-credentials: false", "persist-credentials: true", "token stays"),
        ("train", "    types: [", "    paths: [src/**]\n    types: [", "filters paths"),
        ("train", "concurrency:\n  group: train-${{ github.ref }}", "concurrency:\n  grp: x",
         "concurrency"),
        ("train", '--base "$BASE"', '--base "${{ inputs.base }}"', "pasted into a shell"),
        ("train", "run: ./mainline gate", "run: ./mainline gate || true", "swallows"),
        ("train", "- name: Gate\n", "- name: Gate\n        if: false\n", "never runs"),
        ("train", "run: ./mainline gate", "run: ./mainline gate --lax", "credential"),
        ("train", "github.token", "secrets.GITHUB_TOKEN", "credential"),
        ("train", "- name: Gate\n", "- name: Gate\n        continue-on-error: true\n", "unseen"),
        ("train", "    if: always()\n", "    if: always()\n    continue-on-error: true\n",
         "unseen"),
        ("train", "BASE: ${{ inputs.base || 'auto' }}", "BASE: ${{ secrets.KEY }}", "credential"),
        ("check", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "not pinned"),
        ("check", "90b1 # v7.0.1", "90b1", "no version"),
        ("check", "  pull_request:\n", "  pull_request_target:\n", "pull_request_target"),
        ("comment", "          persist-credentials: false",
         "          persist-credentials: false\n          ref: x", "checks out something else"),
    ],
)  # fmt: skip
def test_a_breach_is_noticed(name: str, old: str, new: str, problem: str) -> None:
    """Each rule, broken once in a copy of a real workflow, is named."""
    broken = WORKFLOWS[name].replace(old, new)
    assert broken != WORKFLOWS[name]
    assert any(problem in found for found in rules.problems(name, broken))
