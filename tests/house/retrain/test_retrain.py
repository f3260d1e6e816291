"""What retrain does with a trigger, in a real repository with a DVC store and a bare remote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import toy

from mainline import proposal
from mainline.errors import NotMeasured, UsageError
from mainline.git import git
from mainline.monitor import monitor
from mainline.retrain import branch as branches
from mainline.retrain import retrain

NOBODY = {"PATH": os.environ["PATH"]}
AS_OF = "2024-06-10"


def run(root: Path, **options):
    """Retrain without any GitHub in the environment."""
    return retrain.run(root, environ=NOBODY, **options)


def trigger(root: Path, kind: str, opens: str | None, as_of: str = AS_OF) -> None:
    """Put a trigger into reports/monitor.json, as another look at production would."""
    path = root / "reports" / "monitor.json"
    found = json.loads(path.read_text("utf-8"))
    found["trigger"] = {"kind": kind, "reason": f"because of {kind}", "opens": opens}
    found["as_of"] = as_of
    path.write_text(json.dumps(found))


def data_rows(root: Path, name: str, frame: pd.DataFrame) -> None:
    """Write rows under data/ as `data add` does."""
    folder = root / "data" / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    frame.drop(columns="score").to_parquet(folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A repository with data in an in-tree store and one look at production."""
    root = tmp_path_factory.mktemp("template") / "clone"
    root.mkdir()
    production = toy.make(root)
    data_rows(root, "old", toy.rows("2024-01-01", 70, 50, seed=1))
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.name", "t")
    git(root, "config", "user.email", "t@example.com")
    (root / ".gitignore").write_text("/data/\n/models/\n/reports/\n/log/\n")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet"], cwd=root, check=True)
    (root / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    remote = demo\n"
        "['remote \"demo\"']\n    url = ../demo-store\n"
    )
    subprocess.run([*dvc, "add", "--quiet", "data"], cwd=root, check=True)
    subprocess.run([*dvc, "push", "--quiet"], cwd=root, check=True)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "First")
    production.serve(toy.rows("2024-03-11", 28, 150, seed=4, shift=0.5))
    monitor.run(root, as_of="2024-04-08", log="log", html=False)
    return root


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    """A copy of the template with a bare remote of its own."""
    root = tmp_path / "clone"
    subprocess.run(["cp", "-r", str(template), str(root)], check=True)
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    git(root, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(root, "push", "--quiet", "origin", "main")
    trigger(root, "quality", "pull request")
    return root


def test_new_rows_and_labels_reach_the_branch_and_nothing_else_moves(clone, tmp_path):
    """The branch carries data that a fresh clone can pull; checkout and main stay as they were."""
    fresh = toy.rows("2024-03-11", 28, 50, seed=9)
    data_rows(clone, "new", fresh.assign(y=pd.NA, known=pd.NaT))
    elsewhere = tmp_path / "labels.jsonl"
    pd.DataFrame(
        {"prediction_id": "p-" + fresh["id"], "label": fresh["y"],
         "known_at": fresh["known"].astype(str), "source": "t"}
    ).to_json(elsewhere, orient="records", lines=True)  # fmt: skip
    log = tmp_path / "log" / "date=2024-03-11"
    log.mkdir(parents=True)
    (log / "h-1-1.jsonl").write_text("".join(
        json.dumps({"prediction_id": f"p-{i}", "row": i, "ts": "2024-03-11T00:00:00Z"}) + "\n"
        for i in fresh["id"]
    ))  # fmt: skip
    before = git(clone, "status", "--porcelain"), git(clone, "rev-parse", "HEAD")
    environ = {**NOBODY, "MAINLINE_LABELS": str(elsewhere), "MAINLINE_LOG": str(log.parent)}
    done = retrain.run(clone, environ=environ)
    assert done["action"] == "branch"
    assert before == (git(clone, "status", "--porcelain"), git(clone, "rev-parse", "HEAD"))
    assert not (clone / "data" / "labels").exists()
    assert git(clone, "ls-remote", "origin", "retrain/toy").split()[0] == done["commit"]
    assert f"{len(fresh)} labels were collected" in done["body"]

    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", "--branch", "retrain/toy", "remote.git", str(other))
    subprocess.run([sys.executable, "-m", "dvc", "pull", "--quiet"], cwd=other, check=True)
    assert len(pd.read_parquet(other / "data" / "rows" / "new.parquet")) == len(fresh)
    labels = pd.read_parquet(other / "data" / "labels" / f"retrain-{AS_OF}.parquet")
    assert set(labels["row_id"]) == set(fresh["id"])
    assert labels["label"].sum() == fresh["y"].sum()

    again = retrain.run(clone, environ=environ)
    assert again["moved"] is False
    assert again["commit"] == done["commit"]


def test_the_branch_follows_main_until_a_person_commits_to_it(clone, tmp_path):
    """New data on main moves it; a commit by a person, and it is left alone for good."""
    first = run(clone)
    (clone / "README.md").write_text("more\n")
    git(clone, "add", "README.md")
    git(clone, "commit", "--quiet", "-m", "More")
    git(clone, "push", "--quiet", "origin", "main")
    second = run(clone)
    assert second["commit"] != first["commit"]
    assert git(clone, "rev-parse", f"{second['commit']}^") == git(clone, "rev-parse", "main")

    person = tmp_path / "person"
    git(tmp_path, "clone", "--quiet", "--branch", "retrain/toy", "remote.git", str(person))
    (person / "README.md").write_text("mine\n")
    git(person, "-c", "user.name=p", "-c", "user.email=p@example.com", "commit", "-qam", "Mine")
    git(person, "push", "--quiet")
    third = run(clone)
    assert third["action"] == "none"
    assert "work of a person" in third["text"]


def test_a_merged_retrain_rests_unless_quality_falls(clone):
    """Within the cooldown a drift trigger does nothing; lost quality is followed at once."""
    done = run(clone)
    git(clone, "merge", "--quiet", "--no-ff", "-m", "Merge it", done["commit"])
    git(clone, "push", "--quiet", "origin", "main")
    trigger(clone, "drift", "pull request", as_of="2024-06-17")
    assert "7 days ago" in run(clone, dry_run=True)["text"]
    trigger(clone, "drift", "pull request", as_of="2024-06-25")
    assert run(clone, dry_run=True)["action"] == "branch"
    trigger(clone, "quality", "pull request", as_of="2024-06-17")
    assert run(clone, dry_run=True)["action"] == "branch"


def test_a_dry_run_changes_nothing(clone):
    """It says what would be done; no branch, no file."""
    done = run(clone, dry_run=True)
    assert done["text"].startswith("Would update retrain/toy")
    assert done["commit"] is None
    assert git(clone, "branch", "--list", "retrain/*") == ""
    assert git(clone, "ls-remote", "origin", "retrain/toy") == ""
    assert not (clone / "reports" / "retrain.md").exists()


def test_without_a_remote_the_branch_is_made_here(clone):
    """A clone with no remote gets the branch, and asking for a pull request is one line."""
    git(clone, "remote", "remove", "origin")
    done = run(clone, open_=True)
    assert git(clone, "rev-parse", "retrain/toy") == done["commit"]
    assert "No pull request was opened: GITHUB_REPOSITORY is not set" in done["text"]


def test_a_checkout_behind_main_is_refused(clone, tmp_path):
    """Its data pointer would take back what main has."""
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", "remote.git", str(other))
    git(other, "-c", "user.name=p", "-c", "user.email=p@example.com", "commit", "-q",
        "--allow-empty", "-m", "More")  # fmt: skip
    git(other, "push", "--quiet")
    with pytest.raises(UsageError, match="behind 'main'"):
        run(clone)


@pytest.mark.parametrize("kind", ["incident", "drift-few-labels"])
def test_an_issue_never_makes_a_branch(clone, kind):
    """A broken feed, or drift without labels, is told and not trained on."""
    trigger(clone, kind, "issue")
    done = run(clone, open_=True)
    assert done["action"] == "issue"
    assert "No issue was opened" in done["text"]
    assert git(clone, "branch", "--list", "retrain/*") == ""
    assert (clone / "reports" / "retrain.md").exists()


def test_nothing_is_done_without_a_trigger_or_a_look(clone):
    """No trigger: one line. No monitor.json: a named error."""
    trigger(clone, "none", None)
    assert run(clone)["action"] == "none"
    (clone / "reports" / "monitor.json").unlink()
    with pytest.raises(NotMeasured, match="no look at production"):
        run(clone)


@pytest.mark.parametrize(
    ("kind", "last", "goes"),
    [("drift", None, True), ("drift", "2024-06-01", False), ("drift", "2024-05-20", True),
     ("labels", "2024-06-01", False), ("quality", "2024-06-09", True)],
)  # fmt: skip
def test_due(kind, last, goes):
    """The house rests for fourteen days after a retrain, unless quality fell."""
    day = pd.Timestamp(last) if last else None
    reason = retrain.due(kind, "pull request", pd.Timestamp(AS_OF), day, 14)
    assert (reason is None) is goes


def test_a_merge_of_main_is_nobodys_work(clone):
    """GitHub's `Update branch` does not count as a person's commit."""
    done = run(clone)
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "More")
    main = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "--quiet", "--detach", done["commit"])
    git(clone, "merge", "--quiet", "--no-ff", "-m", "Merge main", main)
    merged = git(clone, "rev-parse", "HEAD")
    place = proposal.Branch("retrain/toy", main, merged, "origin")
    assert proposal.touched_by_a_person(clone, place, branches.TRAILER) is None
