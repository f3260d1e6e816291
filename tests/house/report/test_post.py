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
from mainline.report.post import marked, post, watermark

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
    assert marked([{"id": 1, "body": "other"}, {"id": 2, "body": body}], "mainline:fraud") == 2
    assert marked([{"id": 2, "body": body}], "mainline:churn") is None


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
