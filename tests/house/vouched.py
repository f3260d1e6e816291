"""Versions as a registration leaves them, made in a moment, for tests to tamper with."""

from __future__ import annotations

import json
import re
from pathlib import Path

from small import commit, git

from mainline import inputs, registry, settings
from mainline.files import digest_bytes, digest_tree
from mainline.register import sbom, signature, statement
from mainline.registry import Version

MODEL = "card-fraud"


def pair(curve: str = "SECP256R1") -> tuple[str, str]:
    """A private and a public key, as PEM text."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(getattr(ec, curve)())
    private = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    ).decode()  # fmt: skip
    return private, public


def trust_keys(root: Path, *public: str, unsigned: str = "allow", subject: str = "Keys") -> str:
    """Commit the public keys and the section `release`; returns the commit."""
    (root / "release.pub").write_text("".join(public), encoding="utf-8")
    set_release(root, f"release: {{unsigned: {unsigned}, public_key: release.pub}}")
    return merged(root, subject)


def merged(root: Path, subject: str) -> str:
    """Commit everything on main, and on the remote's main where there is one."""
    made = commit(root, subject)
    if git(root, "remote"):
        git(root, "push", "--quiet", "origin", "main")
    return made


def set_release(root: Path, line: str) -> None:
    """Put one line in the place of the section `release` of params.yaml."""
    path = root / "params.yaml"
    text = re.sub(r"^release:.*\n(?:[ #].*\n|\n)*", "", path.read_text("utf-8"), flags=re.M)
    path.write_text(f"{text}{line}\n", encoding="utf-8")


def trailers(root: Path, name: str) -> dict[str, str]:
    """What a registration of models/ says in its tag, but for Signed-By."""
    digests = json.loads((root / "models" / "model.json").read_text("utf-8"))["digests"]
    options, digest = settings.load(root), digest_tree(root / "models")
    limits = options.gate.model_dump(mode="json")
    return {
        "Model-Digest": digest,
        "Data-Digest": digests["data"],
        "Split-Digest": digests["split"],
        "Policy-Digest": inputs.policy_digest(root, limits, options.split.salt),
        "Base": "none",
        "Verdict": "PASS",
        "Accepted-By": "none",
        "Pull-Request": "none",
        "Run": "local",
        "SBOM-Digest": digest_bytes(sbom.document(root, MODEL, name, digest)),
    }


def message(said: dict[str, str], block: str = "") -> str:
    """A tag's message."""
    lines = [f"{k}: {v}" for k, v in said.items()]
    return "\n".join(["Registered by the gate", "", "It is better", "", *lines, block]).rstrip()


def tag(root: Path, name: str, text: str, where: str = "HEAD") -> Version:
    """An annotated tag of that message, in the place of an earlier one; the version it makes."""
    git(root, "tag", "--force", "--annotate", f"{MODEL}@{name}", where, "--message", text)
    return registry.find(root, MODEL, name)


def version(
    root: Path, name: str = "v1.0.0", pem: str = "", where: str = "HEAD", **said: str
) -> Version:
    """The model in models/ registered as `name`, signed where there is a key."""
    found = trailers(root, name) | {k.replace("_", "-"): v for k, v in said.items()}
    plain = tag(root, name, message(found), where)
    bill = sbom.document(root, MODEL, name, found["Model-Digest"])
    signed = signature.sign(
        root, settings.load(root), root / "models", statement.of(plain), bill,
        {signature.KEY: pem},
    )  # fmt: skip
    return tag(root, name, message({**found, "Signed-By": signed.by}, signed.block), where)


def again(root: Path, version: Version, old: str, new: str) -> Version:
    """The tag of `version` made again with other words in its message."""
    text = git(root, "for-each-ref", "--format=%(contents)", f"refs/tags/{version.tag}")
    assert old in text
    return tag(root, version.name, text.replace(old, new), version.commit)
