"""What came of a deployment, told where people look: on the merged pull request and the release.

One comment, kept up to date: what was deployed and why, or why not, with the numbers of each stage.
The record goes to the version's release as `rollout.jsonl`.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.errors import MainlineError, NotMeasured, UsageError
from mainline.files import digest_bytes
from mainline.git import require_history
from mainline.github import GitHub
from mainline.register import message
from mainline.registry import Version
from mainline.report import post
from mainline.report.escape import markdown
from mainline.rollout import state
from mainline.rollout.deploy import BEGUN, Ending, ending
from mainline.rollout.state import State
from mainline.rollout.target import target_of
from mainline.rollout.undo import needed

RECORD, PICTURE = "rollout.jsonl", "rollout.svg"
MOST_BYTES = 20_000_000  # of a record
NUMBER = re.compile(r"#(\d{1,9})", re.ASCII)
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Course:
    """What is known of one rollout: the target's state, the version's own part of its record.

    `rehearsed` is whether it served nobody.
    """

    now: State
    history: tuple[Event, ...]
    rehearsed: bool = False

    def end(self, version: str) -> Ending | None:
        """How it went wrong, where it did."""
        return ending(self.history, version)


def run(
    root: Path, name: str, folder: Path | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:  # fmt: skip
    """Tell of the rollout of the version `name`; `folder` holds the record of a rehearsal.

    Returns {version, url, text, body}. Raises UsageError for an unknown version, RemoteError where
    GitHub refuses, NotMeasured where the record cannot be read.
    """
    require_history(root)
    version = registry.find(root, settings.load(root).model.name, name)
    course, unread = _course(root, version.name, folder, environ)
    said = body(version, course, unread, needed(environ))
    if summary := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(f"{said}\n")
    try:
        github = GitHub.of(environ)
    except MainlineError as error:
        return {"version": version.name, "url": None, "body": said, "text": error.cause}
    notes, url = [], None
    if course and course.history:
        notes.append(_attach(github, version, course.history))
    found = NUMBER.fullmatch(version.trailers.get("Pull-Request", ""))
    if found:
        title = f"mainline:{version.model}:rollout"
        url = post.put(github, int(found[1]), said, title, version.commit, environ)
        notes.append(f"told on {found[0]}")
    else:
        notes.append("no pull request is known to tell it on")
    return {"version": version.name, "url": url, "body": said, "text": ", ".join(notes)}


def _course(
    root: Path, version: str, folder: Path | None, environ: Mapping[str, str]
) -> tuple[Course | None, str]:  # fmt: skip
    """What is known, and why nothing is; a target that cannot be reached is told, not an error."""
    if folder is not None and (folder / "history.jsonl").is_file():
        lines = _own(state.history(folder), version)
        return Course(state.read(folder), tuple(lines), rehearsed=True), ""
    address = environ.get("MAINLINE_TARGET", "").strip()
    if not address:
        return None, "no record was kept"
    try:
        with target_of(root, address) as there:
            return Course(there.read(), tuple(_own(there.history(), version))), ""
    except MainlineError as error:
        return None, error.cause


def _own(history: Sequence[Event], version: str) -> list[Event]:
    """The lines of the last rollout of `version`."""
    begun = [i for i, e in enumerate(history) if e.get("event") in BEGUN]
    first = next((i for i in reversed(begun) if history[i].get("version") == version), None)
    if first is None:
        return []
    return list(history[first : next((i for i in begun if i > first), len(history))])


def outcome(version: str, course: Course | None, unread: str) -> tuple[str, str]:
    """(what came of it, why) in words; the second may hold anything, and is not escaped."""
    if course is None:
        return "nobody knows what came of it", unread
    now, end = course.now, course.end(version)
    if end is not None and (now.version != version or not now.running):
        words = {"rolled-back": "rolled back", "aborted": "aborted", "refused": "not started"}
        return words[end.kind], f"{end.reason} (by {end.by or 'nobody known'})"
    if now.version != version:
        return "not deployed", f"the target is about {now.version or 'no version'}"
    if course.rehearsed and now.status in ("promoted", "settled"):
        return "REHEARSED", ("every stage passed on replayed rows; nothing serves it, because the "
                             "variable MAINLINE_TARGET is not set")  # fmt: skip
    if now.paused:
        return f"paused at {now.stage}", f"by {now.paused.get('by')}: {now.paused.get('reason')}"
    if now.running:
        why = f"{now.weight}% of the traffic; the schedule asks for its verdict again"
        return f"held at {now.stage or 'its start'}", why
    return {
        "promoted": ("deployed", "it has all traffic, and the old version is warm until it holds"),
        "settled": ("deployed and settled", "it has all traffic"),
        "observed": ("observed", "its plan was a shadow alone; nothing was promoted"),
    }.get(now.status, ("not deployed", now.reason or now.status))  # fmt: skip


def body(
    version: Version, course: Course | None, unread: str, needs: Mapping[str, Mapping[str, Any]]
) -> str:  # fmt: skip
    """The comment in Markdown; whatever comes from the record is escaped."""
    what, why = outcome(version.name, course, unread)
    parts = [f"### {markdown(version.tag)}: {markdown(what)}", f"{markdown(why.rstrip('.'), 600)}."]
    if course is not None and course.now.version == version.name:
        parts += _stages(course.now)
    ill = {k: str(v.get("result")) for k, v in needs.items()
           if v.get("result") in ("failure", "cancelled")}  # fmt: skip
    bad = [f"`{job}` ({result})" for job, result in ill.items()]
    if bad:
        parts.append(f"Jobs that did not end well: {', '.join(bad)}.")
    address = message.run_address()
    if address != "local":
        parts.append(f"[The run that tells this]({address})")
    return "\n\n".join(parts) + "\n"


def _stages(now: State) -> list[str]:
    """A table of the stages, and each number behind it."""
    rows, details = [], []
    for stage in now.plan:
        found = now.verdicts.get(stage.name)
        checks = [c for c in (found or {}).get("checks", ()) if isinstance(c, Mapping)]
        said = (found or {}).get("verdict") or ("at work" if stage.name == now.stage else "-")
        name = markdown(stage.name, 40)
        rows.append(f"| {name} | {markdown(stage.weight, 5)}% | {markdown(said, 20)} "
                    f"| {_most(checks)} |")  # fmt: skip
        details += [f"- {name}, {markdown(c.get('name'), 40)}: {markdown(c.get('verdict'), 20)}. "
                    f"{markdown(c.get('reason'), 300)}" for c in checks]  # fmt: skip
    if not rows:
        return []
    head = "| stage | traffic | verdict | requests judged |\n| --- | ---: | --- | ---: |\n"
    plan = f"The plan was `{markdown(now.plan_name, 20)}`."
    folded = "<details><summary>The numbers</summary>\n\n" + "\n".join(details) + "\n\n</details>"
    return [plan, head + "\n".join(rows), *([folded] if details else [])]


def _most(checks: Sequence[Mapping[str, Any]]) -> str:
    counts = [int(c["n"]) for c in checks if isinstance(c.get("n"), int | float)]
    return f"{max(counts):,}" if counts else ""


def _attach(github: GitHub, version: Version, history: Sequence[Event]) -> str:
    """Keep the record and its picture with the version's release; what is older is replaced."""
    found = [r for r in github.get_all("releases") if r.get("tag_name") == version.tag
             and not r.get("draft")]  # fmt: skip
    if not found:
        return "no release is out to keep the record with"
    content = "".join(f"{json.dumps(e)}\n" for e in history).encode("utf-8")
    if len(content) > MOST_BYTES:
        raise UsageError(f"The record has {len(content):,} bytes, which is no record of a rollout")
    _put(github, found[0], RECORD, content)
    if drawn := _drawn(history):
        _put(github, found[0], PICTURE, drawn)
    return "the record is kept with its release"


def _put(github: GitHub, release: Mapping[str, Any], name: str, content: bytes) -> None:
    for asset in release.get("assets") or ():
        if asset["name"] == name:
            if asset.get("digest") == digest_bytes(content):
                return
            github.call("DELETE", f"releases/assets/{int(asset['id'])}")
    github.upload(str(release["upload_url"]), name, content)


def _drawn(history: Sequence[Event]) -> bytes:
    """The picture of a record; nothing where it holds no rollout that could be drawn."""
    from mainline.rollout.picture import draw

    with tempfile.TemporaryDirectory(prefix="mainline-") as folder:
        try:
            return draw(history, Path(folder) / PICTURE).read_bytes()
        except NotMeasured:
            return b""
