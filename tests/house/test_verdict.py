"""Four verdicts: their order, and that nothing but measured checks makes a PASS."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest

from mainline.errors import DataError, NotMeasured
from mainline.verdict import Check, StepVerdict, Verdict, read_verdict, recorded, worst

PASS, INCONCLUSIVE, FAIL, ERROR = Verdict


def check(verdict: Verdict, **more: object) -> Check:
    return Check("c", verdict, "because", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", list(itertools.combinations(Verdict, 2)))
def test_the_later_of_two_is_the_worse(pair: tuple[Verdict, Verdict]) -> None:
    """PASS, INCONCLUSIVE, FAIL, ERROR: worst last, in whatever order they come."""
    assert worst(pair) is worst(pair[::-1]) is pair[1]


def test_nothing_measured_is_an_error() -> None:
    """No checks at all never pass."""
    assert worst([]) is ERROR
    assert StepVerdict("step", ()).verdict is ERROR


def test_skipped_is_never_a_pass() -> None:
    """A skipped step is INCONCLUSIVE, even beside a check that passed."""
    assert StepVerdict("step", (check(PASS),), skipped="no base").verdict is INCONCLUSIVE


def test_each_verdict_has_its_exit_status() -> None:
    """0, 11, 10 and 12, as the interfaces pin them."""
    assert [v.status for v in Verdict] == [0, 11, 10, 12]


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Checks, inputs and verdict survive the file; NaN becomes null, since JSON has none."""
    wrote = StepVerdict(
        "step", (check(FAIL, value=math.nan, low=1.5, n=3, limit="x"),), {"code": "sha256:1"}
    )
    read = read_verdict(wrote.write(tmp_path))
    assert (read.verdict, read.inputs["code"], read.checks[0].value) == (FAIL, "sha256:1", None)
    assert read.checks[0].low == 1.5


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "PASS"},
        {"schema": "verdict/2"},
        {"checks": [{"name": "x"}]},
        {"checks": "none"},
        {"verdict": "FINE"},
    ],
)
def test_a_forged_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """A file that claims better than its checks, or is of another form, is not believed."""
    path = StepVerdict("step", (check(FAIL),)).write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(NotMeasured, match="not a verdict/1 file"):
        read_verdict(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"'])
def test_a_broken_file_could_not_be_measured(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the file, reading it gives status 12 and no traceback."""
    path = tmp_path / "train.json"
    path.write_bytes(content)
    with pytest.raises(NotMeasured) as caught:
        read_verdict(path)
    assert caught.value.status == 12


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    """The reader learns which file was not written."""
    with pytest.raises(NotMeasured, match=r"train\.json was not written"):
        read_verdict(tmp_path / "train.json")


def test_a_step_that_could_not_run_leaves_an_error_and_not_an_old_pass(tmp_path: Path) -> None:
    """The file of an earlier run is gone; the new one says why, with the exit status."""
    StepVerdict("train", (check(PASS),)).write(tmp_path)
    with pytest.raises(DataError), recorded(tmp_path, "train"):
        raise DataError("No rows", "Add some")
    read = read_verdict(tmp_path / "reports" / "verdicts" / "train.json")
    assert read.verdict is ERROR
    assert (read.checks[0].reason, read.checks[0].value) == ("No rows. Add some.", 20)


def test_a_bug_leaves_no_old_pass_either(tmp_path: Path) -> None:
    """After an unforeseen exception there is no file at all, which the gate takes for ERROR."""
    path = StepVerdict("train", (check(PASS),)).write(tmp_path)
    with pytest.raises(ZeroDivisionError), recorded(tmp_path, "train"):
        raise ZeroDivisionError
    assert not path.exists()


def test_a_report_folder_that_is_none_is_said_in_one_sentence(tmp_path: Path) -> None:
    """A file in the place of reports/ is no bug of the house."""
    (tmp_path / "reports").write_text("a file", "utf-8")
    said = r"train\.json cannot be written anew"
    with pytest.raises(DataError, match=said), recorded(tmp_path, "train"):
        pass
