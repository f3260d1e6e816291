"""From a merge to a version, from end to end: act runs release.yml with the real commands.

GitHub is emulated. What a run that ended anywhere leaves is finished by the next one.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forge
import pytest
import runner
import small
import town as towns

pytestmark = pytest.mark.slow
PARAMS = "params.yaml"
RATE, OTHER, STEPS = "learning_rate: 0.06", "learning_rate: 0.08", "max_iter: 150"
MODEL = "card-fraud"
DONE = {"look": "success", "register": "success", "deploy": "success"}
# So little may be lost that these rows cannot tell.
STRICT = ("delta: 0.03 ", "delta: 0.005 ")


@pytest.fixture(scope="module")
def town(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[towns.Town]:
    """The town with v1.0.0, released and in production."""
    folder = tmp_path_factory.mktemp("release")
    hub = runner.Hub(folder / "hub")
    towns.settle(hub, sample_repository, folder / "remember", {PARAMS: STRICT})
    with forge.serving(folder) as github:
        made = towns.Town(hub, github)
        first = made.push("release")
        assert first.jobs() == DONE, first.text()
        made.promote("v1.0.0")
        yield made


@pytest.fixture
def fresh(town: towns.Town) -> Iterator[towns.Town]:
    """The town, which is afterwards as it was."""
    with town.as_it_is():
        yield town


def versions(town: towns.Town) -> list[str]:
    """The versions on the remote."""
    return [t.partition("@")[2] for t in town.hub.tags() if t.startswith(f"{MODEL}@")]


def trailers(town: towns.Town, version: str) -> dict[str, str]:
    """What the tag of a version says on the remote."""
    text = town.hub.git("tag", "--list", "--format=%(contents)", f"{MODEL}@{version}",
                        where=town.hub.origin)  # fmt: skip
    return dict(re.findall(r"^([A-Z][\w-]+): (.*)$", text, re.MULTILINE))


def out(town: towns.Town, version: str) -> dict[str, Any]:
    """The one release of a version, which is out and whole."""
    release = town.github.releases.of(f"{MODEL}@{version}")
    assert not release["draft"]
    assert {a["state"] for a in release["assets"]} == {"uploaded"}
    names = {a["name"] for a in release["assets"]}
    assert names >= {"models.tar", "report.md", "report.html", "release.json", "sbom.cdx.json",
                     "model_card.md", "model_card.html"}, names  # fmt: skip
    return release


def accepted(town: towns.Town, branch: str, edits: dict[str, tuple[str, str]]) -> towns.Pull:
    """A pull request that is INCONCLUSIVE, and whose gate passed with a writer's label."""
    pull = town.propose(branch, edits)
    assert town.train(pull, "opened").jobs()["gate"] == "failure"
    time.sleep(1.1)  # GitHub's times are in whole seconds
    town.github.label(pull.number, "ann")
    run = town.train(pull, "labeled")
    assert run.jobs() == {"train": "success", "gate": "success"}, run.text()
    time.sleep(1.1)
    return pull


def calls(town: towns.Town) -> list[str]:
    """The commands that were called since the last `begin`."""
    text = Path(town.hub.env["REMEMBER"], "calls").read_text("utf-8")
    return [w for w in text.splitlines() if w not in ("--help", "data pull")]


def begin(town: towns.Town) -> None:
    """Forget the calls until now."""
    Path(town.hub.env["REMEMBER"], "calls").unlink(missing_ok=True)


def test_the_first_release_is_whole(town: towns.Town) -> None:
    """One version, its release with model, card, SBOM, statement and report; main is as it was."""
    out(town, "v1.0.0")
    said = trailers(town, "v1.0.0")
    assert (said["Verdict"], said["Accepted-By"]) == ("PASS", "none")
    assert town.hub.git("rev-parse", "main", where=town.hub.origin) == town.hub.git(
        "rev-parse", "main"
    )


def test_a_merge_without_a_new_model_makes_no_version_and_says_so(fresh: towns.Town) -> None:
    """Words in the README: nothing is trained, tagged or deployed, and the summary says why."""
    small.edit(fresh.hub.work, "README.md", "\n", "\n\n")
    fresh.hub.commit("Words")
    begin(fresh)
    run = fresh.push("release")
    assert run.jobs() == {"look": "success"}, run.text()
    assert "No new version. Nothing that makes the model has changed since v1.0.0" in run.text()
    assert calls(fresh) == ["register --plan", "publish"]
    assert versions(fresh) == ["v1.0.0"]


@pytest.mark.parametrize("squash", [False, True], ids=["merged", "squashed"])
def test_what_a_person_accepted_is_registered_with_their_name(
    fresh: towns.Town, squash: bool
) -> None:
    """INCONCLUSIVE on main as it was on the pull request: the tag says who accepted it, and where.

    A label that is taken off after the merge changes nothing any more.
    """
    pull = accepted(fresh, "other", {PARAMS: (RATE, OTHER)})
    fresh.merge(pull, squash=squash)
    time.sleep(1.1)
    fresh.github.unlabel(pull.number, "ann")
    run = fresh.push("release")
    assert run.jobs() == DONE, run.text()
    said = trailers(fresh, "v1.1.0")
    assert (said["Accepted-By"], said["Pull-Request"]) == ("ann", f"#{pull.number}")
    out(fresh, "v1.1.0")


def test_a_merge_after_the_accepted_one_does_not_lose_it(fresh: towns.Town) -> None:
    """The run for the accepted merge was dropped; words came on top, over the same model."""
    pull = accepted(fresh, "other", {PARAMS: (RATE, OTHER)})
    fresh.merge(pull)
    small.edit(fresh.hub.work, "README.md", "\n", "\n\n")
    fresh.hub.commit("Words")
    run = fresh.push("release")
    assert run.jobs() == DONE, run.text()
    assert trailers(fresh, "v1.1.0")["Accepted-By"] == "ann"


def another_change(town: towns.Town, pull: towns.Pull) -> None:
    """Something else that makes the model was merged on top."""
    town.merge(pull)
    small.edit(town.hub.work, PARAMS, STEPS, "max_iter: 149")
    town.hub.commit("Something else")


def taken_off(town: towns.Town, pull: towns.Pull) -> None:
    """The label was taken off before the merge."""
    town.github.unlabel(pull.number, "ann")
    time.sleep(1.1)
    town.merge(pull)


def merged_as_another(town: towns.Town, pull: towns.Pull) -> None:
    """GitHub says that the pull request was merged as another commit."""
    town.merge(pull)
    town.github.merge(pull.number, "0a" * 20)


def forged(town: towns.Town, pull: towns.Pull) -> None:
    """The run left verdicts in which something else was inconclusive."""
    town.merge(pull)
    for folder in (town.hub.folder / "artifacts of runs").glob("*/verdicts/compare.json"):
        verdict = json.loads(folder.read_text("utf-8"))
        for check in verdict["checks"]:
            check["name"] = f"not {check['name']}"
        folder.write_text(json.dumps(verdict), "utf-8")


def expired(town: towns.Town, pull: towns.Pull) -> None:
    """The artifact is gone."""
    town.merge(pull)
    shutil.rmtree(town.hub.folder / "artifacts of runs")
    (town.hub.folder / "artifacts of runs").mkdir()


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (another_change, "is over another code"),
        (taken_off, "was not on #"),
        (merged_as_another, ""),
        (forged, "was not inconclusive when"),
        (expired, "left no verdict"),
    ],
)
def test_an_acceptance_that_no_longer_holds_registers_nothing(
    fresh: towns.Town, after: Callable[[towns.Town, towns.Pull], None], why: str
) -> None:
    """It stays INCONCLUSIVE, and the issue says why it was not lifted and what to revert."""
    after(fresh, accepted(fresh, "other", {PARAMS: (RATE, OTHER)}))
    run = fresh.push("release")
    assert run.jobs()["register"] == "failure", run.text()
    assert "deploy" not in run.jobs()
    assert versions(fresh) == ["v1.0.0"]
    (issue,) = fresh.github.issues()
    assert "INCONCLUSIVE" in issue["body"]
    assert why in issue["body"]
    assert "git revert" in issue["body"]


ARGS = "    return HistGradientBoostingClassifier("


def test_two_merges_whose_sum_fails_register_nothing_and_one_issue_names_the_merge(
    fresh: towns.Town,
) -> None:
    """Each passed alone. One issue names check, merge and way back, and is closed in the end."""
    hurried = '    if "max_bins" in args:\n        args["max_iter"] = 2\n'
    first = fresh.propose("hurry", {"src/project/model.py": (ARGS, hurried + ARGS)})
    second = fresh.propose("bins", {PARAMS: (STEPS, f"{STEPS}, max_bins: 255")})
    for pull in (first, second):
        run = fresh.train(pull, "opened")
        assert run.jobs() == {"train": "success", "gate": "success"}, run.text()
    merges = [fresh.merge(pull) for pull in (first, second)]
    run = fresh.push("release")
    assert run.jobs() == {"look": "success", "register": "failure"}, run.text()
    assert versions(fresh) == ["v1.0.0"]
    assert [r["tag_name"] for r in fresh.github.releases.made] == [f"{MODEL}@v1.0.0"]
    (issue,) = fresh.github.issues()
    for words in (f"git revert -m 1 {merges[1]}", f"#{second.number}", "**FAIL**", "`compare`",
                  f"{merges[0][:12]} (#{first.number})", "Production stays at v1.0.0"):  # fmt: skip
        assert words in issue["body"], issue["body"]
    # Again: the same issue. Then the merge is reverted as it says, and main passes.
    assert fresh.look().jobs()["register"] == "failure"
    assert [i["number"] for i in fresh.github.issues()] == [issue["number"]]
    fresh.hub.git("revert", "--no-edit", "-m", "1", merges[1])
    run = fresh.push("release")
    assert run.status == 0, run.text()
    assert fresh.github.issues() == []


# ---- a runner that is gone ---------------------------------------------------------------------

LOOK = ["--help", "register --plan", "publish"]
PROVE = ["--help", "data pull", "pipeline --force", "compare --base auto", "gate --ask",
         "report --summary", "gate", "gate --tell", "register", "build --image", "publish v1.1.0",
         "register --push", "publish v1.1.0"]  # fmt: skip
DEPLOY = ["--help", "rollout dispatch -- v1.1.0"]
CALLS = [*LOOK, *PROVE, *DEPLOY]
PUSHED = CALLS.index("register --push") + 1  # the number of the call that pushes the tag


@pytest.fixture
def merged(fresh: towns.Town) -> towns.Town:
    """The town after a merge that makes another model, which is as good."""
    small.edit(fresh.hub.work, PARAMS, "\n  seed: 0", "\n  seed: 1")
    fresh.hub.commit("Another seed")
    return fresh


def end_at(town: towns.Town, when: str, number: int) -> None:
    """Start a release, which ends with everything on its runner before or after that call."""
    begin(town)
    kill = Path(town.hub.env["REMEMBER"], "kill")
    kill.write_text(f"{when}\n{number}\n{town.hub.act_pid}", "utf-8")
    run = town.push("release")
    assert run.status == -9, run.text()
    assert not kill.exists()


def state(town: towns.Town) -> tuple[list[str], list[tuple[str, bool]]]:
    """The versions on the remote, and each release with whether it is a draft."""
    made = town.github.releases.made
    return versions(town), [(r["tag_name"].partition("@")[2], r["draft"]) for r in made]


def finished(town: towns.Town) -> None:
    """One new version with its one release, deployed by the last run."""
    assert state(town) == (["v1.0.0", "v1.1.0"], [("v1.0.0", False), ("v1.1.0", False)])
    out(town, "v1.1.0")
    assert calls(town)[-1] == DEPLOY[-1]
    given = {"version": "v1.1.0", "revert": "false"}
    assert town.github.dispatched[-1] == ("deploy.yml", {"ref": "main", "inputs": given})


def test_a_release_that_is_killed_before_its_tag_is_pushed_leaves_nothing_that_counts(
    merged: towns.Town,
) -> None:
    """Killed with -9 before the first call and after each, each run meeting what the last one left.

    Never is there a version or a release that is out; the run that is let through makes one.
    """
    for when, number in [("before", 1), *(("after", n) for n in range(1, PUSHED))]:
        end_at(merged, when, number)
        tags, releases = state(merged)
        assert tags == ["v1.0.0"], (when, number)
        assert releases in (
            [("v1.0.0", False)], [("v1.0.0", False), ("v1.1.0", True)],
        ), (when, number)  # fmt: skip
    begin(merged)
    run = merged.push("release")
    assert run.jobs() == DONE, run.text()
    assert calls(merged) == [c for c in CALLS if c not in ("--help", "data pull")]
    finished(merged)


AFTER = [("after", n) for n in range(PUSHED, len(CALLS))]


@pytest.mark.parametrize(("when", "number"), AFTER, ids=[f"{n} {CALLS[n - 1]}" for _, n in AFTER])
def test_a_release_that_is_killed_after_its_tag_was_pushed_is_finished(
    merged: towns.Town, when: str, number: int
) -> None:
    """Nothing is trained again; the release comes out, and the version is deployed."""
    end_at(merged, when, number)
    assert versions(merged) == ["v1.0.0", "v1.1.0"]
    begin(merged)
    run = merged.look()
    assert run.status == 0, run.text()
    assert "pipeline --force" not in calls(merged)
    finished(merged)


@pytest.mark.parametrize("uploaded", [0, 1, 4])
def test_a_release_that_is_killed_among_its_uploads_is_made_whole(
    merged: towns.Town, uploaded: int
) -> None:
    """The file that was cut off is uploaded again, and no file twice."""
    releases = merged.github.releases
    releases.uploads.clear()
    releases.stop_after = uploaded
    run = merged.push("release")
    releases.stop_after = None
    assert run.jobs()["register"] == "failure"
    assert state(merged)[1] == [("v1.0.0", False), ("v1.1.0", True)]
    begin(merged)
    run = merged.push("release")
    assert run.jobs() == DONE, run.text()
    finished(merged)


def test_a_release_that_is_run_twice_makes_one_version(merged: towns.Town) -> None:
    """The second looks, finds nothing to do, and deploys nothing."""
    assert merged.push("release").jobs() == DONE
    finished(merged)
    begin(merged)
    assert merged.push("release").jobs() == {"look": "success"}
    assert calls(merged) == ["register --plan", "publish"]
    assert state(merged)[1] == [("v1.0.0", False), ("v1.1.0", False)]
