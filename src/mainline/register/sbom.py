"""The bill of materials of a release (CycloneDX 1.6): the model and what it is served with.

Its digest stands in the tag and its bytes are signed, so they depend on nothing but the lock and
the model: no times, and an id made of the content. That is also why it is written here and only
validated by the library, whose next release may order or name something otherwise.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline.errors import DataError, NotMeasured

FILE = "sbom.cdx.json"
LOCK = "requirements-serve.txt"
# One entry of the lock: name, extras, version, marker; its hashes follow on lines of their own.
ENTRY = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)\s*(?:;\s*([^\\]+?))?\s*\\?$")
HASH = re.compile(r"^\s+--hash=sha256:([0-9a-f]{64})\s*\\?$")
MARKER, TASK = "mainline:marker", "mainline:what"
Component = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """One locked package: its name as PyPI writes it, version, marker, SHA-256 of its files."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL; nothing in a version has to be quoted but `+`."""
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"


def packages(lock: str) -> list[Package]:
    """The packages in the text of a lock, by name; DataError for a line that is none.

    A package that stands there without a hash is refused: nobody could say which file it is.
    """
    found: list[tuple[str, str, str, list[str]]] = []
    for number, line in enumerate(lock.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if entry := ENTRY.match(line):
            name = re.sub(r"[-_.]+", "-", entry[1]).lower()
            found.append((name, entry[2], (entry[3] or "").strip(), []))
        elif (digest := HASH.match(line)) and found:
            found[-1][3].append(digest[1])
        else:
            raise DataError(f"{LOCK}:{number} is no locked package", "Run `./mainline lock`")
    bare = next((f[0] for f in found if not f[3]), None)
    if bare is not None or not found:
        raise DataError(f"{LOCK} locks {bare or 'nothing'} without a hash", "Run `./mainline lock`")
    return sorted((Package(n, v, m, tuple(sorted(h))) for n, v, m, h in found),
                  key=lambda p: (p.name, p.version))  # fmt: skip


def document(root: Path, name: str, version: str, digest: str) -> bytes:
    """The SBOM of the model `name` at `version` whose bundle has `digest`, as JSON.

    It lists what requirements-serve.txt under `root` locks. Raises DataError where that is damaged.
    """
    try:
        lock = (root / LOCK).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{LOCK} was not found", "Restore it from Git") from error
    return of_lock(lock, name, version, digest)


def of_lock(lock: str, name: str, version: str, digest: str) -> bytes:
    """Like `document`, from the text of the lock."""
    model: Component = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}@{version}",
        "name": name,
        "version": version,
        "hashes": [_hash(digest.removeprefix("sha256:"))],
        "properties": [{"name": TASK, "value": "SHA-256 over the sorted lines `path sha256`"}],
    }
    service = {"type": "application", "bom-ref": f"service:{name}@{version}",
               "name": f"{name}-service", "version": version}  # fmt: skip
    libraries = [_library(p) for p in packages(lock)]
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": service},
        "components": [model, *libraries],
        "dependencies": [
            {"ref": service["bom-ref"],
             "dependsOn": [model["bom-ref"], *(c["bom-ref"] for c in libraries)]},
        ],
    }  # fmt: skip
    seed = hashlib.sha256(_bytes(body)).digest()[:16]
    return _bytes({**body, "serialNumber": f"urn:uuid:{uuid.UUID(bytes=seed, version=5)}"})


def _library(package: Package) -> Component:
    # The marker belongs to the reference: two versions of one package may stand for two Pythons.
    marker = [{"name": MARKER, "value": package.marker}] if package.marker else []
    return {
        "type": "library",
        "bom-ref": package.purl + (f"#{package.marker}" if package.marker else ""),
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": [_hash(h) for h in package.hashes],
        **({"properties": marker} if marker else {}),
    }


def _hash(content: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": content}


def _bytes(body: dict[str, Any]) -> bytes:
    # Compact: only that form is written by the fast encoder, and each serve makes it again.
    text = json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def differences(content: bytes, lock: str, name: str, version: str, digest: str) -> list[str]:
    """Where the SBOM `content` says something else than the lock and the model's digest.

    Sentences, none where it is right. What is not JSON at all is one difference.
    """
    wanted = json.loads(of_lock(lock, name, version, digest))
    try:
        found = json.loads(content)
        mine, theirs = _by_ref(wanted["components"]), _by_ref(found["components"])
    except (ValueError, KeyError, TypeError):
        return ["it is no CycloneDX document"]
    out = [f"it lacks {ref}" for ref in mine if ref not in theirs]
    out += [f"it lists {ref}, which is not locked" for ref in theirs if ref not in mine]
    out += [
        f"it says otherwise of {ref}" for ref in mine if ref in theirs and mine[ref] != theirs[ref]
    ]
    if not out and content != of_lock(lock, name, version, digest):
        out.append("its bytes are not those that the lock gives")
    return out


def _by_ref(components: Iterable[Component]) -> dict[str, Component]:
    return {str(c["bom-ref"]): c for c in components}


def validate(content: bytes) -> None:
    """Raise NotMeasured where `content` is no valid CycloneDX 1.6 document, by its schema."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode("utf-8"))
    if wrong is not None:
        raise NotMeasured(f"The SBOM is no CycloneDX 1.6 document ({wrong.data.message})")
