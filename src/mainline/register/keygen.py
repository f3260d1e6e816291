"""`mainline keygen`: a pair of keys that signs versions; the private one stays out of Git."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mainline.errors import DataError, UsageError
from mainline.files import short, write_text
from mainline.register import trust
from mainline.register.signature import KEY

PUBLIC = "release.pub"


def run(root: Path, private: Path) -> dict[str, Any]:
    """Make a pair of P-256 keys: the private one in the file `private`, the public one in the tree.

    An earlier public key stays below the new one, so that what it signed can still be checked.
    Raises UsageError where `private` is inside the repository or there already.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    target = private.expanduser().absolute()
    target = target.parent.resolve() / target.name
    if target.is_relative_to(root.resolve()):
        raise UsageError(
            f"{target.name} would be inside the repository, one `git add` from being published",
            "Name a place outside, such as ~/mainline-signing.pem",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    public = trust.describe(key.public_key())
    _write_private(target, _pem(key))
    path = root / PUBLIC
    earlier = path.read_text("utf-8") if path.is_file() else ""
    write_text(path, public.pem.decode("ascii") + earlier)
    steps = [
        f"The private key is {target}; the public one, {short(public.digest)}, is in {PUBLIC}.",
        f"1. Hand the private key to GitHub: gh secret set {KEY} < {target}",
        "2. Keep it somewhere safe, or delete it: GitHub does not show it again.",
        f"3. In params.yaml: release: {{public_key: {PUBLIC}, unsigned: refuse}}",
        f"4. Commit params.yaml and {PUBLIC}, and merge them: keys are believed from main only.",
    ]
    return {"private": str(target), "public": PUBLIC, "key": public.digest,
            "text": "\n".join(steps)}  # fmt: skip


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _write_private(path: Path, content: bytes) -> None:
    """Write a new file that nobody else may read; never over another."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{path.name} is there already", "Name another file") from error
    except OSError as error:
        raise DataError(f"{path} could not be written ({error.strerror})") from error
    with os.fdopen(handle, "wb") as out:
        out.write(content)
