"""Sign by the identity of a GitHub workflow, and check such a signature (sigstore, keyless).

GitHub gives the job a token that says which workflow of which repository on which branch it is;
sigstore turns it into a certificate of ten minutes and writes it in its public log. Both ways need
the network.
"""

from __future__ import annotations

import base64
import json
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainline.errors import RemoteError
from mainline.register.trust import NotTrusted
from mainline.settings import Release

ADDRESS, TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
AUDIENCE = "sigstore"
SECONDS = 30
MOST = 100_000
PERMISSION = "Give the job `permissions: id-token: write`"


def sign(folder: Path, wanted: str, environ: Mapping[str, str]) -> tuple[str, bytes]:
    """(Signed-By, bundle) of `folder`, signed by the workflow that runs.

    Raises RemoteError (21) where GitHub gives no token or sigstore cannot be asked, NotTrusted
    where the workflow is not the one that main names.
    """
    token = request_token(environ)
    own = identity_of(token)
    if own != wanted:
        raise NotTrusted(
            f"This workflow is {own} and release.identity names {wanted}",
            "Correct release.identity, or release from the workflow that it names",
        )
    from model_signing import signing

    from mainline.register.signature import hashing, said

    with tempfile.TemporaryDirectory(prefix="mainline-sign-") as temporary:
        out = Path(temporary) / "signature"
        try:
            # The token is handed over, or the library would ask for a login in a browser.
            config = signing.Config().use_sigstore_signer(identity_token=token)
            config.set_hashing_config(hashing()).sign(folder, out)
        except Exception as error:
            raise RemoteError(f"sigstore did not sign: {said(error)}", "Try again") from error
        return f"workflow {own}", out.read_bytes()


def check(bundle: bytes, folder: Path, release: Release) -> str:
    """Signed-By of a bundle that the workflow `release.identity` made of `folder`.

    Raises NotTrusted where it was somebody else or of other files, RemoteError where sigstore's
    root of trust cannot be fetched.
    """
    if release.identity is None:
        raise NotTrusted(
            "It is signed by a workflow, and release.identity of main names none",
            "Name the workflow that signs in params.yaml",
        )
    from model_signing import verifying

    from mainline.register.signature import hashing, said

    try:
        config = verifying.Config().use_sigstore_verifier(
            identity=release.identity, oidc_issuer=release.issuer
        )
    except Exception as error:
        raise RemoteError(
            f"sigstore's root of trust could not be had: {said(error)}", "Try again"
        ) from error
    with tempfile.TemporaryDirectory(prefix="mainline-sign-") as temporary:
        saved = Path(temporary) / "signature"
        saved.write_bytes(bundle)
        try:
            config.set_hashing_config(hashing()).verify(folder, saved)
        except Exception as error:
            raise NotTrusted(f"The signature does not hold: {said(error)}") from error
    return f"workflow {release.identity}"


def request_token(environ: Mapping[str, str]) -> str:
    """The job's identity token for sigstore, from GitHub; RemoteError where it gives none."""
    address, bearer = environ.get(ADDRESS, ""), environ.get(TOKEN, "")
    if not address or not bearer:
        raise RemoteError("GitHub gives this job no identity token", PERMISSION)
    if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise RemoteError(f"{ADDRESS} is not an https address", "Correct or unset it")
    joint = "&" if urllib.parse.urlsplit(address).query else "?"
    request = urllib.request.Request(  # noqa: S310 - http is for this machine only
        f"{address}{joint}audience={AUDIENCE}", headers={"Authorization": f"bearer {bearer}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            token = json.loads(answer.read(MOST))["value"]
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise RemoteError(f"GitHub gave no identity token ({error})", PERMISSION) from error
    return str(token)


def identity_of(token: str) -> str:
    """The identity that sigstore puts into the certificate: the workflow's address with its ref.

    Only to name a wrong setting early: the signature itself is what proves it.
    """
    try:
        part = token.split(".")[1]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return f"https://github.com/{claims['job_workflow_ref']}"
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RemoteError("GitHub's identity token names no workflow", PERMISSION) from error
