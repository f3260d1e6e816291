"""Errors named by cause. Each owns its sentence, its remedy and its exit status."""

from __future__ import annotations


class MainlineError(Exception):
    """Something that a person can mend: one sentence of cause, one of remedy, one exit status.

    Subclasses set `status`; raise the narrowest one that names the cause.
    """

    status = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause = _sentence(cause)
        self.remedy = _sentence(remedy)
        super().__init__(str(self))

    def __str__(self) -> str:
        return f"{self.cause} {self.remedy}".strip()


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?", "!")) else text + "."


class UsageError(MainlineError):
    """The command line was used wrongly."""

    status = 2


class NotMeasured(MainlineError):
    """A verdict could not be measured (a tool, a base or an input of the measurement is gone)."""

    status = 12


class DataError(MainlineError):
    """The rows or the files that hold them are bad."""

    status = 20


class RemoteError(MainlineError):
    """A credential, a remote or a part of the history that lives on a remote is missing."""

    status = 21


class SettingsError(MainlineError):
    """params.yaml, schema.yaml or an entry point named in them is wrong."""

    status = 22


class PlatformError(MainlineError):
    """A part that cannot work on this platform; the rest does."""

    status = 23


class RaceError(MainlineError):
    """Somebody else was faster; trying again is safe."""

    status = 24
