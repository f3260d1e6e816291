"""Signing: by a key that main holds, by a workflow that main names, or by nobody and loudly so."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import vouched
from small import Ran, commit, git

from mainline import settings
from mainline.errors import MainlineError, RemoteError, SettingsError
from mainline.register import identity, signature, trust
from mainline.register.signature import KEY
from mainline.register.trust import NotTrusted

STATEMENT: dict[str, Any] = {"schema": "release/1", "version": "v1.0.0"}
BILL = b"{}"
WHO = "https://github.com/o/r/.github/workflows/release.yml@refs/heads/main"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with settings and a folder for a model; nothing is trained here."""
    from copies import ROOT

    root = tmp_path / "repository"
    (root / "models").mkdir(parents=True)
    for name in ("model.skops", "model.json", "profile.json"):
        (root / "models" / name).write_text(f"{name}\n")
    for name in ("params.yaml", "schema.yaml"):
        (root / name).write_text((ROOT / name).read_text("utf-8"), encoding="utf-8")
    git(root, "init", "--quiet")
    commit(root, "Main")
    return root


def sign(root: Path, **environ: str) -> signature.Signed:
    """Sign what is in the tree."""
    return signature.sign(
        root, settings.load(root), root / "models", STATEMENT, BILL, environ
    )  # fmt: skip


def check(root: Path, block: str, bill: bytes = BILL, **more: str) -> str:
    """Check what is in the tree."""
    return signature.check(root, block, root / "models", {**STATEMENT, **more}, bill)


@pytest.fixture
def keyed(tree: Path) -> tuple[Path, str]:
    """The tree with a key that main holds, and its private half."""
    private, public = vouched.pair()
    vouched.trust_keys(tree, public)
    return tree, private


# ---- with a key --------------------------------------------------------------------------------


def test_what_a_key_signs_holds_for_these_files_only(keyed: tuple[Path, str]) -> None:
    """Offline; another model, statement or SBOM under the same signature is refused."""
    root, private = keyed
    signed = sign(root, **{KEY: private})
    assert signed.by.startswith("key sha256:")
    assert check(root, signed.block) == signed.by
    for change in ({"bill": b"{ }"}, {"version": "v1.0.1"}, {"commit": "x"}):
        with pytest.raises(NotTrusted, match="does not hold"):
            check(root, signed.block, **change)  # type: ignore[arg-type]
    (root / "models" / "profile.json").write_text("another\n")
    with pytest.raises(NotTrusted, match=r"does not hold: .*profile\.json"):
        check(root, signed.block)


@pytest.mark.parametrize("name", [".hidden/x", "extra.txt", ".gitignore"])
def test_a_file_more_is_seen_unless_nothing_reads_it(keyed: tuple[Path, str], name: str) -> None:
    """What the digest of the bundle leaves out (hidden files) the signature leaves out as well."""
    root, private = keyed
    signed = sign(root, **{KEY: private})
    (root / "models" / name).parent.mkdir(exist_ok=True)
    (root / "models" / name).write_text("more\n")
    if name.startswith("."):
        assert check(root, signed.block)
    else:
        with pytest.raises(NotTrusted):
            check(root, signed.block)


def test_no_network_is_used_with_a_key(
    keyed: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to sign nor to check."""
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    root, private = keyed
    assert check(root, sign(root, **{KEY: private}).block)


def test_the_key_is_left_nowhere(
    keyed: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library reads it from a file of ours alone, which is gone afterwards."""
    root, private = keyed
    modes = []
    write = Path.write_text

    def seen(self: Path, text: str, *args: Any, **more: Any) -> int:
        if "PRIVATE" in text:
            modes.append(stat.S_IMODE(self.stat().st_mode))
        return write(self, text, *args, **more)

    monkeypatch.setattr(Path, "write_text", seen)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    signed = sign(root, **{KEY: private})
    assert list((tmp_path / "t").iterdir()) == []
    assert modes == [0o600] or os.name == "nt"
    assert "PRIVATE" not in signature.decode(signed.block).decode()


@pytest.mark.parametrize(
    ("pem", "said"),
    [("nonsense", "no private key in PEM form"), ("P384", "not a key of the curve P-256"),
     ("locked", "locked by a password"), ("rsa", "not a key of the curve P-256"),
     ("other", r"is not a key of release\.pub"), ("public", "no private key in PEM form")],
)  # fmt: skip
def test_a_key_that_cannot_sign_is_named_and_not_shown(
    keyed: tuple[Path, str], pem: str, said: str
) -> None:
    """Never unsigned instead; the message holds nothing of the key."""
    text = _key(pem)
    with pytest.raises(SettingsError, match=said) as raised:
        sign(keyed[0], **{KEY: text})
    assert raised.value.status == 22
    assert text.strip().splitlines()[-2 if "\n" in text.strip() else 0] not in str(raised.value)


def _key(kind: str) -> str:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if kind in ("locked", "rsa"):
        key: Any = (ec.generate_private_key(ec.SECP256R1()) if kind == "locked"
                    else rsa.generate_private_key(65537, 2048))  # fmt: skip
        lock = form.BestAvailableEncryption(b"x") if kind == "locked" else form.NoEncryption()
        return str(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock).decode())
    return {"P384": vouched.pair("SECP384R1")[0], "other": vouched.pair()[0],
            "public": vouched.pair()[1]}.get(kind, kind)  # fmt: skip


def test_a_key_without_a_named_public_key_is_refused(tree: Path) -> None:
    """Nobody could check what it signs."""
    with pytest.raises(SettingsError, match=r"release\.public_key names no key"):
        sign(tree, **{KEY: vouched.pair()[0]})


def test_keys_change_hands(tree: Path) -> None:
    """A new key on top signs; what the old one signed holds until it is taken out."""
    (old, old_public), (new, new_public) = vouched.pair(), vouched.pair()
    vouched.trust_keys(tree, old_public)
    first = sign(tree, **{KEY: old})
    vouched.trust_keys(tree, new_public, old_public)
    second = sign(tree, **{KEY: new})
    assert check(tree, first.block) == first.by != second.by == check(tree, second.block)
    vouched.trust_keys(tree, new_public)
    with pytest.raises(NotTrusted, match="does not hold"):
        check(tree, first.block)


@pytest.mark.parametrize("text", ["", "no key\n", "P384"])
def test_a_public_key_that_cannot_be_used_is_a_wrong_setting(tree: Path, text: str) -> None:
    """It is said as such, and nothing passes for want of a key."""
    vouched.trust_keys(tree, vouched.pair("SECP384R1")[1] if text == "P384" else text)
    with pytest.raises(SettingsError):
        trust.of(tree)


# ---- with nothing ------------------------------------------------------------------------------


def test_without_a_key_it_is_unsigned_where_that_is_allowed(tree: Path) -> None:
    """An empty secret is none, as GitHub gives it to a fork."""
    assert sign(tree) == sign(tree, **{KEY: " \n"}) == signature.Signed("none", "")
    assert signature.planned(tree, settings.load(tree), {}) == "none"


@pytest.mark.parametrize("where", ["main", "checkout"])
def test_unsigned_is_refused_where_either_policy_says_so(tree: Path, where: str) -> None:
    """Main's rule, and a stricter one of the commit that is released."""
    vouched.set_release(tree, "release: {unsigned: refuse}")
    if where == "main":
        commit(tree, "Refuse")
        vouched.set_release(tree, "release: {unsigned: allow}")
    with pytest.raises(RemoteError, match=r"release\.unsigned is `refuse`") as raised:
        sign(tree)
    assert raised.value.status == 21


# ---- by a workflow's identity ------------------------------------------------------------------


def token(**claims: str) -> str:
    """An identity token as GitHub gives it; its signature is not ours to check."""
    parts = [{"alg": "none"}, claims, {}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=")
                    for p in parts)  # fmt: skip


@pytest.fixture
def github() -> Iterator[tuple[str, list[tuple[str, str | None]], dict[str, Any]]]:
    """GitHub's token service: its address, what was asked of it, and what it answers."""
    asked: list[tuple[str, str | None]] = []
    answer: dict[str, Any] = {"status": 200, "body": {"value": token(
        job_workflow_ref="o/r/.github/workflows/release.yml@refs/heads/main")}}  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(json.dumps(answer["body"]).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token?api-version=2", asked, answer
    server.shutdown()
    server.server_close()


Github = tuple[str, list[tuple[str, str | None]], dict[str, Any]]


def workflow(address: str) -> dict[str, str]:
    """The environment of a job with `id-token: write`."""
    return {identity.ADDRESS: address, identity.TOKEN: "bearer-of-the-job"}


@pytest.fixture
def keyless(tree: Path) -> Path:
    """The tree where main names the workflow that signs."""
    vouched.set_release(tree, f"release: {{identity: '{WHO}'}}")
    commit(tree, "Keyless")
    return tree


def test_the_token_is_asked_for_sigstore_and_handed_to_the_library(
    keyless: Path, github: Github, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked once, with the job's own bearer; the library gets it and is asked for these files."""
    from model_signing import signing, verifying

    used: dict[str, Any] = {}

    class Signing:
        def use_sigstore_signer(self, **more: Any) -> Signing:
            used.update(more)
            return self

        def set_hashing_config(self, _: Any) -> Signing:
            return self

        def sign(self, folder: Path, out: Path) -> None:
            used["files"] = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.*"))
            out.write_text('{"verificationMaterial": {"certificate": {}}}')

    class Verifying(Signing):
        def use_sigstore_verifier(self, **more: Any) -> Verifying:
            used.update(more)
            return self

        def verify(self, folder: Path, saved: Path) -> None:
            used["verified"] = folder.name

    monkeypatch.setattr(signing, "Config", Signing)
    monkeypatch.setattr(verifying, "Config", Verifying)
    signed = sign(keyless, **workflow(github[0]))
    assert signed.by == f"workflow {WHO}"
    assert github[1] == [("/token?api-version=2&audience=sigstore", "bearer bearer-of-the-job")]
    assert used["identity_token"] == github[2]["body"]["value"]
    assert (used["identity"], used["oidc_issuer"]) == (WHO, settings.Release().issuer)
    assert used["files"] == ["models/model.json", "models/model.skops", "models/profile.json",
                             "release.json", "sbom.cdx.json"]  # fmt: skip
    assert used["verified"] == "release"


def test_another_workflow_is_named_before_anything_is_published(
    keyless: Path, github: Github
) -> None:
    """A wrong setting, or a job that is not the release: nothing goes to the public log."""
    github[2]["body"] = {"value": token(job_workflow_ref="o/r/.github/workflows/x.yml@refs/pull/1")}
    with pytest.raises(NotTrusted, match="This workflow is"):
        sign(keyless, **workflow(github[0]))


@pytest.mark.parametrize(
    ("status", "body"), [(403, {}), (200, {}), (200, {"value": "x"}), (200, [])]
)
def test_no_token_is_an_error_and_never_an_unsigned_version(
    keyless: Path, github: Github, status: int, body: Any
) -> None:
    """Whoever can stop the token must not thereby get an unsigned release."""
    github[2].update(status=status, body=body)
    with pytest.raises(RemoteError, match="token"):
        sign(keyless, **workflow(github[0]))
    with pytest.raises(RemoteError, match="token"):
        sign(keyless, **{identity.ADDRESS: github[0]})
    with pytest.raises(RemoteError, match="not an https address"):
        sign(keyless, **workflow("http://elsewhere.example/token"))


def test_nobody_is_published_who_did_not_ask_for_it(tree: Path, github: Github) -> None:
    """A job may have a token for other ends; without release.identity it is not used."""
    assert sign(tree, **workflow(github[0])).by == "none"
    assert github[1] == []


def test_a_keyless_signature_needs_a_name_on_main(tree: Path) -> None:
    """Signed by anybody with a GitHub account is signed by nobody."""
    block = signature.encode(b'{"verificationMaterial": {"certificate": {}}}')
    with pytest.raises(NotTrusted, match=r"release\.identity of main names none"):
        check(tree, block)


# ---- the block and the command -----------------------------------------------------------------


def test_a_block_is_the_same_each_time_and_fits_a_tag() -> None:
    """76 columns between two lines that nothing else in a tag looks like."""
    block = signature.encode(os.urandom(4000))
    lines = block.splitlines()
    assert (lines[0], lines[-1]) == (signature.BEGIN, signature.END)
    assert max(map(len, lines[1:-1])) == 76
    bundle = signature.decode(block)
    assert signature.encode(bundle) == block
    assert signature.decode(block.replace("\n", "\r\n").encode()) == bundle


def test_keygen_makes_a_pair_that_signs(
    tree: Path, tmp_path: Path, call: Callable[..., Ran]
) -> None:
    """The private half outside the repository, readable by nobody else, written over nothing."""
    private = tmp_path / "key.pem"
    ran = call(tree, "keygen", str(private))
    assert (ran.status, "gh secret set MAINLINE_SIGNING_KEY" in ran.out) == (0, True)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600 or os.name == "nt"
    assert "PRIVATE" not in (tree / "release.pub").read_text()
    assert private.read_text() not in ran.out + ran.err
    vouched.set_release(tree, "release: {public_key: release.pub, unsigned: refuse}")
    commit(tree, "Sign")
    signed = sign(tree, **{KEY: private.read_text()})
    assert check(tree, signed.block) == signed.by
    assert call(tree, "keygen", str(private)).status == 2
    assert call(tree, "keygen", str(tree / "key.pem")).status == 2
    assert call(tree, "keygen", str(tree / ".." / "repository" / "key.pem")).status == 2
    assert not list(tree.rglob("key.pem"))
    assert call(tree, "keygen", str(tmp_path / "next.pem")).status == 0
    commit(tree, "Next")
    assert check(tree, signed.block) == signed.by
    assert issubclass(NotTrusted, MainlineError)
