"""The rules for workflow files that neither act nor the linters enforce."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

PIN = re.compile(r"uses:\s*(?P<action>\S+?)@(?P<ref>\S+)(?P<comment>.*)")
GRANT = re.compile(r"^\s+[a-z-]+: (read|write)\b(?P<comment>.*)$", re.MULTILINE)
LONGEST = 80
# The monitor's INCONCLUSIVE (status 11) is a day with too few rows, not something to wake up for.
FORGIVEN = {"./mainline monitor || [ $? -eq 11 ] "}
# Who may write what. A workflow that runs a stranger's code is not here: it may write nothing.
WRITES = {
    "comment": {"pull-requests"},
    "release": {"contents"},
    "monitor": {"actions", "contents", "issues", "pull-requests"},
}
# Files whose jobs run what somebody proposes, or anything at all with a read-only token.
UNTRUSTED = {"train", "check"}


def problems(name: str, text: str) -> list[str]:
    """All breaches of the rules in the workflow `name`, whose file holds `text`."""
    document = yaml.load(text, Loader=yaml.BaseLoader)
    found = [*_of_lines(text), *_of_file(name, document)]
    for job, body in document["jobs"].items():
        found += [f"{job}: {problem}" for problem in _of_job(name, body)]
    return found


def _of_lines(text: str) -> Iterator[str]:
    if len(text.splitlines()) >= LONGEST:
        yield f"it has {LONGEST} lines or more"
    yield from unpinned(text)
    if any("||" in run and run not in FORGIVEN for run in re.findall(r"run: ([^#\n]*)", text)):
        yield "a step swallows a status"
    for grant in GRANT.finditer(text):
        if not grant["comment"].strip().startswith("#"):
            yield f"the grant `{grant[0].strip()}` has no reason"


def unpinned(text: str) -> Iterator[str]:
    """Each action that is not pinned by commit with its version beside it."""
    for use in PIN.finditer(text):
        if not re.fullmatch(r"[0-9a-f]{40}", use["ref"]):
            yield f"{use['action']} is not pinned by commit"
        if not re.fullmatch(r" # v\d+\.\d+\.\d+", use["comment"]):
            yield f"{use['action']} has no version beside its pin"


def _of_file(name: str, document: dict[str, Any]) -> Iterator[str]:
    if document.get("permissions") != {}:
        yield "permissions at the top are not empty"
    if "group" not in document.get("concurrency", {}):
        yield "there is no concurrency group"
    events = document["on"] if isinstance(document["on"], dict) else {document["on"]: {}}
    for event, options in events.items():
        if isinstance(options, dict) and {"paths", "paths-ignore"} & set(options):
            yield f"{event} filters paths: a required check that does not run blocks for ever"
        if event == "pull_request_target":
            yield "pull_request_target runs with rights on a stranger's word"
        if event == "workflow_run" and name != "comment":
            yield "workflow_run is for comment.yml alone"


def _of_job(name: str, job: dict[str, Any]) -> Iterator[str]:
    grants = job.get("permissions")
    if not isinstance(grants, dict):
        yield "its permissions are not listed"
        grants = {}
    writes = {scope for scope, right in grants.items() if right == "write"}
    for scope in sorted(writes - WRITES.get(name, set())):
        yield f"it may write {scope}"
    if "uses" not in job and not job.get("timeout-minutes", "").isdigit():
        yield "it has no timeout"
    if job.get("continue-on-error"):
        yield "it may fail unseen"
    for step in job.get("steps", []):
        yield from (f"{step.get('name', step.get('uses'))}: {p}" for p in _of_step(name, step))


def _of_step(name: str, step: dict[str, Any]) -> Iterator[str]:
    if step.get("continue-on-error"):
        yield "it may fail unseen"
    if str(step.get("if", "")).strip(" ${}") == "false":
        yield "it never runs"
    if "${{" in step.get("run", ""):
        yield "a value is pasted into a shell; give it through env"
    given = {**step.get("with", {}), **step.get("env", {})}
    if name in UNTRUSTED and any(re.search(r"secrets\.|\btoken\b", v) for v in given.values()):
        yield "untrusted code sees a credential"
    if "actions/checkout@" in step.get("uses", ""):
        if step.get("with", {}).get("persist-credentials") != "false":
            yield "the token stays in .git/config"
        if name == "comment" and {"ref", "repository"} & set(step["with"]):
            yield "the trusted workflow checks out something else than the default branch"
