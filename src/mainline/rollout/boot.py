"""What starts a host's folder at boot: a systemd unit, a line of crontab, or nothing.

A user's unit runs at boot only where the user lingers. No root is needed but for `--system`.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mainline.errors import PlatformError
from mainline.files import write_text
from mainline.rollout import host

SYSTEMD = Path("/run/systemd/system")  # is there where systemd is process 1
SYSTEM_UNITS = Path("/etc/systemd/system")

UNIT = """[Unit]
Description=Mainline serves in {described}
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
{user}ExecStart=/bin/sh {agent} {folder} boot
ExecStop=/bin/sh {agent} {folder} down
TimeoutStartSec=120

[Install]
WantedBy={wanted}
"""

Run = Callable[[Sequence[str], str | None], tuple[int, str]]


def run(words: Sequence[str], stdin: str | None = None) -> tuple[int, str]:
    """Status and stdout of a program; 127 where it is not there."""
    if shutil.which(words[0]) is None:
        return 127, ""
    done = subprocess.run(list(words), input=stdin, capture_output=True, text=True, check=False,
                          env=user_environment(os.environ), timeout=60)  # fmt: skip
    return done.returncode, done.stdout


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the address of the user's systemd, which an ssh without a terminal lacks."""
    return {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}", **environ}


@dataclass(frozen=True)
class Boot:
    """How this machine starts things, and the tools with which it is told."""

    systemd: Path = SYSTEMD
    system_units: Path = SYSTEM_UNITS
    run: Run = run

    def install(self, folder: Path, system: bool) -> dict[str, str]:
        """See `folder` started at boot; {"kind", "text"}. Safe to call again.

        Raises PlatformError (23) for `system` without root or without systemd.
        """
        if system:
            return self._system(folder)
        if self._has_systemd():
            return self._user(folder)
        status, listed = self.run(["crontab", "-l"], None)
        line = cron_line(folder)
        if status == 127 or "\n" in str(folder):
            return _told("none", f"Nothing here starts it at boot: add this line\n  {line}")
        kept = [x for x in listed.splitlines() if not x.endswith(_mark(folder))]
        if self.run(["crontab", "-"], "\n".join([*kept, line, ""]))[0] != 0:
            return _told("none", f"crontab refused a line: add it where you can\n  {line}")
        return _told("cron", "A line of crontab starts it at boot")

    def remove(self, folder: Path, kind: str) -> None:
        """Take away what `install` made."""
        name = unit_name(folder)
        if kind == "cron":
            listed = self.run(["crontab", "-l"], None)[1].splitlines()
            kept = [x for x in listed if not x.endswith(_mark(folder))]
            self.run(["crontab", "-"], "\n".join([*kept, ""]) if kept else "")
        elif kind in ("user", "system"):
            how = ["systemctl", "--user"] if kind == "user" else ["systemctl"]
            self.run([*how, "disable", "--now", name], None)
            place = user_units() if kind == "user" else self.system_units
            (place / name).unlink(missing_ok=True)
            self.run([*how, "daemon-reload"], None)

    def start(self, folder: Path, kind: str) -> bool:
        """Start `folder` through its unit, so that it outlives this login; whether that was so."""
        if kind not in ("user", "system") or (kind == "system" and os.getuid() != 0):
            return False
        how = ["systemctl", "--user"] if kind == "user" else ["systemctl"]
        return self.run([*how, "restart", unit_name(folder)], None)[0] == 0

    def _has_systemd(self) -> bool:
        if not self.systemd.is_dir():
            return False
        return self.run(["systemctl", "--user", "show-environment"], None)[0] == 0

    def _user(self, folder: Path) -> dict[str, str]:
        name = unit_name(folder)
        write_text(user_units() / name, unit(folder, "default.target", ""))
        self.run(["systemctl", "--user", "daemon-reload"], None)
        status, _ = self.run(["systemctl", "--user", "enable", name], None)
        text = f"The unit {name} starts it at boot"
        if status != 0:
            text = f"systemd did not enable {name}: see `systemctl --user status {name}`"
        elif self.run(["loginctl", "show-user", getpass.getuser(), "--property=Linger"],
                      None)[1].strip() != "Linger=yes":  # fmt: skip
            text += f" once `loginctl enable-linger {getpass.getuser()}` was run (it needs root)"
        return _told("user", text)

    def _system(self, folder: Path) -> dict[str, str]:
        if not self.systemd.is_dir():
            raise PlatformError("There is no systemd here", "Leave `--system` out")
        if os.getuid() != 0:
            raise PlatformError(
                "A unit of the system needs root", "Leave `--system` out, or log in as root"
            )
        name = unit_name(folder)
        user = f"User={folder.owner()}\n"
        write_text(self.system_units / name, unit(folder, "multi-user.target", user))
        self.run(["systemctl", "daemon-reload"], None)
        if self.run(["systemctl", "enable", name], None)[0] != 0:
            return _told("system", f"systemd did not enable {name}: `systemctl status {name}`")
        return _told("system", f"The unit {name} starts it at boot")


def _told(kind: str, text: str) -> dict[str, str]:
    return {"kind": kind, "text": text}


def unit_name(folder: Path) -> str:
    """The name of the unit of `folder`: one for each folder."""
    return f"mainline-{host.mark(folder)}.service"


def user_units() -> Path:
    """Where the units of this user are."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "systemd" / "user"


def unit(folder: Path, wanted: str, user: str) -> str:
    """The text of a unit; any path may stand in it."""
    described = str(folder).replace("%", "%%")
    return UNIT.format(described=described, agent=_unit_word(str(folder / "agent")),
                       folder=_unit_word(str(folder)), wanted=wanted, user=user)  # fmt: skip


def _unit_word(text: str) -> str:
    """One word of ExecStart (systemd.service(5)): quoted, no specifier, no variable."""
    for old, new in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(old, new)
    return f'"{text}"'


def cron_line(folder: Path) -> str:
    """The line of crontab; there a bare % ends the command (crontab(5))."""
    words = shlex.join(["sh", str(folder / "agent"), str(folder), "boot"]).replace("%", "\\%")
    return f"@reboot {words} >/dev/null 2>&1 {_mark(folder)}"


def _mark(folder: Path) -> str:
    return f"# mainline {host.mark(folder)}"
