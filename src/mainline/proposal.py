"""A change that the house proposes: its branch and its one pull request, kept up to date in place.

Until a person adds a commit: from then on the branch is theirs. Nothing here merges anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, RaceError, RemoteError, UsageError
from mainline.git import ask_git, git, resolve
from mainline.github import GitHub, Opened

IDENTITY = ("-c", "user.name=mainline", "-c", "user.email=mainline@localhost")
WORKFLOW = "train.yml"


@dataclass(frozen=True)
class Text:
    """A title of one line and a body in Markdown."""

    title: str
    body: str


@dataclass(frozen=True)
class Branch:
    """Where a branch is and what stands on it. Commits are full ids, None where there is none."""

    name: str
    base: str  # the commit of main that it starts from
    commit: str | None
    remote: str | None  # the name of the remote, where there is one


class Refused(RemoteError):
    """The remote does not take a branch, and nobody else was faster: a right or a rule."""


def locate(root: Path, name: str, remote: str, base: str) -> Branch:
    """Fetch and find the branches `base` and `name`, on the remote where there is one.

    Raises UsageError when there is no `base`.
    """
    there = remote if remote in git(root, "remote", check=False).splitlines() else None
    if there:
        git(root, "fetch", "--quiet", "--prune", there, f"+refs/heads/*:refs/remotes/{there}/*")
    prefix = f"refs/remotes/{there}/" if there else "refs/heads/"
    main = resolve(root, prefix + base)
    if main is None:
        raise UsageError(f"There is no branch {base!r}", "Commit to it first, or name another")
    return Branch(name, main, resolve(root, prefix + name), there)


def touched_by_a_person(root: Path, branch: Branch, trailer: str) -> str | None:
    """The first commit on the branch without the house's `trailer`, or None.

    A merge that only brings main in is nobody's work.
    """
    if branch.commit is None:
        return None
    form = f"%H%x00%P%x00%(trailers:key={trailer},valueonly,separator=%x2C)"
    log = git(root, "log", f"--format={form}", f"{branch.base}..{branch.commit}")
    for line in log.splitlines():
        commit, parents, found = line.split("\x00")
        if not found and len(parents.split()) < 2:
            return commit
    return None


def publish(root: Path, branch: Branch, commit: str) -> bool:
    """Move the branch to `commit` here and on the remote; False when it was there in all but name.

    Raises RaceError when somebody moved it meanwhile, Refused when the push is refused.
    """
    if branch.commit and _same(root, branch.commit, commit):
        return False
    if git(root, "symbolic-ref", "--quiet", "HEAD", check=False) == f"refs/heads/{branch.name}":
        raise UsageError(f"The branch {branch.name} is checked out here", "Check out main first")
    if branch.remote:
        lease = f"--force-with-lease=refs/heads/{branch.name}:{branch.commit or ''}"
        words = ("push", "--quiet", lease, branch.remote, f"{commit}:refs/heads/{branch.name}")
        done = ask_git(root, *words)
        if done.returncode != 0:
            if "stale info" in done.stderr:
                raise RaceError(f"{branch.name} moved meanwhile", "Try again")
            said = " ".join(done.stderr.split())[:300]
            raise Refused(f"{branch.name} could not be pushed ({said})",
                          "Check the rights of the token")  # fmt: skip
    git(root, "update-ref", f"refs/heads/{branch.name}", commit)
    return True


def _same(root: Path, one: str, other: str) -> bool:
    """Whether two commits have the same parents and files."""
    form = "--format=%T %P"
    return git(root, "show", "-s", form, one) == git(root, "show", "-s", form, other)


def open_pull_request(
    branch: str, base: str, text: Text, moved: bool, environ: Mapping[str, str]
) -> Opened:
    """Open the pull request of `branch`, or bring the open one up to date, and have it trained.

    A push with a workflow's own token starts no workflow, so `train.yml` is dispatched. Without a
    repository or a token that is said in one line and is no error; a refusal is RemoteError.
    """
    try:
        github = GitHub.of(environ)
    except MainlineError as error:
        return Opened(f"No pull request was opened: {error.cause}")
    owner = github.repository.split("/")[0]
    listed = github.get_all("pulls", state="open", head=f"{owner}:{branch}", base=base)
    content = {"title": text.title, "body": text.body}
    if listed:
        number = int(listed[0]["number"])
        answer = github.call("PATCH", f"pulls/{number}", content)
        note = f"Pull request #{number} is up to date"
    else:
        answer = _create(github, {**content, "head": branch, "base": base})
        number = int(answer["number"])
        note = f"Pull request #{number} was opened"
    if moved or not listed:
        note += _started(github, branch, number)
    return Opened(note, answer.get("html_url"))


def _create(github: GitHub, content: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = github.call("POST", "pulls", content)
        return answer
    except RemoteError as error:
        raise RemoteError(
            error.cause,
            "Allow GitHub Actions to create pull requests (Settings, Actions, General)",
        ) from error


def _started(github: GitHub, branch: str, number: int) -> str:
    """Start the workflow on the branch; says so, or why not."""
    try:
        github.dispatch(WORKFLOW, branch, {"pr": str(number)})
    except RemoteError as error:
        cause = error.cause.rstrip(".")
        return f"; {WORKFLOW} could not be started ({cause}), start it by hand"
    return f"; {WORKFLOW} was started on it"
