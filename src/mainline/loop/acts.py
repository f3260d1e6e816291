"""The acts of the loop, in the order in which a project lives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mainline.errors import PlatformError
from mainline.git import git
from mainline.loop import changes
from mainline.loop.workshop import StoryBroken, Workshop

MONTHS = {7: "July", 8: "August", 9: "September", 10: "October", 11: "November", 12: "December"}
PLATFORM = 23


@dataclass
class Job:
    """A pull request in its own clone, as CI would have it."""

    number: int
    branch: str
    title: str
    clone: Path

    @property
    def where(self) -> str:
        """How the record calls it."""
        return f"pull request {self.number}"


def first_release(shop: Workshop, act: dict[str, Any]) -> None:
    """Main as it is: trained, proved against two baselines, registered."""
    for words in (("pipeline",), ("compare",), ("report",), ("gate",)):
        shop.mainline(act["id"], *words)
    keep_report(shop, act, shop.work, "First release: no base yet")
    register(shop, act)


def register(shop: Workshop, act: dict[str, Any]) -> None:
    """The signed tag, pushed."""
    shop.mainline(act["id"], "register", "--push", env=shop.signing)


def propose(shop: Workshop, number: int, branch: str, change: Callable[[Path], str]) -> Job:
    """A branch with one commit, pushed, and its clone."""
    clone = shop.clone(f"pr-{number}", "main")
    git(clone, "switch", "--quiet", "--create", branch)
    title = change(clone)
    shop.commit(clone, title)
    git(clone, "push", "--quiet", "origin", branch)
    return Job(number, branch, title, clone)


def train(shop: Workshop, act: dict[str, Any], job: Job) -> None:
    """The first half of what `train.yml` does for a pull request: its own model."""
    for words in (("data", "pull"), ("pipeline",)):
        shop.mainline(act["id"], *words, cwd=job.clone, where=job.where)


def judge(
    shop: Workshop, act: dict[str, Any], job: Job, expect: int, tried: bool = False
) -> None:  # fmt: skip
    """The second half: that model against production, as it is by now.

    `tried` starts its service and asks it, which CI does each time and a story need show once.
    """
    git(job.clone, "fetch", "--quiet", "--tags", "origin")
    if tried:
        shop.mainline(act["id"], "serve", "--try", cwd=job.clone, where=job.where)
    for words, status in ((("compare",), expect), (("report",), 0), (("gate",), expect)):
        shop.mainline(act["id"], *words, cwd=job.clone, where=job.where, expect=(status,))
    keep_report(shop, act, job.clone, f"Pull request {job.number}: {job.title}")


def merge(shop: Workshop, job: Job) -> None:
    """A person merges the pull request on the remote; main is fetched."""
    git(shop.work, "fetch", "--quiet", "origin")
    git(shop.work, "merge", "--quiet", "--no-ff", "-m",
        f"Merge pull request {job.number}: {job.title}", f"origin/{job.branch}")  # fmt: skip
    git(shop.work, "push", "--quiet", "origin", "main")


def release(shop: Workshop, act: dict[str, Any], expect: int = 0) -> str:
    """What `release.yml` and `deploy.yml` do after a merge; returns the version."""
    for words in (("pipeline",), ("compare",), ("gate",)):
        shop.mainline(act["id"], *words)
    register(shop, act)
    return deploy(shop, act, expect)


def deploy(shop: Workshop, act: dict[str, Any], expect: int = 0) -> str:
    """Build the newest version and take it through its stages; returns its name."""
    name, version = act["id"], newest(shop)
    shop.together(partial(shop.mainline, name, "verify", version),
                  partial(shop.mainline, name, "build", version))  # fmt: skip
    step = shop.mainline(name, "rollout", "rehearse", version, "--no-down",
                         expect=(expect, PLATFORM))  # fmt: skip
    keep_rollout(shop, act, version, step.status, step.says)
    if step.status in (0, PLATFORM):
        shop.mainline(name, "promote", version, "--push")
        act["outcome"] = "PASS"
    else:
        shop.mainline(name, "reject", version, "--push", "--reason", "Its rollout was taken back")
    return version


def newest(shop: Workshop) -> str:
    """The newest version's name."""
    from mainline import registry, settings

    return registry.find(shop.work, settings.load(shop.work).model.name, None).name


def opening(shop: Workshop, meanwhile: Callable[[], Any]) -> dict[str, Any]:
    """The first release and two pull requests, a good and a bad one, side by side as in CI.

    The good one is merged; returns its act, whose release comes next.
    """
    first = shop.act("first-release", "The first release",
                     "Main as it was cloned: trained on January to June, proved, registered, "
                     "served.")  # fmt: skip
    shop.mainline(first["id"], "data", "pull")
    good = shop.act("good-change", "A good change",
                    "A pull request adds a feature. CI trains it and compares it with production "
                    "on the same rows; it is merged and takes over from 5 to 100% of the "
                    "traffic.")  # fmt: skip
    bad = shop.act("bad-change", "A bad change",
                   "A pull request drops columns that matter. The gate blocks it.")  # fmt: skip
    one = propose(shop, 1, "better-features", changes.better)
    two = propose(shop, 2, "fewer-columns", changes.worse)
    shop.together(
        partial(first_release, shop, first), meanwhile,
        partial(train, shop, good, one), partial(train, shop, bad, two),
    )  # fmt: skip
    shop.together(
        partial(deploy, shop, first),
        partial(judge, shop, good, one, 0, tried=True),
        partial(judge, shop, bad, two, 10),
    )
    bad["outcome"], bad["expected"] = "FAIL", "blocked"
    merge(shop, one)
    return good


def propose_broken(shop: Workshop) -> tuple[dict[str, Any], Job]:
    """The pull request of a release that will break, and its act."""
    act = shop.act("broken-release", "A release that breaks in production",
                   "A change passes every offline gate, and is slow as soon as it serves. The "
                   "canary is taken back by the guard; a revert puts main in step with "
                   "production.")  # fmt: skip
    return act, propose(shop, 3, "exchange-rates", changes.slow)


def broken_release(shop: Workshop, act: dict[str, Any], job: Job) -> None:
    """A change that no offline gate can see; the canary does, and its revert is merged."""
    judge(shop, act, job, 0)
    merge(shop, job)
    release(shop, act, 10)
    act["outcome"], act["expected"] = "FAIL", "rolled back"
    revert = propose(shop, 4, "revert-exchange-rates", _revert)
    train(shop, act, revert)
    judge(shop, act, revert, 0)
    merge(shop, revert)


def release_revert(shop: Workshop, act: dict[str, Any]) -> None:
    """What `release.yml` does after the revert: main has the model of production again."""
    for words in (("pipeline",), ("compare",), ("gate",)):
        shop.mainline(act["id"], *words)
    register(shop, act)


def _revert(clone: Path) -> str:
    git(clone, "revert", "--no-commit", "--mainline", "1", "HEAD")
    return "Revert: use the exchange rates of the day"


def can_roll_out() -> bool:
    """Whether Envoy and supervisor work here; says so by name where they do not."""
    from mainline.rollout import host

    try:
        host.require_platform()
    except PlatformError as error:
        print(f"  {error} The rest of the loop goes on.", flush=True)
        return False
    return True


# ---- production --------------------------------------------------------------------------------


def own_data(shop: Workshop, seed: int) -> None:
    """Months 1 to 6 of another seed, in place of those in the demo store."""
    shop.mainline("first-release", "data", "pull")
    for month in range(1, 7):
        shop.python("-m", "sample", "month", str(month), "--seed", str(seed), "--out",
                    str(shop.work / "data" / "rows" / f"2024-{month:02d}.parquet"))  # fmt: skip
    shop.python("-m", "dvc", "add", "--quiet", "data")
    shop.commit(shop.work, f"The sample of seed {seed}")
    git(shop.work, "push", "--quiet", "origin", "main")


def feed(shop: Workshop, months: list[int], seed: int) -> None:
    """The sample's later months arrive: rows without labels, and labels as they become known."""
    shop.python("-m", "sample", "months", *map(str, months), "--seed", str(seed), "--until",
                "2025-03-01", "--out", str(shop.feed), "--labels", str(shop.labels))  # fmt: skip


def serve_month(shop: Workshop, act: str, clone: Path, month: int) -> None:
    """Production answers the month's requests; each answer goes to the prediction log."""
    name = f"2024-{month:02d}"
    shop.mainline(act, "predict", str(shop.feed / f"{name}.parquet"), "--log", str(shop.log),
                  "--out", str(shop.folder / "scored" / f"production-{name}.parquet"),
                  cwd=clone, where="production")  # fmt: skip


def watch_month(
    shop: Workshop, act: str, clone: Path, month: int, expect: tuple[int, ...]
) -> dict[str, Any]:  # fmt: skip
    """Look at production on the first day after the month; returns reports/monitor.json."""
    day = first_after(month)
    # One page by Evidently shows what such pages are; each takes as long as all else here.
    html = [] if month == 9 else ["--no-html"]
    shop.mainline(act, "monitor", "--as-of", day, "--log", str(shop.log), *html,
                  cwd=clone, where="production", expect=expect)  # fmt: skip
    return json.loads((clone / "reports" / "monitor.json").read_text("utf-8"))


def first_after(month: int) -> str:
    """The first day after a month of 2024."""
    return "2025-01-01" if month == 12 else f"2024-{month + 1:02d}-01"


def note_month(shop: Workshop, month: int, seen: dict[str, Any]) -> dict[str, Any]:
    """Put a look at production into the story."""
    trigger = seen["trigger"]
    last = [w for w in seen["windows"] if w["end"][:10] <= first_after(month)]
    entry = {
        "month": month, "name": MONTHS[month],
        "alerts": last[-1]["level"] if last else "no verdict",
        "trigger": trigger["kind"], "trigger_reason": trigger["reason"],
        "recall": {}, "precision": {}, "evalue": _evalue(seen),
    }  # fmt: skip
    shop.story.months.append(entry)
    return entry


def _evalue(seen: dict[str, Any]) -> float | None:
    stream = seen["quality"].get("missed") or next(iter(seen["quality"].values()), None)
    return stream.get("e") if stream else None


def measure_month(shop: Workshop, month: int, scored: Path) -> tuple[float, float]:
    """Recall and precision of scored rows against the labels that were known in the end."""
    found = pd.read_parquet(scored)
    labels = pd.read_parquet(shop.labels / f"2024-{month:02d}.parquet")
    y = (
        labels.sort_values("known_at")
        .drop_duplicates("row_id", keep="last")
        .set_index("row_id")["label"]
    )
    truth = found["row_id"].map(y).fillna(0).astype(int)
    hits = int(((found["decision"] == 1) & (truth == 1)).sum())
    return hits / max(int(truth.sum()), 1), hits / max(int((found["decision"] == 1).sum()), 1)


# ---- for the page ------------------------------------------------------------------------------


def keep_report(shop: Workshop, act: dict[str, Any], clone: Path, title: str) -> None:
    """The pull request's report as its reader sees it."""
    from mainline.report import html

    verdict = json.loads((clone / "reports" / "verdicts" / "gate.json").read_text("utf-8"))[
        "verdict"
    ]
    shop.story.reports.append(
        {"act": act["id"], "title": title, "verdict": verdict, "html": html.report_body(clone)}
    )


def keep_rollout(shop: Workshop, act: dict[str, Any], version: str, status: int, says: str) -> None:
    """The record of a rollout: the part of the history that is new."""
    if status == PLATFORM:
        act["note"] = says
        return
    path = shop.work / "serving" / "history.jsonl"
    known = sum(len(r["history"]) for r in shop.story.rollouts)
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    history = [json.loads(line) for line in lines[known:]]
    outcome = "rolled back" if status else "promoted" if shop.story.rollouts else "first"
    shop.story.rollouts.append(
        {
            "act": act["id"],
            "version": version,
            "outcome": outcome,
            "history": history,
            "client": says,
        }
    )


def expect_kind(found: dict[str, Any], kinds: tuple[str, ...], month: int) -> None:
    """StoryBroken when production asks for something else than the story says."""
    kind = found["trigger"]["kind"]
    if kind not in kinds:
        raise StoryBroken(
            f"After {MONTHS[month]} the monitor asks for {kind!r} ({found['trigger']['reason']}), "
            f"the story expects {' or '.join(kinds)}",
            "Another --seed may tell another story",
        )
