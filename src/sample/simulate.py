"""Simulated card payments: seasons, slow trends, and from month 9 on a new kind of fraud.

Every draw comes from the seed sequence (seed, month, chunk), so months and chunks are independent
of one another, reproducible, and may be made in parallel. What all chunks of a month share (how
busy a day is, which categories a week favours) comes from streams of the month alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sample import tables as t

LEGIT, STOLEN, TAKEOVER, MULE = range(4)
CUSTOMER_STREAM = 999
DAY_STREAM, WEEK_STREAM = 1_000_077, 1_000_078  # out of the way of any chunk


@dataclass(frozen=True)
class Customers:
    """One array (customers,) for each thing that stays the same about a customer."""

    home: np.ndarray
    age_band: np.ndarray
    scale: np.ndarray  # of the log-amount
    account_age: np.ndarray  # days
    card: np.ndarray
    system: np.ndarray
    online: np.ndarray  # logit of paying remotely


def customers(n: int, seed: int) -> Customers:
    """The same `n` customers in every month of one seed."""
    rng = np.random.default_rng([seed, CUSTOMER_STREAM])
    home = rng.choice(len(t.COUNTRIES), n, p=t.COUNTRY_SHARE)
    band = rng.choice(4, n, p=t.AGE_SHARE)
    scale, age, card = rng.normal(0, 0.35, n), rng.gamma(1.3, 500, n), rng.random(n)
    cards = np.where(card < 0.08, "prepaid", np.where(card < 0.6, "debit", "credit"))
    system = rng.choice(4, n, p=t.SYSTEM_SHARE)
    return Customers(home, band, scale, age, cards, system, rng.normal(0, 0.6, n))


def mule_share(m: int, concept_month: int) -> float:
    """How much of all fraud is of the new kind in month `m`: 0, then .40, .45, .50."""
    return 0.0 if m < concept_month else min(0.5, 0.40 + 0.05 * (m - concept_month))


def month(
    m: int,
    n: int = 5000,
    seed: int = 7,
    n_cust: int = 2000,
    chunk: int = 0,
    start: str = "2024-01-01",
    fraud: float = 0.04,
    concept_month: int = 9,
    drift: bool = True,
    concept_only: bool = False,
    with_type: bool = False,
) -> pd.DataFrame:
    """The `n` payments of month `m` (1 is the month of `start`), sorted by time.

    drift=False is the control: seasons and slow trends only. concept_only=True brings the new fraud
    from `concept_month` on without the launch of the wallet that announces it in the features.
    with_type=True adds `_type`, the kind of fraud, which nobody outside a simulation can know.
    """
    rng = np.random.default_rng([seed, m, chunk])
    who = customers(n_cust, seed)
    first = pd.Timestamp(start) + pd.DateOffset(months=m - 1)
    new = drift and m >= concept_month
    w3 = mule_share(m, concept_month) if new else 0.0
    kinds = [STOLEN, TAKEOVER, MULE]
    kind = rng.choice(kinds, n, p=[0.55 * (1 - w3), 0.45 * (1 - w3), w3])
    kind = np.where(rng.random(n) < fraud * (1 + 0.6 * w3), kind, LEGIT)
    c = rng.integers(0, n_cust, n)
    day, hour = _times(rng, n, first, (seed, m))
    launch = 4.0 if new and not concept_only else 1.0
    category = _categories(rng, kind, day, first.month, (seed, m), launch)
    channel = _channels(rng, kind, category, who.online[c] + 0.015 * (m - 6))
    night = ((kind == STOLEN) | (kind == TAKEOVER)) & (rng.random(n) < 0.45)
    hour = np.where(night, rng.choice(t.NIGHT, n), hour)
    seconds = day * 86400 + hour * 3600 + rng.integers(0, 3600, n)
    frame = pd.DataFrame({
        "transaction_id": _ids(seed, m, chunk, n),
        "timestamp": first + pd.to_timedelta(seconds, unit="s"),
        "customer_id": c,
        "customer_email": np.char.add(np.char.add("u", c.astype("U9")), "@example.com"),
        "age_band": t.AGE_BANDS[who.age_band[c]],
        **_amounts(rng, kind, category, who.scale[c], m),
        "merchant_category": t.CATEGORIES[category],
        "channel": t.CHANNELS[channel],
        "card_type": who.card[c].astype(object),
        **_place(rng, kind, category, channel, who.home[c]),
        "hour": hour,
        **_velocity(rng, kind),
        **_device(rng, kind, channel, who.system[c]),
        **_account(rng, kind, who.account_age[c]),
    })  # fmt: skip
    frame["is_fraud"], frame["label_available_at"] = _labels(rng, kind, frame["timestamp"])
    if with_type:
        frame["_type"] = kind
    return frame.sort_values("timestamp", ignore_index=True, kind="stable")


def _ids(seed: int, m: int, chunk: int, n: int) -> np.ndarray:
    """Unique over the whole data set and drawn from nothing, so the label cannot be in them."""
    numbers = np.char.zfill(np.arange(n).astype("U8"), 8)
    return np.char.add(f"T{seed:02d}{m:03d}{chunk:03d}", numbers).astype(object)


def _times(
    rng: np.random.Generator, n: int, first: pd.Timestamp, stream: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Day of the month and hour (n,), by weekday, by the day's own luck and by the hour."""
    days = first.days_in_month
    weekday = (first.dayofweek + np.arange(days)) % 7
    luck = np.random.default_rng([*stream, DAY_STREAM]).normal(0, 0.08, days)
    busy = t.WEEKDAY[weekday] * np.exp(luck)
    day = rng.choice(days, n, p=busy / busy.sum())
    return day, rng.choice(24, n, p=t.HOUR / t.HOUR.sum())


def _categories(
    rng: np.random.Generator,
    kind: np.ndarray,
    day: np.ndarray,
    calendar_month: int,
    stream: tuple[int, int],
    launch: float,
) -> np.ndarray:
    """The merchant's category (n,): by season and week, or where the thief prefers to shop."""
    n = len(kind)
    share = t.SHARE * t.season(calendar_month)
    share[t.WALLET] *= launch
    luck = np.random.default_rng([*stream, WEEK_STREAM]).normal(0, 0.05, (5, len(share)))
    weeks = share * np.exp(luck)
    reach = (weeks / weeks.sum(axis=1, keepdims=True)).cumsum(axis=1)
    category = (rng.random(n)[:, None] > reach[day // 7]).sum(axis=1).clip(0, len(share) - 1)
    for thief, shops in ((STOLEN, t.STOLEN_CARD), (TAKEOVER, t.TAKEOVER)):
        chosen = rng.choice([t.INDEX[s] for s in shops], n, p=list(shops.values()))
        category = np.where((kind == thief) & (rng.random(n) < 0.6), chosen, category)
    return np.where(kind == MULE, t.WALLET, category)


def _channels(
    rng: np.random.Generator, kind: np.ndarray, category: np.ndarray, tendency: np.ndarray
) -> np.ndarray:
    n = len(kind)
    p = t.REMOTE[category].clip(0.01, 0.99)
    remote = rng.random(n) < 1 / (1 + np.exp(-(np.log(p / (1 - p)) + tendency)))
    remote |= (kind == TAKEOVER) | ((kind == STOLEN) & (rng.random(n) < 0.35))
    ways = rng.choice(list(t.REMOTE_SPLIT), n, p=list(t.REMOTE_SPLIT.values()))
    wallet = np.where(rng.random(n) < 0.8, t.APP, t.ONLINE)
    return np.where(category == t.WALLET, wallet, np.where(remote, ways, t.POS))


def _amounts(
    rng: np.random.Generator, kind: np.ndarray, category: np.ndarray, scale: np.ndarray, m: int
) -> dict[str, Any]:
    n = len(kind)
    usual = t.LOG_AMOUNT[category] + scale
    log = usual + t.LOG_AMOUNT_SD[category] * rng.normal(size=n) + 0.004 * (m - 1)
    more = _by_kind(kind, 0.0, 0.8, 0.45, 0.0)
    log = log + np.where(more > 0, rng.normal(more, 0.5), 0.0)
    log = np.where(kind == MULE, rng.normal(2.9, 0.45, n), log)
    amount = np.exp(log).clip(0.5, 20000)
    return {"amount": amount.round(2), "amount_ratio": (amount / np.exp(usual)).round(4)}


def _velocity(rng: np.random.Generator, kind: np.ndarray) -> dict[str, Any]:
    n = len(kind)
    hour = rng.poisson(_by_kind(kind, 0.12, 0.9, 0.8, 2.2))
    day = hour + rng.poisson(_by_kind(kind, 1.5, 2.2, 2.2, 3.0))
    burst = (kind == LEGIT) & (rng.random(n) < 0.03)
    extra = np.where(burst, rng.integers(1, 5, n), 0)
    gap = rng.exponential(_by_kind(kind, 4.0, 4.0, 9.0, 4.0))
    return {
        "tx_count_1h": hour + extra,
        "tx_count_24h": day + extra,
        "days_since_last_tx": gap.round(3),
    }


def _device(
    rng: np.random.Generator, kind: np.ndarray, channel: np.ndarray, system: np.ndarray
) -> dict[str, Any]:
    n = len(kind)
    remote = channel != t.POS
    new = (rng.random(n) < _by_kind(kind, 0.05, 0.15, 0.60, 0.05)) & remote
    logins = rng.poisson(_by_kind(kind, 0.12, 0.12, 1.3, 0.12)).astype(float)
    name = np.where(remote & (rng.random(n) >= 0.04), t.SYSTEMS[system], None)
    return {
        "is_new_device": new,
        "failed_logins_24h": np.where(remote, logins, np.nan),
        "device_os": name,
    }


def _place(
    rng: np.random.Generator,
    kind: np.ndarray,
    category: np.ndarray,
    channel: np.ndarray,
    home: np.ndarray,
) -> dict[str, Any]:
    n = len(kind)
    honest = np.where(category == t.TRAVEL, 0.30, 0.03)
    abroad = rng.random(n) < _by_kind(kind, honest, 0.40, 0.15, honest)
    country = np.where(abroad, rng.integers(0, len(t.COUNTRIES), n), home)
    distance = np.exp(rng.normal(np.where(abroad, 6.3, 1.8), np.where(abroad, 0.7, 1.1)))
    lost = rng.random(n) < np.where(channel == t.POS, 0.02, 0.35)
    return {
        "country": t.COUNTRIES[country],
        "is_foreign": abroad,
        "distance_km": np.where(lost, np.nan, distance.round(1)),
    }


def _account(rng: np.random.Generator, kind: np.ndarray, opened: np.ndarray) -> dict[str, Any]:
    n = len(kind)
    age = opened + rng.integers(0, 30, n)
    age = np.where(kind == MULE, np.exp(rng.normal(3.3, 0.6, n)), age).clip(1)
    risk = rng.beta(_by_kind(kind, 2.0, 2.6, 2.6, 2.0), _by_kind(kind, 8.0, 5.0, 5.0, 8.0))
    return {
        "account_age_days": age.round(0),
        "merchant_risk": np.where(rng.random(n) < 0.05, np.nan, risk.round(4)),
    }


def _labels(
    rng: np.random.Generator, kind: np.ndarray, when: pd.Series
) -> tuple[np.ndarray, pd.Series]:
    """The label (n,) and when it is known: fraud when reported, the rest after 30 days.

    One fraud in fifty is never reported and so becomes an honest payment for ever.
    """
    n = len(kind)
    reported = (kind != LEGIT) & (rng.random(n) >= 0.02)
    after = np.minimum(np.exp(rng.normal(np.log(7), 0.6, n)), 28)
    days = np.where(reported, after, 30.0)
    known = when + pd.to_timedelta((days * 86400).round(), unit="s")
    return reported.astype(np.int64), known


def _by_kind(kind: np.ndarray, legit: Any, stolen: Any, takeover: Any, mule: Any) -> np.ndarray:
    """A parameter (n,) chosen by the kind of each payment."""
    return np.select([kind == STOLEN, kind == TAKEOVER, kind == MULE],
                     [stolen, takeover, mule], legit)  # fmt: skip
