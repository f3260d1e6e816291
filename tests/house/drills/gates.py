"""Drills of the gates in tests: a place with a trained base, and the outcome of a drill in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mainline import settings
from mainline.drill import catalogue, drill
from mainline.drill.kinds import AS_IT_IS, WORSE, Found, Outcome, judge
from mainline.drill.place import Place


@dataclass
class Held:
    """A place whose bases are trained at the first need."""

    place: Place
    metric: str
    before: list[Found]
    worse: bool = False

    def hold(self, name: str, until: str = "", code: Path | None = None) -> Outcome:
        """The outcome of the drill `name`; `code` is another `src` whose house is run."""
        found = drill.named(catalogue.find(name), self.metric)
        if found.base == WORSE and not self.worse:
            self.place.train(WORSE)
            self.worse = True
        self.place.code = code
        try:
            return judge(found, self.place.hold(found, until), self.before)
        finally:
            self.place.code = None


def place_on(root: Path, folder: Path) -> Held:
    """A place for drills on what is committed in `root`."""
    here = Place(root, folder)
    here.found()
    return Held(here, settings.load(root).gate.metric, here.train(AS_IT_IS))
