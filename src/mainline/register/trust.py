"""Whom this repository trusts to sign: the section `release` and the key file, as main has them.

A pull request that swaps the key must not vouch for itself, so nothing is read from the checkout.
The key file may hold several public keys: the first signs, each of them verifies. So a new key is
put on top while versions of the old one keep their signature, and a lost one is taken out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mainline import settings
from mainline.errors import MainlineError, SettingsError
from mainline.files import digest_bytes
from mainline.git import git, head, resolve
from mainline.settings import Release

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s.*?-----END PUBLIC KEY-----", re.DOTALL)
CURVE = "secp256r1"  # P-256, by its name in SEC 2
MAKE = "Make a pair with `./mainline keygen`"


class NotTrusted(MainlineError):
    """A version is not what its record says, or nobody who is trusted says that it is."""

    status = 10


@dataclass(frozen=True)
class Key:
    """A public key: its PEM text, and the digest of its DER form by which it is called."""

    pem: bytes
    digest: str


@dataclass(frozen=True)
class Trust:
    """The section `release` of main at `commit` (None: there is none) and the keys it names."""

    release: Release
    commit: str | None
    keys: tuple[Key, ...] = ()

    @property
    def someone(self) -> bool:
        """Whether anybody is named who signs."""
        return bool(self.keys or self.release.identity)


def main_commit(root: Path) -> str | None:
    """The commit whose policy counts: the remote's main, else main, else what is checked out."""
    return resolve(root, "origin/main") or resolve(root, "main") or head(root)


def of(root: Path) -> Trust:
    """Whom main trusts. Raises SettingsError where its params.yaml or its key cannot be read."""
    commit = main_commit(root)
    text = git(root, "show", f"{commit}:params.yaml", check=False) if commit else ""
    if commit is None or not text:
        return Trust(Release(), commit)
    release = settings.parse(text, "params.yaml of main").release
    if release.public_key is None:
        return Trust(release, commit)
    pem = git(root, "show", f"{commit}:{release.public_key}", check=False)
    return Trust(release, commit, tuple(keys_in(pem, release.public_key)))


def keys_in(text: str, name: str) -> list[Key]:
    """The public keys in the PEM `text` of the file `name`.

    Raises SettingsError where there is none, one cannot be read, or one is not of P-256.
    """
    found = [_key(pem.encode("ascii", "replace"), name) for pem in PEM.findall(text)]
    if not found:
        raise SettingsError(
            f"release.public_key names {name!r}, which holds no public key on main", MAKE
        )
    return found


def _key(pem: bytes, name: str) -> Key:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{name} holds a public key that cannot be read", MAKE) from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != CURVE:
        raise SettingsError(f"{name} holds a key that is not of the curve P-256", MAKE)
    return describe(key)


def describe(key: EllipticCurvePublicKey) -> Key:
    """A public key in the one PEM form that it has, and the digest of its DER form."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    form = PublicFormat.SubjectPublicKeyInfo
    return Key(key.public_bytes(Encoding.PEM, form),
               digest_bytes(key.public_bytes(Encoding.DER, form)))  # fmt: skip
