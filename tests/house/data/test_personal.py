"""Personal data in values are found and never shown, and numbers that are none are left alone."""

from __future__ import annotations

import importlib
import random
import uuid
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import tables

from mainline.data.personal import chance_of, check
from mainline.limits import DataLimits
from mainline.verdict import Check, Verdict

N = 400
ROLL = random.Random(5)


def digits(n: int) -> str:
    """A random number of `n` digits."""
    return "".join(ROLL.choice("0123456789") for _ in range(n))


def card() -> str:
    """Sixteen digits with the check digit of cards."""
    number = "4" + digits(14)
    return number + str(importlib.import_module("stdnum.luhn").calc_check_digit(number))


def valid(module: str, form: Callable[[], str]) -> str:
    """A number of this form that the checker accepts."""
    is_valid = importlib.import_module(module).is_valid
    return next(number for number in iter(form, "") if is_valid(number))


def born() -> str:
    """A birthday as national ids have it."""
    return f"{ROLL.randrange(50, 99)}{ROLL.randrange(1, 13):02d}{ROLL.randrange(1, 28):02d}"


def spaced(number: str, by: str = " ") -> str:
    """In groups of four."""
    return by.join(number[i : i + 4] for i in range(0, len(number), 4))


def found(values: list[Any], column: str = "note", **gate: Any) -> Check | None:
    """The finding in a column that holds `values`, in rows that are sound otherwise."""
    raw = tables.raw(len(values)).assign(**{column: values})
    checks = check(raw, DataLimits(**gate), tables.schema())
    assert len(checks) == 1, [c.reason for c in checks]
    return None if checks[0].verdict is Verdict.PASS else checks[0]


PERSONAL: dict[str, tuple[str, Callable[[], Any]]] = {
    "email": ("an email address", lambda: f"write to {digits(4)}.b@example.org, please"),
    "card": ("a card number", card),
    "card as a number": ("a card number", lambda: int(card())),
    "card in groups": ("a card number", lambda: f"paid with {spaced(card(), '-')}"),
    "phone abroad": ("a phone number", lambda: "+49 151 " + digits(8)),
    "phone in the US": ("a phone number", lambda: "(212) 555-" + digits(4)),
    "IBAN": ("a bank account (IBAN)", lambda: spaced(valid(
        "stdnum.iban", lambda: f"DE{ROLL.randrange(2, 99):02d}" + digits(18)))),
    "US": ("a national id (US)", lambda: f"{ROLL.randrange(100, 600)}-45-{digits(3)}1"),
    "NL": ("a national id (NL)", lambda: int(valid("stdnum.nl.bsn", lambda: "1" + digits(8)))),
    "ES": ("a national id (ES)", lambda: valid(
        "stdnum.es.dni", lambda: digits(8) + ROLL.choice("TRWAGMYFPDXBNJZSQVHLCKE"))),
    "FR": ("a national id (FR)", lambda: valid(
        "stdnum.fr.nir", lambda: f"1{born()[:4]}75" + digits(8))),
    "PL": ("a national id (PL)", lambda: valid("stdnum.pl.pesel", lambda: born() + digits(5))),
    "SE": ("a national id (SE)", lambda: valid(
        "stdnum.se.personnummer", lambda: f"{born()}-{digits(4)}")),
}  # fmt: skip


@pytest.mark.parametrize("kind", PERSONAL)
def test_personal_data_are_found_and_not_shown(kind: str) -> None:
    """By kind, column and count; the values stay where they are."""
    said, make = PERSONAL[kind]
    values = [make() for _ in range(40)]
    one = found(values)
    assert one is not None
    assert (one.verdict, one.scope, one.value) == (Verdict.FAIL, "note", 40)
    assert said in one.reason
    assert not any(str(v) in one.reason for v in values)


def some_days() -> list[pd.Timestamp]:
    """A day and hour for each row."""
    return list(pd.date_range("2023-01-01", periods=N, freq="7h"))


HARMLESS: dict[str, Callable[[], list[Any]]] = {
    **{f"{n} random digits": (lambda n=n: [digits(n) for _ in range(N)])
       for n in (9, 10, 11, 12, 13, 15, 16, 18)},
    **{f"{n} digits in a row": (lambda n=n: [int("4" + "0" * (n - 1)) + i for i in range(N)])
       for n in (9, 10, 11, 13, 16)},
    "every 97th number": lambda: [10**10 + 97 * i for i in range(N)],
    "days and a counter": lambda: [f"{d:%Y%m%d}{i:04d}" for i, d in enumerate(some_days())],
    "days and a random number": lambda: [f"{d:%y%m%d}{digits(5)}" for d in some_days()],
    "times": lambda: [d.isoformat() + "+02:00" for d in some_days()],
    "seconds": lambda: [int(d.timestamp()) for d in some_days()],
    "milliseconds": lambda: [int(d.timestamp() * 1000) for d in some_days()],
    "UUIDs": lambda: [str(uuid.UUID(int=ROLL.getrandbits(128))) for _ in range(N)],
    "network addresses": lambda: [".".join(str(ROLL.randrange(256)) for _ in "1234")
                                  for _ in range(N)],
    "fractions as text": lambda: [str(ROLL.random()) for _ in range(N)],
    "large fractions": lambda: [ROLL.random() * 1e15 for _ in range(N)],
    "places": lambda: [f"{ROLL.random() * 90:.6f}, {ROLL.random() * 90:.6f}" for _ in range(N)],
    "goods": lambda: [f"{digits(3)}-{digits(3)}-{digits(4)}" for _ in range(N)],
    "orders": lambda: ["ORD-" + digits(12) for _ in range(N)],
    "books": lambda: ["978" + digits(10) for _ in range(N)],
    "words": lambda: ["payment of 12345678 @ noon"] * N,
}  # fmt: skip


@pytest.mark.parametrize("kind", HARMLESS)
def test_other_numbers_are_left_alone(kind: str) -> None:
    """A check digit is passed by one number in ten; that is no finding."""
    one = found(HARMLESS[kind]())
    assert one is None, one


def test_ids_and_entities_are_looked_at_and_columns_that_may_are_not() -> None:
    """Ids go into predictions and reports; the role pii and `gate.data.personal` say what is."""
    mails = [f"m{i}@example.org" for i in range(30)]
    assert found(mails, "id") is not None
    assert found(mails, "who") is not None
    assert found(mails, "mail") is None
    assert found(mails, "note", personal=["note"]) is None


def test_a_few_cards_in_much_text_are_asked_about() -> None:
    """Four numbers of which each has the right check digit are hardly chance, eight are not."""
    text = ["nothing"] * 300
    assert found([*text, *(card() for _ in range(2))]) is None
    for count, verdict in ((4, Verdict.INCONCLUSIVE), (8, Verdict.FAIL)):
        one = found([*text, *(f"card {card()}" for _ in range(count))])
        assert one is not None
        assert (one.verdict, one.value) == (verdict, count)


def test_a_column_of_bare_numbers_is_of_phones_where_it_says_so() -> None:
    """Digits alone are no phone number unless the column is called one."""
    numbers = [f"49151{digits(8)}" for _ in range(60)]
    assert found(numbers) is None
    columns = [*tables.COLUMNS, {"name": "mobile", "type": "text", "role": "drop"}]
    raw = tables.raw(60).assign(mobile=numbers)
    [one] = check(raw, DataLimits(), tables.schema(columns=columns))
    assert (one.verdict, one.scope) == (Verdict.FAIL, "mobile")


def test_the_bound_on_chance() -> None:
    """All of n is chance to the n; no more than expected is no surprise; a form alone is none."""
    assert chance_of(6, 6, 0.1) == pytest.approx(1e-6)
    assert chance_of(10, 100, 0.1) == 1
    assert chance_of(0, 0, 0.1) == 1
    assert 1e-6 < chance_of(20, 100, 0.1) < 0.05
    assert chance_of(1, 1000, 0.0) == 0
