"""The rules for workflow files that neither act nor the linters enforce."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PIN = re.compile(r"uses:\s*(?P<action>\S+?)@(?P<ref>\S+)(?P<comment>.*)")
GRANT = re.compile(r"^\s+[a-z-]+: (read|write)\b(?P<comment>.*)$", re.MULTILINE)
LONGEST = {"train": 104, "release": 200, "deploy": 400}  # else 80
# What each workflow and action does, a line a thing; changed by hand, by who changed the other.
PROMISED = Path(__file__).with_name("promised.txt")
# The monitor's INCONCLUSIVE (status 11) is a day with too few rows, not something to wake up for.
FORGIVEN = {"./mainline monitor || [ $? -eq 11 ] "}
# Who may write what. A workflow that runs a stranger's code is not here: it may write nothing.
WRITES = {
    "comment": {"pull-requests"},
    "release": {"actions", "attestations", "contents", "id-token", "issues"},
    "deploy": {"actions", "contents", "issues", "pull-requests"},
    "rollback": {"actions", "contents", "issues", "pull-requests"},
    "monitor": {"actions", "contents", "issues", "pull-requests"},
}
# Files whose jobs run what somebody proposes, or anything at all with a read-only token.
UNTRUSTED = {"train", "check"}
# The one credential that untrusted code may see: the job's own token, which cannot write (see
# WRITES), in the two steps that ask GitHub who put the label on. Whoever may open a pull request
# may read these things without it.
TOKEN = "${{ github.token }}"
ASKING = {"./mainline report --summary", "./mainline gate"}
GATE = "${{ inputs.base && 'gate against another base' || 'gate' }}"


def problems(name: str, text: str) -> list[str]:
    """All breaches of the rules in the workflow `name`, whose file holds `text`."""
    document = yaml.load(text, Loader=yaml.BaseLoader)
    found = [*_of_lines(name, text), *_of_file(name, document), *unlike_promise(name, document)]
    if name == "train":
        found += _of_gate(document)
    for job, body in document["jobs"].items():
        found += [f"{job}: {problem}" for problem in _of_job(name, body)]
    return found


def _of_lines(name: str, text: str) -> Iterator[str]:
    longest = LONGEST.get(name, 80)
    if len(text.splitlines()) >= longest:
        yield f"it has {longest} lines or more"
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
        if name == "train" and event != "push" and "branches" in set(options or ()):
            yield f"{event} filters branches: a required check that does not run blocks for ever"
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
    if name in UNTRUSTED:
        yield from _credentials(step)
    if step.get("env", {}).get("MAINLINE_UNDECIDED") and "gate" in step.get("run", ""):
        yield "the gate is told that something later decides"
    if "actions/checkout@" in step.get("uses", ""):
        if step.get("with", {}).get("persist-credentials") != "false":
            yield "the token stays in .git/config"
        if name == "comment" and {"ref", "repository"} & set(step["with"]):
            yield "the trusted workflow checks out something else than the default branch"


def _credentials(step: Mapping[str, Any]) -> Iterator[str]:
    allowed = {"GITHUB_TOKEN": TOKEN} if step.get("run") in ASKING else {}
    given = {**step.get("with", {}), **step.get("env", {})}
    for key, value in given.items():
        if re.search(r"secrets|\btoken\b|toJSON", value) and allowed.get(key) != value:
            yield "untrusted code sees a credential"


def _of_gate(document: Mapping[str, Any]) -> Iterator[str]:
    """The required check: it runs whatever happened before, under its one name, and judges last."""
    gate = document["jobs"].get("gate", {})
    if (gate.get("name"), gate.get("needs"), gate.get("if")) != (GATE, "train", "always()"):
        yield "gate: it can be skipped, or is not the check `gate` that waits for `train`"
    steps = gate.get("steps") or [{}]
    if steps[-1].get("run") != "./mainline gate" or "if" in steps[-1]:
        yield "gate: it does not end with the judgement"
    if any("if" in step for step in steps):
        yield "gate: a step of it can be skipped"
    if "labeled" not in (document["on"].get("pull_request") or {}).get("types", ()):
        yield "a label does not run the gate again"
    for name, job in document["jobs"].items():
        if "github.event" in json.dumps([job.get("if"), job.get("strategy")]):
            yield f"{name}: an event can skip it, and with it the required check"


def promised() -> dict[str, list[str]]:
    """What each workflow or action is to do, by its name."""
    found: dict[str, list[str]] = {}
    for line in PROMISED.read_text("utf-8").splitlines():
        if line.startswith("== "):
            found[line[3:]] = []
        elif line:
            found[list(found)[-1]].append(line)
    return found


def unlike_promise(name: str, document: Mapping[str, Any]) -> Iterator[str]:
    """Each difference between what a workflow does and what was promised of it."""
    known, does = promised().get(name, []), list(outline(document))
    yield from (f"it no longer does as promised: {line}" for line in known if line not in does)
    yield from (f"it does more than promised: {line}" for line in does if line not in known)
    if set(known) == set(does) and known != does:
        yield "its steps are in another order, or done twice"


def outline(document: Mapping[str, Any]) -> Iterator[str]:
    """What a workflow or action does, a line a thing, without names, pins and times."""
    for key in ("on", "concurrency", "env", "inputs"):
        yield from (f"{key} {name}: {_say(what)}" for name, what in document.get(key, {}).items())
    jobs = document.get("jobs") or {"steps": document["runs"]}
    for job, body in jobs.items():
        left = {k: v for k, v in body.items() if k not in ("name", "steps", "timeout-minutes")}
        yield f"{job}: {_say(left)}"
        for step in body.get("steps", ()):
            what = {k: v for k, v in step.items() if k != "name"}
            if "uses" in what:
                what["uses"] = what["uses"].partition("@")[0]
            yield f"{job} > {_say(what)}"


def _say(what: Any) -> str:
    return json.dumps(what, ensure_ascii=False).replace('"', "")
