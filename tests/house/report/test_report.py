"""The report renders whatever is there, and says what is not there and why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mainline import inputs, settings
from mainline.errors import DataError
from mainline.files import write_json
from mainline.git import git
from mainline.report import advice, chart, check, gate, html, report
from mainline.report.acceptance import Acceptance, Asked
from mainline.report.blocks import Chart
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
BEHAVIOUR = {
    "baselines": {"metric": "roc_auc", "dummy": {
        "value": 0.5, "gain": {"value": 0.3, "low": 0.25, "high": 0.35}, "limit": 0.1}},
    "overfit": {"rows": 500, "share": 0.2, "planted": 0.97, "limit": 0.5},
    "gap": {"metric": "roc_auc", "value": 0.04, "low": 0.02, "high": 0.06, "limit": None},
    "determinism": {"rows": 800, "same": False},
    "robustness": {"noise": {"share": 0.01, "columns": {"age": 0.03, "sum": 0.0}, "limit": 0.05}},
    "invariant": [{"column": "colour", "share": 0.0, "limit": 0.0}],
    "directional": [{"column": "logins", "score": "up", "violations": 0.02, "limit": 0.05}],
    "calibration": {"value": 0.011, "low": None, "high": None, "limit": 0.1},
    "size": {"megabytes": 0.33, "limit": 100},
    "fairness": [{"by": "sex", "rate": "recall", "value": 0.1, "low": 0.02, "high": 0.2,
                  "limit": 0.3, "rates": {"f": 0.8, "m": 0.7}, "rows": {"f": 60, "m": 70}}],
    "nearest_flip": {"rows": 20, "flipped": 12,
                     "columns": [{"column": "sum", "rows": 12, "smallest": 0.5}]},
    "something_new": {"value": 1, "low": 0, "high": 2},
}  # fmt: skip
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
    write_json(root / "reports" / "behaviour.json", BEHAVIOUR)
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
    assert "0.0050 better (95% bounds \u22120.0050 to +0.0150)" in said
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert headings == ["What changed", "Slices", "Data", "Parameters, locks and code", "Gates",
                        "How the model behaves", "Cost", "What was not run, and why"]  # fmt: skip
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
        "\u22120.0090 to +0.0110 | 0.02 | 🟢 PASS |",
        "a large difference of few rows may pass.",
        "| seconds of training | – | 4.8 | – |",
        "| peak memory in MB | – | 312 | – |",
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
    assert "and 3 of 4 gates were not run." in text
    assert "| 3 of 500 |" in text
    assert "2 of 3" in text
    assert "**train** has no verdict, because validate did not pass" in text
    assert "**compare** has no verdict, because validate did not pass" in text
    assert "**validate** `age: at most 120`, `age: at most 120`. Mend these rows" in text
    assert "Mend validate first" in text
    assert "`./mainline compare` wrote no reports/comparison.json" in text
    assert said.startswith("FAIL")


def test_numbers_that_a_failed_run_left_are_not_told(root: Path) -> None:
    """Rows trained, cost, comparison of the run before are of other data: none is shown."""
    passed(root)
    old = {"data": "sha256:old", "model": "sha256:m"}
    verdict(root, "train", Check("trained", PASS, "12345 rows were trained on"), **old)
    verdict(root, "evaluate", **old)
    verdict(root, "compare", Check("policy", FAIL, "of other limits"), **old)
    verdict(root, "validate", Check("age", FAIL, "too old"), data="sha256:new")
    text, page, said = made(root)
    assert said.startswith("FAIL  This may not be merged: validate: too old, and 3 of 4 gates were")
    for old_one in ("12345", "seconds of training", "0.8050", "digests", "after the comparison"):
        assert old_one not in text + page
    assert "**The comparison** is not here: compare did not run here" in text
    assert "| train | 🔴 FAIL | – | not run, because validate did not pass |" in text
    assert "- **train**, **evaluate**, **compare**. Mend validate first" in text
    options = settings.load(root)
    verdicts = gate.read_all(root)
    rows = check.rows(verdicts, gate.judge(root, verdicts, options, Asked()))
    assert [r["verdict"] for r in rows] == ["FAIL"] * 5
    assert [r["checks"] for r in rows[1:4]] == [0, 0, 0]


def test_an_error_beside_a_failure_is_counted_right(root: Path) -> None:
    """Steps that were not measured are counted; where all were, the gate's own reason is told."""
    passed(root)
    verdict(root, "evaluate", Check("a", FAIL, "it guesses"))
    StepVerdict("compare", (Check("compare", ERROR, "the base is gone"),)).write(root)
    assert "evaluate: it guesses, and 1 of 4 gates was not measured." in made(root)[2]
    verdict(root, "compare")
    git(root, "add", "-f", "reports/verdicts")
    said = made(root)[2]
    assert "of 4 gates" not in said
    assert "evaluate: it guesses; reports/verdicts/compare.json is committed" in said


@pytest.mark.parametrize("found", [FAIL, UNSURE, ERROR])
def test_commands_in_the_first_sentence_are_code(root: Path, found: Verdict) -> None:
    """What stands between backticks is code there too, and not a backtick to be read."""
    passed(root)
    verdict(root, "compare", Check("c", found, "of other rows: run `./mainline pipeline`"))
    text, page, _ = made(root)
    assert "run `./mainline pipeline`." in text.partition("###")[0]
    assert "\\`" not in text.partition("###")[0]
    assert "<code>./mainline pipeline</code>" in page


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


def test_how_the_model_behaves_is_told(root: Path) -> None:
    """Each thing that was tried with its number, bounds and limit; what is not known too."""
    passed(root)
    text, page, _ = made(root)
    for row in (
        "| `roc_auc` better than of a constant answer, by | 0.3000 | 0.2500 to 0.3500 | 0.1 |",
        "| learning 500 rows by heart, 1 is perfect | 0.9700 | – | 0.5 |",
        "| `roc_auc` better on training than on test rows | 0.0400 | 0.0200 to 0.0600 | – |",
        "| trained once more | another model | – | the same |",
        "spread, most with `age` (0.0300) | 0.0100 | – | 0.05 |",
        "| decisions that change with `colour` | 0 | – | 0 |",
        "| rows where more `logins` moves the score other than up | 0.0200 | – | 0.05 |",
        "| calibration error | 0.0110 | – | 0.1 |",
        "| `recall` by `sex` | 0.1000 | 0.0200 to 0.2000 | 0.3 | m 0.7000, f 0.8000 |",
        "flips 12 of 20 decisions nearest to the threshold:",
        "| `sum` | 12 | 0.5000 |",
        "- **something new**: value 1 (0 to 2)",
    ):
        assert row in text
    assert "better than of a constant answer, by" in page


def test_numbers_of_an_evaluation_that_did_not_end_are_left_out(root: Path) -> None:
    """What lies there is of an earlier run, and is named as that."""
    passed(root)
    (root / "reports" / "verdicts" / "evaluate.json").unlink()
    text, page, _ = made(root)
    assert "### How the model behaves" not in text
    assert "data:image/png" not in page
    assert "**What was measured** is not here: evaluate did not run to its end here" in text


def test_policy_origin_data_and_cost_are_told(root: Path) -> None:
    """What the comparison found besides the metrics, each in its own section."""
    passed(root)
    verdict(root, "compare", Check("reproduction", PASS, "No dvc.lock came along"),
            Check("c", PASS, "fine"))  # fmt: skip
    sides = ({"value": 0.1, "low": 0.08, "high": 0.12}, {"value": 0.2, "low": 0.13, "high": 0.29})
    label = {"shift": 0.02, "before": {"n": 900, "values": {"1": sides[0]}},
             "came": {"n": 100, "values": {"1": sides[1]}}}  # fmt: skip
    compared(
        root, revert="v1.2.0", reproduction={},
        policy=[{"what": "gate.delta", "base": "0.01", "candidate": "0.5"},
                {"what": "tests/model/x|y.py", "base": None, "candidate": "added"}],
        data={"base_rows": 900, "rows": 990, "added": 100, "removed": 10, "changed": 0,
              "relabelled": 3, "labelled": 0, "label": label},
        cost={"base": {"seconds": 2.41, "latency_ms": 20}, "candidate": {"latency_ms": 20.01}},
    )  # fmt: skip
    text, _, _ = made(root)
    for part in (
        "> This is a way back: the model is v1.2.0, which was healthy in production.",
        "No dvc.lock came along.",
        "| `gate.delta` | `0.01` | `0.5` |",
        "| <code>tests/model/x\\|y.py</code> | – | `added` |",
        "Rows since the base: 900 before, 990 now, 100 came, 10 gone, 3 with another label.",
        "| target | before (900 rows) | rows that came (100 rows) |",
        "| `1` | 0.1000 (0.0800 to 0.1200) | 0.2000 (0.1300 to 0.2900) |",
        "surely moved by 0.0200",
        "| seconds of training | 2.4 | 4.8 | +100% |",
        "| milliseconds for one row | 20.0 | 20.0 | the same |",
    ):
        assert part in text


def test_a_chart_stands_beside_the_table_of_slices(root: Path) -> None:
    """One line for each bound; a slice's name does nothing in Mermaid, and none without numbers."""
    passed(root)
    hostile = '"]%%{init: {}}%% <img src=x> click A href @octocat `x`'
    small = {**difference("roc_auc", 0, None), "slice": "small", "gain": None, "limit": None}
    slices = [{**difference("roc_auc", 0.001, PASS), "slice": n} for n in ("a = b", hostile)]
    compared(root, slices=[*slices, small])
    text, page, _ = made(root)
    drawn = text.partition("```mermaid\n")[2].partition("\n```")[0].splitlines()
    parsed = chart.parse(drawn)
    assert parsed is not None
    assert parsed.names[:2] == ("all rows", "a = b")
    assert len(parsed.names) == 3
    assert [len(line) for line in parsed.lines] == [3, 3, 3, 3]
    for mark in "%{}<>@`&#;":
        assert mark not in "\n".join(drawn[1:4])
    assert "mermaid" not in page


@pytest.mark.parametrize("names", [(), ("one",), ("a", "b"), tuple(map(str, range(40)))], ids=len)
def test_a_chart_is_drawn_of_two_names_and_more(names: tuple[str, ...]) -> None:
    """Of one there is nothing to compare, and too many cannot be read."""
    lines = tuple(tuple(float(n) for n in range(len(names))) for _ in range(2))
    drawn = chart.render(Chart("x", names, lines))
    assert bool(drawn) is (len(names) > 1)
    if drawn:
        found = chart.parse(drawn.splitlines()[1:-1])
        assert found is not None
        assert len(found.names) == min(len(names), chart.MOST)
    assert chart.render(Chart("x", names, ((float("nan"),) * len(names),))) == ""


ACCEPTED = Acceptance("rev", "2026-01-01T12:00:00Z", "ab" * 20, 7, 5000)


def test_who_lifted_it_stands_at_the_top(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who, when, for which commit and what was inconclusive; nobody is called by it."""
    passed(root)
    verdict(root, "compare", Check("roc_auc", UNSURE, "these rows cannot tell"))
    monkeypatch.setattr("mainline.report.acceptance.ask", lambda: Asked(ACCEPTED))
    text, page, said = made(root)
    assert text.startswith("## 🟢 PASS: churn")
    top = text.partition("###")[0].replace("\u200b", "")
    assert "lifted by @rev on 2026-01-01T12:00:00Z for the commit abababababab" in top
    assert "these rows cannot tell" in top
    assert "@rev" not in text
    assert "| compare | 🟡 INCONCLUSIVE, lifted | 1 of 1 |" in text
    assert "Next steps" not in text
    assert "inconclusive, and accepted" in text
    assert "lifted by @rev" in page
    assert said.startswith("PASS")


def test_a_label_that_does_not_count_is_explained(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the top, and with what to do."""
    passed(root)
    verdict(root, "compare", Check("roc_auc", UNSURE, "these rows cannot tell"))
    why = "the label is older than the run"
    monkeypatch.setattr("mainline.report.acceptance.ask", lambda: Asked(why=why))
    text, _, _ = made(root)
    assert text.startswith("## 🟡 INCONCLUSIVE")
    assert "Not accepted: the label is older than the run" in text.partition("###")[0]
    assert "- **gate** `accepted`. Take the label `accept-inconclusive` off and put" in text


def test_changed_limits_make_the_verdicts_stale(root: Path) -> None:
    """Limits or tests that were changed after a step judged by them: ERROR."""
    passed(root)
    options = settings.load(root)
    for step in ("validate", "evaluate"):
        verdict(root, step, policy=gate.own_policy(root, options))
    assert made(root)[0].startswith("## 🟢 PASS")
    (root / "tests" / "model").mkdir(parents=True)
    (root / "tests" / "model" / "test_x.py").write_text("def test_x(): pass\n", "utf-8")
    text, _, _ = made(root)
    assert text.startswith("## 🟥 ERROR")
    for step in ("validate", "evaluate"):
        assert f"| {step} | 🟥 ERROR | 0 of 1 | this verdict is of other limits or tests" in text


def test_limits_changed_after_the_comparison_make_it_stale(root: Path) -> None:
    """What compare found of the policy is looked at again."""
    passed(root)
    verdict(root, "compare", Check("policy", PASS, "as the base's"), Check("c", PASS, "fine"))
    assert made(root)[0].startswith("## 🟢 PASS")
    (root / "params.yaml").write_text(PARAMS.replace("delta: 0.02", "delta: 0.2"), "utf-8")
    text, _, _ = made(root)
    assert text.startswith("## 🟥 ERROR")
    assert "were changed after the comparison" in text


def test_every_pattern_of_advice_can_be_reached() -> None:
    """No advice is hidden behind an earlier one, and a name that is not known gets one too."""
    seen: set[tuple[str, str]] = set()
    for step, pattern, said in advice.ADVICE:
        name = pattern.replace("*", "x")
        found = advice.next_step(step, Check(name, FAIL, "because"))
        assert found == said, (step, pattern)
        assert (step, pattern) not in seen
        seen.add((step, pattern))
    for step in ("validate", "train", "evaluate", "compare", "gate", "elsewhere"):
        for found in (FAIL, UNSURE, ERROR):
            assert advice.next_step(step, Check("never heard of", found, "because"))


@pytest.mark.parametrize("step", ["validate", "train", "evaluate", "compare"])
def test_the_table_of_check_says_what_each_step_found(root: Path, step: str) -> None:
    """A row for each step and for the gate: verdict, how many passed, the first reason."""
    passed(root)
    verdict(root, step, Check("a", PASS, "fine"), Check("b", FAIL, "because of b"))
    options = settings.load(root)
    verdicts = gate.read_all(root)
    done = gate.judge(root, verdicts, options, Asked())
    lines = check.table(check.rows(verdicts, done))
    assert lines[0].split() == ["step", "verdict", "passed", "why"]
    row = next(line for line in lines if line.startswith(step))
    assert row.split(maxsplit=2)[1] == "FAIL"
    assert "1 of 2" in row
    assert row.endswith("because of b")
    assert lines[-1].startswith("gate")
    assert "FAIL" in lines[-1]
