#!/usr/bin/env python3
"""Stands in for the launcher: notes each call, leaves the files that the command would leave.

`$STUB/fail.json` maps a command to the status with which it is to end; with a file `$STUB/done`
there is nothing to register. `$STUB/deploy.json` has the jobs of a deployment (a list, or one for
each time that it is looked), and the verdicts of its stages that are no PASS.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

STUB = Path(os.environ["STUB"])
SECRETS = ("GITHUB_TOKEN", "MAINLINE_SIGNING_KEY", "MAINLINE_SSH_KEY", "MAINLINE_KEY")


def note(program: str, arguments: list[str]) -> None:
    """Append one call to the list, with the names of the credentials that it could see."""
    seen = sorted(n for n in os.environ if n in SECRETS and os.environ[n])
    call = {"job": os.environ.get("GITHUB_JOB"), "call": [program, *arguments], "sees": seen}
    with (STUB / "calls.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(call) + "\n")


def leave(name: str, text: str) -> None:
    """Write a file of the working folder."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


def verdict(step: str, status: int) -> None:
    """Write a verdict file of the right name."""
    leave(f"reports/verdicts/{step}.json", json.dumps({"status": status}))


def append(variable: str, text: str) -> None:
    """Append to the file that a variable of the runner names."""
    with Path(os.environ[variable]).open("a", encoding="utf-8") as stream:
        stream.write(text + "\n")


def register() -> None:
    """Say what is needed, tag, or push the tag."""
    if "--plan" in sys.argv:
        done = (STUB / "done").exists()
        said = "false\nversion=v1.0.0\nreason=Nothing changed" if done else "true\nversion="
        append("GITHUB_OUTPUT", f"needed={said}")
        return
    if "--push" in sys.argv:
        subprocess.check_call(["git", "push", "--quiet", "origin", "fraud@v1.0.0"])
    else:
        subprocess.check_call(["git", "tag", "fraud@v1.0.0"])
    append("GITHUB_OUTPUT", "version=v1.0.0")


def published() -> None:
    """Leave the files of a release, and say which is out."""
    if len(sys.argv) < 3:
        append("GITHUB_OUTPUT", "version=")
        return
    leave("build/release/models.tar", "")
    known = subprocess.check_output(["git", "ls-remote", "origin", "fraud@v1.0.0"])
    append("GITHUB_OUTPUT", f"version={sys.argv[2] if known else ''}")


def rollout(words: list[str]) -> int:
    """Say the jobs or the verdict that is wanted; returns the status of the verdict."""
    path = STUB / "deploy.json"
    wanted = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if words[0] == "plan":
        looks = wanted.get("jobs", [["rehearse"]])
        jobs = looks[0]
        if len(looks) > 1:
            path.write_text(json.dumps({**wanted, "jobs": looks[1:]}), "utf-8")
        append("GITHUB_OUTPUT", f"version={'v1.0.0' if jobs else ''}\nreason=A reason")
        append("GITHUB_OUTPUT", f'jobs={json.dumps(jobs)}\nrunner="ubuntu-latest"')
        return 0
    if words[0] not in ("start", "stage", "promote", "settle", "rehearse"):
        return 0
    name = words[1] if words[0] == "stage" else words[0]
    verdict = wanted.get(name, "PASS")
    append("GITHUB_OUTPUT", f"verdict={verdict}")
    later = verdict == "INCONCLUSIVE" and os.environ.get("MAINLINE_UNDECIDED") == "output"
    return 0 if later else {"PASS": 0, "FAIL": 10, "INCONCLUSIVE": 11}[verdict]


def run(command: str, status: int) -> int:
    """Do what `command` would do to files; returns its status."""
    if command == "pipeline":
        verdict("evaluate", status)
        if status == 0:
            leave("models/model.json", "{}")
    elif command == "compare":
        verdict("compare", status)
    elif command == "report":
        leave("reports/report.md", "A report\n")
        leave("reports/report.html", "<p>A report</p>\n")
        append("GITHUB_STEP_SUMMARY", "The summary of a report")
    elif command == "gate" and "--ask" in sys.argv:
        append("GITHUB_OUTPUT", "run=")
    elif command == "gate" and "--tell" not in sys.argv:
        found = [json.loads(p.read_text("utf-8")) for p in Path("reports/verdicts").glob("*.json")]
        return max((v["status"] for v in found), default=12)
    elif command == "register" and status == 0:
        register()
    elif command == "publish" and status == 0:
        published()
    elif command == "rollout" and status == 0:
        return rollout(sys.argv[2:])
    return status


if __name__ == "__main__":
    arguments = sys.argv[1:]
    note(Path(sys.argv[0]).name, arguments)
    failing = STUB / "fail.json"
    statuses = json.loads(failing.read_text("utf-8")) if failing.exists() else {}
    sys.exit(run(arguments[0], statuses.get(arguments[0], 0)))
