"""A made-up story with everything in it, in the shape that the loop collects."""

from __future__ import annotations

import random
from typing import Any

from mainline.report import html as house
from mainline.report.blocks import Badge, Code, Interval, Paragraph, Report, Section, Table
from mainline.verdict import Verdict

STAGES = (("shadow", 0, 1.4), ("canary-5", 5, 3.1), ("canary-25", 25, 2.6), ("canary-50", 50, 2.2),
          ("promote", 100, 0.2))  # fmt: skip
ACTS = (
    ("first-release", "The first release", "PASS", None),
    ("good-change", "A good change", "PASS", None),
    ("bad-change", "A bad change", "FAIL", "blocked"),
    ("broken-release", "A release that breaks in production", "FAIL", "rolled back"),
    ("watch", "Months in production", "FAIL", "alert in September, lost quality in October"),
    ("retrain", "The retraining", "PASS", None),
)
TEXT = ("One or two sentences that say what this act is about, who proposes what, and what a "
        "reader should look at in the pictures below.")  # fmt: skip
PROOF = (("data pull", None, 1.1), ("pipeline", "PASS", 6.8), ("compare", "PASS", 3.4),
         ("report", None, 0.9), ("gate", "PASS", 0.4))  # fmt: skip
RELEASE = (("register --push", None, 0.8), ("build card-fraud@v1.1.0", None, 3.2),
           ("rollout rehearse card-fraud@v1.1.0 --no-down", "PASS", 11.5),
           ("promote card-fraud@v1.1.0 --push", None, 0.7))  # fmt: skip


def story() -> dict[str, Any]:
    """All parts, with numbers like those of the sample project."""
    return {
        "model": "card-fraud", "seed": 7, "seconds": 117.2, "version": "0.1.0",
        "when": "2026-01-17T10:21:07+00:00", "machine": "2 cores, Python 3.11.9, Linux",
        "acts": [{"id": i, "title": t, "text": TEXT, "outcome": o, "expected": e}
                 for i, t, o, e in ACTS],
        "steps": steps(),
        "reports": [report("first-release", "First release: no base yet", "PASS"),
                    report("good-change", "Pull request 1: Count the signs of fraud", "PASS"),
                    report("bad-change", "Pull request 2: Drop the velocity columns", "FAIL")],
        "rollouts": [
            {"act": "first-release", "version": "card-fraud@v1.0.0", "outcome": "first",
             "history": [{"t": 1.0, "event": "first", "version": "card-fraud@v1.0.0"}],
             "client": {"sent": 412, "lost": 0, "wrong": 0}},
            {"act": "good-change", "version": "card-fraud@v1.1.0", "outcome": "promoted",
             "history": promoted(), "client": {"sent": 9_214, "lost": 0, "wrong": 0}},
            {"act": "broken-release", "version": "card-fraud@v1.2.0", "outcome": "rolled back",
             "history": broken(),
             "client": "FAIL rollout-canary-5\nPASS rollout-traffic: 2310 requests sent, 0 lost, "
                       "0 failed, 0 of 2290 compared answers wrong"},
        ],
        "months": months(), "windows": windows(),
        "retrain": {"branch": "retrain/card-fraud", "title": "Retrain card-fraud: quality fell",
                    "body": "Missed frauds: 61 of 118.\n\n| part | rows |\n|---|---|", "month": 10,
                    "version": "card-fraud@v1.2.1"},
    }  # fmt: skip


def report(act: str, title: str, verdict: str) -> dict[str, Any]:
    """One report; its body stands for what mainline.report.html renders."""
    found = Verdict(verdict)
    rows = tuple(
        ((name,), (Badge(found),), (Interval(value, value - 0.012, value + 0.013, 0.03),))
        for name, value in (("average precision", 0.017), ("recall", 0.009), ("brier", -0.001))
    )
    body = house.render(
        Report("card-fraud", found, ("The candidate is compared with ", Code("v1.0.0"), "."), (
            Section("Compared with production", (
                Table(("metric", "verdict", "difference"), rows),
                Paragraph(("7,500 rows of customers that neither model has seen.",)),
            )),
        ))
    )  # fmt: skip
    return {"act": act, "title": title, "verdict": verdict, "html": body}


def steps() -> list[dict[str, Any]]:
    """The commands; the good and the bad change are proved side by side."""
    out: list[dict[str, Any]] = []

    def run(act: str, at: float, where: str, chain: Any) -> float:
        for words, verdict, seconds in chain:
            says = f"{verdict or 'done'}: {words} looked at 7,500 rows\nand said more\nin two lines"
            out.append({"act": act, "command": f"./mainline {words}", "where": where,
                        "verdict": verdict, "seconds": seconds, "at": round(at, 2), "says": says,
                        "status": 10 if verdict == "FAIL" else 0})  # fmt: skip
            at += seconds + 0.1
        return at

    failed = [(w, "FAIL" if w in ("compare", "gate") else v, s) for w, v, s in PROOF]
    back = [(w, "FAIL" if w.startswith("rollout") else v, s) for w, v, s in RELEASE[:3]]
    at = run("first-release", 0.4, "main", PROOF + RELEASE)
    run("bad-change", at, "pull request 2", failed)
    at = run("good-change", at, "pull request 1", PROOF)
    at = run("good-change", at, "main", RELEASE)
    at = run("broken-release", at, "pull request 3", PROOF)
    at = run("broken-release", at, "main", back)
    for month, verdict in ((7, "PASS"), (8, "INCONCLUSIVE"), (9, "FAIL"), (10, "FAIL")):
        serve = (f"predict ../feed/2024-{month:02d}.parquet --log ../log", None, 1.9)
        at = run("watch", at, "production", (serve, (f"monitor --as-of 2024-{month + 1:02d}-01",
                                                     verdict, 2.6)))  # fmt: skip
    at = run("retrain", at, "main", (("retrain --as-of 2024-11-01", None, 3.0),))
    at = run("retrain", at, "pull request 5", PROOF)
    run("retrain", at, "main", RELEASE)
    return out


def look(t: float, stage: str, weight: float, dice: random.Random, **more: Any) -> dict[str, Any]:
    """One look of the guard at about 260 requests."""
    n = dice.randint(230, 290)
    canary = sum(dice.random() < weight / 100 for _ in range(n))
    slow = canary if more.get("slow") else 0
    return {"t": t, "event": "look", "stage": stage, "weight": weight, "generation": 3,
            "verdict": "INCONCLUSIVE", "n": {"stable": n - canary, "canary": canary},
            "errors": {"stable": int(dice.random() < 0.1), "canary": 0},
            "slow": {"stable": 0, "canary": slow}, "p50": {"stable": 2.0, "canary": None},
            "p99": {"stable": 9.0, "canary": None}, "diverted": 0,
            "e": {"errors": more.get("e", 1.0), "latency": 0.4},
            "answers": {"compared": 40, "wrong": 0, "pairs": 40}}  # fmt: skip


def summed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`events` with the totals of all looks so far, as the guard records them."""
    total = {"stable": 0, "canary": 0}
    for event in events:
        for arm, count in event.get("n", {}).items():
            total[arm] += count
            event["total"] = dict(total)
    return events


def promoted() -> list[dict[str, Any]]:
    """A history.jsonl in which all stages pass."""
    dice = random.Random(3)
    t = 1_700_000_000.0
    out: list[dict[str, Any]] = [{"t": t, "event": "started", "version": "card-fraud@v1.1.0",
                                  "weight": 0, "stage": None, "status": "running"}]  # fmt: skip
    t += 0.6
    for name, weight, seconds in STAGES:
        out.append({"t": t, "event": "stage", "stage": name, "weight": weight, "reason": ""})
        for k in range(int(seconds / 0.25)):
            e = 1.6 * 0.93 ** (len(out) * 0.7)
            out.append(look(t + 0.25 * k, name, weight, dice, e=e))
        t += seconds
        out.append({"t": t - 0.05, "event": "verdict", "stage": name, "verdict": "PASS"})
    out.append({"t": t, "event": "promoted", "stage": "promote", "weight": 0, "reason": ""})
    out.append({"t": t + 0.1, "event": "tidied", "stage": "promote", "weight": 0, "reason": ""})
    return summed(out)


def broken() -> list[dict[str, Any]]:
    """A history.jsonl in which the canary is slow at 5% and taken back."""
    dice = random.Random(4)
    t = 1_700_000_100.0
    out: list[dict[str, Any]] = [
        {"t": t, "event": "started", "version": "card-fraud@v1.2.0", "weight": 0, "stage": None},
        {"t": t + 0.5, "event": "stage", "stage": "shadow", "weight": 0, "reason": ""},
        *(look(t + 0.5 + 0.25 * k, "shadow", 0, dice) for k in range(5)),
        {"t": t + 1.8, "event": "verdict", "stage": "shadow", "verdict": "PASS"},
        {"t": t + 1.9, "event": "stage", "stage": "canary-5", "weight": 5, "reason": ""},
        *(look(t + 2 + 0.25 * k, "canary-5", 5, dice, slow=k > 1, e=1.2 * 2.6**k)
          for k in range(5)),
        {"t": t + 3.3, "event": "rolled-back", "stage": "canary-5", "weight": 0, "by": "guard",
         "reason": "52 of 61 canary and 0 of 1189 stable requests took more than 250 ms: evidence "
                   "e = 54.8 against the canary, limit 20"},
    ]  # fmt: skip
    return summed(out)


def months() -> list[dict[str, Any]]:
    """July to December: quiet, the new fraud, the new model."""
    told = {7: ("July", "quiet", "none", 0.77, 0.77), 8: ("August", "watch", "none", 0.78, 0.78),
            9: ("September", "alert", "drift", 0.52, 0.52),
            10: ("October", "alert", "quality", 0.47, 0.47),
            11: ("November", "alert", "none", 0.84, 0.46),
            12: ("December", "watch", "none", 0.83, 0.47)}  # fmt: skip
    return [
        {"month": m, "name": name, "alerts": level, "trigger": trigger,
         "trigger_reason": "" if trigger == "none" else "missed: 61 of 118, bound 34%, e 341.2",
         "recall": {"production": now, "without_retraining": old},
         "precision": {"production": 0.58, "without_retraining": 0.49},
         "evalue": {9: 3.1, 10: 341.2}.get(m)}
        for m, (name, level, trigger, now, old) in told.items()
    ]  # fmt: skip


def windows() -> list[dict[str, Any]]:
    """26 weeks from 1 July; the wallet is launched on 1 September."""
    from datetime import date, timedelta

    dice = random.Random(5)
    out = []
    for k in range(26):
        start = date(2024, 7, 1) + timedelta(weeks=k)
        late = start >= date(2024, 9, 1)
        ratio = dice.uniform(4.4, 6.2) if late else dice.uniform(0.3, 0.9)
        ratio = 1.2 if k == 7 else ratio
        level = "alert" if late else "watch" if k == 7 else "quiet"
        out.append({"start": start.isoformat(), "end": (start + timedelta(weeks=1)).isoformat(),
                    "n": dice.randint(1_080, 1_190), "level": level, "ratio": round(ratio, 3),
                    "column": "merchant_category" if late else "amount"})  # fmt: skip
    out[-1] |= {"level": "no verdict", "ratio": None, "column": None, "n": 160}
    return out
