"""One comment on the right pull request, by CML or without it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakehub
import pytest

from mainline.errors import MainlineError
from mainline.report import caution
from mainline.report.post import own, post, watermark

SHA = "ab" * 20


@pytest.fixture
def hub() -> Iterator[fakehub.Hub]:
    """GitHub with pull request 7 open at SHA."""
    with fakehub.serving() as made:
        made.open(7, "change", SHA)
        yield made


def environment(hub: fakehub.Hub, tmp_path: Path, **changes: Any) -> dict[str, str]:
    """What comment.yml's step sees: the event of a finished run, an address, a token."""
    head = {"full_name": "acme/fraud", "owner": {"login": "acme"}}
    run = {"head_sha": SHA, "head_branch": "change", "head_repository": head,
           "html_url": "https://github.com/acme/fraud/actions/runs/5", **changes}  # fmt: skip
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"workflow_run": run}), "utf-8")
    return {"GITHUB_EVENT_PATH": str(event), "GITHUB_REPOSITORY": "acme/fraud", "PATH": "",
            "GITHUB_TOKEN": hub.token, "GITHUB_API_URL": hub.url,
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """The folder of an artifact with a report in it."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.md").write_text("# It may be merged\n", "utf-8")
    return tmp_path / "report"


def test_the_report_is_posted_once_and_then_kept_up_to_date(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """After forty other comments and three runs there is one comment, with the last report."""
    env = environment(hub, tmp_path)
    for n in range(40):
        hub.say(7, f"Remark {n}")
    for n in range(3):
        (report / "report.md").write_text(f"# Report {n}\n", "utf-8")
        done = post("fraud", report, env)
    bodies = [c["body"] for c in hub.comments[7] if "CML watermark mainline:fraud" in c["body"]]
    assert len(bodies) == 1
    assert bodies[0].startswith("# Report 2")
    assert done.note == "The report was posted on #7"
    assert len(done.urls) == 1
    assert done.note in (tmp_path / "summary.md").read_text("utf-8")


def test_two_models_have_a_comment_each(hub: fakehub.Hub, report: Path, tmp_path: Path) -> None:
    """The mark carries the model's name."""
    env = environment(hub, tmp_path)
    for model in ("fraud", "churn", "fraud"):
        post(model, report, env)
    assert len(hub.comments[7]) == 2


def test_a_person_who_quotes_the_report_keeps_their_comment(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """A quoted watermark is not the comment's own."""
    quoted = hub.say(7, "> " + watermark("mainline:fraud", SHA) + "\n\nWhat is this?")
    post("fraud", report, environment(hub, tmp_path))
    assert quoted["body"].endswith("What is this?")
    assert len(hub.comments[7]) == 2


def test_a_fork_is_found_by_its_branch_and_shown_under_a_banner(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """A fork's run names no pull request; it is found by owner and branch, still at its commit."""
    hub.open(8, "change", SHA, repository="someone/fraud")
    head = {"full_name": "someone/fraud", "owner": {"login": "someone"}}
    post("fraud", report, environment(hub, tmp_path, head_repository=head))
    assert hub.comments[7] == []
    assert hub.comments[8][0]["body"].startswith("> [!CAUTION]")


@pytest.mark.parametrize(
    "change",
    [{"head_sha": "cd" * 20}, {"head_branch": "other"}, {"head_repository": None}],
)
def test_no_pull_request_is_guessed(
    hub: fakehub.Hub, report: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    """A pull request that moved on, another branch, a fork that is gone: nothing is posted."""
    done = post("fraud", report, environment(hub, tmp_path, **change))
    assert "nothing was posted" in done.note
    assert hub.comments[7] == []


def test_a_run_without_a_report_is_said(hub: fakehub.Hub, tmp_path: Path) -> None:
    """Nothing left behind is no error, and GitHub is not even asked."""
    done = post("fraud", tmp_path / "none", environment(hub, tmp_path))
    assert done.note == "The run left no report, so nothing was posted"
    assert hub.asked == []


def test_a_token_that_may_not_write_is_named(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """The error tells which right the job lacks."""
    env = environment(hub, tmp_path) | {"GITHUB_TOKEN": "may-read"}
    with pytest.raises(MainlineError, match=r"403.*pull-requests: write") as refused:
        post("fraud", report, env)
    assert refused.value.status == 21


@pytest.mark.parametrize(
    ("missing", "status"),
    [("GITHUB_EVENT_PATH", 2), ("GITHUB_REPOSITORY", 2), ("GITHUB_TOKEN", 21)],
)
def test_elsewhere_it_says_what_is_missing(
    hub: fakehub.Hub, report: Path, tmp_path: Path, missing: str, status: int
) -> None:
    """On a laptop there is no event, no repository, no token: one sentence each."""
    env = environment(hub, tmp_path)
    del env[missing]
    with pytest.raises(MainlineError) as refused:
        post("fraud", report, env)
    assert refused.value.status == status
    assert refused.value.remedy


def test_the_mark_is_cmls_own() -> None:
    """CML's pattern finds our mark and ours finds CML's: either updates the other's comment."""
    body = f'text\n\n![](https://cml.dev/watermark.png#{SHA} "CML watermark mainline:fraud")'
    assert body.endswith(watermark("mainline:fraud", SHA))
    assert own([{"id": 1, "body": "other"}, {"id": 2, "body": body}], "mainline:fraud") == 2
    assert own([{"id": 2, "body": body}], "mainline:churn") is None


def fake_cml(folder: Path, status: int = 0) -> Path:
    """A `cml` that writes down its arguments and the file that it was given."""
    folder.mkdir()
    program = folder / "cml"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        f"note = pathlib.Path({str(folder / 'call.json')!r})\n"
        "note.write_text(json.dumps([*sys.argv[1:], pathlib.Path(sys.argv[-1]).read_text()]))\n"
        "print('https://github.com/acme/fraud/pull/7#issuecomment-1')\n"
        f"sys.exit({status})\n",
        "utf-8",
    )
    program.chmod(0o755)
    return folder


def test_cml_posts_where_it_is_installed(hub: fakehub.Hub, report: Path, tmp_path: Path) -> None:
    """CML is told the pull request and to publish nothing, and its address is handed on."""
    folder = fake_cml(tmp_path / "bin")
    env = environment(hub, tmp_path) | {"PATH": str(folder)}
    done = post("fraud", report, env)
    *words, text = json.loads((folder / "call.json").read_text("utf-8"))
    assert words[:6] == [
        "comment", "update", "--target=pr/7", "--publish=false",
        "--watermark-title=mainline:fraud", "--repo=https://github.com/acme/fraud",
    ]  # fmt: skip
    assert text.startswith("# It may be merged")
    assert done.urls == ("https://github.com/acme/fraud/pull/7#issuecomment-1",)


def test_cml_is_not_asked_where_it_would_write_a_second_comment(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """CML sees thirty comments; the old one behind them is updated without it."""
    for n in range(40):
        hub.say(7, f"Remark {n}")
    env = environment(hub, tmp_path)
    post("fraud", report, env)
    folder = fake_cml(tmp_path / "bin")
    post("fraud", report, env | {"PATH": str(folder)})
    assert not (folder / "call.json").exists()
    assert len(hub.comments[7]) == 41


def test_a_cml_that_fails_is_an_error(hub: fakehub.Hub, report: Path, tmp_path: Path) -> None:
    """Its last words are the cause."""
    folder = fake_cml(tmp_path / "bin", status=1)
    with pytest.raises(MainlineError, match="CML posted nothing"):
        post("fraud", report, environment(hub, tmp_path) | {"PATH": str(folder)})


def by(who: str, association: str, kind: str = "User") -> dict[str, Any]:
    """What GitHub adds to a comment of `who`."""
    return {"user": {"login": who, "type": kind}, "author_association": association}


def test_a_strangers_mark_is_not_taken_for_our_own(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """The report goes into a comment that they cannot edit, with CML at hand or without."""
    forged = hub.say(7, "Looks good\n\n" + watermark("mainline:fraud", SHA))
    forged.update(by("eve", "CONTRIBUTOR"))
    env = environment(hub, tmp_path) | {"PATH": str(fake_cml(tmp_path / "bin"))}
    for _ in range(2):
        post("fraud", report, env)
        hub.comments[7][-1].update(by("github-actions[bot]", "NONE", "Bot"))
    assert forged["body"].startswith("Looks good")
    assert len(hub.comments[7]) == 2
    assert hub.comments[7][1]["body"].startswith("# It may be merged")
    assert not (tmp_path / "bin" / "call.json").exists()


@pytest.mark.parametrize(
    "name",
    [".github/workflows/train.yml", ".github/actions/setup/action.yml", "tests/data/test_data.py",
     "tests/model/cases.csv", "src/mainline/report/gate.py", "mainline", "dvc.yaml",
     "tests/conftest.py", "requirements.txt", "reports/verdicts/compare.json"],
)  # fmt: skip
def test_a_change_of_what_judges_is_said_by_code_of_main(
    hub: fakehub.Hub, report: Path, tmp_path: Path, name: str
) -> None:
    """GitHub is asked which files are changed: the pull request's report says nothing of it."""
    hub.change(7, "README.md", *(f"docs/{n}.md" for n in range(150)), name)
    post("fraud", report, environment(hub, tmp_path))
    body = hub.comments[7][0]["body"]
    assert body.startswith("> [!CAUTION]\n> This pull request changes what judges it")
    assert f"`{name}`" in body
    assert "made by its own code" in body


def test_a_change_of_what_is_judged_is_not_warned_of(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """The forker's own files, and a parameter that limits nothing."""
    hub.change(7, "src/project/model.py", "docs/mainline/x.md", "schema.yaml", "a/dvc.yaml")
    hub.files[7].append({"filename": "params.yaml", "patch": "@@ -1 +1 @@\n-  seed: 1\n+  seed: 2"})
    post("fraud", report, environment(hub, tmp_path))
    assert "CAUTION" not in hub.comments[7][0]["body"]


@pytest.mark.parametrize(
    "changed",
    [
        {"filename": "params.yaml", "patch": "@@ -1 +1 @@\n-  delta: 0.01\n+  delta: 0.5"},
        {"filename": "params.yaml", "patch": "@@ -1 +1 @@\n-  salt: a\n+  salt: b"},
        {"filename": "params.yaml", "patch": '+"gate": {metric: recall}'},
        {"filename": "params.yaml", "patch": "+    - {by: sex, rate: recall}\n+  fairness: []"},
        {"filename": "params.yaml"},
        {"filename": "x/test_model.py", "previous_filename": "tests/model/test_model.py"},
    ],
)
def test_changed_limits_and_files_that_were_moved_away_are_seen(changed: dict[str, Any]) -> None:
    """Limits by the lines that changed, and where GitHub shows none they may have."""
    assert caution.judges([changed])


def test_hostile_names_of_files_are_code(hub: fakehub.Hub, report: Path, tmp_path: Path) -> None:
    """A file's name calls nobody and ends no line."""
    hub.change(7, "tests/model/@octocat`\n# x<img src=y>.py")
    post("fraud", report, environment(hub, tmp_path))
    first = hub.comments[7][0]["body"].partition("# It may")[0]
    assert "@octocat" not in first
    assert "<img" not in first
    assert "\n# x" not in first


@pytest.mark.parametrize("spoil", ["refused", "too many"])
def test_files_that_cannot_be_seen_are_warned_of(
    hub: fakehub.Hub, report: Path, tmp_path: Path, spoil: str
) -> None:
    """What is not known is not taken for harmless."""
    if spoil == "refused":
        hub.refused["pulls/7/files"] = 500
    else:
        hub.change(7, *(f"docs/{n}.md" for n in range(3000)))
    post("fraud", report, environment(hub, tmp_path))
    assert "may have been made by its own code" in hub.comments[7][0]["body"].replace("\n", " ")


def test_two_pull_requests_on_one_commit_are_told_apart(
    hub: fakehub.Hub, report: Path, tmp_path: Path
) -> None:
    """Another branch at the same commit has runs of its own; one branch to two bases has two."""
    hub.open(8, "other", SHA)
    hub.open(9, "change", SHA)
    hub.change(9, "dvc.yaml")
    done = post("fraud", report, environment(hub, tmp_path))
    assert done.note == "The report was posted on #7, #9"
    assert hub.comments[8] == []
    assert "CAUTION" not in hub.comments[7][0]["body"]
    assert "CAUTION" in hub.comments[9][0]["body"]


@pytest.mark.parametrize(
    ("title", "conclusion", "warned"),
    [("## 🟢 PASS: fraud", "success", False), ("## 🟢 PASS: fraud", "failure", True),
     ("## 🔴 FAIL: fraud", "failure", False), ("All is well", "cancelled", True),
     ("\ufeff## 🟡 INCONCLUSIVE: fraud", "failure", False), ("## 🟢 PASS: fraud", "", False)],
)  # fmt: skip
def test_a_report_that_claims_better_than_its_run_is_said(
    hub: fakehub.Hub, report: Path, tmp_path: Path, title: str, conclusion: str, warned: bool
) -> None:
    """How the run ended is GitHub's word, and the report is the run's."""
    (report / "report.md").write_text(title + "\n", "utf-8")
    post("fraud", report, environment(hub, tmp_path, conclusion=conclusion))
    assert ("believe the run" in hub.comments[7][0]["body"]) is warned
