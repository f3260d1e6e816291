"""The model card: filled by the run; what only a person can say is said, or named as missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tasks
import vouched
from small import Ran, commit, git, run

from mainline.register import card, purpose, signature
from mainline.report import gate
from mainline.verdict import Check, StepVerdict, Verdict

HOSTILE = "<script>alert(1)</script> | `x` @all [a](http://b) ::"
SECTIONS = ("Purpose and limits", "What it is", "Data", "Metrics", "Slices",
            "Behaviour, fairness and calibration", "What it leans on", "Cost of training",
            "How to roll back")  # fmt: skip


def write(root: Path, name: str = "v1.0.0", verdict: StepVerdict | None = None) -> str:
    """Write the card of the commit that is checked out; returns its Markdown."""
    approved = verdict or StepVerdict(
        "gate", (Check("gate", Verdict.PASS, "All passed"),), gate.run(root).inputs
    )
    card.write(root, name, git(root, "rev-parse", "HEAD"), approved)
    return (root / card.MARKDOWN).read_text("utf-8")


def page(root: Path) -> str:
    """The card as HTML."""
    return (root / card.PAGE).read_text("utf-8")


def section(text: str, title: str) -> str:
    """One section of the Markdown."""
    return text.partition(f"### {title}\n")[2].partition("\n### ")[0]


def test_a_fork_without_edits_has_a_whole_card(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every section is there; what nobody filled in, and that it is unsigned, is plain to see."""
    monkeypatch.delenv(signature.KEY, raising=False)
    text = write(repository)
    assert [t for t in SECTIONS if f"### {t}\n" not in text] == []
    missing = section(text, "Purpose and limits")
    assert all(word in missing for word in purpose.SPOKEN.values())
    assert "**A person has not filled in**" in missing
    assert "**UNSIGNED**" in section(text, "What it is")
    assert re.search(r"`average_precision` \| 0\.\d+ \| 0\.\d+ to 0\.\d+ \|", text)
    assert re.search(r"trained on \| [\d,]+ \| [\d,]+ \| 2024-\d\d-\d\d to 2024", text)
    assert "first version: there is none to go back to" in section(text, "How to roll back")
    assert "<h2>What it leans on</h2>" in page(repository)


def test_what_a_person_said_is_shown_and_does_nothing(repository: Path) -> None:
    """Text from the file is text; what is still missing is named."""
    (repository / "docs").mkdir(exist_ok=True)
    (repository / purpose.FILE).write_text(
        f"purpose: {HOSTILE!r}\nowner: The team\nnot_for: [medicine, '{HOSTILE}']\n", "utf-8"
    )
    found = section(write(repository), "Purpose and limits")
    assert "**Owner**: The team" in found and "- medicine" in found
    assert "Owner" not in found.partition("They stand in")[0]
    assert "<script>" not in found and "@all" not in found and "[a](" not in found
    assert "<script>" not in page(repository)


@pytest.mark.parametrize(
    ("text", "said"),
    [("purpos: x\n", "unknown key 'purpos'"), ("purpose: [\n", "not valid YAML"), ("", "is empty"),
     (f"purpose: {'x' * 700}\n", "600"), ("limits: just one\n", "limits")],
)  # fmt: skip
def test_a_broken_file_is_said_in_the_card(repository: Path, text: str, said: str) -> None:
    """It stops no release, and is not passed over."""
    (repository / "docs").mkdir(exist_ok=True)
    (repository / purpose.FILE).write_text(text, "utf-8")
    found = section(write(repository), "Purpose and limits")
    assert "[!WARNING]" in found and said in found


def test_the_file_of_the_template_is_right_and_empty() -> None:
    """A fork begins with nothing filled in, and with every key there."""
    from copies import ROOT

    from mainline.config import load_yaml

    assert load_yaml(ROOT / purpose.FILE, purpose.Person) == purpose.Person()
    text = (ROOT / purpose.FILE).read_text("utf-8")
    assert set(re.findall(r"^(\w+):", text, re.MULTILINE)) == set(purpose.Person.model_fields)


def test_who_signs_is_said_and_no_key(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of the public key; nothing of the private one."""
    private, public = vouched.pair()
    vouched.trust_keys(repository, public)
    monkeypatch.setenv(signature.KEY, private)
    text = write(repository)
    assert "UNSIGNED" not in text
    assert signature.public_of(private).digest in text
    assert private.splitlines()[1] not in text + page(repository)


def test_it_says_how_to_go_back_with_the_versions_of_this_repository(repository: Path) -> None:
    """Commands to paste, of this version and of the one before."""
    vouched.version(repository)
    found = section(write(repository, "v1.1.0"), "How to roll back")
    for words in ("rollback --push", "rollback v1.0.0 --push", "archive v1.1.0 --push",
                  "verify v1.1.0"):  # fmt: skip
        assert f"`./mainline {words}`" in found


def test_what_was_accepted_by_a_person_is_a_part_of_it(repository: Path) -> None:
    """An acceptance and what was not sure are kept with the version."""
    checks = (
        Check("compare", Verdict.PASS, "It may be worse; inconclusive, and accepted"),
        Check("accepted", Verdict.PASS, "Accepted: by somebody", value="somebody", scope="gate"),
    )
    text = write(repository, verdict=StepVerdict("gate", checks))
    assert "Accepted: by somebody" in section(text, "What it is")
    assert "It may be worse" in section(text, "Let through by a person")


def test_what_is_missing_is_said(repository: Path) -> None:
    """Without rows and predictions there is still a card, and it says what it lacks."""
    import shutil

    shutil.rmtree(repository / "data")
    (repository / "reports" / "predictions.parquet").unlink()
    (repository / "reports" / "behaviour.json").unlink()
    text = write(repository)
    assert "Not here any more" in section(text, "Data")
    assert "[!WARNING]" in section(text, "Metrics")
    assert "[!NOTE]" in section(text, "What it leans on")


def test_the_forkers_code_never_sees_the_key(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card is made of what the steps left, in a process that holds the key: no code is run."""
    from mainline import settings

    def seen(*_: object) -> None:
        raise AssertionError("the forker's code was imported")

    monkeypatch.setattr(settings, "entry_point", seen)
    private, public = vouched.pair()
    vouched.trust_keys(repository, public)
    monkeypatch.setenv(signature.KEY, private)
    found = section(write(repository), "What it leans on")
    assert re.search(r"\| `\w+` \| \+\d", found), found


def test_register_leaves_the_card(repository: Path, call: Callable[..., Ran]) -> None:
    """With the version that it made."""
    assert call(repository, "compare").status == 0
    ran = call(repository, "register")
    assert ran.status == 0, ran.err
    assert "card-fraud v1.0.0" in (repository / card.MARKDOWN).read_text("utf-8")
    assert call(repository, "verify", "v1.0.0").status == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", tasks.TABLES)
def test_cards_of_other_tasks(tmp_path: Path, name: str) -> None:
    """Several classes, and a number: with their own metrics, importance and no positives."""
    root = tasks.repository(tmp_path / name, name)
    ran = run(root, "pipeline")
    assert ran.status in (0, 11), ran.err
    commit(root, "The lock")
    text = write(root)
    metric = {"penguins.csv": "balanced_accuracy", "bike_hour.csv": "mae"}[name]
    assert re.search(rf"`{metric}` \| [\d.]+ \| [\d.]+ to [\d.]+ \|", text)
    assert re.search(r"\| `\w+` \| \+\d", section(text, "What it leans on"))
    assert "positive" not in section(text, "Data")
