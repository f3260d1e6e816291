"""`mainline loop`: the whole life of the sample project, by the commands of the workflows."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mainline.errors import UsageError
from mainline.files import write_json
from mainline.git import git, require_repository
from mainline.loop import acts
from mainline.loop.workshop import Story, Workshop, opened

# Whose months 1 to 6 are in the demo store.
SHIPPED_SEED = 7


def run(
    root: Path, *, keep: bool = False, seed: int = 7, fast: bool = False,
    open_page: bool = False, out: Path | None = None,
) -> int:  # fmt: skip
    """Tell the story in a throw-away clone of what is committed; write one page; returns 0.

    `fast` leaves out the broken release and the months after the retraining. Raises StoryBroken
    (10) when a step ends otherwise than the story says. Everything that was started is ended.
    """
    require_repository(root)
    if not (root / "src" / "sample").is_dir():
        raise UsageError(
            "The loop tells the story of the sample, which is not in this repository",
            "Use `./mainline check` on your own data",
        )
    if git(root, "status", "--porcelain", "--untracked-files=no", check=False):
        print("Uncommitted changes are left out: the loop runs what is committed.")
    began = time.monotonic()
    with opened(root, keep) as shop:
        print(f"In a throw-away clone ({shop.folder}); your checkout is not touched.")
        try:
            tell(shop, seed, fast)
        finally:
            page = _page(root, shop, seed, out, time.monotonic() - began)
        if keep:
            print(f"\nThe clone is kept: {shop.work}")
    print(f"\nDone in {time.monotonic() - began:.0f} s. The story: {page}")
    if open_page:
        import webbrowser

        webbrowser.open(page.as_uri())
    return 0


def tell(shop: Workshop, seed: int, fast: bool) -> None:
    """All acts."""
    shop.found()
    if seed != SHIPPED_SEED:
        acts.own_data(shop, seed)
    months = [7, 8, 9, 10] if fast else list(acts.MONTHS)
    good = acts.opening(shop, partial(acts.feed, shop, months, seed))
    others: list[Callable[[], Any]] = []
    if fast or not acts.can_roll_out():
        acts.release(shop, good)
        production = shop.clone("production", "main")
        watch(shop, production)
    else:
        act, job = acts.propose_broken(shop)
        shop.together(partial(acts.release, shop, good), partial(acts.train, shop, act, job))
        production = shop.clone("production", "main")
        # The months go on while somebody breaks a release: the schedule has a runner of its own.
        shop.together(partial(watch, shop, production),
                      partial(acts.broken_release, shop, act, job))  # fmt: skip
        others.append(partial(acts.release_revert, shop, act))
    act = retraining(shop)
    # Main is merged into by one at a time; what is proposed to it meanwhile is proved beside that.
    job, *_ = shop.together(partial(propose_retrained, shop, act, production), *others)
    release_retrained(shop, act, job, production, fast)


def watch(shop: Workshop, production: Path) -> None:
    """July to October in production: silence, drift, lost quality."""
    act = shop.act("watch", "Months in production",
                   "July and August are quiet. In September a wallet is launched, and with it "
                   "comes a fraud that the model has never seen.")  # fmt: skip
    name = act["id"]
    shop.mainline(name, "data", "pull", cwd=production, where="production")
    shop.mainline(name, "pipeline", cwd=production, where="production")
    seen: dict[str, Any] = {}
    for month in (7, 8, 9, 10):
        quiet = month < 9
        acts.serve_month(shop, name, production, month)
        seen = acts.watch_month(shop, name, production, month, (0, 11) if quiet else (10,))
        kinds = ("none",) if quiet else ("drift", "drift-few-labels", "quality")
        acts.expect_kind(seen, kinds, month)
        _measure(shop, month, acts.note_month(shop, month, seen))
        shop.story.windows = _windows(seen)
    acts.expect_kind(seen, ("quality",), 10)
    _add_months(shop, name, production, acts.first_after(10))
    act["outcome"] = "FAIL"
    act["expected"] = "alert in September, lost quality in October"


def retraining(shop: Workshop) -> dict[str, Any]:
    """The act of the pull request that production asked for."""
    return shop.act("retrain", "The retraining",
                    "The monitor asked for a new model. Rows and labels that have matured go on "
                    "one branch; the candidate is judged on new rows and on old ones.")  # fmt: skip


def propose_retrained(shop: Workshop, act: dict[str, Any], production: Path) -> acts.Job:
    """The branch with the new data, trained and judged."""
    git(production, "pull", "--quiet", "--ff-only", "origin", "main")
    shop.mainline(act["id"], "retrain", "--as-of", acts.first_after(10),
                  cwd=production, where="production")  # fmt: skip
    branch = f"retrain/{_model(shop)}"
    job = acts.Job(5, branch, _retrain_text(shop, production), shop.clone("pr-5", branch))
    shop.story.retrain.update({"branch": branch, "month": 10})
    acts.train(shop, act, job)
    acts.judge(shop, act, job, 0)
    return job


def release_retrained(
    shop: Workshop, act: dict[str, Any], job: acts.Job, production: Path, fast: bool
) -> None:  # fmt: skip
    """Its release, and recall recovered."""
    name = act["id"]
    acts.merge(shop, job)
    shop.mainline(name, "data", "pull")
    # `production` still has the model from before: what would have been without retraining.
    old = () if fast else (partial(_old_model, shop, name, production),)
    version, *_ = shop.together(partial(acts.release, shop, act), *old)
    shop.story.retrain["version"] = version
    act["outcome"] = "PASS"
    if fast:
        return
    shop.together(*(partial(acts.serve_month, shop, name, shop.work, m) for m in (11, 12)))
    seen = acts.watch_month(shop, name, shop.work, 12, (0, 10, 11))
    for month in (11, 12):
        entry = acts.note_month(shop, month, seen)
        _measure(shop, month, entry, shop.folder / "scored" / f"old-2024-{month:02d}.parquet")
    shop.story.windows += [w for w in _windows(seen) if w["start"] >= "2024-11-01"]


def _old_model(shop: Workshop, act: str, production: Path) -> None:
    for month in (11, 12):
        scored = shop.folder / "scored" / f"old-2024-{month:02d}.parquet"
        shop.mainline(act, "predict", str(shop.feed / f"2024-{month:02d}.parquet"),
                      "--out", str(scored), cwd=production, where="old model")  # fmt: skip


def _add_months(shop: Workshop, act: str, production: Path, day: str) -> None:
    """The months so far, and the labels known by `day`, go into data/ by the two commands."""
    import pandas as pd

    rows = [str(shop.feed / f"2024-{m:02d}.parquet") for m in (7, 8, 9, 10)]
    shop.mainline(act, "data", "add", *rows, cwd=production, where="production")
    known = shop.folder / "known"
    known.mkdir()
    files = []
    for path in sorted(shop.labels.glob("*.parquet")):
        labels = pd.read_parquet(path)
        labels = labels[pd.to_datetime(labels["known_at"]) <= pd.Timestamp(day)]
        if len(labels):
            labels.to_parquet(known / path.name, index=False)
            files.append(str(known / path.name))
    shop.mainline(act, "labels", "add", *files, cwd=production, where="production")


def _measure(shop: Workshop, month: int, entry: dict[str, Any], old: Path | None = None) -> None:
    scored = shop.folder / "scored" / f"production-2024-{month:02d}.parquet"
    for key, path in (("production", scored), ("without_retraining", old or scored)):
        recall, precision = acts.measure_month(shop, month, path)
        entry["recall"][key], entry["precision"][key] = round(recall, 4), round(precision, 4)
    found = entry["recall"]["production"]
    print(f"  {entry['name']}: drift {entry['alerts']}, recall {found:.2f}, "
          f"the monitor asks for: {entry['trigger']}", flush=True)  # fmt: skip


def _windows(seen: dict[str, Any]) -> list[dict[str, Any]]:
    out = []
    for window in seen["windows"]:
        columns = window.get("columns") or {}
        ratios = {n: c["psi"] / c["threshold"] for n, c in columns.items() if c.get("threshold")}
        top = max(ratios, key=lambda n: ratios[n], default=None)
        out.append({"start": window["start"][:10], "end": window["end"][:10], "n": window["n"],
                    "level": window["level"], "column": top,
                    "ratio": ratios[top] if top else None})  # fmt: skip
    return out


def _retrain_text(shop: Workshop, production: Path) -> str:
    text = (production / "reports" / "retrain.md").read_text("utf-8")
    title, _, body = text.partition("\n")
    title = title.removeprefix("# ")
    shop.story.retrain.update({"title": title, "body": body.strip()})
    return title


def _model(shop: Workshop) -> str:
    from mainline import settings

    return settings.load(shop.work).model.name


def _page(root: Path, shop: Workshop, seed: int, out: Path | None, seconds: float) -> Path:
    """Write the page and its data, of a story that broke off too."""
    folder = root / "build" / "loop"
    folder.mkdir(parents=True, exist_ok=True)
    story: Story = shop.story
    version = platform.python_version()
    document = {
        **story.to_dict(), "model": "card-fraud", "seed": seed, "seconds": round(seconds, 1),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, Python {version}, {platform.system()}",
    }  # fmt: skip
    write_json(folder / "story.json", document)
    from mainline.loop import page

    return page.write(document, (out or folder / "story.html").resolve())
