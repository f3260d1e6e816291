"""Values that look like personal data, in columns that do not say so.

Emails are told by their form. Cards, bank accounts and national ids are told by their check digit,
and a random number passes that now and then: so it is counted how many of the numbers of that form
do, and a column is suspected only where chance cannot explain it. No value is ever shown.

The checkers are those of `phonenumbers` and `python-stdnum`, imported for a column that has numbers
of the form at all.
"""

from __future__ import annotations

import importlib
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd

from mainline.data.schema import Column, Schema
from mainline.data.table import as_text
from mainline.limits import DataLimits
from mainline.verdict import Check, Verdict

T = TypeVar("T")
DOUBT, SURE = 2e-4, 2e-6  # chance of so many valid numbers in a column of others: ask, refuse
VALUES, NUMBERS = 5000, 2000  # values of a column that hold numbers, and numbers of one form
SHORT = 10**8  # whole numbers below this are too short for any of these
PHONE_NAME = re.compile(r"phone|tele?f|(^|_)tel(_|$)|mobile|(^|_)cell|(^|_)fax", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """One kind of personal data: its form, its checker, and how often a random number passes it.

    `checker` is a module with `is_valid`; None where the form itself is enough.
    """

    name: str
    pattern: re.Pattern[str]
    chance: float
    checker: str | None = None


def _form(name: str, pattern: str, chance: float, checker: str | None = None) -> Form:
    # Not within a longer word or number: `T0700100000002712` is an id.
    return Form(name, re.compile(rf"(?<![\w.+-]){pattern}(?![\w-]|\.\d)"), chance, checker)


# The issuers' numbers: 16 digits, 15 (American Express), 14 (Diners), 13 and 19.
CARD = r"(?:(?:4\d|5[1-5]|2[2-7]|35|6[0245])\d{14}|3[47]\d{13}|3[068]\d{12}|4\d{12}|62\d{17})"
GROUPS = r"(?:4\d|5[1-5]|2[2-7]|35|6[0245])\d\d([ -])\d{4}\1\d{4}\1\d{4}"
EMAIL = Form("an email address", re.compile(
    r"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@])"
), 0.0)  # fmt: skip
NUMBERED = (
    _form("a card number", CARD, 0.1, "stdnum.luhn"),
    _form("a card number", GROUPS, 0.01, "stdnum.luhn"),
    _form(
        "a bank account (IBAN)",
        r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?",
        1e-4,
        "stdnum.iban",
    ),
    _form("a national id (US)", r"\d{3}-\d{2}-\d{4}", 0.3, "stdnum.us.ssn"),
    _form("a national id (CA)", r"\d{3}[- ]\d{3}[- ]\d{3}", 0.12, "stdnum.ca.sin"),
    _form(
        "a national id (GB)", r"(?![DFIQUV])[A-Z](?![DFIQUVO])[A-Z] ?\d\d ?\d\d ?\d\d ?[A-D]", 0.2
    ),
    _form(
        "a national id (IT)",
        r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]",
        0.05,
        "stdnum.it.codicefiscale",
    ),
    _form("a national id (ES)", r"\d{8}-?[A-Z]", 0.05, "stdnum.es.dni"),
    _form("a national id (ES)", r"[XYZ]-?\d{7}-?[A-Z]", 0.05, "stdnum.es.nie"),
    _form(
        "a national id (FR)",
        r"[12] ?\d\d ?(?:0[1-9]|[1-9]\d) ?[0-9AB]{2} ?\d{3} ?\d{3} ?\d\d",
        0.02,
        "stdnum.fr.nir",
    ),
    _form("a national id (DE)", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", 0.12, "stdnum.de.idnr"),
    _form("a national id (NL)", r"\d{9}", 0.12, "stdnum.nl.bsn"),
    _form("a national id (BE)", r"\d\d\.?\d\d\.?\d\d-?\d{3}\.?\d\d", 0.03, "stdnum.be.nn"),
    _form("a national id (PL)", r"\d{11}", 0.12, "stdnum.pl.pesel"),
    _form("a national id (BR)", r"\d{3}\.?\d{3}\.?\d{3}-?\d\d", 0.02, "stdnum.br.cpf"),
    _form("a national id (SE)", r"(?:19|20)?\d{6}[-+]?\d{4}", 0.12, "stdnum.se.personnummer"),
    _form("a national id (NO)", r"\d{6} ?\d{5}", 0.02, "stdnum.no.fodselsnummer"),
    _form("a national id (FI)", r"\d{6}[-+A]\d{3}[0-9A-Y]", 0.05, "stdnum.fi.hetu"),
    _form("a national id (CH)", r"756\.?\d{4}\.?\d{4}\.?\d\d", 0.12, "stdnum.ch.ssn"),
    _form("a national id (TR)", r"[1-9]\d{10}", 0.02, "stdnum.tr.tckimlik"),
    _form("a national id (IN)", r"[2-9]\d{3} ?\d{4} ?\d{4}", 0.12, "stdnum.in_.aadhaar"),
    _form("a national id (CN)", r"[1-9]\d{16}[0-9X]", 0.12, "stdnum.cn.ric"),
    _form("a national id (ZA)", r"\d{13}", 0.12, "stdnum.za.idnr"),
    _form("a national id (MX)", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", 0.12, "stdnum.mx.curp"),
    _form("a national id (KR)", r"\d{6}-\d{7}", 0.12, "stdnum.kr.rrn"),
)
# A plus sign, or the groups that people write numbers of theirs in; checked by these regions.
PHONES = {
    _form("a phone number", r"\+\d{1,3}[ (./-]{0,2}\d[\d ()./-]{5,16}\d", 0.3): (None,),
    _form("a phone number", r"(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}", 0.5): ("US",),
    _form("a phone number", r"0\d(?:[ .-]\d\d){4}", 0.5): ("FR",),
    _form("a phone number", r"\(?0\d{2,4}\)?(?:[ /-]{1,3}\d{5,8}| \d{3} \d{3,4})", 0.5): (
        "GB", "DE", "IT", "NL",
    ),
}  # fmt: skip
# Digits alone are looked at where the column is called so.
BARE = {_form("a phone number", r"\+?\d{9,15}", 0.5): (None, "US")}
# What every number above begins with: most ids have a letter and digits, and are done with here.
NUMBER = re.compile(
    r"(?<![\w.+-])(?:[+(]{0,2}\d[\d ().+/A-Z-]{6,}[\dA-Z]|[A-Z]{2} ?\d\d ?\w\w"
    r"|[A-Z]{6}\d\d|[XYZ]-?\d{7}|[A-Z]{4}\d{6}[HM])"
)


def check(raw: pd.DataFrame, limits: DataLimits, rules: Schema) -> list[Check]:
    """A check for each column whose values look like personal data, else one that none does.

    `raw` is the table as stored, where long numbers keep all their digits. Columns of the role pii
    and those of `gate.data.personal` may hold it. Ids and entities may not: they are written into
    predictions and reports.
    """
    columns = [c for c in rules.columns if _may_hold(c, limits) and c.name in raw]
    checks = [c for column in columns for c in [_check_column(raw[column.name], column.name)] if c]
    if not checks:
        reason = f"Nothing in {len(columns)} columns looks like personal data"
        checks.append(Check("personal", Verdict.PASS, reason, value=0, limit=0, n=len(raw),
                            unit="columns"))  # fmt: skip
    return checks


def _may_hold(column: Column, limits: DataLimits) -> bool:
    known = column.role == "pii" or column.name in limits.personal
    return not known and column.type not in ("datetime", "bool")


def _check_column(series: pd.Series, name: str) -> Check | None:
    values = texts(series)
    found = _found(name, values)
    if not found:
        return None
    verdict, form, hits = max(found, key=lambda f: (f[0] is Verdict.FAIL, len(f[2])))
    filled = series.dropna()
    rows = int(as_text(filled).isin(hits).sum())
    least = "At least " if len(values) > NUMBERS and form is not EMAIL else ""
    return Check(
        f"{name}: personal", verdict,
        f"{least}{rows} of {len(filled)} values of {name!r} look like {form.name}: drop the "
        "column, give it the role pii, or name it in gate.data.personal",
        value=rows, limit=0, n=len(filled), unit="rows", scope=name,
    )  # fmt: skip


def texts(series: pd.Series) -> list[str]:
    """The different values of a column, as text; none where they are fractions, short or times."""
    if series.dtype.kind in "biuf":
        if series.dtype.kind == "b" or series.isna().all() or series.abs().max() < SHORT:
            return []
        numbers = series.dropna()
        if series.dtype.kind == "f" and not (numbers == np.floor(numbers)).all():
            return []
        series = numbers.astype("int64") if numbers.abs().max() < 2**63 else numbers
    elif series.dtype.kind in "mM":
        return []
    return as_text(pd.Series(series.dropna().unique())).tolist()


def _found(name: str, values: list[str]) -> list[tuple[Verdict, Form, set[str]]]:
    """What the different `values` of a column hold, by form."""
    found = [look(values, EMAIL)] if any("@" in v for v in values) else []
    numbers = [v for v in values if NUMBER.search(v)]
    if numbers:
        bare = BARE if PHONE_NAME.search(name) else ()
        found += [look(_some(numbers, VALUES), form) for form in (*NUMBERED, *PHONES, *bare)]
    return [f for f in found if f is not None]


def _some(things: list[T], most: int) -> list[T]:
    # By lot: every 97th number of a row of numbers has the same remainder.
    return things if len(things) <= most else random.Random(0).sample(things, most)


def look(values: list[str], form: Form) -> tuple[Verdict, Form, set[str]] | None:
    """The values that hold personal data of this form, and how sure that is; None where chance
    may explain them."""
    if not form.pattern.search("\n".join(values)):
        return None
    cases = [(v, m.group()) for v in values for m in form.pattern.finditer(v)]
    if form.chance > 0:
        cases = _some(cases, NUMBERS)
    valid = _checker(form)
    hits = [value for value, number in cases if valid(number)]
    odds = chance_of(len(hits), len(cases), form.chance)
    if odds > DOUBT:
        return None
    return Verdict.FAIL if odds <= SURE else Verdict.INCONCLUSIVE, form, set(hits)


def _checker(form: Form) -> Callable[[str], bool]:
    if form in PHONES or form in BARE:
        return partial(_is_phone, regions={**PHONES, **BARE}[form])
    if form.checker is None:
        return lambda number: True
    module = importlib.import_module(form.checker)
    separated = form.checker != "stdnum.luhn"

    def valid(number: str) -> bool:
        try:
            return bool(module.is_valid(number if separated else re.sub(r"\D", "", number)))
        except Exception:  # some checkers raise what they do not declare: stdnum.cn.ric, KeyError
            return False

    return valid


def _is_phone(number: str, regions: tuple[str | None, ...]) -> bool:
    import phonenumbers

    for region in regions:
        plus = "+" if region is None and number[:1].isdigit() else ""
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(plus + number, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def chance_of(hits: int, n: int, chance: float) -> float:
    """A bound on the chance of `hits` or more of `n`, each with `chance` (Chernoff, Hoeffding)."""
    if hits == 0 or chance >= 1 or hits <= n * chance:
        return 1.0
    if chance == 0:
        return 0.0
    share = hits / n
    apart = share * math.log(share / chance)
    if share < 1:
        apart += (1 - share) * math.log((1 - share) / (1 - chance))
    return math.exp(-n * apart)
