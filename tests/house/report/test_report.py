"""The report renders whatever is there, and says what is not there and why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mainline import inputs
from mainline.errors import DataError
from mainline.files import write_json
from mainline.git import git
from mainline.report import html, report
from mainline.verdict import Check, StepVerdict, Verdict

PASS, FAIL, UNSURE, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR
NASTY = "@octocat <img src=x onerror=alert(1)> | [x](http://evil.example) `\n# h"
PARAMS = """\
model: {name: churn, task: binary, target: left, positive: 1}
split: {kind: row, salt: s, tune: 0.2, test: 0.2}
features: {build: "project.features:build"}
train: {estimator: "project.model:build"}
gate: {metric: roc_auc, delta: 0.02}
"""
PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with settings and one commit, in which no step has run."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "params.yaml").write_text(PARAMS, "utf-8")
    (tmp_path / ".gitignore").write_text("/reports/\n/build/\n", "utf-8")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def verdict(root: Path, step: str, *checks: Check, **given: str) -> None:
    """Write the verdict file of `step` as of the code that stands in `root`."""
    checks = checks or (Check(f"{step} fine", PASS, f"{step} is fine"),)
    StepVerdict(step, checks, {"code": inputs.code_digest(root), **given}).write(root)


def difference(name: str, gain: float, verdict: Verdict | None, **more: Any) -> dict[str, Any]:
    """An entry of comparison.json."""
    return {"name": name, "base": 0.8, "candidate": 0.8 + gain, "gain": gain, "low": gain - 0.01,
            "high": gain + 0.01, "se": 0.006, "n": 1000, "positives": 100, "scope": "all",
            "verdict": verdict, "limit": 0.02, "detectable": 0.015, **more}  # fmt: skip


def compared(root: Path, **more: Any) -> dict[str, Any]:
    """Write a comparison with the commit that stands in `root`."""
    document = {
        "base": {"kind": "production", "label": "production v1.0.0", "version": "v1.0.0",
                 "commit": git(root, "rev-parse", "HEAD"), "digest": "sha256:" + "b" * 64},
        "candidate": {"commit": git(root, "rev-parse", "HEAD"), "digest": "sha256:" + "c" * 64},
        "metric": "roc_auc", "delta": 0.02, "verdict": "PASS",
        "rows": {"n": 1000, "positives": 100, "digest": "sha256:" + "d" * 64},
        "metrics": [difference("roc_auc", 0.005, PASS), difference("brier", 0.0, None, limit=None)],
        "slices": [{**difference("roc_auc", 0.001, PASS), "slice": "region = north"}],
        **more,
    }  # fmt: skip
    write_json(root / "reports" / "comparison.json", document)
    return document


def passed(root: Path) -> None:
    """All steps ran and passed."""
    for step in ("validate", "train", "evaluate", "compare"):
        verdict(root, step)
    compared(root)
    write_json(root / "build" / "cost.json", {"seconds": 4.82, "peak_mb": 312})
    write_json(
        root / "reports" / "metrics.json",
        {
            "test": {"roc_auc": 0.805},
            "tune": {"roc_auc": 0.81},
            "rows": {"n": 1000, "positives": 100},
            "slices": {
                "region": {"north": {"n": 600, "roc_auc": 0.8}, "south": {"n": 9, "roc_auc": None}}
            },
        },
    )
    (root / "reports" / "plots").mkdir()
    (root / "reports" / "plots" / "roc.png").write_bytes(PNG)


def made(root: Path, summary: bool = False) -> tuple[str, str, str]:
    """The Markdown, the page, and what is said on the terminal."""
    done = report.run(root, summary=summary)
    files = ((root / done[key]).read_text("utf-8") for key in ("report", "page"))
    return (*files, done["text"])


def test_a_pass_says_so_first(root: Path) -> None:
    """The first sentence has the verdict and the numbers; then everything in its order."""
    passed(root)
    text, page, said = made(root)
    assert text.startswith(
        "## 🟢 PASS: churn\n\n> [!TIP]\n> **This may be merged**: roc_auc is 0.8050"
    )
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert headings == ["What changed", "Slices", "Data", "Parameters, locks and code", "Gates",
                        "Cost", "What was not run, and why"]  # fmt: skip
    row = "| `roc_auc` | 0.8000 | 0.8050 | +0.0050 | \u22120.0050 to +0.0150 | 0.02 | 🟢 PASS |"
    assert row in text
    for part in (
        "production v1.0.0",
        "`bbbbbbbbbbbb`",
        "`cccccccccccc`",
        "1,000 rows, 100 of them",
        "`dddddddddddd`",
        "four times in five is 0.0150",
        "Too few rows to judge: region = south",
        "4.8 s and 312 MB",
    ):
        assert part in text
    assert 'class="badge pass"' in page
    assert said.startswith("PASS  This may be merged")


@pytest.mark.parametrize(
    ("found", "opening", "kind"),
    [(FAIL, "This may not be merged", "CAUTION"), (UNSURE, "A person has to decide", "WARNING"),
     (ERROR, "This may not be merged, because", "CAUTION")],
)  # fmt: skip
def test_each_verdict_has_its_opening_and_next_step(
    root: Path, found: Verdict, opening: str, kind: str
) -> None:
    """What did not pass is counted, its reason given, and the next step named."""
    passed(root)
    bad = Check("roc_auc", found, "roc_auc lost too much", value=-0.1, low=-0.2, high=-0.05, n=1000)
    verdict(root, "compare", Check("policy", PASS, "as the base's"), bad)
    text, page, _ = made(root)
    assert f"> [!{kind}]\n> **{opening}" in text
    assert "| compare |" in text
    assert "1 of 2" in text
    assert "roc_auc lost too much" in text
    assert "### Next steps\n\n- **compare** `roc_auc`. " in text
    assert f'class="badge {found.value.lower()}"' in page


def test_a_failed_validate_still_gives_a_report(root: Path) -> None:
    """What did not run is named with the step that stopped it."""
    bad = Check(
        "age: at most 120",
        FAIL,
        "3 of 500 rows of 'age' are not at most 120 (row r1 = 999)",
        value=3,
        limit=0,
        n=500,
        unit="rows",
        scope="age",
    )
    verdict(root, "validate", bad, bad, Check("schema", PASS, "7 of 8 columns", n=500))
    text, _, said = made(root)
    assert "**This may not be merged**: validate: 3 of 500 rows" in text
    assert "3 of 4 gates could not be measured" in text
    assert "| 3 of 500 |" in text
    assert "2 of 3" in text
    assert "**train** has no verdict, because validate did not pass" in text
    assert "**compare** has no verdict, because validate did not pass" in text
    assert "**validate** `age: at most 120`, `age: at most 120`. Mend these rows" in text
    assert "Mend validate first" in text
    assert "`./mainline compare` wrote no reports/comparison.json" in text
    assert said.startswith("ERROR")


def test_an_empty_repository_gives_a_report(root: Path) -> None:
    """With nothing run at all the report says of each thing that it is not there."""
    text, page, _ = made(root)
    assert "ERROR" in text
    for what in (
        "validate",
        "The comparison",
        "What was measured",
        "What training cost",
        "The plots",
    ):
        assert what in text.partition("What was not run")[2]
    assert "there is no base yet" in text
    assert "<article" in page


def test_broken_files_are_told(root: Path) -> None:
    """Settings, verdicts and documents that cannot be read stop nothing."""
    (root / "params.yaml").write_text("model: [", "utf-8")
    folder = root / "reports" / "verdicts"
    folder.mkdir(parents=True)
    (folder / "train.json").write_bytes(b"\xff\xfe{")
    (root / "reports" / "comparison.json").write_text("[1]", "utf-8")
    (root / "reports" / "metrics.json").write_text("{", "utf-8")
    text, _, _ = made(root)
    assert "The settings" in text
    assert "reports/comparison.json cannot be read (it holds no object)" in text


@pytest.mark.parametrize("wrong", [None, "x", [1, "a", None], {"a": None}])
def test_wrong_kinds_in_documents_stop_nothing(root: Path, wrong: Any) -> None:
    """A document with anything anywhere is rendered as far as it goes."""
    passed(root)
    for name in ("comparison", "metrics"):
        path = root / "reports" / f"{name}.json"
        document = json.loads(path.read_text("utf-8"))
        for key in document:
            write_json(path, {**document, key: wrong})
            assert made(root)[0]
        write_json(path, document)


def test_numbers_of_an_earlier_run_are_called_so(root: Path) -> None:
    """Verdicts of other code are ERROR at the gate, and the report warns of its own numbers."""
    passed(root)
    (root / "params.yaml").write_text(PARAMS.replace("0.2, test", "0.1, test"), "utf-8")
    text, _, _ = made(root)
    assert "ERROR" in text
    assert "numbers above may be of an earlier run" in text
    assert "| `split.tune` | `0.2` | `0.1` |" in text


def test_nasty_names_do_nothing(root: Path) -> None:
    """A name with markup in it stays text in Markdown and HTML, wherever it comes from."""
    passed(root)
    bad = Check(
        NASTY, FAIL, f"rows of {NASTY} are not fine", value=1, n=2, unit="rows", scope=NASTY
    )
    verdict(root, "validate", bad, Check(f"{NASTY}: classes", PASS, NASTY, scope=NASTY))
    document = compared(root, slices=[{**difference("roc_auc", 0, FAIL), "slice": NASTY}])
    document["base"]["label"] = document["metrics"][0]["scope"] = NASTY
    write_json(root / "reports" / "comparison.json", document)
    (root / "params.yaml").write_text(PARAMS + f"monitor: {{log: {json.dumps(NASTY)}}}\n", "utf-8")
    text, page, _ = made(root)
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "@octocat" not in outside
    assert "http://" not in outside
    assert "<img" not in text
    assert "\n# h" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1
    assert "<img src=x" not in page
    assert "octocat &lt;img" in page


def test_a_long_report_is_cut_by_section(root: Path) -> None:
    """What is cut is named with where it is; verdict, gates and next steps are kept."""
    passed(root)
    many = [
        Check(f"column {n}: rule", FAIL, f"{n} " + "x" * 590, scope=f"c{n}") for n in range(300)
    ]
    verdict(root, "validate", *many)
    slices = [{**difference("roc_auc", 0, PASS), "slice": "y" * 599} for _ in range(300)]
    compared(root, slices=slices)
    more = "".join(f"    k{n}: {'z' * 590}\n" for n in range(200))
    (root / "params.yaml").write_text(PARAMS.replace(
        'train: {estimator: "project.model:build"}',
        f'train:\n  estimator: "project.model:build"\n  args:\n{more}'), "utf-8")  # fmt: skip
    text, _, _ = made(root)
    assert len(text) <= 65_000
    assert re.search(
        r"### Parameters.*\n\nCut here \([\d,]+ characters\): it is in `reports/report.html`", text
    )
    assert "### Gates" in text
    assert "### Next steps" in text


def test_the_page_fetches_nothing_and_runs_nothing(root: Path) -> None:
    """One file: pictures are within it, no script, no address, and a policy that forbids both."""
    passed(root)
    _, page, _ = made(root)
    assert "default-src 'none'" in page
    assert "data:image/png;base64," in page
    assert not re.search(r"<script|<link|@import|url\(|https?://|\ssrc=\"(?!data:)", page)
    assert "prefers-color-scheme: dark" in page


def test_the_body_stands_in_another_page(root: Path) -> None:
    """The report's content can be had without the page around it."""
    passed(root)
    body = html.report_body(root)
    assert body.startswith('<article class="report">')
    assert "<html" not in body


def test_only_png_files_become_pictures(tmp_path: Path) -> None:
    """A file that is called .png and is none is left out."""
    (tmp_path / "x.png").write_text("<svg onload=alert(1)>", "utf-8")
    assert html.picture(tmp_path / "x.png", "x") == ""
    assert html.picture(tmp_path / "gone.png", "x") == ""


def test_the_summary_is_added_to(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other steps wrote into the job's summary stays; without one that is said."""
    place = tmp_path / "summary.md"
    place.write_text("before\n", "utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place))
    text, _, said = made(root, summary=True)
    assert place.read_text("utf-8") == f"before\n{text}\n"
    assert "added to the job summary" in said
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert "GITHUB_STEP_SUMMARY is not set" in made(root, summary=True)[2]
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    with pytest.raises(DataError):
        report.run(root, summary=True)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(scheme: int) -> None:
    """Each colour of text has a contrast of at least 4.5 to 1 on its ground, in both schemes."""
    from mainline.report.style import CSS

    found = re.findall(r"--([\w-]+): (#[0-9a-f]{6})", CSS)
    half = len(found) // 2
    colour = dict(found[half:] if scheme else found[:half])
    pairs = [
        ("ink", "ground"),
        ("ink", "card"),
        ("ink", "code"),
        ("soft", "ground"),
        ("soft", "card"),
        ("link", "ground"),
        *((v, f"{v}-ground") for v in ("pass", "inconclusive", "fail", "error")),
        *(("ink", f"{v}-ground") for v in ("pass", "inconclusive", "fail")),
    ]
    for ink, ground in pairs:
        dark, light = sorted((luminance(colour[ink]), luminance(colour[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)
