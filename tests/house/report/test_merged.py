"""What a person accepted on a pull request holds for its merge, and for nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakehub
import pytest
import small
import tools

from mainline.report import blame, gate, merged
from mainline.report.acceptance import LABEL, Asked
from mainline.verdict import Check, StepVerdict, Verdict

PASS, UNSURE, FAIL, ERROR = Verdict
SHA = "ab" * 20
BEFORE, STARTED, AFTER, AGAIN, MERGED, LATER = (f"2026-01-01T12:0{n}:00Z" for n in range(6))
INPUTS = {k: f"sha256:{k}" for k in ("code", "data", "split", "model", "base", "policy")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one commit on main."""
    root = tmp_path / "work"
    root.mkdir()
    small.git(root, "init", "--quiet", "--initial-branch=main")
    shutil.copy2(tools.ROOT / "params.yaml", root / "params.yaml")
    small.commit(root, "The first")
    return root


@pytest.fixture
def hub(root: Path) -> Iterator[fakehub.Hub]:
    """Pull request 7, whose gate passed with the label of `rev`, merged as HEAD."""
    with fakehub.serving() as made:
        made.open(7, "change", SHA)
        made.permissions.update(rev="write", ann="read", robot="write")
        made.began(SHA, "change", STARTED)
        made.label(7, LABEL, "rev", AFTER)
        made.runs[made.began(SHA, "change", AGAIN) - 9000]["conclusion"] = "success"
        made.merge(7, small.git(root, "rev-parse", "HEAD"), MERGED)
        yield made


def environment(hub: fakehub.Hub, **more: str) -> dict[str, str]:
    """What the gate's step sees in release.yml."""
    return {"GITHUB_REPOSITORY": "acme/fraud", "GITHUB_TOKEN": hub.token, "GITHUB_EVENT_NAME":
            "push", "GITHUB_API_URL": hub.url, merged.FOLDER: "build/accepted", **more}  # fmt: skip


def verdicts(**changed: Any) -> dict[str, StepVerdict | str]:
    """The verdicts of the four steps: the comparison is INCONCLUSIVE about `difference`."""
    made = {s: StepVerdict(s, (Check("fine", PASS, "Fine"),), INPUTS) for s in merged.STEPS}
    unsure = (Check("difference", UNSURE, "Too few rows", scope="test"),)
    made["compare"] = StepVerdict("compare", unsure, INPUTS)
    return {**made, **changed}


def fetch(root: Path, hub: fakehub.Hub, found: dict[str, StepVerdict | str]) -> Path:
    """Leave the verdicts of the newest run where the workflow fetches them to."""
    folder = root / "build" / "accepted" / str(hub.runs[-1]["id"])
    for verdict in found.values():
        assert isinstance(verdict, StepVerdict)
        written = verdict.write(root)
        folder.mkdir(parents=True, exist_ok=True)
        written.rename(folder / written.name)
    return folder


def test_it_holds_for_the_merge_of_what_was_accepted(root: Path, hub: fakehub.Hub) -> None:
    """Who, for which pull request; the model's own digest, which carries the commit, may differ."""
    fetch(root, hub, verdicts())
    inputs = {**INPUTS, "model": "sha256:another"}
    now = {k: replace(v, inputs=inputs) for k, v in verdicts().items() if not isinstance(v, str)}
    found = merged.holds(root, {**now}, environment(hub)).acceptance
    assert found is not None
    assert (found.who, found.pull, found.commit) == ("rev", 7, SHA)
    assert merged.pull_request(root, environment(hub)) == 7


def test_it_still_holds_once_the_merge_is_registered_here(root: Path, hub: fakehub.Hub) -> None:
    """The tag is made here before it is pushed, and the gate is asked again for the push.

    What was merged before an older version is not looked at.
    """
    fetch(root, hub, verdicts())
    small.git(root, "tag", "--annotate", "--message", "Here", "card-fraud@v1.1.0")
    assert merged.holds(root, verdicts(), environment(hub)).acceptance is not None
    small.git(root, "commit", "--quiet", "--allow-empty", "--message", "Words")
    assert merged.holds(root, verdicts(), environment(hub)).acceptance is None


def test_a_label_that_is_taken_off_after_the_merge_counted(root: Path, hub: fakehub.Hub) -> None:
    """What was so at the merge is what counts; an older merge is looked at behind a newer one."""
    hub.unlabel(7, LABEL, "rev", LATER)
    small.commit(root, "Words")
    fetch(root, hub, verdicts())
    hub.open(8, "words", "cd" * 20)
    hub.merge(8, small.git(root, "rev-parse", "HEAD"), LATER)
    hub.label(8, LABEL, "rev", AFTER)
    hub.unlabel(8, LABEL, "rev", AGAIN)
    found = merged.holds(root, verdicts(), environment(hub)).acceptance
    assert found is not None
    assert found.pull == 7


def test_the_run_to_fetch_is_the_one_whose_gate_passed(
    root: Path, hub: fakehub.Hub, tmp_path: Path
) -> None:
    """Not the one before the label, nor one that failed after it."""
    hub.runs[hub.began(SHA, "change", AGAIN) - 9000]["conclusion"] = "failure"
    out = tmp_path / "out"
    merged.tell(root, environment(hub, GITHUB_OUTPUT=str(out)))
    assert out.read_text("utf-8") == "run=\n", "nothing is inconclusive"
    out.unlink()
    for verdict in verdicts().values():
        assert isinstance(verdict, StepVerdict)
        verdict.write(root)
    told = merged.tell(root, environment(hub, GITHUB_OUTPUT=str(out)))
    assert out.read_text("utf-8") == "run=9001\n"
    assert "rev put" in told["text"]
    hub.pulls.clear()
    merged.tell(root, environment(hub, GITHUB_OUTPUT=str(out)))
    assert out.read_text("utf-8").endswith("run=\n")


def of_a_fork(hub: fakehub.Hub) -> None:
    """The pull request came from a fork."""
    hub.pull(7)["head"]["repo"]["full_name"] = "bob/fraud"
    for run in hub.runs:
        run["head_repository"]["full_name"] = "bob/fraud"


def taken_off(hub: fakehub.Hub) -> None:
    """The label was taken off before the merge, and is shown by GitHub as it is now."""
    hub.unlabel(7, LABEL, "rev", AGAIN)
    hub.label(7, LABEL, "rev", LATER)


def by_a_bot(hub: fakehub.Hub) -> None:
    """A bot put it on."""
    hub.events[7].clear()
    hub.label(7, LABEL, "robot", AFTER, kind="Bot")


def by_a_reader(hub: fakehub.Hub) -> None:
    """Somebody who may not write put it on."""
    hub.events[7].clear()
    hub.label(7, LABEL, "ann", AFTER)


def before_the_run(hub: fakehub.Hub) -> None:
    """It was there before the first run for the head commit began."""
    hub.events[7].clear()
    hub.label(7, LABEL, "rev", BEFORE)


def never_green(hub: fakehub.Hub) -> None:
    """No run passed with it on."""
    hub.runs[-1]["conclusion"] = "failure"


def green_before(hub: fakehub.Hub) -> None:
    """The only run that passed did so before the label."""
    hub.runs[-1]["conclusion"] = None
    hub.runs[0]["conclusion"] = "success"


def green_after_the_merge(hub: fakehub.Hub) -> None:
    """The only run that passed began after the merge."""
    hub.runs[-1]["created_at"] = hub.runs[-1]["run_started_at"] = LATER


def of_another_branch(hub: fakehub.Hub) -> None:
    """It was merged into another branch than main."""
    hub.pull(7)["base"]["ref"] = "next"


def never_merged(hub: fakehub.Hub) -> None:
    """It was closed; its commit came to main by a push."""
    hub.pull(7)["merged_at"] = None


def as_another_commit(hub: fakehub.Hub) -> None:
    """It was merged as another commit, and holds this one."""
    hub.pull(7)["merge_commit_sha"] = SHA


def refused(hub: fakehub.Hub) -> None:
    """GitHub does not answer."""
    hub.refused["issues/"] = 403


@pytest.mark.parametrize("change", [
    of_a_fork, taken_off, by_a_bot, by_a_reader, before_the_run, never_green, green_before,
    green_after_the_merge, of_another_branch, never_merged, as_another_commit, refused,
])  # fmt: skip
def test_a_label_that_does_not_count_lifts_nothing(
    root: Path, hub: fakehub.Hub, change: Callable[[fakehub.Hub], None]
) -> None:
    """Whoever put it on, whenever, and however the commit came to main."""
    fetch(root, hub, verdicts())
    change(hub)
    asked, merge = merged.ask(root, environment(hub))
    assert (asked.acceptance, merge) == (None, None)
    assert merged.holds(root, verdicts(), environment(hub)).acceptance is None


@pytest.mark.parametrize("key", merged.BOUND)
@pytest.mark.parametrize("step", ["validate", "compare"])
def test_over_other_inputs_it_no_longer_holds(
    root: Path, hub: fakehub.Hub, step: str, key: str
) -> None:
    """Another code, data, split, policy or base than what was accepted."""
    fetch(root, hub, verdicts())
    changed = replace(verdicts()[step], inputs={**INPUTS, key: "sha256:another"})  # type: ignore[type-var]
    found = merged.holds(root, verdicts(**{step: changed}), environment(hub))
    assert found.acceptance is None
    assert f"is over another {key}" in found.why


@pytest.mark.parametrize("check", [
    Check("calibration", UNSURE, "Another check"), Check("difference", UNSURE, "No", scope="slice"),
])  # fmt: skip
def test_what_was_not_inconclusive_then_is_not_lifted(
    root: Path, hub: fakehub.Hub, check: Check
) -> None:
    """One more check, or the same one over other rows, stays what it is."""
    fetch(root, hub, verdicts())
    more = StepVerdict("compare", (Check("difference", UNSURE, "", scope="test"), check), INPUTS)
    found = merged.holds(root, verdicts(compare=more), environment(hub))
    assert found.acceptance is None
    assert "was not inconclusive when #7 was accepted" in found.why


def test_a_step_that_was_not_among_the_accepted_is_not_lifted(root: Path, hub: fakehub.Hub) -> None:
    """Only the four steps whose verdicts were fetched are bound."""
    fetch(root, hub, verdicts())
    tried = StepVerdict("serve", (Check("answers", UNSURE, "Slow"),), INPUTS)
    assert merged.holds(root, verdicts(serve=tried), environment(hub)).acceptance is None


def missing(folder: Path) -> None:
    """A verdict is not there."""
    (folder / "train.json").unlink()


def linked(folder: Path) -> None:
    """A verdict is a link."""
    (folder / "train.json").rename(folder / "other.json")
    (folder / "train.json").symlink_to(folder / "other.json")


def swapped(folder: Path) -> None:
    """A verdict is of another step."""
    (folder / "train.json").write_bytes((folder / "validate.json").read_bytes())


def broken(folder: Path) -> None:
    """A verdict is no JSON."""
    (folder / "train.json").write_text("{", "utf-8")


def of_another_run(folder: Path) -> None:
    """They are of another run."""
    folder.rename(folder.with_name("1"))


def committed(folder: Path) -> None:
    """They came with the checkout."""
    small.git(folder.parents[2], "add", "--force", str(folder))


@pytest.mark.parametrize(
    "change", [missing, linked, swapped, broken, of_another_run, committed]
)  # fmt: skip
def test_verdicts_that_cannot_be_believed_lift_nothing(
    root: Path, hub: fakehub.Hub, change: Callable[[Path], None]
) -> None:
    """And the reason names the pull request."""
    change(fetch(root, hub, verdicts()))
    found = merged.holds(root, verdicts(), environment(hub))
    assert found.acceptance is None
    assert "what was accepted on #7 could not be read" in found.why


def test_nothing_is_asked_where_nothing_is_to_be_lifted(root: Path, hub: fakehub.Hub) -> None:
    """Outside a release, off main, and where all passed."""
    fetch(root, hub, verdicts())
    fine = StepVerdict("compare", (Check("difference", PASS, ""),), INPUTS)
    assert merged.holds(root, verdicts(compare=fine), environment(hub)) == Asked()
    assert merged.holds(root, verdicts(), environment(hub, **{merged.FOLDER: ""})) == Asked()
    small.git(root, "switch", "--quiet", "--create", "change")
    small.commit(root, "Not merged")
    assert merged.holds(root, verdicts(), environment(hub)) == Asked()
    assert hub.asked == []


def test_the_gate_keeps_who_accepted_and_where(root: Path, hub: fakehub.Hub) -> None:
    """For the tag's trailers; a refused label names nobody, and a FAIL is never lifted."""
    fetch(root, hub, verdicts())
    asked = merged.holds(root, verdicts(), environment(hub))
    found = StepVerdict("gate", (Check("compare", UNSURE, "Too few rows"),))
    assert gate.accepted_by(gate.lift(found, asked)) == ("rev", 7)
    assert gate.accepted_by(gate.lift(found, Asked(why="too late"))) is None
    failed = StepVerdict("gate", (*found.checks, Check("train", FAIL, "Bad")))
    assert gate.lift(failed, asked).verdict is FAIL


def test_the_issue_shows_text_from_elsewhere_and_lets_it_do_nothing(root: Path) -> None:
    """A subject and a reason with mentions, links and markup call nobody."""
    bad = "@everyone [x](https://evil.invalid) `rm` <img src=x> closes #1"
    check = Check("difference", FAIL, bad)
    StepVerdict("compare", (check,), INPUTS).write(root)
    found = StepVerdict("gate", (Check("compare", FAIL, f"compare: {bad}"),))
    text = blame.body(root, "card-fraud", found, [blame.Suspect("ab" * 20, True, bad, 7)])
    assert "**difference**" in text
    for acting in ("@everyone", "[x](", "<img", "closes #1"):
        assert acting not in text, acting
    assert f"git revert -m 1 {'ab' * 20}" in text
    assert json.dumps(text)


def test_an_issue_that_cannot_be_looked_for_keeps_no_version_back(
    root: Path, hub: fakehub.Hub
) -> None:
    """Main passed: that issues are switched off is said, and is no failure of the release."""
    StepVerdict("gate", (Check("compare", PASS, "Fine"),)).write(root)
    hub.refused["issues"] = 410
    assert "may be left open" in blame.tell(root, environment(hub))["text"]
