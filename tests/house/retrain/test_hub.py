"""One pull request, one issue, kept up to date; and drift that a person accepted, read back."""

from __future__ import annotations

import pandas as pd
import pytest

from mainline.errors import RemoteError
from mainline.github import open_issue
from mainline.monitor.accepted import columns_of
from mainline.monitor.text import code, escape
from mainline.proposal import Text, open_pull_request
from mainline.retrain import hub
from mainline.retrain.pull_request import NewRows, drifted, pull_request

TEXT = Text("Title", "Body")


class Fake:
    """A GitHub that remembers what it was asked; `answers` by path, a list for a listing."""

    api, repository, token = "http://127.0.0.1:1", "acme/fraud", "t"

    def __init__(self, pulls=(), issues=(), refuse=False):
        self.lists = {"pulls": list(pulls), "issues": list(issues)}
        self.refuse = refuse
        self.asked: list[tuple[str, ...]] = []

    def get_all(self, path, **query):
        return [p for p in self.lists[path] if p["state"] == query["state"]]

    def call(self, method, path, body=None):
        self.asked.append((method, path))
        if self.refuse:
            raise RemoteError("GitHub answered 403 to POST pulls")
        return {"number": 7, "html_url": "http://127.0.0.1/7", **(body or {})}

    def dispatch(self, workflow, ref, inputs):
        self.asked.append(("DISPATCH", workflow, ref, inputs["pr"]))


@pytest.fixture
def github(monkeypatch):
    """A function that puts a fake in the place of GitHub; dispatches are recorded in it."""

    def put(**state) -> Fake:
        fake = Fake(**state)
        monkeypatch.setattr(hub.GitHub, "of", staticmethod(lambda environ: fake))
        return fake

    return put


def test_a_new_branch_gets_a_pull_request_and_a_run(github):
    """Opened once, and train.yml is started, because a token's push starts nothing."""
    fake = github()
    done = open_pull_request("retrain/toy", "main", TEXT, True, {})
    assert done.note == "Pull request #7 was opened; train.yml was started on it"
    dispatched = ("DISPATCH", "train.yml", "retrain/toy", "7")
    assert fake.asked == [("POST", "pulls"), dispatched]


def test_an_open_pull_request_is_brought_up_to_date(github):
    """The same one is edited; without a new commit nothing is started."""
    fake = github(pulls=[{"number": 3, "state": "open"}])
    done = open_pull_request("retrain/toy", "main", TEXT, False, {})
    assert done.note == "Pull request #3 is up to date"
    assert fake.asked == [("PATCH", "pulls/3")]


def test_a_refusal_names_the_setting(github):
    """GitHub's switch for pull requests by Actions is off by default."""
    github(refuse=True)
    with pytest.raises(RemoteError, match="Allow GitHub Actions to create pull requests"):
        open_pull_request("retrain/toy", "main", TEXT, True, {})


def test_a_workflow_that_cannot_be_started_is_said(github, monkeypatch):
    """The pull request stands; one line says what to do by hand."""
    fake = github()

    def refuse(*_):
        raise RemoteError("GitHub answered 403")

    monkeypatch.setattr(fake, "dispatch", refuse)
    done = open_pull_request("retrain/toy", "main", TEXT, True, {})
    assert "start it by hand" in done.note


def test_one_issue_by_title(github):
    """The open issue of that title is edited; a pull request of that title is none."""
    fake = github(issues=[{"number": 4, "state": "open", "title": "Title", "pull_request": {}},
                          {"number": 5, "state": "open", "title": "Title"}])  # fmt: skip
    assert open_issue(TEXT.title, TEXT.body, {}).note == "Issue #5 is up to date"
    assert fake.asked == [("PATCH", "issues/5")]
    fake = github()
    assert open_issue(TEXT.title, TEXT.body, {}).note == "Issue #7 was opened"


def test_the_last_closing_counts_for_the_rest(github):
    """Closed or merged, the newest of them."""
    github(pulls=[{"state": "closed", "closed_at": "2024-05-01T00:00:00Z"},
                  {"state": "closed", "closed_at": "2024-06-01T00:00:00Z"}])  # fmt: skip
    assert hub.last_closed("retrain/toy", {}) == pd.Timestamp("2024-06-01")


def look(**columns: bool) -> dict:
    """monitor.json with one window."""
    seen = {n: {"psi": 0.1, "threshold": 0.05, "over": over} for n, over in columns.items()}
    window = {"start": "2024-01-01", "end": "2024-01-08", "n": 9, "level": "alert", "matured": 0,
              "reasons": [], "columns": seen}  # fmt: skip
    return {
        "model": {"name": "toy"},
        "trigger": {"kind": "drift", "reason": "<b>a|b</b> @all"},
        "windows": [window],
        "quality": {},
    }


def test_what_was_drifting_is_read_back_from_a_closed_pull_request():
    """Only with the label, unmerged, and after the present model's rows; any name survives."""
    found = look(**{"a": True, "b": False, "ä --> <x>,": True})
    body = pull_request(found, NewRows(1, 1, 1, None), 0).body
    closed = {"body": body, "labels": [{"name": "drift-accepted"}], "merged_at": None,
              "closed_at": "2024-05-01T00:00:00Z"}  # fmt: skip
    assert columns_of([closed], "2024-04-01T00:00:00") == ("a", "ä --> <x>,")
    assert columns_of([closed], "2024-06-01T00:00:00") == ()
    assert columns_of([{**closed, "labels": []}], None) == ()
    assert columns_of([{**closed, "merged_at": "2024-05-01T00:00:00Z"}], None) == ()
    assert drifted({"windows": []}) == ""


def test_text_from_the_data_stays_text():
    """Reasons and names are escaped in the body."""
    body = pull_request(look(**{"x`|<i>": True}), NewRows(1, 1, None, None), 0).body
    assert "<b>" not in body
    assert "@all" not in body
    assert code("a`b|c") == "`a'b\\|c`"
    assert escape("[x](y)\n# z") == "\\[x\\](y) \\# z"
