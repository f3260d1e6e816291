"""One run of monitor against a log and labels on disk: what it says, and what it asks for."""

from __future__ import annotations

import pandas as pd
import pytest
from toy import rows

from mainline.errors import DataError, UsageError
from mainline.monitor import monitor
from mainline.verdict import Verdict, read_verdict


def look(production, as_of, **options):
    """Run without Evidently and with the log of this production."""
    options = {"log": "log", "html": False, **options}
    return monitor.run(production.root, as_of=as_of, **options)


def verdicts(step):
    """The verdict of each check by name."""
    return {c.name: c.verdict for c in step.checks}


def test_same_distribution_is_quiet(make_production):
    """Six weeks like the reference: everything passes and nothing is asked for."""
    production = make_production()
    later = rows("2024-03-11", 42, 150, seed=3)
    production.serve(later)
    production.label(later)
    step = look(production, "2024-04-22")
    assert step.verdict is Verdict.PASS
    assert set(verdicts(step)) == {"drift", "data", "quality:missed", "quality:false_alert"}
    found = production.found()
    assert found["trigger"]["kind"] == "none"
    assert [w["level"] for w in found["windows"]] == ["quiet"] * 6
    assert read_verdict(production.root / "reports/verdicts/monitor.json").checks == step.checks


def test_a_shift_alerts_and_waits_for_labels(make_production):
    """A shifted column alerts at once; a pull request waits until labels of it have matured."""
    production = make_production()
    production.serve(rows("2024-03-11", 14, 150, seed=3))
    shifted = rows("2024-03-25", 14, 150, seed=4, shift=0.5)
    production.serve(shifted)
    production.label(shifted)
    step = look(production, "2024-04-08")
    assert verdicts(step)["drift"] is Verdict.FAIL
    found = production.found()
    assert found["trigger"]["kind"] == "drift-few-labels"
    assert found["trigger"]["opens"] == "issue"
    assert found["first_alert"] == "2024-03-25T00:00:00"
    assert found["windows"][-1]["columns"]["size"]["over"]
    look(production, "2024-05-06")
    assert production.found()["trigger"]["kind"] == "drift"
    assert production.found()["trigger"]["opens"] == "pull request"


def test_accepted_drift_decides_nothing(make_production):
    """A column whose drift a person has accepted is still measured and no longer alerts."""
    production = make_production()
    production.serve(rows("2024-03-11", 14, 150, seed=4, shift=0.5))
    look(production, "2024-03-25", accepted=["size"])
    newest = production.found()["windows"][-1]
    assert newest["columns"]["size"]["over"]
    assert newest["level"] == "quiet"


def test_lost_recall_fires_without_any_drift(make_production):
    """Recall .8 to .45 with the same features: drift is quiet, the e-process asks for a model."""
    production = make_production()
    later = rows("2024-03-11", 42, 150, seed=5, recall=0.45)
    later["score"] = later["score"].where(later["y"] == 1, rows("2024-03-11", 42, 150, 5)["score"])
    production.serve(later)
    production.label(later)
    step = look(production, "2024-06-01")
    assert verdicts(step)["quality:missed"] is Verdict.FAIL
    found = production.found()
    assert found["trigger"]["kind"] == "quality"
    assert found["quality"]["missed"]["fired_at"] > "2024-04-10"
    assert found["windows"][0]["recall"] == pytest.approx(0.45, abs=0.1)
    look(production, "2024-04-09")
    assert production.found()["quality"]["missed"]["n"] == 0


def test_young_labels_do_not_count(make_production):
    """Frauds known within days are not scored before all labels of their day are final."""
    production = make_production()
    later = rows("2024-03-11", 28, 150, seed=3)
    production.serve(later)
    production.label(later)
    step = look(production, "2024-04-08")
    assert production.found()["labels"] == {
        "matured": 0, "due": 0, "unmatched": 0, "contradicted": 0, "skipped_lines": 0
    }  # fmt: skip
    assert verdicts(step)["quality:missed"] is Verdict.INCONCLUSIVE


def test_labels_that_never_come_are_no_pass(make_production):
    """A label outage makes quality INCONCLUSIVE and is named."""
    production = make_production()
    production.serve(rows("2024-03-11", 42, 150, seed=3))
    step = look(production, "2024-06-01")
    assert verdicts(step)["labels"] is Verdict.INCONCLUSIVE
    assert step.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("fault", ["missing", "unseen", "cents", "extra"])
def test_a_broken_feed_is_an_incident_and_never_a_retrain(make_production, fault):
    """Missing values, new categories, another unit or an unknown feature: an issue, urgent."""
    production = make_production()
    production.serve(rows("2024-03-11", 7, 150, seed=3))
    broken = rows("2024-03-18", 7, 150, seed=4)
    if fault == "missing":
        broken.loc[broken.index % 5 == 0, "size"] = None
    elif fault == "unseen":
        broken.loc[broken.index % 10 == 0, "kind"] = "zzz"
    elif fault == "cents":
        broken["size"] *= 100
    else:
        broken["surprise"] = 1.0
    production.serve(broken)
    step = look(production, "2024-03-25")
    assert verdicts(step)["data"] is Verdict.FAIL
    assert verdicts(step)["drift"] is Verdict.INCONCLUSIVE
    assert production.found()["trigger"]["kind"] == "incident"
    assert production.found()["trigger"]["opens"] == "issue"


def test_a_mended_feed_leaves_no_alert_behind(make_production):
    """What a broken week showed is no part of the history of drift."""
    production = make_production()
    for week, seed in (("2024-03-11", 3), ("2024-03-18", 4), ("2024-03-25", 5)):
        frame = rows(week, 7, 150, seed=seed)
        if seed == 4:
            frame["size"] *= 100
        production.serve(frame)
    look(production, "2024-04-01")
    levels = [w["level"] for w in production.found()["windows"]]
    assert levels[0] == "quiet"
    assert levels[1] == "incident"
    assert levels[2] == "quiet"


def test_only_this_model_is_judged_and_shadows_are_not_counted(make_production):
    """Rows of another digest and mirrored rows are left out; a row sent twice counts once."""
    production = make_production()
    frame = rows("2024-03-11", 7, 150, seed=3)
    production.serve(frame)
    production.serve(frame)
    production.serve(frame, arm="shadow")
    production.serve(rows("2024-03-11", 7, 150, seed=4, shift=3), digest="sha256:other")
    look(production, "2024-03-18")
    assert production.found()["log"]["rows"] == len(frame)


def test_an_empty_log_and_an_unset_log_are_no_pass(make_production, monkeypatch):
    """No rows: INCONCLUSIVE. No address at all: skipped, with the name of the setting."""
    monkeypatch.delenv("MAINLINE_LOG", raising=False)
    production = make_production()
    assert look(production, "2024-04-01").verdict is Verdict.INCONCLUSIVE
    step = look(production, "2024-04-01", log=None)
    assert step.skipped is not None
    assert "MAINLINE_LOG" in step.skipped
    assert production.found()["trigger"]["opens"] is None


def test_a_silent_week_is_no_verdict(make_production):
    """A week without rows stands in the history as such and is never called quiet."""
    production = make_production()
    production.serve(rows("2024-03-11", 7, 150, seed=3))
    step = look(production, "2024-03-25")
    assert [w["level"] for w in production.found()["windows"]] == ["quiet", "no verdict"]
    assert verdicts(step)["drift"] is Verdict.INCONCLUSIVE


def test_labels_at_an_address_by_prediction_id(make_production, tmp_path):
    """Labels may lie elsewhere, as JSON Lines by prediction id; the last one wins."""
    production = make_production()
    later = rows("2024-03-11", 7, 150, seed=3)
    production.serve(later)
    known = pd.DataFrame({
        "prediction_id": "p-stable-" + later["id"], "label": 1 - later["y"],
        "known_at": later["known"].astype(str), "source": "t",
    })  # fmt: skip
    mended = known.assign(label=later["y"], known_at="2024-05-01T00:00:00Z")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name, table in (("a", mended), ("b", known)):
        table.to_json(folder / f"{name}.jsonl", orient="records", lines=True)
    look(production, "2024-06-01", labels=f"file://{folder}")
    missed = production.found()["quality"]["missed"]
    assert missed["n"] == int((later["y"] == 1).sum())
    assert missed["rate"] == pytest.approx(0.2, abs=0.08)


def test_new_labels_and_age_ask_quietly(make_production):
    """Enough new matured labels, or enough days, ask for a pull request that is not urgent."""
    production = make_production()
    later = rows("2024-03-11", 42, 150, seed=3)
    production.serve(later)
    production.label(later)
    look(production, "2024-05-20")
    assert production.found()["trigger"]["kind"] == "labels"
    assert production.found()["trigger"]["urgent"] is False
    production = make_production(retrain={"new_labels": 5.0})
    look(production, "2024-07-01")
    assert production.found()["trigger"]["kind"] == "age"
    production = make_production(retrain={"enabled": False})
    look(production, "2024-07-01")
    assert production.found()["trigger"]["opens"] is None


def test_too_few_blocks_report_and_decide_nothing_for_six_weeks(make_production):
    """A reference of three weeks: no threshold until six weeks of production have set one."""
    production = make_production(weeks=3)
    production.serve(rows("2024-03-11", 35, 150, seed=3))
    step = look(production, "2024-04-15")
    assert {w["level"] for w in production.found()["windows"]} == {"no verdict"}
    assert verdicts(step)["drift"] is Verdict.INCONCLUSIVE
    production.serve(rows("2024-04-15", 7, 150, seed=4))
    look(production, "2024-04-22")
    assert production.found()["windows"][-1]["level"] == "quiet"


def test_evidently_draws_an_alarmed_window(make_production):
    """The page is there for an alarmed window, or a line says why it is not; never an error."""
    production = make_production()
    (production.root / "data" / "rows").mkdir(parents=True)
    rows("2024-01-01", 70, 100, 1).drop(columns="score").to_parquet(
        production.root / "data" / "rows" / "a.parquet"
    )
    production.serve(rows("2024-03-11", 7, 150, seed=4, shift=0.5))
    look(production, "2024-03-18", html=True)
    assert "reports/drift-2024-03-11.html shows" in production.found()["pages"][0]
    assert (production.root / "reports" / "drift-2024-03-11.html").stat().st_size > 10_000


def test_a_picture_that_cannot_be_drawn_is_a_line(make_production):
    """Without training rows Evidently draws nothing, and the verdict stands."""
    production = make_production()
    production.serve(rows("2024-03-11", 7, 150, seed=4, shift=0.5))
    step = look(production, "2024-03-18", html=True)
    assert step.verdict is Verdict.FAIL
    assert "drew nothing" in production.found()["pages"][0]


def test_faults_of_the_caller_are_named(make_production):
    """A bad date and a damaged profile are one sentence each, and leave an ERROR verdict."""
    production = make_production()
    with pytest.raises(UsageError, match="not a date"):
        look(production, "soon")
    (production.root / "models" / "profile.json").write_text("{")
    with pytest.raises(DataError, match=r"profile\.json"):
        look(production, "2024-04-01")
    path = production.root / "reports/verdicts/monitor.json"
    assert read_verdict(path).verdict is Verdict.ERROR


def test_names_from_the_data_cannot_break_the_report(make_production):
    """A feature named with markup reaches the Markdown as text."""
    production = make_production()
    frame = rows("2024-03-11", 7, 150, seed=3)
    frame["<img src=x>|`@all"] = 1.0
    production.serve(frame)
    look(production, "2024-03-18")
    text = (production.root / "reports" / "monitor.md").read_text("utf-8")
    assert "<img" not in text
    assert "@all" not in text
