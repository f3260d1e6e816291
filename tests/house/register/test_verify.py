"""`mainline verify`: a version is what its tag says, by the clone and its remote alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import vouched
from small import Ran, commit, edit, git

from mainline import registry
from mainline.git import head
from mainline.register import verify
from mainline.register.trust import NotTrusted
from mainline.verdict import Verdict

Call = Callable[..., Ran]


@pytest.fixture
def registered(repository: Path) -> Path:
    """A repository with a remote, whose model is registered and pushed, unsigned."""
    origin = repository.parent / "origin.git"
    git(repository, "init", "--quiet", "--bare", str(origin))
    git(repository, "remote", "add", "origin", str(origin))
    vouched.version(repository)
    git(repository, "push", "--quiet", "origin", "main", "--tags")
    return repository


def checks(root: Path, name: str = "v1.0.0") -> dict[str, tuple[str, str]]:
    """The checks of `verify`: name to verdict and reason."""
    return {c.name: (c.verdict.value, c.reason) for c in verify.run(root, name).checks}


def verdict(root: Path, check: str) -> str:
    """The verdict of one check."""
    return checks(root)[check][0]


def test_a_registered_version_passes_and_is_said_to_be_unsigned(
    registered: Path, call: Call
) -> None:
    """Each check is there, and the missing signature is said aloud."""
    ran = call(registered, "verify", "v1.0.0", "--json")
    document = json.loads(ran.out)
    assert ran.status == 0, document
    names = [c["name"] for c in document["checks"]]
    assert names == ["tag", "remote", "history", "lock", "model", "origins", "sbom", "signature"]
    assert "UNSIGNED" in document["checks"][-1]["reason"]


def test_a_signed_version_passes_from_a_fresh_clone(registered: Path, tmp_path: Path) -> None:
    """Nothing is needed but the clone, its remote and the store."""
    private, public = vouched.pair()
    vouched.trust_keys(registered, public, unsigned="refuse")
    version = vouched.version(registered, pem=private)
    git(registered, "push", "--quiet", "--force", "origin", "main", "--tags")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(registered.parent / "origin.git"), str(clone))
    cache = registered / ".dvc" / "cache"
    (clone / ".dvc" / "config.local").write_text(f'[cache]\n    dir = "{cache}"\n')
    found = verify.run(clone, version.name)
    assert found.verdict is Verdict.PASS, found.checks
    assert found.checks[-1].reason.startswith("Signed by the key")


def test_a_model_that_cannot_be_had_is_not_passed(registered: Path) -> None:
    """Without its files nothing is known of a model: ERROR, never PASS."""
    shutil.rmtree(registered / "models")
    shutil.rmtree(registered / ".dvc" / "cache")
    shutil.rmtree(registered / "demo-store", ignore_errors=True)
    assert verdict(registered, "model") == "ERROR"


def test_another_model_in_the_release_fails(
    registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no missing model: somebody put another one there."""
    from mainline.compare import base
    from mainline.errors import DataError

    def other(*_: object) -> bool:
        raise DataError("The release holds another model")

    shutil.rmtree(registered / "models")
    shutil.rmtree(registered / ".dvc" / "cache")
    monkeypatch.setattr(base, "fetch_model", other)
    assert checks(registered)["model"] == ("FAIL", "The release holds another model.")


def test_the_model_is_found_in_the_cache_where_another_stands_in_models(registered: Path) -> None:
    """Of an earlier version, too, the bundle is the one that its lock names."""
    shutil.rmtree(registered / "models")
    assert verify.run(registered, "v1.0.0").verdict is Verdict.PASS


def test_without_a_remote_it_is_said(repository: Path) -> None:
    """There is no other copy to compare with, and the reason says so."""
    vouched.version(repository)
    assert checks(repository)["remote"][1].startswith("This clone has no remote")


def test_a_tag_that_the_remote_lacks_is_not_passed(registered: Path) -> None:
    """A tag that only this clone has may be anybody's."""
    git(registered, "push", "--quiet", "origin", f":refs/tags/{vouched.MODEL}@v1.0.0")
    assert verdict(registered, "remote") == "INCONCLUSIVE"


def test_a_remote_that_cannot_be_asked_is_an_error(registered: Path) -> None:
    """What was not compared did not pass."""
    git(registered, "remote", "set-url", "origin", str(registered.parent / "nowhere.git"))
    assert verdict(registered, "remote") == "ERROR"


def test_the_child_that_adds_the_lock_passes_and_one_with_code_does_not(registered: Path) -> None:
    """Off main a commit may add the lock and reports, as plain files, and nothing else."""
    main = head(registered)
    git(registered, "checkout", "--quiet", "--detach")
    (registered / "dvc.lock").write_text((registered / "dvc.lock").read_text() + "\n")
    (registered / "reports" / "report.md").write_text("told\n")
    git(registered, "add", "--force", "dvc.lock", "reports/report.md")
    git(registered, "commit", "--quiet", "--message", "Lock")
    vouched.version(registered)
    assert verdict(registered, "history") == "PASS"
    edit(registered, "src/project/features.py", "import", "# other code\nimport")
    git(registered, "commit", "--quiet", "--all", "--amend", "--message", "Lock")
    assert git(registered, "rev-parse", "HEAD^") == main
    vouched.version(registered)
    assert checks(registered)["history"] == (
        "FAIL", f"{str(head(registered))[:12]} is off main and changes src/project/features.py"
    )  # fmt: skip


def test_a_link_among_the_reports_is_no_report(registered: Path) -> None:
    """A link may lead anywhere, so it is not what a registration adds."""
    git(registered, "checkout", "--quiet", "--detach")
    (registered / "reports" / "report.md").unlink(missing_ok=True)
    (registered / "reports" / "report.md").symlink_to("/etc/passwd")
    git(registered, "add", "--force", "reports/report.md")
    git(registered, "commit", "--quiet", "--message", "Lock")
    vouched.version(registered)
    assert verdict(registered, "history") == "FAIL"


@pytest.mark.parametrize("trailer", ["Data-Digest", "Split-Digest", "Policy-Digest"])
def test_digests_in_the_tag_are_made_again(registered: Path, trailer: str) -> None:
    """Data and split stand in the model as well; limits are those of the commit or of a base."""
    vouched.version(registered, **{trailer.replace("-", "_"): "sha256:" + "0" * 64})
    assert verdict(registered, "origins") in ("FAIL", "INCONCLUSIVE")


def test_limits_of_an_earlier_version_are_found_again(registered: Path) -> None:
    """A release is judged by the limits of its base, which may be others than its own."""
    before = vouched.trailers(registered, "v1.0.0")["Policy-Digest"]
    edit(registered, "params.yaml", "delta: 0.03", "delta: 0.04")
    commit(registered, "Looser")
    git(registered, "push", "--quiet", "origin", "main")
    assert vouched.trailers(registered, "v1.0.1")["Policy-Digest"] != before
    vouched.version(registered, "v1.0.1", Policy_Digest=before)
    assert checks(registered, "v1.0.1")["origins"][0] == "PASS"


def test_a_lock_that_names_another_model_is_refused(registered: Path) -> None:
    """The commit's lock has to name the bundle that the tag names."""
    text = (registered / "dvc.lock").read_text()
    from mainline.data.store import locked_model

    wanted = str(locked_model(text))
    (registered / "dvc.lock").write_text(text.replace(wanted, "0" * 32 + ".dir"))
    commit(registered, "Another lock")
    git(registered, "push", "--quiet", "origin", "main")
    vouched.version(registered)
    assert verdict(registered, "lock") == "FAIL"


def test_no_main_to_look_on_is_not_passed(registered: Path) -> None:
    """Where no branch is called main, a person decides."""
    git(registered, "branch", "--quiet", "--move", "main", "trunk")
    git(registered, "update-ref", "-d", "refs/remotes/origin/main")
    assert verdict(registered, "history") == "INCONCLUSIVE"


def test_require_is_silent_on_what_is_right(registered: Path) -> None:
    """With and without the model; nobody is asked: the remote is gone."""
    git(registered, "remote", "set-url", "origin", "/nowhere")
    version = registry.find(registered, vouched.MODEL, None)
    verify.require(registered, version)
    verify.require(registered, version, registered / "models")


def test_unsigned_is_refused_where_main_says_so(registered: Path) -> None:
    """The policy counts as main has it, whatever the checkout says."""
    vouched.set_release(registered, "release: {unsigned: refuse}")
    version = registry.find(registered, vouched.MODEL, None)
    verify.require(registered, version)
    commit(registered, "Signed only")
    git(registered, "push", "--quiet", "origin", "main")
    with pytest.raises(NotTrusted, match="UNSIGNED"):
        verify.require(registered, version)
    assert verdict(registered, "signature") == "FAIL"
    vouched.set_release(registered, "release: {unsigned: allow}")
    with pytest.raises(NotTrusted, match="UNSIGNED"):
        verify.require(registered, version)


def test_unsigned_is_for_a_person_where_main_names_who_signs(registered: Path) -> None:
    """Somebody could have taken the signature off; earlier versions never had one."""
    vouched.trust_keys(registered, vouched.pair()[1])
    git(registered, "push", "--quiet", "origin", "main")
    assert verdict(registered, "signature") == "INCONCLUSIVE"
    verify.require(registered, registry.find(registered, vouched.MODEL, None))


def test_require_imports_nothing_that_loads_models(registered: Path) -> None:
    """Neither pandas nor scikit-learn: it stands before each start of the service."""
    code = (
        "import sys; from pathlib import Path; from mainline import registry\n"
        "from mainline.register import verify; root = Path(sys.argv[1])\n"
        f"version = registry.find(root, {vouched.MODEL!r}, None)\n"
        "verify.require(root, version, root / 'models')\n"
        "print({'pandas', 'sklearn', 'skops', 'model_signing'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(registered)], check=False,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.stdout.strip() == "set()", ran.stdout + ran.stderr
