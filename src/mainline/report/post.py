"""Post the report of a finished run on its pull request, as one comment that is kept up to date.

CML posts where it is installed; without it the same requests are made here. Either finds the
other's comment, because both mark it with CML's watermark (its `src/watermark.js`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline import settings
from mainline.errors import RemoteError, UsageError
from mainline.github import GitHub
from mainline.report import caution
from mainline.report.artifact import comment, read_report

WATERMARK = "https://cml.dev/watermark.png"
CML_SEES = 30  # comments: it looks for its old one on the first page only
CML_SECONDS = 300
STRANGERS = frozenset({"NONE", "CONTRIBUTOR", "FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR", "MANNEQUIN"})


@dataclass(frozen=True)
class Posted:
    """What was done, in a sentence, and the addresses of the comments."""

    note: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """The run that left the report, as the event tells it; nothing of it comes from the run."""

    sha: str
    branch: str
    owner: str
    repository: str
    url: str
    conclusion: str = ""


def run(root: Path, artifact: Path | None) -> dict[str, Any]:
    """`mainline report --post --artifact DIR`; returns {text, urls}. Raises as `post` does."""
    if artifact is None:
        raise UsageError(
            "`--post` needs the folder of the run's artifact", "Give it with `--artifact DIR`"
        )
    posted = post(settings.load(root).model.name, artifact)
    return {"text": f"{posted.note}.", "urls": list(posted.urls)}


def post(model: str, folder: Path, environ: Mapping[str, str] = os.environ) -> Posted:
    """Post the report in `folder` on the pull requests whose head is the commit of the run.

    `model` names the comment (one comment a model). A run that left nothing, or a pull request
    that has moved on, is said and is no error. Raises UsageError outside a workflow_run event,
    DataError when the folder holds anything but a report, RemoteError when GitHub refuses.
    """
    run = finished(environ)
    report = read_report(folder)
    if report is None:
        return _noted("The run left no report, so nothing was posted", (), environ)
    github = GitHub.of(environ)
    numbers = pull_requests(github, run)
    if not numbers:
        note = f"No open pull request has its head at {run.sha[:12]}: nothing was posted"
        return _noted(note, (), environ)
    urls = []
    for number in numbers:
        cautions = (caution.of(github, number), caution.of_run(run.conclusion, report))
        body = comment(report, fork=run.repository != github.repository, run=run.url,
                       cautions=[c for c in cautions if c])  # fmt: skip
        urls.append(put(github, number, body, f"mainline:{model}", run.sha, environ))
    named = ", ".join(f"#{n}" for n in numbers)
    return _noted(f"The report was posted on {named}", tuple(urls), environ)


def _noted(note: str, urls: tuple[str, ...], environ: Mapping[str, str]) -> Posted:
    """Say `note` in the job's summary too, where there is one."""
    if summary := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(f"{note}.\n")
    return Posted(note, urls)


def finished(environ: Mapping[str, str]) -> Finished:
    """Read the workflow_run event. Raises UsageError where there is none."""
    try:
        event = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))
        run = event["workflow_run"]
        head = run.get("head_repository") or {}
        return Finished(
            sha=str(run["head_sha"]), branch=str(run["head_branch"]),
            owner=str((head.get("owner") or {}).get("login") or ""),
            repository=str(head.get("full_name") or ""), url=str(run.get("html_url") or ""),
            conclusion=str(run.get("conclusion") or ""),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "`--post` needs the workflow_run event of a finished run",
            "The workflow `comment` has it; elsewhere read reports/report.md",
        ) from error


def pull_requests(github: GitHub, run: Finished) -> list[int]:
    """The numbers of open pull requests from the run's branch that are still at its commit.

    Asked by `head=owner:branch`: the event's own list is empty for a fork.
    """
    if not run.owner:
        return []
    listed = github.get_all("pulls", state="open", head=f"{run.owner}:{run.branch}")
    return sorted(int(p["number"]) for p in listed if _is_at(p.get("head") or {}, run))


def _is_at(head: Mapping[str, Any], run: Finished) -> bool:
    source = (head.get("repo") or {}).get("full_name")
    return (head.get("sha"), head.get("ref"), source) == (run.sha, run.branch, run.repository)


def watermark(title: str, sha: str) -> str:
    """The mark at the end of a comment, as CML writes it."""
    return f'![]({WATERMARK}#{sha} "CML watermark {title}")'


def marked(comments: Sequence[Mapping[str, Any]], title: str) -> list[Mapping[str, Any]]:
    """The comments that bear the mark on a line of its own.

    A person who quotes the report has it behind a `>`, and keeps their comment.
    """
    address = re.escape(WATERMARK)
    line = rf'^!\[\]\({address}#[0-9a-fA-F]+ "{re.escape(f"CML watermark {title}")}"\)\s*$'
    return [c for c in comments if re.search(line, str(c.get("body") or ""), re.MULTILINE)]


def own(comments: Sequence[Mapping[str, Any]], title: str) -> int | None:
    """The id of the last comment that bears the mark and that no stranger wrote, or None.

    A stranger who writes the mark would have the report put into a comment that is theirs to edit.
    """
    kept = [c for c in marked(comments, title) if not _stranger(c)]
    return int(kept[-1]["id"]) if kept else None


def _stranger(found: Mapping[str, Any]) -> bool:
    bot = (found.get("user") or {}).get("type") == "Bot"
    return not bot and str(found.get("author_association")) in STRANGERS


def put(
    github: GitHub, number: int, body: str, title: str, sha: str, environ: Mapping[str, str]
) -> str:
    """Write `body` into the one comment that bears the mark `title`; returns its address.

    Raises RemoteError.
    """
    comments = github.get_all(f"issues/{number}/comments")
    old, bearing = own(comments, title), [int(c["id"]) for c in marked(comments, title)]
    seen = [int(c["id"]) for c in marked(comments[:CML_SEES], title)]
    cml = shutil.which("cml", path=environ.get("PATH"))
    # CML would write a second comment where its first is far down, and take a stranger's for its
    # own; then do as it should have done.
    if cml and seen == bearing == ([] if old is None else [old]):
        return _by_cml(cml, github, number, body, title, environ)
    whole = {"body": f"{body}\n\n{watermark(title, sha)}"}
    if old is None:
        done = github.call("POST", f"issues/{number}/comments", whole)
    else:
        done = github.call("PATCH", f"issues/comments/{old}", whole)
    return str(done.get("html_url", ""))


def _by_cml(
    cml: str, github: GitHub, number: int, body: str, title: str, environ: Mapping[str, str]
) -> str:
    server = environ.get("GITHUB_SERVER_URL") or "https://github.com"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "comment.md"
        path.write_text(body, encoding="utf-8")
        # Without --publish=false each linked file goes to a third party's public bucket.
        command = [
            cml, "comment", "update", f"--target=pr/{number}", "--publish=false",
            f"--watermark-title={title}", f"--repo={server}/{github.repository}", str(path),
        ]  # fmt: skip
        env = {**environ, "ITERATIVE_DO_NOT_TRACK": "1", "REPO_TOKEN": github.token}
        try:
            done = subprocess.run(command, env=env, capture_output=True, text=True,
                                  timeout=CML_SECONDS, check=False)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RemoteError(f"CML could not be run ({error})", "Try again") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise RemoteError(f"CML posted nothing: {said}", "Check the token's rights and try again")
    return (done.stdout.strip().splitlines() or [""])[-1]
