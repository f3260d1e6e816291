"""The bill of materials: valid CycloneDX 1.6, of the whole serving lock, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from copies import ROOT

from mainline.errors import DataError, NotMeasured
from mainline.register import sbom

DIGEST = "sha256:" + "a" * 64
LOCK = (
    "# a comment\n"
    "a-b==1.0 \\\n    --hash=sha256:" + "1" * 64 + " \\\n    --hash=sha256:" + "0" * 64 + "\n"
    "    # via c\n"
    "c[extra]==2.0+cpu ; sys_platform != 'win32' \\\n    --hash=sha256:" + "2" * 64 + "\n"
)


def made(root: Path = ROOT) -> bytes:
    """The SBOM of this repository's own lock."""
    return sbom.document(root, "card-fraud", "v1.0.0", DIGEST)


def test_it_is_valid_by_the_schema() -> None:
    """CycloneDX 1.6, strictly; and the validation does refuse what is not."""
    sbom.validate(made())
    with pytest.raises(NotMeasured, match="no CycloneDX"):
        sbom.validate(made().replace(b'"machine-learning-model"', b'"model"'))


def test_it_is_the_same_each_time_and_has_no_time() -> None:
    """Its digest stands in the tag, and `verify` makes it again years later."""
    assert made() == made()
    document = json.loads(made())
    assert "timestamp" not in document["metadata"]
    other = json.loads(sbom.document(ROOT, "card-fraud", "v1.0.1", DIGEST))
    assert document["serialNumber"] != other["serialNumber"]


def test_it_lists_every_locked_package_with_its_hashes() -> None:
    """As many as the lock has, each with version, package URL and the hashes of its files."""
    lock = (ROOT / sbom.LOCK).read_text("utf-8")
    libraries = [c for c in json.loads(made())["components"] if c["type"] == "library"]
    assert len(libraries) == lock.count("==") - lock.count("'==") - lock.count("== '")
    assert sum(len(c["hashes"]) for c in libraries) == lock.count("--hash=sha256:")
    assert all(c["purl"].startswith(f"pkg:pypi/{c['name']}@") for c in libraries)


def test_the_model_is_a_component_with_its_digest() -> None:
    """A machine-learning model; the service depends on it and on every package."""
    document = json.loads(made())
    model = document["components"][0]
    assert (model["type"], model["version"]) == ("machine-learning-model", "v1.0.0")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    (service,) = document["dependencies"]
    assert set(service["dependsOn"]) == {c["bom-ref"] for c in document["components"]}


def test_a_lock_is_read_with_markers_extras_and_local_versions() -> None:
    """Comments are left out, hashes sorted, a plus quoted in the package URL."""
    first, second = sbom.packages(LOCK)
    assert (first.name, first.hashes) == ("a-b", ("0" * 64, "1" * 64))
    assert (second.marker, second.purl) == ("sys_platform != 'win32'", "pkg:pypi/c@2.0%2Bcpu")


@pytest.mark.parametrize(
    "lock",
    ["", "a==1.0\n", "a>=1.0 \\\n    --hash=sha256:" + "0" * 64, LOCK + "--index-url https://x\n",
     "-r other.txt\n", LOCK.replace("sha256:2", "sha256:z")],
)  # fmt: skip
def test_a_lock_that_does_not_pin_everything_is_refused(lock: str) -> None:
    """A package without version or hash could be any file."""
    with pytest.raises(DataError):
        sbom.packages(lock)


def test_differences_are_named() -> None:
    """What lacks, what is too much, what says otherwise, and what is no document."""
    good = sbom.of_lock(LOCK, "m", "v1.0.0", DIGEST)

    def found(content: bytes) -> str:
        return "; ".join(sbom.differences(content, LOCK, "m", "v1.0.0", DIGEST))

    document = json.loads(good)
    less = json.dumps({**document, "components": document["components"][:-1]}).encode()
    extra = {**document["components"][1], "bom-ref": "pkg:pypi/evil@1"}
    more = json.dumps({**document, "components": [*document["components"], extra]}).encode()
    assert found(good) == ""
    assert "it lacks pkg:pypi/c@" in found(less)
    assert "lists pkg:pypi/evil@1, which is not locked" in found(more)
    assert "says otherwise of model:m@v1.0.0" in found(good.replace(b"a" * 64, b"b" * 64))
    assert found(b"[]") == found(b"{") == "it is no CycloneDX document"
    assert "bytes" in found(good + b"\n")
