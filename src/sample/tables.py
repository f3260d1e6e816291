"""The fixed numbers of the simulation: categories, countries, and how each of them behaves."""

from __future__ import annotations

import numpy as np

# merchant category: share, mean and sd of the log-amount, chance of a remote payment
CATEGORY_TABLE = {
    "grocery": (0.220, 3.4, 0.7, 0.10),
    "restaurant": (0.150, 3.2, 0.6, 0.15),
    "fuel": (0.110, 3.6, 0.4, 0.02),
    "fashion": (0.100, 3.9, 0.7, 0.55),
    "electronics": (0.080, 4.8, 0.9, 0.60),
    "utilities": (0.080, 4.3, 0.5, 0.70),
    "pharmacy": (0.060, 3.1, 0.6, 0.15),
    "travel": (0.060, 5.2, 0.9, 0.70),
    "digital_goods": (0.050, 2.8, 0.6, 0.97),
    "gaming": (0.030, 3.0, 0.7, 0.95),
    "gift_cards": (0.020, 3.9, 0.6, 0.70),
    "jewelry": (0.015, 5.3, 0.9, 0.30),
    "digital_wallet": (0.025, 3.0, 0.7, 1.00),
}
CATEGORIES = np.array(list(CATEGORY_TABLE), dtype=object)
INDEX = {name: i for i, name in enumerate(CATEGORY_TABLE)}
SHARE, LOG_AMOUNT, LOG_AMOUNT_SD, REMOTE = np.array(list(CATEGORY_TABLE.values())).T
WALLET = INDEX["digital_wallet"]
TRAVEL = INDEX["travel"]

CHANNELS = np.array(["pos", "online", "app", "phone"], dtype=object)
POS, ONLINE, APP, PHONE = range(4)
REMOTE_SPLIT = {ONLINE: 0.55, APP: 0.40, PHONE: 0.05}

COUNTRY_TABLE = {
    "FR": 0.34, "DE": 0.16, "ES": 0.12, "IT": 0.10, "BE": 0.06, "NL": 0.05, "PT": 0.04,
    "GB": 0.03, "PL": 0.03, "US": 0.02, "CH": 0.02, "IE": 0.01, "MA": 0.01, "TR": 0.005,
    "BR": 0.005,
}  # fmt: skip
COUNTRIES = np.array(list(COUNTRY_TABLE), dtype=object)
COUNTRY_SHARE = np.array(list(COUNTRY_TABLE.values())) / sum(COUNTRY_TABLE.values())

AGE_BANDS = np.array(["18-25", "26-40", "41-60", "60+"], dtype=object)
AGE_SHARE = (0.16, 0.36, 0.32, 0.16)
SYSTEMS = np.array(["android", "ios", "windows", "macos"], dtype=object)
SYSTEM_SHARE = (0.45, 0.35, 0.14, 0.06)

WEEKDAY = np.array([0.95, 0.95, 1.0, 1.0, 1.15, 1.2, 0.85])  # Monday first
HOUR = np.array([
    0.3, 0.2, 0.15, 0.1, 0.1, 0.2, 0.6, 1.2, 1.8, 2.0, 2.1, 2.4,
    2.8, 2.4, 2.0, 2.0, 2.2, 2.7, 3.0, 2.8, 2.2, 1.7, 1.1, 0.6,
])  # fmt: skip
NIGHT = (22, 23, 0, 1, 2, 3, 4, 5)

# where a thief shops, when not anywhere (60% of the time)
STOLEN_CARD = {
    "electronics": 0.35, "gift_cards": 0.25, "jewelry": 0.15, "fashion": 0.15, "travel": 0.10,
}  # fmt: skip
TAKEOVER = {
    "digital_goods": 0.30, "gift_cards": 0.30, "electronics": 0.20, "gaming": 0.15,
    "digital_wallet": 0.05,
}  # fmt: skip


def season(calendar_month: int) -> np.ndarray:
    """What the time of the year does to the share of each category (13,)."""
    factor = np.ones(len(CATEGORIES))
    factor[TRAVEL] = {7: 1.25, 8: 1.25, 2: 1.10}.get(calendar_month, 1.0)
    factor[INDEX["fuel"]] = 1.1 if calendar_month in (7, 8) else 1.0
    factor[INDEX["fashion"]] = {1: 1.15, 6: 1.15, 11: 1.4, 12: 1.4}.get(calendar_month, 1.0)
    factor[INDEX["electronics"]] = 1.3 if calendar_month in (11, 12) else 1.0
    factor[INDEX["utilities"]] = 1 + 0.15 * np.cos(2 * np.pi * (calendar_month - 1) / 12)
    return factor
