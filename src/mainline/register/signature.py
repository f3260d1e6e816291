"""Sign a release and check that signature, with model-signing (a sigstore bundle).

Signed is a folder: the files of `models/`, the statement and the SBOM. With a key nothing goes
over the network, neither to sign nor to check. Without one the workflow signs by its identity,
where main names that identity: it is published in sigstore's log, so nobody's is unasked.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import hashlib
import io
import json
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, RemoteError, SettingsError
from mainline.files import visible_files
from mainline.register import identity, sbom, statement, trust
from mainline.register.trust import CURVE, MAKE, Key, NotTrusted, Trust
from mainline.settings import Settings

BEGIN, END = "-----BEGIN MODEL SIGNATURE-----", "-----END MODEL SIGNATURE-----"
KEY = "MAINLINE_SIGNING_KEY"
FILE = "release.sig"  # the block, where a version goes without its tag
NONE = "none"
WIDTH = 76
MOST = 4_000_000  # bytes of an unpacked bundle; real ones have a few thousand
NAME = "release"  # of the folder that is signed; it stands in the signature


@dataclass(frozen=True)
class Signed:
    """Who signed, as the trailer Signed-By says it, and the block for the tag ("" where nobody)."""

    by: str
    block: str


def sign(
    root: Path, options: Settings, models: Path, statement: Mapping[str, Any], sbom: bytes,
    environ: Mapping[str, str],
) -> Signed:  # fmt: skip
    """Sign the bundle in `models`, the statement and the SBOM; the result is checked at once.

    By the key in MAINLINE_SIGNING_KEY, else by the workflow's identity where main names one and
    GitHub gives a token, else not at all. Raises RemoteError (21) where the policy (main's, or
    that of `options`) refuses an unsigned version, SettingsError for a key that cannot sign.
    """
    trusted = trust.of(root)
    pem = environ.get(KEY, "").strip()
    with laid_out(models, dict(statement), sbom) as folder:
        if pem:
            by, bundle = _by_key(trusted, folder, pem)
        elif trusted.release.identity and environ.get(identity.ADDRESS):
            by, bundle = identity.sign(folder, trusted.release.identity, environ)
        elif "refuse" in (trusted.release.unsigned, options.release.unsigned):
            raise RemoteError(
                "There is nothing to sign this version with, and release.unsigned is `refuse`",
                f"Give the secret {KEY}, or name the workflow in release.identity",
            )
        else:
            return Signed(NONE, "")
        found = _checked(trusted, bundle, folder)
    if found != by:
        raise NotTrusted(f"The signature says {found} and was made by {by}")
    return Signed(by, encode(bundle))


def planned(root: Path, options: Settings, environ: Mapping[str, str]) -> str:
    """Who will sign, as Signed-By would say it, before anything is signed; "none" for nobody.

    Raises SettingsError for a key that cannot sign.
    """
    trusted = trust.of(root)
    if pem := environ.get(KEY, "").strip():
        return f"key {public_of(pem).digest}"
    named = trusted.release.identity or options.release.identity
    return f"workflow {named}" if named and environ.get(identity.ADDRESS) else NONE


def check(
    root: Path, signature: bytes | str, models: Path, statement: Mapping[str, Any], sbom: bytes,
    trusted: Trust | None = None,
) -> str:  # fmt: skip
    """Who signed exactly these files, as Signed-By would say it.

    `signature` is the block of the tag. Raises NotTrusted where it is damaged, of other files, of
    another version, or by anybody whom main does not name.
    """
    with laid_out(models, dict(statement), sbom) as folder:
        return _checked(trusted or trust.of(root), decode(signature), folder)


@contextlib.contextmanager
def laid_out(models: Path, document: dict[str, Any], bill: bytes) -> Iterator[Path]:
    """A folder with all that is signed, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mainline-release-") as temporary:
        folder = Path(temporary) / NAME
        for file in visible_files(models):
            if file.is_symlink() and not file.resolve().is_file():
                raise NotTrusted(f"{file.name} is no file", "Pull the model again")
            target = folder / "models" / file.relative_to(models)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        folder.mkdir(exist_ok=True)
        (folder / statement.FILE).write_bytes(statement.content(document))
        (folder / sbom.FILE).write_bytes(bill)
        yield folder


def hashing() -> Any:
    """How the files are hashed: each by SHA-256, none left out, no links."""
    from model_signing import hashing as library

    config = library.Config().use_file_serialization(hashing_algorithm="sha256")
    return config.set_ignored_paths(paths=[], ignore_git_paths=False)


def encode(bundle: bytes) -> str:
    """The block for a tag: gzip, base64, lines of 76; equal bundles give equal blocks."""
    packed = base64.b64encode(gzip.compress(bundle, mtime=0)).decode("ascii")
    return "\n".join([BEGIN, *textwrap.wrap(packed, WIDTH), END])


def decode(block: bytes | str) -> bytes:
    """The sigstore bundle of a block, with or without its first and last line.

    Raises NotTrusted where it is none, or unpacks to more than any signature has.
    """
    content = block.encode("utf-8", "replace") if isinstance(block, str) else block
    try:
        if not content.startswith(b"\x1f\x8b"):
            text = content.decode("ascii").replace(BEGIN, "").replace(END, "")
            content = base64.b64decode("".join(text.split()), validate=True)
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            bundle = packed.read(MOST + 1)
    except (ValueError, binascii.Error, OSError, EOFError) as error:
        raise NotTrusted(f"The signature in the tag is damaged ({error})") from error
    if len(bundle) > MOST:
        raise NotTrusted("The signature in the tag is longer than any signature")
    return bundle


def _by_key(trusted: Trust, folder: Path, pem: str) -> tuple[str, bytes]:
    own = public_of(pem)
    if own.digest not in {k.digest for k in trusted.keys}:
        named = trusted.release.public_key
        cause = f"{KEY} is not a key of {named}" if named else "release.public_key names no key"
        raise SettingsError(
            f"{cause}, so nobody could check what it signs",
            "Put its public key there and merge that to main; `./mainline keygen` makes a pair",
        )
    from model_signing import signing

    with tempfile.TemporaryDirectory(prefix="mainline-key-") as temporary:
        path, out = Path(temporary) / "key", Path(temporary) / "signature"
        path.touch(mode=0o600)  # the library takes a file and nothing else
        path.write_text(pem + "\n", encoding="ascii")
        config = signing.Config().use_elliptic_key_signer(private_key=path)
        config.set_hashing_config(hashing()).sign(folder, out)
        return f"key {own.digest}", out.read_bytes()


def public_of(pem: str) -> Key:
    """The public half of a private key; SettingsError (22) names why it cannot sign."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode("utf-8"), password=None)
    except TypeError as error:
        raise SettingsError(f"{KEY} is locked by a password", MAKE) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{KEY} is no private key in PEM form", MAKE) from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != CURVE:
        raise SettingsError(f"{KEY} is not a key of the curve P-256", MAKE)
    return trust.describe(key.public_key())


def _checked(trusted: Trust, bundle: bytes, folder: Path) -> str:
    """Who signed `folder`, by the bundle; NotTrusted where that is nobody whom main names."""
    try:
        material = json.loads(bundle)["verificationMaterial"]
        hint = (material.get("publicKey") or {}).get("hint")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotTrusted("The signature in the tag is no sigstore bundle") from error
    if "publicKey" not in material:
        return identity.check(bundle, folder, trusted.release)
    # The hint only chooses among the keys of main; it makes no key a trusted one.
    key = next((k for k in trusted.keys if hashlib.sha256(k.pem).hexdigest() == hint), None)
    if key is None:
        raise NotTrusted(
            "It is signed by a key that release.public_key of main does not hold",
            "Do not use it, unless that key was taken out on purpose",
        )
    from model_signing import verifying

    with tempfile.TemporaryDirectory(prefix="mainline-key-") as temporary:
        path, saved = Path(temporary) / "key.pem", Path(temporary) / "signature"
        path.write_bytes(key.pem)
        saved.write_bytes(bundle)
        config = verifying.Config().use_elliptic_key_verifier(public_key=path)
        try:
            config.set_hashing_config(hashing()).verify(folder, saved)
        except MainlineError:
            raise
        except Exception as error:
            # Any way in which hostile bytes fail in the library is a signature that does not hold.
            raise NotTrusted(f"The signature does not hold: {said(error)}") from error
    return f"key {key.digest}"


def said(error: Exception) -> str:
    """What the library says of a signature, on one line of readable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    if other := re.findall(r"[Hh]ash mismatch for '([^']+)'", text.replace("\\", "")):
        return f"{', '.join(other)} is not what was signed"
    return text if len(text) <= 200 else text[:199] + "…"
