"""Eight clones do the same at once: one version, one assignment each, and nobody is left behind."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import faked
import pytest
import racer
from faked import MODEL, listed, local
from small import git

from mainline import registry

CLONES = 8


def run(shop: Path, rounds: int) -> list[list[dict[str, Any]]]:
    """Let the clones race; returns what each did in each round."""
    roots = [faked.clone(shop, shop.parent / f"clone-{n}") for n in range(CLONES)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(CLONES)
    outs = [root.parent / f"{root.name}.json" for root in roots]
    racers = [
        context.Process(target=racer.race, args=(n, root, rounds, barrier, out))
        for n, (root, out) in enumerate(zip(roots, outs, strict=True))
    ]
    for process in racers:
        process.start()
    for process in racers:
        process.join()
    assert [p.exitcode for p in racers] == [0] * CLONES
    found = [json.loads(out.read_text()) for out in outs]
    assert all(local(root).items() <= listed(shop).items() for root in roots), "a stale tag"
    return found


def hold(shop: Path, rounds: int) -> None:
    """What must be true after `rounds` races, whoever won."""
    found = run(shop, rounds)
    wrong = [done for each in found for done in each if done["status"] != 0]
    assert not wrong, wrong[0]
    git(shop, "fetch", "--quiet", "--tags", "origin")
    names = [f"v1.0.{n}" for n in range(rounds)]
    assert [v.name for v in registry.versions(shop, MODEL)] == names
    moved = [(m.version.name, m.back_from) for m in registry.moves(shop, MODEL)]
    wanted = []
    for turn, name in enumerate(names):
        wanted.append((name, ""))
        if turn % 3 == 2:
            wanted.append((names[turn - 1], name))
    assert moved == wanted
    for turn, name in enumerate(names):
        at_once = [each[turn] for each in found]
        assert {done["version"] for done in at_once} == {name}
        for word, once in (("created", 1), ("changed", 1), ("back", int(turn % 3 == 2))):
            assert sum(done[word] for done in at_once) == once, (turn, word)
    counts = [int(n.rpartition("#")[2]) for n in listed(shop) if "#" in n]
    assert sorted(counts) == list(range(1, len(wanted) + 1)), "one number each"


def test_eight_clones_that_race_make_one_version_and_one_assignment(shop: Path) -> None:
    """Three rounds: all end with status 0, and a rollback goes back once."""
    hold(shop, 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_races_of_eight_clones(shop: Path) -> None:
    """The same a hundred times."""
    hold(shop, 100)
