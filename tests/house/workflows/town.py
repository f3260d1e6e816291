"""A small repository with its remote and its GitHub: what people and GitHub do to it, in a word."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forge
import small
import yaml

HERE = Path(__file__).resolve().parent
# No limit on time: a busy machine is no slow model.
UNTIMED = ("    directional:\n", "    latency_ms: null\n    directional:\n")
GITHUB = HERE.parents[2] / ".github"


@dataclass(frozen=True)
class Pull:
    """A pull request: where it is from, and its commit."""

    number: int
    branch: str
    sha: str
    repository: str = forge.SLUG


def grants(workflow: str) -> dict[str, str]:
    """What the token of a workflow's jobs may do: all that any of them is given."""
    document = yaml.safe_load((GITHUB / "workflows" / f"{workflow}.yml").read_text("utf-8"))
    found: dict[str, str] = {}
    for job in document["jobs"].values():
        for name, right in job["permissions"].items():
            found[name] = max(right, found.get(name, right))  # `write` sorts after `read`
    return found


def settle(hub: Any, sample: Path, remember: Path, edits: Mapping[str, tuple[str, str]]) -> Any:
    """Make `hub` hold the small sample with the workflows and `edits`, and push it to main."""
    shutil.copytree(sample, hub.work, symlinks=True)
    shutil.copytree(GITHUB, hub.work / ".github")
    shutil.copy2(HERE / "remember.py", hub.work / "mainline")
    (hub.work / "mainline").chmod(0o755)
    small.edit(hub.work, "params.yaml", *UNTIMED)
    for name, (old, new) in edits.items():
        small.edit(hub.work, name, old, new)
    hub.git("branch", "--move", "main")
    hub.git("remote", "add", "origin", f"https://github.com/{forge.SLUG}.git")
    hub.artifacts.mkdir()
    hub.git("init", "--quiet", "--bare", "--initial-branch=main", str(hub.origin))
    hub.commit("The workflows")
    hub.push("refs/heads/main")
    remember.mkdir(exist_ok=True)
    hub.env |= {"MAINLINE_VENV": sys.prefix, "REMEMBER": str(remember)}
    return hub


@dataclass
class Town:
    """The repository and GitHub."""

    hub: Any
    github: forge.Forge
    last_run: int = 1  # of train.yml

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Afterwards main, tags, releases and settings are as they are now; nothing is open."""
        hub = self.hub
        kept = hub.git("for-each-ref", "--format=%(objectname) %(refname)", where=hub.origin)
        releases = json.dumps(self.github.releases.made)
        settings = dict(hub.variables), dict(hub.secrets)
        yield
        hub.variables, hub.secrets = settings
        for line in hub.git("for-each-ref", "--format=%(refname)", where=hub.origin).splitlines():
            hub.git("update-ref", "-d", line, where=hub.origin)
        for line in kept.splitlines():
            commit, ref = line.split()
            hub.git("update-ref", ref, commit, where=hub.origin)
        hub.git("switch", "--quiet", "--force", "main")
        hub.git("reset", "--quiet", "--hard", hub.git("rev-parse", "main", where=hub.origin))
        for tag in set(hub.git("tag").split()) - set(hub.tags()):
            hub.git("tag", "--delete", tag)
        self.github.releases.made[:] = json.loads(releases)
        self.close()

    def close(self) -> None:
        """Close what is open: also what was merged by Git alone, which this GitHub leaves open."""
        for kind, found in (("pulls", self.github.pulls()), ("issues", self.github.issues())):
            for one in found:
                path = f"/repos/{forge.SLUG}/{kind}/{one['number']}"
                self.github.ask("PATCH", path, {"state": "closed"})

    def propose(
        self, branch: str, edits: Mapping[str, tuple[str, str]], repository: str = forge.SLUG
    ) -> Pull:
        """Open a pull request that replaces text (file -> (old, new)) on the newest main."""
        branch = f"{branch}-{len(self.github.events)}"
        self.hub.git("switch", "--quiet", "--create", branch, "main")
        sha = self._commit(branch, edits)
        number = self.github.open(branch, sha, repository)
        return self._merged(Pull(number, branch, sha, repository))

    def more(self, pull: Pull, edits: Mapping[str, tuple[str, str]]) -> Pull:
        """One more commit on the branch of a pull request."""
        self.hub.git("switch", "--quiet", pull.branch)
        sha = self._commit(pull.branch, edits)
        self.github.push(pull.number, sha)
        return self._merged(Pull(pull.number, pull.branch, sha, pull.repository))

    def _commit(self, branch: str, edits: Mapping[str, tuple[str, str]]) -> str:
        for name, (old, new) in edits.items():
            small.edit(self.hub.work, name, old, new)
        sha = self.hub.commit(f"Change {branch}")
        self.hub.push(f"refs/heads/{branch}")
        return str(sha)

    def _merged(self, pull: Pull) -> Pull:
        """The commit that GitHub makes to try the merge, which is what `train` checks out."""
        tree = self.hub.git("rev-parse", f"{pull.sha}^{{tree}}")
        merge = self.hub.git("commit-tree", tree, "-p", "main", "-p", pull.sha, "-m", "Merge")
        self.github.files[pull.number] = list(self._files(pull.sha))
        ref = f"{merge}:refs/pull/{pull.number}/merge"
        self.hub.git("push", "--quiet", "--force", str(self.hub.origin), ref)
        return pull

    def _files(self, sha: str) -> Iterator[dict[str, Any]]:
        """What GitHub tells of the files that a pull request changes."""
        for name in self.hub.git("diff", "--name-only", f"main...{sha}").splitlines():
            patch = self.hub.git("diff", f"main...{sha}", "--", name).partition("\n@@")[2]
            yield {"filename": name, "status": "modified", "patch": f"@@{patch}"}

    def train(self, pull: Pull, action: str = "synchronize") -> Any:
        """Run train.yml as GitHub does after `action` on a pull request."""
        number = self.last_run = self.github.ran(pull.branch, pull.sha, pull.repository)
        self.hub.token = self.github.token(grants("train"))
        self.hub.env["GITHUB_API_URL"] = self.github.url
        head = {"ref": pull.branch, "sha": pull.sha, "repo": {"full_name": pull.repository}}
        base = {"ref": "main", "sha": self.hub.git("rev-parse", "main")}
        event = {"action": action, "number": pull.number,
                 "pull_request": {"number": pull.number, "head": head, "base": base}}  # fmt: skip
        done = self.hub.act("pull_request", "train", f"refs/pull/{pull.number}/merge", event)
        self.github.ended(number, well=done.status == 0)
        # What each run left can be fetched by its number.
        kept = self.hub.folder / "artifacts of runs" / str(number)
        shutil.copytree(self.hub.artifacts, kept)
        return done

    def comment(
        self, pull: Pull, conclusion: str = "success", rights: Mapping[str, str] | None = None
    ) -> Any:
        """Run comment.yml as GitHub does after a run of train.yml on a pull request."""
        self.hub.token = self.github.token(rights or grants("comment"))
        self.hub.env["GITHUB_API_URL"] = self.github.url
        return self.hub.act("workflow_run", "comment", "refs/heads/main",
                            finished(pull, conclusion, self.last_run))  # fmt: skip

    def push(self, workflow: str) -> Any:
        """Run a workflow as GitHub does after a push to main."""
        self.hub.git("switch", "--quiet", "main")
        self.hub.push("refs/heads/main")
        self.hub.token = self.github.token(grants(workflow))
        self.hub.env["GITHUB_API_URL"] = self.github.url
        sha = self.hub.git("rev-parse", "HEAD")
        event = {"ref": "refs/heads/main", "before": "0" * 40, "after": sha}
        return self.hub.act("push", workflow, "refs/heads/main", event)

    def look(self) -> Any:
        """Start release.yml by hand, as who looks whether a run was lost does."""
        self.hub.git("switch", "--quiet", "main")
        self.hub.token = self.github.token(grants("release"))
        self.hub.env["GITHUB_API_URL"] = self.github.url
        return self.hub.act("workflow_dispatch", "release", "refs/heads/main",
                            {"ref": "refs/heads/main", "inputs": {}})  # fmt: skip

    def deploy(self, version: str = "", *, revert: str = "false", event: str = "") -> Any:
        """Run deploy.yml for `version`; without one for the last dispatch, or by the schedule."""
        if event == "schedule":
            return self._run("deploy", "schedule", {"schedule": "11,41 * * * *"})
        given = {"version": version, "revert": revert}
        if not version:
            name, body = self.github.dispatched[-1]
            assert name == "deploy.yml"
            given = body["inputs"]
        return self._run("deploy", "workflow_dispatch", {"inputs": given})

    def back(self, reason: str, version: str = "", ref: str = "refs/heads/main") -> Any:
        """Run rollback.yml by hand, as it is at `ref`."""
        given = {"version": version, "reason": reason}
        return self._run("rollback", "workflow_dispatch", {"inputs": given}, ref)

    def _run(
        self, workflow: str, event: str, payload: dict[str, Any], ref: str = "refs/heads/main"
    ) -> Any:
        self.hub.token = self.github.token(grants(workflow))
        self.hub.env["GITHUB_API_URL"] = self.github.url
        return self.hub.act(event, workflow, ref, {"ref": ref, **payload})

    def merge(self, pull: Pull, *, squash: bool = False) -> str:
        """Merge a pull request, as a person does; returns the commit."""
        self.hub.git("switch", "--quiet", "main")
        if squash:
            self.hub.git("merge", "--quiet", "--squash", pull.branch)
            self.hub.git("commit", "--quiet", "--message", f"Squashed (#{pull.number})")
        else:
            self.hub.git("merge", "--quiet", "--no-ff", "--message", "Merge", pull.branch)
        self.hub.push("refs/heads/main")
        sha = str(self.hub.git("rev-parse", "HEAD"))
        self.github.merge(pull.number, sha)
        return sha

    def promote(self, version: str) -> None:
        """Let a version be what runs in production: a tag on the remote."""
        origin = str(self.hub.origin)
        self.hub.git("fetch", "--quiet", "--tags", origin)
        done = small.run(self.hub.work, "promote", version)
        assert done.status == 0, done.err
        self.hub.git("push", "--quiet", "--tags", origin)

    def report(self) -> str:
        """The report that the last run of train.yml left."""
        return str((self.hub.artifacts / "report" / "report.md").read_text("utf-8"))


def finished(pull: Pull, conclusion: str = "success", number: int = 1) -> dict[str, Any]:
    """The event with which comment.yml hears that the train run `number` has ended."""
    owner = pull.repository.partition("/")[0]
    run = {"id": number, "event": "pull_request", "head_sha": pull.sha, "head_branch": pull.branch,
           "head_repository": {"full_name": pull.repository, "owner": {"login": owner}},
           "conclusion": conclusion,
           "html_url": f"https://github.com/{forge.SLUG}/actions/runs/1"}  # fmt: skip
    return {"action": "completed", "workflow_run": run}
