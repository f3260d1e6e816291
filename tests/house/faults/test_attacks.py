"""Attacks on what is served: each is refused before anything of the model is loaded.

By `mainline verify`, by `serve` and by the rollout. A type that leaves a mark when it is made shows
that none was.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import vouched
from small import Ran, commit, edit, git

from mainline import registry
from mainline.errors import DataError, MainlineError
from mainline.files import digest_file, digest_tree, write_json
from mainline.register import sbom, signature, statement, verify
from mainline.register.trust import NotTrusted
from mainline.registry import Version
from mainline.rollout import versions
from mainline.serve import build
from mainline.train import bundle, skops_file
from mainline.verdict import Verdict

Attack = Callable[[Path], str]
MARKS: list[str] = []


class Mark:
    """Leaves a mark when it is made, set or called: proof that something was loaded."""

    def __new__(cls) -> Mark:
        MARKS.append("made")
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        MARKS.append("set")


class Reduced:
    """What a pickle would run on loading."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return MARKS.append, ("reduced",)


@pytest.fixture(scope="module")
def _trusted(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository with a remote, that trusts one key, with v1.0.0 signed by it."""
    folder = tmp_path_factory.mktemp("attacked")
    root = Path(shutil.copytree(sample_repository, folder / "repository", symlinks=True))
    git(root, "init", "--quiet", "--bare", str(folder / "origin.git"))
    git(root, "remote", "add", "origin", "../origin.git")
    private, public = vouched.pair()
    vouched.trust_keys(root, public, unsigned="refuse")
    vouched.version(root, pem=private)
    git(root, "push", "--quiet", "origin", "main", "--tags")
    return root, private


@pytest.fixture
def trusted(_trusted: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that repository and its remote, to be attacked; no mark was left yet."""
    MARKS.clear()
    shutil.copytree(_trusted[0].parent, tmp_path / "attacked", symlinks=True)
    return tmp_path / "attacked" / "repository"


@pytest.fixture
def private(_trusted: tuple[Path, str]) -> str:
    """The key that main trusts."""
    return _trusted[1]


def bento_of(root: Path, version: str = "v1.0.0", digest: str | None = None) -> Path:
    """A Bento as `build` leaves it, without the seconds of building one."""
    path = root / build.HOME / "bentos" / vouched.MODEL / version
    shutil.copytree(root / "models", path / "src" / "models")
    (path / "bento.yaml").write_text("service: mainline\n")
    for name in ("params.yaml", "schema.yaml", sbom.LOCK):
        shutil.copy(root / name, path / "src")
    write_json(path / "src" / build.RECORD, {
        "schema": "bento/1", "name": vouched.MODEL, "version": version,
        "digest": digest or digest_tree(path / "src" / "models"),
    })  # fmt: skip
    known = {v.name: v for v in registry.versions(root, vouched.MODEL)}
    if version in known:
        build._write_release(root, path / "src", known[version])
    return path


def refused(root: Path, check: str, *, version: str = "v1.0.0", said: str = "") -> None:
    """`verify` fails on `check`; a rollout, a build and a Bento to be served are refused."""
    found = verify.run(root, version)
    assert found.verdict in (Verdict.FAIL, Verdict.ERROR), found.checks
    assert check in {c.name for c in found.checks if c.verdict is not Verdict.PASS}, found.checks
    named = registry.find(root, vouched.MODEL, version)
    with pytest.raises(NotTrusted, match=said):
        versions.bento_of(root, named)
    shutil.rmtree(root / build.HOME, ignore_errors=True)
    with pytest.raises(MainlineError, match=said):
        build.command(root, bento_of(root, version))
    assert MARKS == []


def test_nothing_is_refused_that_was_not_touched(trusted: Path) -> None:
    """The same steps let the untouched version through, or the attacks would prove nothing."""
    assert verify.run(trusted, "v1.0.0").verdict is Verdict.PASS
    path = bento_of(trusted)
    assert versions.bento_of(trusted, registry.find(trusted, vouched.MODEL, None)) == path
    assert build.command(trusted, path)[0]


# ---- the model's files -------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", bundle.FILES)
def test_a_byte_flipped_in_a_bento(trusted: Path, name: str) -> None:
    """In any file of the model; with the record left as it was, and rewritten as well."""
    path = bento_of(trusted)
    flip(path / "src" / "models" / name)
    with pytest.raises(DataError):
        build.command(trusted, path)
    record = json.loads((path / "src" / build.RECORD).read_text())
    found = digest_tree(path / "src" / "models")
    write_json(path / "src" / build.RECORD, {**record, "digest": found})
    with pytest.raises(NotTrusted, match="and the tag says"):
        build.command(trusted, path)
    assert MARKS == []


def test_a_byte_flipped_in_the_checkout_and_in_the_cache(trusted: Path) -> None:
    """Neither models/ nor a tampered object of the cache is taken for the registered model."""
    flip(trusted / "models" / "model.skops")
    for file in (trusted / ".dvc" / "cache" / "files" / "md5").rglob("*"):
        if file.is_file() and zipfile.is_zipfile(file):
            file.chmod(0o644)
            flip(file)
    shutil.rmtree(trusted / "demo-store", ignore_errors=True)
    found = {c.name: c.verdict for c in verify.run(trusted, "v1.0.0").checks}
    assert found["model"] is Verdict.ERROR
    assert found["signature"] is Verdict.ERROR


def test_another_model_in_the_bento_with_its_record_and_model_json_rewritten(
    trusted: Path,
) -> None:
    """Whole in itself and consistent: only the digest in the tag tells that it is another."""
    path = bento_of(trusted)
    models = path / "src" / "models"
    (models / "model.skops").write_bytes(skops_file.dump({"a": 1}))
    meta = json.loads((models / "model.json").read_text())
    meta["files"]["model.skops"] = digest_file(models / "model.skops")
    write_json(models / "model.json", meta)
    record = json.loads((path / "src" / build.RECORD).read_text())
    write_json(path / "src" / build.RECORD, {**record, "digest": digest_tree(models)})
    assert build.check(path)["digest"] == digest_tree(models)
    with pytest.raises(NotTrusted, match="and the tag says"):
        build.command(trusted, path)
    version = registry.find(trusted, vouched.MODEL, None)
    with pytest.raises(NotTrusted, match="and the tag says"):
        verify.require(trusted, version, models)


# ---- what a model file may hold ----------------------------------------------------------------


def test_a_type_that_is_not_on_the_list_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by name; nothing of it was constructed."""
    module = types.ModuleType("elsewhere")
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    module.Mark = Mark  # type: ignore[attr-defined]
    monkeypatch.setattr(Mark, "__module__", "elsewhere")
    content = skops_file._skops().dumps(Mark())
    MARKS.clear()
    with pytest.raises(DataError, match=r"elsewhere\.Mark.*allow-list"):
        skops_file.load(content)
    assert MARKS == []
    # The same file with the type on the list does leave a mark: the sentinel works.
    skops_file.load(content, trusted=["elsewhere.Mark"])
    assert MARKS


@pytest.mark.parametrize("form", ["pickle", "joblib", "member", "npy"])
def test_a_pickle_is_never_run(form: str) -> None:
    """Whether it is the file itself, a member of the archive, or an array of objects in it."""
    import numpy as np

    MARKS.clear()
    poison = pickle.dumps(Reduced())
    if form in ("pickle", "joblib"):
        content = poison if form == "pickle" else b"\x80\x04" + poison
    elif form == "member":
        content = rewritten(skops_file.dump({"a": 1}), lambda name, body: poison)
    else:
        array = io.BytesIO()
        np.save(array, np.array([Reduced()], dtype=object), allow_pickle=True)
        content = rewritten(
            skops_file.dump(np.arange(3.0)),
            lambda name, body: array.getvalue() if name.endswith(".npy") else body,
        )
        assert content != skops_file.dump(np.arange(3.0))
    MARKS.clear()
    with pytest.raises((DataError, ValueError)):
        skops_file.load(content)
    assert MARKS == []


def rewritten(content: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """A skops archive with other members."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def test_an_archive_that_would_unpack_to_gigabytes_is_not_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its entries declare what they hold, so nothing has to be read to see it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        with archive.open("000001.npy", "w", force_zip64=True) as member:
            for _ in range(200):
                member.write(bytes(1_000_000))
    assert len(out.getvalue()) < 1_000_000
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError, match="would unpack to 200 MB"):
        skops_file.load(out.getvalue())


def test_a_member_that_declares_less_than_it_holds_gives_no_more_than_that() -> None:
    """A forged size bounds what is read, and what was cut off is damaged."""
    big = b"x" * 5_000_000
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", big)
    size = len(big).to_bytes(4, "little")
    content = out.getvalue().replace(size, (10).to_bytes(4, "little"))
    assert content != out.getvalue()
    with pytest.raises(DataError, match="damaged"):
        skops_file.load(content)


def test_members_of_one_name_are_refused() -> None:
    """What was checked and what is read could be two things."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("schema.json", "{}")
        archive.writestr("schema.json", "{}")
    with pytest.raises(DataError, match="repeat"):
        skops_file.load(out.getvalue())


# ---- signatures --------------------------------------------------------------------------------


def test_signed_by_another_key(trusted: Path) -> None:
    """A key that main does not hold, whatever the attacker's branch says of it."""
    foreign, public = vouched.pair()
    own = (trusted / "release.pub").read_text()
    # The attacker makes a signature where their key is trusted, and tags the merge with it.
    (trusted / "release.pub").write_text(public)
    vouched.merged(trusted, "Mine")
    made = vouched.version(trusted, pem=foreign, where="HEAD^")
    assert made.signature
    (trusted / "release.pub").write_text(own)
    vouched.merged(trusted, "Not mine")
    git(trusted, "push", "--quiet", "--force", "origin", "--tags")
    refused(trusted, "signature", said="signed by a key that release.public_key")


def test_a_branch_that_swaps_the_key_does_not_vouch_for_itself(trusted: Path) -> None:
    """Policy and key are read from main: neither the checkout nor its commit is believed."""
    foreign, public = vouched.pair()
    git(trusted, "checkout", "--quiet", "-b", "swap")
    (trusted / "release.pub").write_text(public)
    vouched.set_release(trusted, "release: {unsigned: allow, public_key: release.pub}")
    commit(trusted, "Swap the key")
    assert verify.run(trusted, "v1.0.0").verdict is Verdict.PASS
    with pytest.raises(MainlineError, match=r"is not a key of release\.pub"):
        vouched.version(trusted, "v1.0.1", pem=foreign, where="main")
    vouched.tag(trusted, "v1.0.1", vouched.message(vouched.trailers(trusted, "v1.0.1")), "main")
    refused(trusted, "signature", version="v1.0.1", said="UNSIGNED")


def test_the_signature_of_another_version(trusted: Path) -> None:
    """Replayed on a new tag with the same model on the same commit: it names its version."""
    old = registry.find(trusted, vouched.MODEL, "v1.0.0")
    assert old.signature is not None
    said = vouched.trailers(trusted, "v1.0.1") | {"Signed-By": old.trailers["Signed-By"]}
    vouched.tag(trusted, "v1.0.1", vouched.message(said, old.signature.decode()), old.commit)
    refused(trusted, "signature", version="v1.0.1", said="does not hold")


def test_the_signature_of_another_commit(trusted: Path) -> None:
    """The tag made again on a later commit of main, with all that it said."""
    old = registry.find(trusted, vouched.MODEL, "v1.0.0")
    (trusted / "README.md").write_text("Other words\n")
    vouched.merged(trusted, "Words")
    text = git(trusted, "for-each-ref", "--format=%(contents)", f"refs/tags/{old.tag}")
    vouched.tag(trusted, "v1.0.0", text)
    git(trusted, "push", "--quiet", "--force", "origin", "--tags")
    refused(trusted, "signature", said="does not hold")


@pytest.mark.parametrize(
    ("old", "new"),
    [("Accepted-By: none", "Accepted-By: somebody"), ("Verdict: PASS", "Verdict: FAIL"),
     ("Base: none", "Base: v0.9.0"), ("Run: local", "Run: https://elsewhere.example")],
)  # fmt: skip
def test_trailers_that_were_edited(trusted: Path, old: str, new: str) -> None:
    """Each of them is signed; the tag was made again and pushed over the first one."""
    version = registry.find(trusted, vouched.MODEL, "v1.0.0")
    vouched.again(trusted, version, old, new)
    git(trusted, "push", "--quiet", "--force", "origin", "--tags")
    refused(trusted, "signature", said="does not hold")


def test_a_signature_that_was_taken_off(trusted: Path) -> None:
    """Where main asks for a signature, a version without one is refused."""
    vouched.tag(trusted, "v1.0.0", vouched.message(vouched.trailers(trusted, "v1.0.0")))
    git(trusted, "push", "--quiet", "--force", "origin", "--tags")
    refused(trusted, "signature", said="UNSIGNED")


def test_a_signature_that_claims_another_signer(trusted: Path) -> None:
    """Signed-By is not in the statement; it is held against the signature itself."""
    version = registry.find(trusted, vouched.MODEL, "v1.0.0")
    vouched.again(trusted, version, version.trailers["Signed-By"], "key sha256:" + "0" * 64)
    git(trusted, "push", "--quiet", "--force", "origin", "--tags")
    refused(trusted, "signature", said="and the tag says")


@pytest.mark.parametrize("kind", ["garbage", "bomb", "empty", "json", "no-hint"])
def test_a_signature_of_hostile_bytes(trusted: Path, kind: str) -> None:
    """It is refused in a sentence, and unpacks to no more than a signature has."""
    bundles = {"bomb": bytes(50_000_000), "empty": b"", "json": b"[]",
               "no-hint": b'{"verificationMaterial": {"publicKey": {}}}'}  # fmt: skip
    block = (f"{signature.BEGIN}\n!!!\n{signature.END}" if kind == "garbage"
             else signature.encode(bundles[kind]))  # fmt: skip
    version = registry.find(trusted, vouched.MODEL, "v1.0.0")
    said = {**version.trailers}
    vouched.tag(trusted, "v1.0.0", vouched.message(said, block))
    git(trusted, "push", "--quiet", "--force", "origin", "--tags")
    refused(trusted, "signature", said="signature in the tag|signed by a key")


# ---- tags --------------------------------------------------------------------------------------


def test_a_tag_that_was_moved_here(trusted: Path) -> None:
    """The remote has another one of this name: whoever fetched the first is told."""
    (trusted / "README.md").write_text("Other words\n")
    vouched.merged(trusted, "Words")
    vouched.tag(trusted, "v1.0.0", vouched.message(vouched.trailers(trusted, "v1.0.0")))
    refused(trusted, "remote", said="was moved|UNSIGNED")


def test_a_tag_that_was_moved_is_seen_without_signatures(trusted: Path) -> None:
    """A rollout asks the remote, and a remote that does not answer stops no rollback."""
    vouched.set_release(trusted, "release: {unsigned: allow}")
    vouched.merged(trusted, "No signatures")
    vouched.tag(trusted, "v1.0.0", vouched.message(vouched.trailers(trusted, "v1.0.0")))
    version = registry.find(trusted, vouched.MODEL, "v1.0.0")
    with pytest.raises(NotTrusted, match="was moved: the remote has another"):
        versions.bento_of(trusted, version)
    git(trusted, "remote", "set-url", "origin", "/nowhere")
    verify.require(trusted, version, ask=True)


def test_a_commit_that_is_not_on_main(trusted: Path, private: str) -> None:
    """Signed by the right key even: what no pull request brought to main is not released."""
    git(trusted, "checkout", "--quiet", "-b", "aside")
    edit(trusted, "src/project/features.py", "import", "# other code\nimport")
    commit(trusted, "Aside")
    vouched.version(trusted, "v1.0.1", pem=private)
    git(trusted, "push", "--quiet", "origin", "--tags")
    refused(trusted, "history", version="v1.0.1", said="off main|not on main")


def test_a_lightweight_tag_of_that_name(trusted: Path) -> None:
    """It says nothing by itself: what Git shows of it is the message of its commit."""
    text = vouched.message(vouched.trailers(trusted, "v1.0.1"))
    git(trusted, "commit", "--quiet", "--allow-empty", "--message", text)
    git(trusted, "tag", f"{vouched.MODEL}@v1.0.1")
    git(trusted, "push", "--quiet", "origin", "main", "--tags")
    refused(trusted, "tag", version="v1.0.1", said="no annotated tag")


def test_the_tag_of_another_version_under_a_new_name(trusted: Path) -> None:
    """A tag carries its own name; a second name for it is no second version."""
    old = git(trusted, "rev-parse", f"refs/tags/{vouched.MODEL}@v1.0.0")
    git(trusted, "update-ref", f"refs/tags/{vouched.MODEL}@v1.0.1", old)
    git(trusted, "push", "--quiet", "origin", "--tags")
    refused(trusted, "tag", version="v1.0.1", said="is the tag of something else")


# ---- the bill of materials ---------------------------------------------------------------------


def test_an_sbom_that_does_not_match(trusted: Path) -> None:
    """The tag names the SBOM of other packages than the commit locks, signed or not."""
    said = vouched.trailers(trusted, "v1.0.1") | {"SBOM-Digest": "sha256:" + "1" * 64}
    vouched.tag(trusted, "v1.0.1", vouched.message(said))
    git(trusted, "push", "--quiet", "origin", "--tags")
    refused(trusted, "sbom", version="v1.0.1", said="SBOM")


@pytest.mark.parametrize(
    ("old", "new"),
    [("@", "%40"), ('"version":"1.0', '"version":"9.0'), ('"SHA-256"', '"SHA-512"'), ("{", "")],
)
def test_an_sbom_in_the_bento_that_was_edited(trusted: Path, old: str, new: str) -> None:
    """What came along is compared with the lock of the version's commit, part by part."""
    version = registry.find(trusted, vouched.MODEL, "v1.0.0")
    path = bento_of(trusted)
    content = sbom.document(trusted, vouched.MODEL, "v1.0.0", str(version.digest))
    (path / "src" / sbom.FILE).write_bytes(content)
    assert build.command(trusted, path)[0]
    edited = content.decode().replace(old, new, 1).encode()
    assert edited != content
    (path / "src" / sbom.FILE).write_bytes(edited)
    with pytest.raises(NotTrusted, match="SBOM is not that of the lock"):
        build.command(trusted, path)


@pytest.mark.parametrize("name", [statement.FILE, signature.FILE, sbom.FILE])
def test_what_a_bento_tells_of_its_version_is_that_of_the_tag(trusted: Path, name: str) -> None:
    """Edited or lost, a statement, a signature or an SBOM in a Bento is refused."""
    path = bento_of(trusted)
    assert build.command(trusted, path)[0]
    file = path / "src" / name
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(NotTrusted, match=name):
        build.command(trusted, path)
    file.write_bytes(content + b" ")
    with pytest.raises(NotTrusted):
        build.command(trusted, path)


def test_a_bento_of_no_version_is_no_way_round_the_signature(trusted: Path) -> None:
    """Where main refuses what nobody signed only a trial serves it, and never as a version."""
    path = bento_of(trusted, "v7.7.7")
    with pytest.raises(NotTrusted, match="names no registered version"):
        build.command(trusted, path)
    flip(path / "src" / "models" / "profile.json")
    record = json.loads((path / "src" / build.RECORD).read_text())
    digest = digest_tree(path / "src" / "models")
    write_json(path / "src" / build.RECORD, {**record, "digest": digest})
    assert build.command(trusted, path, trial=True)[0]
    with pytest.raises(NotTrusted, match="does not hold the model of"):
        build.command(trusted, path, version="v1.0.0", trial=True)


def test_the_command_says_it_with_its_status(trusted: Path, call: Callable[..., Ran]) -> None:
    """`verify` ends with 10, and so does a rollout's build of such a version."""
    vouched.again(
        trusted, registry.find(trusted, vouched.MODEL, None), "Verdict: PASS", "Verdict: X"
    )
    assert call(trusted, "verify", "v1.0.0").status == 10
    ran = call(trusted, "build", "v1.0.0")
    assert (ran.status, "is refused" in ran.said) == (10, True)


def test_versions_are_read_as_data(trusted: Path) -> None:
    """A record that names a strange model asks for nothing but that name."""
    path = bento_of(trusted)
    for name in ("../x", "*", "-h", "card-fraud#prod"):
        record = json.loads((path / "src" / build.RECORD).read_text())
        assert not verify.require_bento(trusted, path, {**record, "name": name}, trial=True)
    assert isinstance(registry.find(trusted, vouched.MODEL, None), Version)
