"""Where versions are served, behind one small interface: read, apply, observe, confirm.

A rollout's commands (`rollout.py`) decide; a target holds the state, makes it so, and says what is
really there. The judge and the rollback are the target's own guard. Kubernetes will be one more
target: its state in the `HTTPRoute`, its services Deployments.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mainline.errors import MainlineError
from mainline.rollout.state import Arm, State


class TargetError(MainlineError):
    """A target cannot be reached, or does not answer as one."""

    status = 12


@dataclass(frozen=True)
class Ask:
    """One request to the service of one arm itself, past the split: GET, or POST of `body`."""

    path: str
    body: str | None = None


class Target(Protocol):
    """One place that serves. Each call may be made again; none leaves a half-done change.

    Calls raise MainlineError: RaceError (24) where somebody was faster or is at work, a TargetError
    (12) where the target cannot be reached, PlatformError (23) where it cannot serve.
    """

    address: str
    """For people: `serving/`, or `ssh://user@host/path`."""

    def ensure(self) -> None:
        """See Envoy, guard and watcher running; what ran before a reboot comes back."""

    def read(self) -> State:
        """The state that this target is to be in."""

    def apply(
        self, old: State, wanted: State, event: str, notes: Mapping[str, Any]
    ) -> tuple[State, bool]:
        """Make `wanted` the state if the state is still `old` (by generation), and bring it about.

        The state is on disk before traffic moves, and `event` with `notes` in the record. Returns
        the state now and whether traffic was seen to follow. Raises RaceError where the state is
        another one by now (`steps.change` then reads and decides again). Where nothing is served
        (the port of `stable` is 0) no Envoy is needed.
        """

    def observe(self) -> dict[str, Any]:
        """What is really there: the state's document (`state.to_dict`) and

        `up`, `url`, `envoy` (does traffic follow the state), `guarded` (does the guard's lease
        run), `processes` by name, `rate` (requests a second of late, None where unknown),
        `warm_left` (seconds of guarded time left, by the clocks of this place) and `waiting` (does
        a command wait here now).
        """

    def confirm(self, state: State, wait: float) -> bool:
        """Whether traffic is seen to follow `state` within `wait` seconds."""

    # ---- the services ------------------------------------------------------------------------

    def launch(
        self,
        version: str,
        digest: str,
        artifact: Path,
        command: Sequence[str] | None = None,
    ) -> Arm:
        """Bring the artifact (a Bento) there and start its service beside what runs, untrafficked.

        A target that outlives the checkout keeps a copy of its own (until `retire`), and the
        service runs in the target's folder, with MAINLINE_ROOT set to it; the folder `serving/` of
        a checkout uses the artifact where it lies, and the service runs in the checkout. `command`
        overrides how it is started (`{port}` is filled in; nothing is copied). The same digest
        again is the service that is there already.
        """

    def ask(self, arm: Arm, questions: Sequence[Ask]) -> list[tuple[int, str]]:
        """Status and body of each answer of `arm`'s own service; status 0 where none came."""

    def ended(self, arm: Arm) -> str | None:
        """Why the service of `arm` does not run, by its last words; None while it runs."""

    def retire(self, *keep: Arm) -> None:
        """Stop the service of every version that is neither in `keep` nor in the state."""

    def expect(self, answers: Mapping[str, Sequence[Sequence[float]]] | None) -> None:
        """Keep offline answers by model digest, which the guard holds served ones against."""

    def replay(self, arm: Arm, stable: Arm, rows: int) -> dict[str, Any]:
        """Ask the service of `arm` the last `rows` logged rows of `stable`, past the split.

        Its answers are held against its own model offline: the document of a `replay.Replayed`.
        """

    def labels(self) -> dict[str, Any]:
        """What matured labels say of the promotion: a `verdict/1` document (`labels.look`)."""

    # ---- the record --------------------------------------------------------------------------

    def alone(self) -> AbstractContextManager[None]:
        """One command at a time; the lock is gone with its owner. Raises RaceError (24)."""

    def record(self, event: str, **notes: Any) -> None:
        """Append one line to the record."""

    def history(self) -> list[dict[str, Any]]:
        """The record in order."""

    def down(self) -> None:
        """End every process here. The state stays, and `ensure` brings back what ran."""


def target_of(root: Path, address: str | None = None) -> AbstractContextManager[Target]:
    """The target at `address`, else of MAINLINE_TARGET, else `serving/` under `root`.

    `ssh://user@host[:port]/path`, `self-hosted:<label>` (a folder of this machine that outlives the
    job), or a folder. Raises SettingsError (22) for any other address.
    """
    from mainline.errors import SettingsError
    from mainline.rollout.local import LocalTarget

    found = (os.environ.get("MAINLINE_TARGET", "") if address is None else address).strip()
    if not found:
        return contextlib.nullcontext(LocalTarget(root / "serving"))
    if found.startswith("ssh://"):
        from mainline.rollout import ssh

        return ssh.connect(root, found)
    if found.startswith("self-hosted:"):
        from mainline.rollout import ssh

        return ssh.beside(lasting_folder(root))
    if "://" in found:
        raise SettingsError(
            f"MAINLINE_TARGET is {found!r}, which is no target",
            "Use ssh://user@host/path, self-hosted:<label>, or nothing for a rehearsal",
        )
    return contextlib.nullcontext(LocalTarget(Path(found)))


def lasting_folder(root: Path) -> Path:
    """Where a self-hosted runner's own machine serves: a folder of its user, one a model."""
    from mainline import settings

    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "mainline" / settings.load(root).model.name


@contextlib.contextmanager
def opened(target: Target | Path | None, root: Path) -> Iterator[Target]:
    """`target` itself, the folder `target`, or the one that `target_of` finds for None."""
    if target is None or isinstance(target, Path):
        address = None if target is None else str(target)
        with target_of(root, address) as found:
            yield found
    else:
        yield target
