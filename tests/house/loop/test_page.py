"""The page that tells the story of the loop."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from loopstory import story

from mainline.loop import page, page_acts, page_rollout, page_svg, page_timeline
from mainline.rollout import course

CHARTS = ("timeline", "rollout-good-change-0", "rollout-broken-release-0", "drift", "recall")
VOID = {"meta", "br", "img", "hr", "link", "input"}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\u202e"


class Page(HTMLParser):
    """The tags of a page; an end tag that closes nothing, or one left open, is remembered."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.torn: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self.torn += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.torn.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(text: str) -> Page:
    """`text` as a page whose tags match, with no id twice."""
    found = Page(text)
    assert found.torn == []
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    return found


def test_the_page_tells_every_part_of_the_story(tmp_path: Path) -> None:
    """Acts, commands, what they said, charts, months, reports and how to play it again."""
    path = page.write(story(), tmp_path / "deep" / "story.html")
    found = read(path.read_text("utf-8"))
    words = " ".join("".join(found.words).split())
    for act in story()["acts"]:
        assert act["title"] in words
    for step in story()["steps"]:
        assert step["command"] in words
    for told in (
        "all of them ended as they should", "as expected: rolled back", "117 s", "11,936",
        "1 by the gate, 1 by the canary", "47% → 83%", "merchant_category", "new model",
        "took more than 250 ms", "is the first version", "Retrain card-fraud: quality fell",
        "The report: Pull request 2", "./mainline loop --seed 7", "17 January 2026",
        "pull request 3", "e = 341", "July 77%, August 78%",
    ):  # fmt: skip
        assert told in words, told
    ids = {a.get("id") for _, a in found.tags}
    assert set(CHARTS) <= ids


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    """No script, no address, and a policy by which the browser holds to it."""
    text = page.render(story())
    found = read(text)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", text)
    assert "script" not in {tag for tag, _ in found.tags}
    assert not [a for _, attrs in found.tags for a in attrs if a.startswith("on")]
    policy = [a["content"] for _, a in found.tags if a.get("http-equiv")]
    assert policy and "default-src 'none'" in str(policy[0])


def test_the_same_story_is_the_same_page() -> None:
    """Nothing of the page comes from the clock or from chance."""
    assert page.render(story()) == page.render(story())


def hostile(found: Any) -> Any:
    """`found` with every text of data replaced, but what the page looks up or trusts."""
    if isinstance(found, dict):
        kept = ("html", "act", "id", "event", "stage", "start", "end")
        return {k: v if k in kept and isinstance(v, str) else hostile(v) for k, v in found.items()}
    if isinstance(found, list):
        return [hostile(v) for v in found]
    return HOSTILE if isinstance(found, str) else found


def test_whatever_the_story_says_is_text() -> None:
    """A command, a title, a column or a reason that is markup is shown and does nothing."""
    found = read(page.render(hostile(story())))
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "img", "iframe"}
    assert not [a for _, attrs in found.tags for a in attrs if a.startswith("on")]
    assert "<script>alert(1)</script>" in "".join(found.words)


@pytest.mark.parametrize("name", sorted(story()))
@pytest.mark.parametrize("value", [None, [], {}, "", 3, float("nan"), [None, 7], [{}]])
def test_any_part_may_be_missing_or_odd(name: str, value: Any) -> None:
    """A story that broke off, or lacks a part, still makes a page."""
    read(page.render({**story(), name: value}))


def test_a_story_without_anything_says_so() -> None:
    """No act, no command: the page says it instead of showing empty charts."""
    words = "".join(read(page.render({})).words)
    assert "as far as the story went" in words
    assert "No command was recorded" in words


def test_every_value_in_a_story_may_be_missing() -> None:
    """With any one field of any record gone or None the page is still made."""
    for name, records in story().items():
        if not isinstance(records, list):
            continue
        for field in sorted({k for r in records for k in r} - {"act", "id"}):
            for gone in (True, False):
                less = [{k: v for k, v in r.items() if k != field} for r in records]
                none = [{**r, field: None} for r in records]
                read(page.render({**story(), name: less if gone else none}))


@pytest.mark.parametrize("field", ["t", "stage", "weight", "n", "errors", "e", "total", "event"])
@pytest.mark.parametrize("value", [None, "x", [], float("inf"), {"canary": "x"}])
def test_a_record_of_a_rollout_may_be_odd(field: str, value: Any) -> None:
    """Lines of history.jsonl that lack a number or hold another thing are passed over."""
    told = story()
    for entry in told["rollouts"]:
        entry["history"] = [None, *({**e, field: value} for e in entry["history"]), 3]
        read(page_rollout.rollout(entry, "x"))


def test_a_part_that_was_not_possible_is_a_sentence_in_its_place() -> None:
    """No rollout on this platform, no month watched, no act ended: each is said."""
    told = story() | {"rollouts": [], "months": [], "windows": [], "retrain": {}}
    told["acts"][3]["note"] = "This platform has no Envoy"
    told["acts"][5]["outcome"] = None
    words = "".join(read(page.render(told)).words)
    for said in ("No rollout took place in this act", "This platform has no Envoy", "did not end",
                 "No month of production was watched", "No window of production was looked at",
                 "Recall by month is not known", "as far as the story went"):  # fmt: skip
        assert said in words, said
    assert "BentoML and Envoy" not in words


def test_steps_of_no_act_are_not_lost() -> None:
    """A step whose act is not in the story stands at the end."""
    told = story()
    told["steps"].append({"act": "other", "command": "./mainline status", "verdict": None})
    assert "Other steps" in page.render(told)


@pytest.mark.parametrize(
    ("act", "found"),
    [
        ({"outcome": "PASS", "expected": None}, "well"),
        ({"outcome": "FAIL", "expected": None}, "badly"),
        ({"outcome": "FAIL", "expected": "FAIL"}, "well"),
        ({"outcome": "FAIL", "expected": "blocked"}, "well"),
        ({"outcome": "PASS", "expected": "blocked"}, "badly"),
        ({"outcome": "PASS", "expected": "FAIL"}, "badly"),
        ({"outcome": None, "expected": "blocked"}, "open"),
        ({}, "open"),
    ],
)
def test_an_act_ends_well_as_the_story_wants(act: dict[str, Any], found: str) -> None:
    """A FAIL that was wanted is well; one that was not, and a PASS of a bad change, is not."""
    assert page_acts.ended(act) == found


def test_a_rollout_is_read_from_its_own_part_of_the_history() -> None:
    """Of a history with several rollouts only the named one is drawn, with its own end."""
    by_act = {r["act"]: r["history"] for r in story()["rollouts"]}
    history = by_act["good-change"] + by_act["broken-release"]
    good = course.course(history, "v1.1.0")
    broken = course.course(history, "v1.2.0")
    assert good is not None and broken is not None
    assert (good.ended, len(good.stretches)) == ("promoted", 5)
    assert (broken.ended, [s.name for s in broken.stretches]) == (
        "rolled-back", ["shadow", "canary-5"]
    )  # fmt: skip
    assert 3.2 < broken.end < 3.4 and "250 ms" in broken.reason


def test_a_rollback_in_the_shadow_stage_is_drawn() -> None:
    """A canary that never got live traffic shows its copies and its end."""
    history = [e for e in story()["rollouts"][2]["history"] if e.get("stage") != "canary-5"]
    history.append({"t": history[-1]["t"] + 0.4, "event": "rolled-back", "stage": "shadow",
                    "weight": 0, "reason": "it was slow"})  # fmt: skip
    drawn = page_rollout.rollout({"version": "v1.2.0", "history": history}, "x")
    assert 'class="mirror"' in drawn and "rolled back after" in drawn and "it was slow" in drawn


def test_what_the_client_saw_is_read_from_numbers_or_from_words() -> None:
    """The sentence of `rollout rehearse` gives the same numbers as a mapping."""
    said = "PASS rollout-traffic: 900 requests sent, 1 lost, 3 failed, 2 of 880 compared"
    assert course.client(said) == {"sent": 900, "lost": 1, "wrong": 2}
    assert course.client({"sent": 900, "lost": None}) == {"sent": 900}
    assert course.client(None) == {}


def test_axes_have_round_numbers() -> None:
    """Ticks lie within their range, are few, and round."""
    assert page_svg.ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert page_svg.ticks(0, 117.2, 9) == [0, 20, 40, 60, 80, 100]
    assert page_svg.ticks(0, 0, 5) != []


def test_bars_that_overlap_stand_below_each_other() -> None:
    """Steps that ran side by side get a row each; one after the other, they share it."""
    assert page_svg.rows_of([(0, 10), (5, 9), (11, 12), (20, 30)], gap=0) == [0, 1, 0, 0]


def test_a_command_is_named_by_its_word() -> None:
    """The timeline labels a bar by the command's own word."""
    assert page_timeline.word("./mainline data add x") == "data"
    assert page_timeline.word("git merge") == "git"
    assert page_timeline.word(None) == ""


MEASURE = """<script>addEventListener('load', () => {
  const size = e => { const b = e.getBoundingClientRect(); return [b.width, b.height]; };
  const drawn = [...document.querySelectorAll('figure.chart svg')].map(s => ({
    id: s.closest('figure').id, size: size(s),
    marks: [...s.querySelectorAll('rect,path,circle,line')].filter(m => {
      const b = m.getBBox(); return b.width + b.height > 0; }).length,
    out: [...s.querySelectorAll('text')].filter(t => {
      const b = t.getBBox(); return b.x < -1 || b.x + b.width > 1041; }).map(t => t.textContent)}));
  document.body.dataset.found = JSON.stringify({
    drawn, wide: document.documentElement.scrollWidth - innerWidth,
    ground: getComputedStyle(document.body).backgroundColor});
});</script></body>"""


def look(chromium: Path, path: Path, folder: Path, scheme: int, width: int) -> dict[str, Any]:
    """What a headless Chromium `width` CSS pixels wide measures on the page; scheme 0 is dark."""
    done = subprocess.run(
        [str(chromium), "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--no-first-run",
         f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900",
         f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip
    body = next((a for t, a in Page(done.stdout).tags if t == "body"), {})
    assert body.get("data-found"), done.stderr[-2000:]
    return json.loads(str(body["data-found"]))


def test_every_chart_is_rendered_by_a_browser(
    tmp_path: Path, require_tool: Callable[[str], Path]
) -> None:
    """In light and dark, on a wide and a narrow screen: no chart is empty, nothing sticks out."""
    chromium = require_tool("chromium")
    path = page.write(story(), tmp_path / "story.html")
    # The measuring script needs a page that lets scripts run; the real one does not.
    text = re.sub(r"<meta http-equiv=[^>]*>", "", path.read_text("utf-8"))
    path.write_text(text.replace("</body>", MEASURE), encoding="utf-8")
    grounds = set()
    for scheme, width in ((1, 1200), (0, 500)):
        found = look(chromium, path, tmp_path, scheme, width)
        grounds.add(found["ground"])
        assert [d["id"] for d in found["drawn"]] == list(CHARTS)
        for chart in found["drawn"]:
            assert min(chart["size"]) > 100, chart
            assert chart["marks"] > 5, chart
            assert chart["out"] == [], chart
        assert found["wide"] <= 0
    assert len(grounds) == 2
