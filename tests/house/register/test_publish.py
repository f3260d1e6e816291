"""The GitHub release of a version: a draft until it is whole, and good enough to come back from."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakehub
import pytest
import small

from mainline import assets, registry
from mainline.compare import base as bases
from mainline.errors import DataError, MainlineError, RemoteError
from mainline.files import digest_tree
from mainline.register import publish
from mainline.registry import Version

TAG = "card-fraud@v1.0.0"


@pytest.fixture
def hub() -> Iterator[fakehub.Hub]:
    """GitHub, with no release."""
    with fakehub.serving() as made:
        yield made


@pytest.fixture(scope="session")
def registered(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sample with v1.0.0, whose tag is not on its remote; copy it to change it."""
    root = tmp_path_factory.mktemp("registered") / "repository"
    shutil.copytree(sample_repository, root, symlinks=True)
    for words in (("compare",), ("report",), ("register",)):
        ran = small.run(root, *words)
        assert ran.status == 0, ran.out + ran.err
    (root / "reports" / "plots").mkdir(exist_ok=True)
    (root / "reports" / "plots" / "a plot.png").write_bytes(b"plot")
    return root


@pytest.fixture
def root(registered: Path, tmp_path: Path) -> Path:
    """A copy of it with a remote of its own."""
    copy = Path(shutil.copytree(registered, tmp_path / "work", symlinks=True))
    origin = tmp_path / "origin.git"
    small.git(copy, "init", "--quiet", "--bare", str(origin))
    small.git(copy, "remote", "add", "origin", str(origin))
    return copy


def environment(hub: fakehub.Hub, **more: str) -> dict[str, str]:
    """What the step of a workflow sees."""
    return {"GITHUB_REPOSITORY": "acme/fraud", "GITHUB_TOKEN": hub.token,
            "GITHUB_API_URL": hub.url, **more}  # fmt: skip


def push(root: Path) -> None:
    """Push the tag, as the step between two calls of `publish` does."""
    small.git(root, "push", "--quiet", "origin", f"refs/tags/{TAG}")


def version_of(root: Path) -> Version:
    """The version that is registered there."""
    return registry.find(root, "card-fraud", "v1.0.0")


def test_it_is_a_draft_until_the_tag_is_pushed_and_then_out(root: Path, hub: fakehub.Hub) -> None:
    """All files are there before anybody sees it, and the second call uploads nothing again."""
    first = publish.run(root, "v1.0.0", environment(hub))
    assert first["draft"], first
    release = hub.releases.of(TAG)
    assert release["draft"]
    names = {a["name"] for a in release["assets"]}
    assert names >= {"models.tar", "report.md", "report.html", "a plot.png"}
    push(root)
    second = publish.run(root, "v1.0.0", environment(hub))
    assert not second["draft"]
    assert (release["draft"], release["make_latest"]) == (False, "true")
    assert len(hub.releases.uploads) == len(names)
    assert publish.run(root, "v1.0.0", environment(hub))["text"].startswith(f"{TAG}: 0 of ")
    assert len(hub.releases.made) == 1


def test_an_upload_that_was_cut_off_is_made_good(root: Path, hub: fakehub.Hub) -> None:
    """The half file goes, the whole ones stay, and there is one release in the end."""
    hub.releases.stop_after = 1
    with pytest.raises(RemoteError):
        publish.run(root, "v1.0.0", environment(hub))
    hub.releases.stop_after = None
    push(root)
    publish.run(root, "v1.0.0", environment(hub))
    release = hub.releases.of(TAG)
    assert {a["state"] for a in release["assets"]} == {"uploaded"}
    assert hub.releases.uploads.count(hub.releases.uploads[0]) == 1
    assert not release["draft"]


@pytest.mark.parametrize("digests", [True, False], ids=["digest told", "digest not told"])
def test_a_file_of_the_same_size_and_other_bytes_is_replaced_in_a_draft(
    root: Path, hub: fakehub.Hub, digests: bool
) -> None:
    """By what GitHub tells of its digest, else by its content."""
    hub.releases.digests = digests
    publish.run(root, "v1.0.0", environment(hub))
    asset = next(a for a in hub.releases.of(TAG)["assets"] if a["name"] == "models.tar")
    asset["digest"] = "sha256:" + "0" * 64 if digests else None
    hub.releases.files[asset["id"]] = b"x" * asset["size"]
    publish.run(root, "v1.0.0", environment(hub))
    (now,) = [a for a in hub.releases.of(TAG)["assets"] if a["name"] == "models.tar"]
    assets.check(hub.releases.files[now["id"]], version_of(root))


def test_a_release_that_is_out_with_another_model_is_an_error(root: Path, hub: fakehub.Hub) -> None:
    """It is neither taken for the version's nor silently put right."""
    hub.releases.give(TAG, "models.tar", b"another")
    with pytest.raises(DataError, match="is not its model"):
        publish.run(root, "v1.0.0", environment(hub))


def test_two_drafts_of_one_version_become_one(root: Path, hub: fakehub.Hub) -> None:
    """Two runs that made one each end in one; what a person drafted for the tag is let be."""
    publish.run(root, "v1.0.0", environment(hub))
    ours = dict(hub.releases.of(TAG))
    hub.releases.made.append({**ours, "id": 7, "assets": []})
    hub.releases.made.append({**ours, "id": 8, "assets": [], "body": "My own notes"})
    push(root)
    publish.run(root, "v1.0.0", environment(hub))
    assert [(r["id"], r["draft"]) for r in hub.releases.made] == [(1, False), (8, True)]


def test_what_a_stopped_run_left_comes_out_without_its_model(root: Path, hub: fakehub.Hub) -> None:
    """Where the tag was pushed and no more: no version is named and no model is here."""
    publish.run(root, "v1.0.0", environment(hub))
    shutil.rmtree(root / "models")
    assert "No draft" in publish.run(root, None, environment(hub))["text"]
    assert hub.releases.of(TAG)["draft"]
    push(root)
    assert publish.run(root, None, environment(hub))["version"] == "v1.0.0"
    assert not hub.releases.of(TAG)["draft"]


def test_a_draft_with_another_model_does_not_come_out(root: Path, hub: fakehub.Hub) -> None:
    """The model of a draft is looked at before anybody sees it."""
    publish.run(root, "v1.0.0", environment(hub))
    push(root)
    asset = next(a for a in hub.releases.of(TAG)["assets"] if a["name"] == "models.tar")
    hub.releases.files[asset["id"]] = bundle({"model.json": b"{}"})
    with pytest.raises(DataError, match="another model"):
        publish.run(root, None, environment(hub))
    assert hub.releases.of(TAG)["draft"]


def test_a_tag_that_somebody_else_pushed_keeps_it_a_draft(root: Path, hub: fakehub.Hub) -> None:
    """The remote's tag of the same name is another object."""
    small.git(root, "push", "--quiet", "origin", f"HEAD:refs/tags/{TAG}")
    assert publish.run(root, "v1.0.0", environment(hub))["draft"]
    assert hub.releases.of(TAG)["draft"]


def test_another_model_in_the_checkout_is_not_published(root: Path, hub: fakehub.Hub) -> None:
    """What is uploaded is what the tag names."""
    (root / "models" / "model.json").write_text("{}", "utf-8")
    with pytest.raises(DataError, match="does not hold the model"):
        publish.run(root, "v1.0.0", environment(hub))
    assert hub.releases.made == []


@pytest.mark.parametrize(("lacking", "said"), [
    ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN"), ({"GITHUB_REPOSITORY": ""}, "GITHUB_REPOSITORY"),
])  # fmt: skip
def test_what_is_not_set_is_named(
    root: Path, hub: fakehub.Hub, lacking: dict[str, str], said: str
) -> None:
    """Without a token or a repository one sentence names the setting."""
    with pytest.raises(MainlineError, match=said) as error:
        publish.run(root, "v1.0.0", environment(hub, **lacking))
    assert "\n" not in str(error.value)


def test_the_token_goes_to_no_other_machine(root: Path, hub: fakehub.Hub) -> None:
    """Where the release names another place for its files, nothing is sent there."""
    publish.run(root, "v1.0.0", environment(hub))
    hub.releases.of(TAG)["upload_url"] = "https://uploads.github.com.evil.invalid/x{?name}"
    hub.releases.of(TAG)["assets"].clear()
    with pytest.raises(RemoteError, match="not GitHub's"):
        publish.run(root, "v1.0.0", environment(hub))


# ---- the bundle, and back ----------------------------------------------------------------------


def bundle(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """A tar of `files` and of members without content."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in more:
            tar.addfile(member)
    return made.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A member that is no regular file."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_a_bundle_is_the_same_bytes_wherever_it_is_made(root: Path, tmp_path: Path) -> None:
    """Times, modes and the order of the folder are not in it; unpacked it is the same model."""
    first = assets.pack(root / "models")
    other = tmp_path / "other"
    other.mkdir()
    for path in sorted((root / "models").iterdir(), reverse=True):
        (other / path.name).write_bytes(path.read_bytes())
        (other / path.name).chmod(0o600)
    assert assets.pack(other) == first
    assets.unpack(first, tmp_path / "back")
    assert digest_tree(tmp_path / "back") == digest_tree(root / "models")


ATTACKS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "above": lambda f: bundle({**f, "../evil": b"x"}),
    "absolute": lambda f: bundle({**f, "/tmp/evil": b"x"}),
    "below": lambda f: bundle({**f, "sub/evil": b"x"}),
    "hidden": lambda f: bundle({**f, ".evil": b"x"}),
    "backslash": lambda f: bundle({**f, "..\\evil": b"x"}),
    "no name": lambda f: bundle({**f, "": b"x"}),
    "symlink": lambda f: bundle(f, special("evil", tarfile.SYMTYPE, "/etc/passwd")),
    "hard link": lambda f: bundle(f, special("evil", tarfile.LNKTYPE, "model.json")),
    "folder": lambda f: bundle(f, special("evil", tarfile.DIRTYPE)),
    "device": lambda f: bundle(f, special("evil", tarfile.CHRTYPE)),
    "pipe": lambda f: bundle(f, special("evil", tarfile.FIFOTYPE)),
    "sparse": lambda f: bundle(f, special("evil", tarfile.GNUTYPE_SPARSE)),
    "twice": lambda f: bundle({**f, "MODEL.json": b"x"}),
    "many": lambda f: bundle({**f, **{f"file{n}": b"" for n in range(70)}}),
    "compressed": lambda f: __import__("gzip").compress(bundle(f)),
    "cut off": lambda f: bundle(f)[:700],
    "no tar": lambda f: b"<html>",
    "nothing": lambda f: b"",
    "more": lambda f: bundle({**f, "more.json": b"x"}),
    "less": lambda f: bundle(dict(list(f.items())[1:])),
    "a flipped byte": lambda f: bundle({n: c[:-1] + bytes([c[-1] ^ 1]) for n, c in f.items()}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_bundle_that_is_not_the_versions_is_refused(
    root: Path, hub: fakehub.Hub, tmp_path: Path, attack: str
) -> None:
    """Nothing of it is left anywhere, and the folder is as it was."""
    files = {p.name: p.read_bytes() for p in (root / "models").iterdir()}
    hub.releases.give(TAG, "models.tar", ATTACKS[attack](files))
    folder = tmp_path / "near" / "models"
    folder.mkdir(parents=True)
    (folder / "old").write_bytes(b"old")
    with pytest.raises(DataError):
        assets.download(root, version_of(root), folder, environment(hub))
    assert sorted(p.name for p in folder.parent.rglob("*")) == ["models", "old"]
    assert not list(tmp_path.rglob("evil"))


OF_ITS_CONTENT = {"more", "less", "a flipped byte"}


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - OF_ITS_CONTENT))
def test_what_is_no_folder_of_plain_files_is_refused_before_it_is_written(
    tmp_path: Path, attack: str
) -> None:
    """Whatever its digest would be."""
    with pytest.raises(DataError):
        assets.unpack(ATTACKS[attack]({"model.json": b"{}"}), tmp_path / "models")
    assert not list(tmp_path.rglob("*"))


def test_too_large_an_asset_is_as_if_there_were_none(
    root: Path, hub: fakehub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large it says to be or is: it is neither unpacked nor kept."""
    monkeypatch.setattr(assets, "MOST_BYTES", 1000)
    hub.releases.give(TAG, "models.tar", b"\0" * 100_000)
    assert not assets.download(root, version_of(root), tmp_path / "m", environment(hub))
    assert not (tmp_path / "m").exists()


def test_a_release_is_read_without_a_token(root: Path, hub: fakehub.Hub, tmp_path: Path) -> None:
    """A public repository's model can be had by anybody; no GitHub or no release is no error."""
    hub.releases.give(TAG, "models.tar", assets.pack(root / "models"))
    seen = environment(hub, GITHUB_TOKEN="")
    assert assets.download(root, version_of(root), tmp_path / "m", seen)
    assert digest_tree(tmp_path / "m") == version_of(root).digest
    assert not assets.download(root, version_of(root), tmp_path / "n", {})
    hub.releases.made.clear()
    assert not assets.download(root, version_of(root), tmp_path / "n", seen)


@pytest.mark.slow
def test_a_base_is_had_from_the_release_alone(
    root: Path, hub: fakehub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without DVC's cache and without its store: the very model, and nothing is trained."""
    content: dict[str, Any] = {p.name: p.read_bytes() for p in (root / "models").iterdir()}
    publish.run(root, "v1.0.0", environment(hub))
    push(root)
    publish.run(root, "v1.0.0", environment(hub))
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "demo-store", ignore_errors=True)
    for name, value in environment(hub, GITHUB_TOKEN="").items():
        monkeypatch.setenv(name, value)
    version = version_of(root)
    with bases.checked_out(root, bases.Base("version", version.commit, version)) as found:
        tree, _, again = found
        assert not again
        assert {p.name: p.read_bytes() for p in (tree / "models").iterdir()} == content
