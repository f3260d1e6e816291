"""A small GitHub: a checkout, its bare remote, artifacts, and act to run the workflows on them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tools
from copies import commit_all

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
SLUG = "acme/fraud"
USES = re.compile(r"uses:\s*([\w.-]+/([\w.-]+))@([0-9a-f]{40})")


@dataclass
class Run:
    """What one run of a workflow did, told from act's log."""

    status: int
    lines: list[dict[str, Any]]

    def jobs(self) -> dict[str, str]:
        """Job id -> its result (`success`, `failure`); a job that was skipped is not there."""
        return {line["jobID"]: line["jobResult"] for line in self.lines if line.get("jobResult")}

    def steps(self) -> list[tuple[str, str, str]]:
        """(job id, step name, result) of each finished step, in order."""
        return [(line["jobID"], line["step"], line["stepResult"]) for line in self.lines
                if line.get("stepResult") and line.get("stage") == "Main"]  # fmt: skip

    def text(self) -> str:
        """The whole log, for looking at when a test fails and for job summaries."""
        return "\n".join(str(line.get("msg", "")).rstrip("\n") for line in self.lines)


@dataclass
class Hub:
    """One repository on the small GitHub, and its working copy."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    token: str = "of-no-use"

    @property
    def work(self) -> Path:
        return self.folder / "work tree"

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def act_pid(self) -> Path:
        return self.folder / "act.pid"

    def git(self, *arguments: str, where: Path | None = None) -> str:
        """Run git in the working copy (or in `where`); returns what it printed."""
        done = subprocess.run(["git", *arguments], cwd=where or self.work, check=True, text=True,
                              capture_output=True)  # fmt: skip
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Commit all of the working copy; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def push(self, ref: str) -> None:
        """Push HEAD to `ref` of the remote, as a person would."""
        self.git("push", "--quiet", "--force", str(self.origin), f"HEAD:{ref}")

    def tags(self) -> list[str]:
        """The tags of the remote."""
        return self.git("tag", "--list", where=self.origin).splitlines()

    def act(self, event: str, workflow: str, ref: str, payload: dict[str, Any]) -> Run:
        """Run `.github/workflows/<workflow>.yml` of the working copy on an event at `ref`."""
        path = self.folder / "event.json"
        path.write_text(json.dumps(payload), "utf-8")
        clean = {k: v for k, v in os.environ.items()
                 if not k.startswith(("GITHUB_", "ACTIONS_", "RUNNER_", "MAINLINE_"))}  # fmt: skip
        # A runner has no name to commit under, as a clean machine has none.
        config = self.folder / "gitconfig"
        config.write_text("[user]\n    useConfigOnly = true\n", "utf-8")
        clean["GIT_CONFIG_GLOBAL"] = str(config)
        env = {**clean, "ACT_ORIGIN": str(self.origin), "ACT_REF": ref,
               "ARTIFACTS": str(self.artifacts), **self.env}  # fmt: skip
        # Steps inherit the environment; only what act itself sets has to be given to it by name.
        passed = [f"--env={k}={v}" for k, v in self.env.items() if k.startswith("GITHUB_")]
        passed += [f"--var={k}={v}" for k, v in self.variables.items()]
        passed += [f"--secret={k}={v}" for k, v in self.secrets.items()]
        command = [
            str(tools.act()), event, "--workflows", f".github/workflows/{workflow}.yml",
            "--eventpath", str(path), "--platform", "ubuntu-latest=-self-hosted", "--json",
            "--no-cache-server", "--no-skip-checkout", "--artifact-server-addr", "127.0.0.1",
            "--concurrent-jobs", "1", "--action-cache-path", str(self.folder / "act"),
            # Given, or act would ask the person's own `gh` for one.
            "--secret", f"GITHUB_TOKEN={self.token}", *stand_ins(), *passed,
        ]  # fmt: skip
        with subprocess.Popen(command, cwd=self.work, env=env, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:  # fmt: skip
            self.act_pid.write_text(str(child.pid), "utf-8")  # for who is to end it
            try:
                out, err = child.communicate(timeout=600)
            except BaseException:
                child.kill()
                raise
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        assert lines or child.returncode == 0, f"act said nothing but: {err[-2000:]}"
        return Run(child.returncode, lines)


def stand_ins() -> list[str]:
    """Options that put our stand-ins in the place of each action, at the very pinned commit."""
    options = set()
    for path in (ROOT / ".github").rglob("*.yml"):
        for action, name, commit in USES.findall(path.read_text("utf-8")):
            options.add(f"--local-repository={action}@{commit}={HERE / 'actions' / name}")
    return sorted(options)


def publish(made: Hub) -> Hub:
    """Commit the files of the working copy and push them to main of a new remote."""
    made.artifacts.mkdir()
    commit_all(made.work)
    # act takes the repository's name from here; nothing is ever fetched from it.
    made.git("remote", "add", "origin", f"https://github.com/{SLUG}.git")
    made.git("init", "--quiet", "--bare", "--initial-branch=main", str(made.origin))
    made.push("refs/heads/main")
    return made
