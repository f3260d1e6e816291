"""A repository that can be registered at once: real Git, a made-up model and its verdicts."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from copies import ROOT
from small import git

from mainline.files import digest_bytes, digest_tree
from mainline.register import card
from mainline.report import gate
from mainline.verdict import Check, StepVerdict, Verdict

MODEL = "card-fraud"
HASH = "0" * 64
LOCK = f"numpy==2.0.0 \\\n    --hash=sha256:{HASH}\n"


def make(folder: Path) -> Path:
    """A committed repository at `folder` with a bare remote beside it, and nothing registered."""
    folder.mkdir(parents=True)
    origin = folder.parent / "origin.git"
    git(folder.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(folder, "init", "--quiet", "--initial-branch=main")
    configure(folder)
    for name in ("params.yaml", "schema.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    for name in ("requirements.txt", "requirements-serve.txt"):
        (folder / name).write_text(LOCK)
    (folder / "src" / "project").mkdir(parents=True)
    (folder / "src" / "project" / "model.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("models/\nreports/\n")
    data(folder, "one")
    git(folder, "remote", "add", "origin", str(origin))
    push(folder)
    return folder


def configure(folder: Path) -> None:
    """A person of this clone, and no upkeep in the background."""
    for key, value in (("user.name", "Ann"), ("user.email", "ann@example.org"),
                       ("gc.auto", "0"), ("maintenance.auto", "false")):  # fmt: skip
        git(folder, "config", key, value)


def clone(folder: Path, target: Path) -> Path:
    """A clone of the remote of `folder`, without its tags, at the newest main."""
    origin = git(folder, "config", "remote.origin.url")
    git(folder, "clone", "--quiet", "--no-tags", "--branch", "main", origin, str(target))
    configure(target)
    model(target)
    return target


def change(folder: Path, name: str, text: str, subject: str = "A change") -> str:
    """Commit `text` as the file `name`; the lock and the model follow. Returns the commit."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    lock(folder)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", subject)
    model(folder)
    return git(folder, "rev-parse", "HEAD")


def data(folder: Path, word: str) -> str:
    """Commit other data."""
    return change(folder, "data.dvc", f"outs:\n- md5: {md5(word)}.dir\n  path: data\n", word)


def edit(folder: Path, name: str, old: str, new: str) -> str:
    """Commit a replacement in a file."""
    text = (folder / name).read_text()
    assert old in text
    return change(folder, name, text.replace(old, new), f"{new} in {name}")


def push(folder: Path) -> None:
    """Merge: main of this clone is main of the remote."""
    git(folder, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    git(folder, "fetch", "--quiet", "--no-tags", "origin")


def md5(word: str) -> str:
    """Thirty-two digits that stand for `word`."""
    return hashlib.sha256(word.encode()).hexdigest()[:32]


def lock(folder: Path) -> None:
    """A dvc.lock in step with the data."""
    used = (folder / "data.dvc").read_text().split("md5: ")[1].split()[0]
    entry = f"- {{path: data, md5: {used}}}"
    (folder / "dvc.lock").write_text(
        f"stages:\n  train:\n    deps:\n    {entry}\n    outs:\n    - {{path: models, md5: m}}\n"
    )


def model(folder: Path) -> str:
    """Put the model that these inputs give into models/; returns its digest."""
    names = ("data.dvc", "schema.yaml", "requirements.txt", "src/project/model.py")
    text = "".join((folder / n).read_text() for n in names)
    params = (folder / "params.yaml").read_text().partition("\ngate:")[0]
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "model.json").write_text(digest_bytes((text + params).encode()))
    return digest_tree(folder / "models")


def approved(root: Path, verdict: Verdict = Verdict.PASS) -> StepVerdict:
    """The gate's verdict on the model that is there."""
    digests = {k: digest_bytes(k.encode()) for k in ("code", "data", "split", "policy")}
    digests["model"] = digest_tree(root / "models")
    return StepVerdict("gate", (Check("compare", verdict, "compare: no worse"),), digests)


def passing(patch: Any) -> None:
    """Let every gate pass, and write a card of one line."""
    patch.setattr(gate, "run", approved)
    patch.setattr(card, "write", write_card)


def write_card(root: Path, name: str, *_: object) -> None:
    """A card that says the same each time."""
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports" / "model_card.md").write_text(f"# {name}\n")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose commit is approved and not registered."""
    passing(monkeypatch)
    for name in ("GITHUB_OUTPUT", "GITHUB_ACTIONS", "MAINLINE_SIGNING_KEY", "MAINLINE_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return make(tmp_path / "work")


def listed(root: Path) -> dict[str, str]:
    """Name and object of each of the model's tags at the remote of `root`."""
    lines = git(root, "ls-remote", "origin", f"refs/tags/{MODEL}*").splitlines()
    pairs = (line.split("\t") for line in lines if "^{}" not in line)
    return {ref.removeprefix("refs/tags/"): value for value, ref in pairs}


def local(root: Path) -> dict[str, str]:
    """Name and object of each of the model's tags in the clone `root`."""
    lines = git(root, "for-each-ref", "--format=%(refname:strip=2) %(objectname)",
                "refs/tags/").splitlines()  # fmt: skip
    return dict(line.rsplit(" ", 1) for line in lines)
