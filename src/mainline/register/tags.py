"""Write a tag of the registry, in this clone and on origin: one writer at a time, and no leftovers.

The tags have GTO's grammar, and GTO reads them; Git itself writes them. GTO leaves a tag in the
clone before it is pushed, which a lost race or a kill turns into a lie, and takes 0.5 s to import.
Here the tag is an object without a name until origin has taken it: only then does this clone name
it too, so that whoever loses has nothing to clean up.

With `--push` what origin has is the truth. Each push moves one more ref, GUARD, from the value
that was seen: if anybody wrote to the model's registry since, the whole push is refused, and the
decision is made again on what stands there now. Two clones that saw different tags can therefore
not register one model under two numbers. The guard records nothing and may be deleted.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mainline.errors import DataError, RaceError, RemoteError
from mainline.git import GitError, ask_git, git
from mainline.registry import Move, Tag, Version, moves_in, read_tags, versions_in

GUARD = "refs/mainline/registry/"
ORIGIN = "origin"
TRIES = 16
PAUSE = 0.1  # seconds of waiting after the first lost race, at most; longer after each more
SKEW = 3600  # seconds; a tag from further in the future is of a wrong clock
# What Git says where two pushes meet in the same instant; anything else is a refusal.
BUSY = re.compile(r"lock|stale info|already exists|failed to update ref|fetch first|incorrect old",
                  re.IGNORECASE)  # fmt: skip
# The same among processes of one clone: a lock is held, or a ref is no longer what was seen.
BUSY_HERE = re.compile(r"file exists|already exists|but expected", re.IGNORECASE)
DENIED = re.compile(r"denied|read-only|not a directory|hook declined|protected", re.IGNORECASE)
NAMELESS = ("mainline", "mainline@localhost")
Document = dict[str, Any]


class Refused(RemoteError):
    """Origin did not take a tag, and nobody else was faster: a right, a rule or a hook."""


@dataclass(frozen=True)
class View:
    """The registry of a model at one moment.

    `tags` are those that count: origin's where it was asked, else this clone's. `only_here` are
    names of this clone's tags that origin does not have; `guard` is the guard's value, "" for none.
    """

    model: str
    tags: tuple[Tag, ...]
    guard: str = ""
    origin: bool = False
    only_here: tuple[Tag, ...] = ()

    @cached_property
    def versions(self) -> list[Version]:
        """The versions, oldest number first."""
        return versions_in(self.model, self.tags)

    @cached_property
    def moves(self) -> list[Move]:
        """The assignments, first to last."""
        return moves_in(self.model, self.tags)

    @property
    def next_count(self) -> int:
        """The number of the next assignment: GTO counts over all stages, its other tags too."""
        counts = [t.name.rpartition("#")[2] for t in self.tags if "#" in t.name]
        return max((int(c) for c in counts if c.isascii() and c.isdigit()), default=0) + 1


@dataclass(frozen=True)
class Wanted:
    """A tag to be written: its name, the commit it stands on, its message.

    `document` is what the command says once it is written; `drop` names tags that are only in this
    clone and would contradict it.
    """

    name: str
    commit: str
    message: str
    document: Document = field(default_factory=dict)
    drop: tuple[str, ...] = ()


def settle(
    root: Path, model: str, decide: Callable[[View], Wanted | Document], *, push: bool
) -> Document:
    """Ask `decide` what to write, and write it; again on a fresh view where somebody was faster.

    `decide` returns a document where nothing is to be done. Raises RaceError (24) after TRIES lost
    races, Refused (21) where origin does not take the tag, RemoteError where it cannot be asked.
    """
    for attempt in range(TRIES):
        seen = look(root, model, push=push)
        wanted = decide(seen)
        if not isinstance(wanted, Wanted):
            return wanted
        if write(root, seen, wanted):
            return wanted.document
        time.sleep(random.uniform(0, PAUSE * (attempt + 1)))
    raise RaceError(
        f"Others wrote to the registry of {model!r} {TRIES} times while this was to be written",
        "Try again; nothing was changed",
    )


def look(root: Path, model: str, *, push: bool) -> View:
    """The registry of `model`: origin's where it is to be pushed there, else this clone's.

    Tags that origin has otherwise, or that are missing here, are fetched: origin's win.
    Raises RemoteError (21) where origin cannot be asked.
    """
    if not push:
        value = git(root, "rev-parse", "--verify", "--quiet", GUARD + model, check=False)
        return View(model, tuple(_local(root, model).values()), value)
    listed = _listed(root, model)
    here = _local(root, model)
    names = {ref.removeprefix("refs/tags/"): value
             for ref, value in listed.items() if ref.startswith("refs/tags/")}  # fmt: skip
    if any(n not in here or here[n].object != value for n, value in names.items()):
        _fetch(root, model)
        here = _local(root, model)
    # One that changed between the two questions is left out; the guard has moved with it.
    counted = tuple(t for n, t in here.items() if names.get(n) == t.object)
    mine = tuple(t for n, t in here.items() if n not in names)
    return View(model, counted, listed.get(GUARD + model, ""), True, mine)


def write(root: Path, seen: View, wanted: Wanted) -> bool:
    """Write the tag where the registry still is as `seen`; False where somebody was faster."""
    made = _object(root, seen, wanted)
    guard = GUARD + seen.model
    if seen.origin and not _push(root, seen, wanted.name, made):
        return False
    lines = [f"update refs/tags/{wanted.name} {made}"] if seen.origin else [
        f"create refs/tags/{wanted.name} {made}",
        f"update {guard} {made} {seen.guard or '0' * len(made)}",
    ]  # fmt: skip
    lines += [f"delete refs/tags/{name}" for name in wanted.drop if name != wanted.name]
    done = ask_git(root, "update-ref", "--stdin", stdin="".join(f"{line}\n" for line in lines))
    if done.returncode == 0:
        return True
    why = done.stderr.strip().removeprefix("fatal: ")
    # Else another process of this clone wrote first, or is just writing.
    if not BUSY_HERE.search(why):
        where = f"{ORIGIN} has it, this clone has not" if seen.origin else "nothing was changed"
        raise DataError(
            f"{wanted.name} could not be written into this clone ({why}); {where}",
            "Make .git a folder that you may write to, then run it again",
        )
    return False


def _local(root: Path, model: str) -> dict[str, Tag]:
    return {t.name: t for t in read_tags(root, f"{model}@*", f"{model}#*")}


def _listed(root: Path, model: str) -> dict[str, str]:
    """Name and object of each of the model's refs at origin."""
    patterns = (f"refs/tags/{model}@*", f"refs/tags/{model}#*", GUARD + model)
    try:
        out = git(root, "ls-remote", "--quiet", ORIGIN, *patterns)
    except GitError as error:
        raise RemoteError(
            f"The remote {ORIGIN!r} cannot be asked for its tags ({error.cause.rstrip('.')})",
            "Check `git remote -v` and your access, or leave out `--push`",
        ) from error
    pairs = [line.split("\t") for line in out.splitlines() if "\t" in line]
    return {ref: value for value, ref in pairs if not ref.endswith("^{}")}


def _fetch(root: Path, model: str) -> None:
    """Bring this clone's tags of `model` in line with those that origin has; its own stay."""
    both = [f"+refs/tags/{model}{p}*:refs/tags/{model}{p}*" for p in ("@", "#")]
    git(root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
        "--no-recurse-submodules", ORIGIN, *both)  # fmt: skip


def fetch_main(root: Path) -> None:
    """Let this clone know what has been merged by now; where origin is silent nothing happens."""
    git(root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", ORIGIN,
        f"+refs/heads/main:refs/remotes/{ORIGIN}/main", check=False)  # fmt: skip


def _object(root: Path, seen: View, wanted: Wanted) -> str:
    """An annotated tag as an object, without a name yet."""
    name, email = who(root)
    head = [f"object {wanted.commit}", "type commit", f"tag {wanted.name}",
            f"tagger {name} <{email}> {_now(seen)} +0000"]  # fmt: skip
    content = "\n".join(head) + "\n\n" + wanted.message.rstrip("\n") + "\n"
    return git(root, "mktag", stdin=content)


def _now(seen: View) -> int:
    """Seconds since 1970, later than every tag that is there: GTO sorts by whole seconds."""
    now = int(time.time())
    stamps = [_seconds(t.when) for t in seen.tags]
    last = max((s for s in stamps if s < now + SKEW), default=0)
    return max(now, last + 1)


def _seconds(when: str) -> int:
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(when).timestamp())
    except ValueError:
        return 0


def who(root: Path, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Name and address of whoever writes: the person who set off the workflow, or Git's user."""
    actor = environ.get("GITHUB_ACTOR", "") if environ.get("GITHUB_ACTIONS") == "true" else ""
    name = actor or environ.get("GIT_COMMITTER_NAME") or _config(root, "user.name")
    email = (f"{actor}@users.noreply.github.com" if actor else
             environ.get("GIT_COMMITTER_EMAIL") or _config(root, "user.email"))  # fmt: skip
    # As Git itself takes them: no angles, no line ends, no punctuation at either end.
    words = [re.sub(r"[\x00-\x1f\x7f<>]+", " ", text).split() for text in (name, email)]
    clean = [" ".join(w).strip(" .,;:\"'\\") for w in words]
    return clean[0] or NAMELESS[0], clean[1].replace(" ", "") or NAMELESS[1]


def _config(root: Path, key: str) -> str:
    return git(root, "config", key, check=False)


def _push(root: Path, seen: View, name: str, made: str) -> bool:
    """Push the object under its name, and the guard from the value that was seen, or neither.

    False where somebody was faster. Raises Refused where it was refused for another reason.
    """
    guard = GUARD + seen.model
    done = ask_git(
        root, "push", "--porcelain", "--atomic", "--no-follow-tags", "--recurse-submodules=no",
        f"--force-with-lease={guard}:{seen.guard}", ORIGIN,
        f"{made}:refs/tags/{name}", f"{made}:{guard}",
    )  # fmt: skip
    answers = {line[:1] for line in done.stdout.splitlines() if "\t" in line}
    if done.returncode == 0:
        # "=": it was there. In one second one person's two clones make the very same object, and
        # only one of them wrote it.
        return "*" in answers
    why = _why(done.stdout, done.stderr)
    if answers and BUSY.search(why) and not DENIED.search(why):
        return False
    listed = _listed(root, seen.model)
    if not answers and listed.get(f"refs/tags/{name}") == made:
        return True  # the answer was lost on the way, the tag was not
    if listed.get(guard, "") != seen.guard or f"refs/tags/{name}" in listed:
        return False
    raise Refused(
        f"{ORIGIN} did not take {name} ({why})",
        "Nothing was changed; see that you may push tags, and that no rule or hook forbids it",
    )


def _why(out: str, err: str) -> str:
    """Why a push was refused: what the remote said, then Git's own words for it."""
    told = [t.removeprefix("remote:").strip() for t in err.splitlines() if t.startswith("remote:")]
    reasons = dict.fromkeys(re.findall(r"^!.*\[.*?\] \((.*)\)$", out, re.MULTILINE))
    reasons.pop("atomic push failed", None)  # of the other ref: that this one was refused
    fatal = [t for t in err.splitlines() if t.startswith(("fatal:", "error:"))]
    words = [*(t for t in told if t), *reasons] or fatal[:1] or ["no reason was given"]
    return "; ".join(words)[:400]
