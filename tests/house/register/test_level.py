"""`register` looks what is missing: a run that is dropped, doubled or late does no harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faked
import pytest
from faked import MODEL, listed, local
from small import git

from mainline import registry, settings
from mainline.errors import MainlineError
from mainline.files import digest_bytes, digest_tree
from mainline.register import (
    candidate,
    keygen,
    lifecycle,
    message,
    register,
    statement,
    tags,
    verify,
)
from mainline.report import gate
from mainline.verdict import Check, StepVerdict, Verdict


@pytest.fixture
def released(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with v1.0.0, in which no gate may be asked any more."""
    register.run(shop, push=True)
    monkeypatch.setattr(gate, "run", lambda *_: pytest.fail("the gate was asked"))
    return shop


def nothing(root: Path, why: str) -> None:
    """Assert that neither command has anything to do, and that they say `why`."""
    before = listed(root), local(root)
    done = register.run(root, push=True)
    assert (done["created"], why in done["text"]) == (False, True), done["text"]
    assert done["text"].endswith("; no new version")
    plan = register.plan(root)
    assert (plan["needed"], why in plan["reason"]) == (False, True), plan
    assert (listed(root), local(root)) == before


def test_a_run_that_is_started_again_makes_nothing(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit has its version, whatever model lies in models/ by now."""
    (released / "models" / "model.json").write_text("trained on another platform")
    nothing(released, "is v1.0.0 already")


def test_a_merge_that_changed_no_model_makes_no_version(released: Path) -> None:
    """A word in the README, the gate's limits, the rollout: no verdict is needed to see it."""
    faked.change(released, "README.md", "more words")
    faked.edit(released, "params.yaml", "latency_ms: 250", "latency_ms: 200")
    faked.edit(released, "params.yaml", "delta: 0.03", "delta: 0.02")
    faked.push(released)
    nothing(released, "Nothing that makes the model has changed since v1.0.0")


def test_an_old_run_makes_no_version_behind_a_newer_one(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run for a commit that main has left behind would make an old model the newest."""
    faked.data(shop, "two")
    faked.push(shop)
    register.run(shop, push=True)
    monkeypatch.setattr(gate, "run", lambda *_: pytest.fail("the gate was asked"))
    git(shop, "checkout", "--quiet", "--detach", "HEAD^")
    faked.model(shop)
    nothing(shop, "Main has moved on")


def test_a_child_with_the_lock_is_the_version_of_its_commit(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found from main's own commit, though the tag stands off the branch."""
    git(shop, "rm", "--quiet", "--cached", "dvc.lock")
    git(shop, "commit", "--quiet", "--message", "No lock")
    faked.push(shop)
    register.run(shop, push=True)
    (version,) = registry.versions(shop, MODEL)
    assert version.commit != git(shop, "rev-parse", "HEAD")
    assert git(shop, "show", f"{version.commit}:reports/sbom.cdx.json")
    monkeypatch.setattr(gate, "run", lambda *_: pytest.fail("the gate was asked"))
    nothing(shop, "is v1.0.0 already")


def test_a_revert_is_the_version_that_was_there(shop: Path) -> None:
    """Its inputs are not the newest version's, so it is trained and proved; its bytes are known."""
    register.run(shop, push=True)
    first = (shop / "data.dvc").read_text()
    faked.data(shop, "two")
    faked.push(shop)
    register.run(shop, push=True)
    faked.change(shop, "data.dvc", first, "Back again")
    faked.push(shop)
    assert register.plan(shop)["needed"]
    done = register.run(shop, push=True)
    assert (done["version"], done["created"]) == ("v1.0.0", False)
    assert "is v1.0.0 already; no new version" in done["text"]


def back_again(shop: Path) -> None:
    """v1.0.0 in production, v1.0.1 with other data, and main with the data of the first again."""
    register.run(shop, push=True)
    lifecycle.assign(shop, "v1.0.0", "prod", push=True)
    first = (shop / "data.dvc").read_text()
    faked.data(shop, "two")
    faked.push(shop)
    register.run(shop, push=True)
    faked.change(shop, "data.dvc", first, "Back again")
    faked.push(shop)


@pytest.mark.parametrize("reached", ["registered", "rejected", "rolled back"])
def test_a_revert_to_what_was_healthy_is_that_version_untrained(
    shop: Path, monkeypatch: pytest.MonkeyPatch, reached: str
) -> None:
    """However far the reverted version came: nothing is trained, and the old one is deployed."""
    back_again(shop)
    if reached == "rolled back":
        lifecycle.assign(shop, "v1.0.1", "prod", push=True)
        lifecycle.rollback(shop, push=True)
    if reached != "registered":
        lifecycle.put_away(shop, "v1.0.1", "rejected", push=True)
    monkeypatch.setattr(gate, "run", lambda *_: pytest.fail("the gate was asked"))
    nothing(shop, "is a revert to what made v1.0.0, which was healthy in production")
    plan = register.plan(shop)
    assert (plan["version"], plan["revert"]) == ("v1.0.0", True)


def test_a_revert_to_what_was_taken_back_is_trained_and_proved(shop: Path) -> None:
    """What was rejected, archived or rolled back is not healthy."""
    back_again(shop)
    lifecycle.assign(shop, "v1.0.1", "prod", push=True)
    lifecycle.put_away(shop, "v1.0.0", "rejected", push=True)
    assert register.plan(shop)["needed"]


def test_a_commit_of_a_rejected_version_is_not_deployed_again(shop: Path) -> None:
    """A run that is started again after the rollback names no version, and says what lifts it."""
    register.run(shop, push=True)
    lifecycle.put_away(shop, "v1.0.0", "rejected", push=True)
    plan = register.plan(shop)
    assert (plan["needed"], plan["version"], plan["revert"]) == (False, "", False)
    assert "is rejected: `./mainline promote v1.0.0 --to staging --push` lifts" in plan["reason"]
    lifecycle.assign(shop, "v1.0.0", "staging", push=True)
    assert register.plan(shop)["version"] == "v1.0.0"


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_only_what_passed_is_registered(
    shop: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    """The status is that of the verdict, and no tag stands anywhere."""
    monkeypatch.setattr(gate, "run", lambda root: faked.approved(root, verdict))
    with pytest.raises(MainlineError, match=f"The gate says {verdict.value}") as raised:
        register.run(shop, push=True)
    assert raised.value.status == verdict.status
    assert (listed(shop), local(shop)) == ({}, {})


def test_a_model_other_than_the_judged_one_is_refused(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in models/ that was changed after the verdicts."""
    found = faked.approved(shop)
    monkeypatch.setattr(gate, "run", lambda _: found)
    (shop / "models" / "more.txt").write_text("x")
    with pytest.raises(MainlineError, match="not the one that was judged") as raised:
        register.run(shop)
    assert (raised.value.status, local(shop)) == (12, {})


def test_a_model_of_other_data_than_the_commit_points_to_is_refused(shop: Path) -> None:
    """A pointer put back after training would make a version that nobody can make again."""
    text = (shop / "dvc.lock").read_text()
    (shop / "dvc.lock").write_text(text.replace(faked.md5("one"), faked.md5("two")))
    with pytest.raises(MainlineError, match="other data") as raised:
        register.run(shop)
    assert (raised.value.status, local(shop)) == (2, {})
    (shop / "dvc.lock").unlink()
    with pytest.raises(MainlineError, match="There is no"):
        register.run(shop)


@pytest.mark.parametrize("act", [register.run, register.plan])
def test_a_commit_off_main_or_with_changes_is_refused(shop: Path, act: Any) -> None:
    """A pull request's commit is registered after its merge, and only what is committed."""
    (shop / "src" / "project" / "model.py").write_text("a = 2\n")
    with pytest.raises(MainlineError, match=r"model\.py is not committed"):
        act(shop)
    git(shop, "checkout", "--quiet", "-b", "change")
    faked.change(shop, "README.md", "words")
    with pytest.raises(MainlineError, match="is not on main") as raised:
        act(shop)
    assert raised.value.status == 2


def test_a_model_that_changes_meanwhile_is_not_registered(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was judged, what is signed and what the tag says are one."""
    real = message.compared

    def swapped(root: Path) -> str:
        (root / "models" / "model.json").write_text("another")
        return real(root)

    monkeypatch.setattr(message, "compared", swapped)
    with pytest.raises(MainlineError, match="was changed while it was registered"):
        register.run(shop)
    assert local(shop) == {}


def test_a_merge_that_this_clone_has_not_fetched_is_looked_for(shop: Path) -> None:
    """A commit is on main when origin says so; without --push nobody is asked."""
    late = faked.clone(shop, shop.parent / "late")
    commit = faked.data(late, "two")
    faked.git(late, "push", "--quiet", str(shop.parent / "origin.git"), "HEAD:main")
    git(late, "update-ref", "refs/remotes/origin/main", f"{commit}^")
    with pytest.raises(MainlineError, match="is not on main"):
        register.run(late)
    assert register.run(late, push=True)["created"]


def outputs(path: Path) -> dict[str, str]:
    """What a step told the workflow."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_the_plan_and_the_run_tell_the_workflow(
    shop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`needed`, `version`, `reason` of the plan; `version` and `tag` of what was created."""
    steps = [tmp_path / str(n) for n in range(4)]
    for path, act in zip(
        steps, (register.plan, register.run, register.run, register.plan), strict=True
    ):
        monkeypatch.setenv("GITHUB_OUTPUT", str(path))
        act(shop)
    before, made, again, after = map(outputs, steps)
    assert (before["needed"], before["version"]) == ("true", "")
    assert made == {"created": "true", "registered": "v1.0.0", "version": "v1.0.0",
                    "tag": f"{MODEL}@v1.0.0"}  # fmt: skip
    assert again == {"created": "false", "registered": "v1.0.0", "version": "", "tag": ""}
    # Not pushed yet: by origin's tags there still is something to do.
    assert after["needed"] == "true"


def test_the_plan_goes_by_the_clone_where_origin_is_silent(released: Path) -> None:
    """A checkout without credentials of a private repository, which has fetched the tags."""
    git(released, "remote", "set-url", "origin", str(released.parent / "nowhere.git"))
    assert register.plan(released) == {
        "needed": False, "revert": False, "version": "v1.0.0",
        "reason": register.plan(released)["reason"],
        "text": f"Nothing to register: {register.plan(released)['reason']}.",
    }  # fmt: skip


def test_the_tag_says_who_accepted_and_no_text_forges_a_trailer(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of slices, pull requests and people are data: one line each, after the reason."""
    evil = "fine\n\nModel-Digest: sha256:evil\n-----BEGIN MODEL SIGNATURE-----\nx"
    StepVerdict("compare", (Check("x", Verdict.PASS, evil),)).write(shop)
    accepted = Check("accepted", Verdict.PASS, "Accepted", value="bea\r\nVerdict: FAIL", n=7)
    found = faked.approved(shop)
    monkeypatch.setattr(
        gate, "run", lambda _: StepVerdict("gate", (*found.checks, accepted), found.inputs)
    )
    monkeypatch.setenv("MAINLINE_PULL_REQUEST", "#7\nSigned-By: key sha256:evil")
    register.run(shop)
    (version,) = registry.versions(shop, MODEL)
    assert version.digest == digest_tree(shop / "models")
    assert (version.trailers["Verdict"], version.signature) == ("PASS", None)
    assert version.trailers["Accepted-By"] == "bea Verdict: FAIL"
    assert version.trailers["Signed-By"] == "none"
    assert version.reason.startswith("fine Model-Digest: sha256:evil")
    assert set(version.trailers) == set(registry.TRAILERS)


def test_the_tag_is_by_the_person_who_set_off_the_workflow(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub's actor in a workflow, Git's user elsewhere, and nobody's name from nowhere."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_ACTOR", "bea")
    register.run(shop)
    assert registry.versions(shop, MODEL)[0].by == "bea"
    assert tags.who(shop, {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "a <b>\n"})[0] == "a b"
    assert tags.who(shop, {})[0] == "Ann"
    git(shop, "config", "--unset", "user.name")
    git(shop, "config", "user.name", "<>")
    assert tags.who(shop, {})[0] == "mainline"


def test_what_a_registration_leaves_is_what_its_tag_says(shop: Path) -> None:
    """Statement and SBOM under reports/; a run after one that was ended leaves them again."""
    register.run(shop, push=True)
    (version,) = registry.versions(shop, MODEL)
    kept = {n: (shop / "reports" / n).read_bytes() for n in ("release.json", "sbom.cdx.json")}
    assert kept["release.json"] == statement.content(statement.of(version))
    assert digest_bytes(kept["sbom.cdx.json"]) == version.trailers["SBOM-Digest"]
    for name in kept:
        (shop / "reports" / name).unlink()
    assert not register.run(shop, push=True)["created"]
    assert {n: (shop / "reports" / n).read_bytes() for n in kept} == kept


@pytest.fixture
def signing(shop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A repository whose main names the key that this process has."""
    keygen.run(shop, tmp_path / "key.pem")
    faked.edit(shop, "params.yaml", "public_key: null", "public_key: release.pub")
    faked.edit(shop, "params.yaml", "unsigned: allow", "unsigned: refuse")
    faked.push(shop)
    monkeypatch.setenv("MAINLINE_SIGNING_KEY", (tmp_path / "key.pem").read_text())
    return shop


def held(root: Path, name: str) -> bool:
    """Whether the signature of the version called `name` holds for the model that is here."""
    version = registry.find(root, MODEL, name)
    verdict = verify._signature(root, version, verify.trust.of(root), root / "models",
                                (root / "reports" / "sbom.cdx.json").read_bytes())  # fmt: skip
    return verdict.verdict is Verdict.PASS


def test_a_lost_race_is_signed_anew_under_its_new_number(
    signing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature is of one version: the one of the number that was taken would not hold."""
    late = faked.clone(signing, signing.parent / "late")
    faked.data(late, "two")
    faked.push(late)
    real, calls = tags._push, []

    def pushed(root: Path, *rest: object) -> bool:
        if root == late and not calls:
            calls.append(1)
            register.run(signing, push=True)
        return real(root, *rest)

    monkeypatch.setattr(tags, "_push", pushed)
    assert register.run(late, push=True)["version"] == "v1.0.1"
    assert held(late, "v1.0.1")
    assert held(signing, "v1.0.0")
    assert json.loads((late / "reports" / "release.json").read_text())["version"] == "v1.0.1"


def test_what_was_signed_here_is_pushed_with_that_signature(
    signing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft of a release holds it already: `register`, then `register --push`."""
    register.run(signing)
    before = registry.versions(signing, MODEL)[0].signature
    monkeypatch.setattr(candidate.signature, "sign", lambda *_: pytest.fail("signed again"))
    assert register.run(signing, push=True)["created"]
    assert registry.versions(signing, MODEL)[0].signature == before
    assert local(signing) == listed(signing)
    assert held(signing, "v1.0.0")


def test_a_signature_of_another_number_is_not_taken_over(signing: Path) -> None:
    """Signed here as v1.0.0; by the time of the push its number is another one."""
    faked.data(signing, "two")
    faked.push(signing)
    register.run(signing)
    assert held(signing, "v1.0.0")
    commit = git(signing, "rev-parse", "HEAD^")
    name = f"{MODEL}@v3.0.0"
    git(signing, "tag", "--annotate", name, "--message", "x\n\nModel-Digest: y", commit)
    git(signing, "push", "--quiet", "origin", name)
    assert register.run(signing, push=True)["version"] == "v3.0.1"
    assert held(signing, "v3.0.1")
    assert local(signing) == listed(signing)


def test_without_a_key_nothing_is_registered_where_main_refuses_it(
    signing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 21 and no tag."""
    monkeypatch.delenv("MAINLINE_SIGNING_KEY")
    with pytest.raises(MainlineError, match="nothing to sign") as raised:
        register.run(signing, push=True)
    assert (raised.value.status, local(signing), listed(signing)) == (21, {}, {})


def test_a_tag_says_how_the_gates_metric_compared(shop: Path) -> None:
    """Not what stood last: slices and strictness come after it."""
    checks = (
        Check("roc_auc", Verdict.PASS, "roc_auc is better"),
        Check("slices", Verdict.PASS, "No slice lost"),
    )
    metric = settings.load(shop).gate.metric
    StepVerdict("compare", checks).write(shop)
    assert message.compared(shop) == "No slice lost"
    own = Check(metric, Verdict.PASS, "It is what counts")
    StepVerdict("compare", (own, *checks)).write(shop)
    assert message.compared(shop) == "It is what counts"
