"""A machine reached by ssh as a target: `ssh://user@host[:port]/path`.

The host's key must be known: by the content of MAINLINE_SSH_KNOWN_HOSTS, else by the user's own
file. The key to log in with is the content of MAINLINE_SSH_KEY, else whatever the user's ssh has.
Everything is an argument list; the one string that ssh hands to the shell there is quoted.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mainline.errors import MainlineError, PlatformError, RemoteError, SettingsError
from mainline.rollout import ship
from mainline.rollout.local import LocalTarget
from mainline.rollout.remote import RemoteTarget
from mainline.rollout.target import Target, TargetError

KEY, KNOWN_HOSTS = "MAINLINE_SSH_KEY", "MAINLINE_SSH_KNOWN_HOSTS"
CONNECT_SECONDS = 10
ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^\x00-\x1f\x7f]+)"
)
OPTIONS = {
    "BatchMode": "yes", "StrictHostKeyChecking": "yes", "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no", "ConnectTimeout": str(CONNECT_SECONDS),
    "ServerAliveInterval": "5", "ServerAliveCountMax": "3", "ForwardAgent": "no",
    "ClearAllForwardings": "yes", "ControlMaster": "no", "ControlPath": "none",
    "PermitLocalCommand": "no", "UpdateHostKeys": "no", "LogLevel": "ERROR",
}  # fmt: skip


@dataclass(frozen=True)
class Address:
    """Where: `path` is absolute, or below the user's home there where it was `/~/path`."""

    text: str
    user: str | None
    host: str
    port: int | None
    path: str

    @property
    def place(self) -> str:
        """`user@host`, for ssh and for people."""
        return f"{self.user}@{self.host}" if self.user else self.host


@dataclass(frozen=True)
class Way:
    """How to get there: the address, and the options and environment of ssh."""

    address: Address
    options: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    with_key: bool = False

    def command(self, *words: str) -> list[str]:
        """The argument list of an ssh that runs `words` there; each word stays one word."""
        port = ["-p", str(self.address.port)] if self.address.port else []
        return ["ssh", "-T", *self.options, *port, "--", self.address.place, shlex.join(words)]

    def agent(self, *words: str) -> list[str]:
        """The argument list of an ssh that starts the agent there."""
        path = self.address.path
        return self.command("sh", f"{path.rstrip('/')}/agent", path, *words)


def parse(text: str) -> Address:
    """The parts of an address; SettingsError (22) for one that is none."""
    found = ADDRESS.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    path = found["path"] if found else ""
    if not found or not path.strip("/~.") or (port is not None and not 0 < port < 65536):
        raise SettingsError(f"{text!r} is no address of a host", "Use ssh://user@host[:port]/path")
    # Below the home it must not begin with a dash, which would make it an option.
    path = "./" + path[3:] if path.startswith("/~/") else path
    return Address(text, found["user"], found["host"].strip("[]"), port, path)


@contextlib.contextmanager
def way(text: str, environ: Mapping[str, str] = os.environ) -> Iterator[Way]:
    """The way to `text`, its key in a file only its owner reads, gone when the block ends."""
    address = parse(text)
    if shutil.which("ssh") is None:
        raise PlatformError("There is no ssh on this machine", "Install the OpenSSH client")
    with contextlib.ExitStack() as stack:
        options = dict(OPTIONS)
        known, key = environ.get(KNOWN_HOSTS, "").strip(), environ.get(KEY, "").strip()
        if known:
            # ssh splits the value at blanks, and this path may hold some.
            options["UserKnownHostsFile"] = f'"{_private(stack, "known_hosts", known)}"'
            options["GlobalKnownHostsFile"] = "/dev/null"
        words = [w for pair in options.items() for w in ("-o", "=".join(pair))]
        if key:
            words += ["-i", _private(stack, "key", key), "-o", "IdentitiesOnly=yes",
                      "-o", "IdentityAgent=none"]  # fmt: skip
        # The secrets are in their files: no process needs them in its environment.
        kept = {k: v for k, v in environ.items() if k not in (KEY, KNOWN_HOSTS)}
        yield Way(address, tuple(words), {**kept, "LC_ALL": "C.UTF-8"}, bool(key))


def _private(stack: contextlib.ExitStack, name: str, content: str) -> str:
    """The path of a file with `content` that its owner reads alone, gone with `stack`.

    On Linux it is in memory alone, so that it is gone too when this process is killed.
    """
    # A secret that was pasted from Windows has line ends that ssh does not read.
    text = (content.replace("\r\n", "\n") + "\n").encode("utf-8")
    if sys.platform == "linux":
        handle = os.memfd_create(name)
        stack.callback(os.close, handle)
        os.fchmod(handle, 0o600)
        path = f"/proc/{os.getpid()}/fd/{handle}"
    else:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mainline-ssh-"))
        path = str(Path(folder) / name)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        stack.callback(os.close, handle)
    os.write(handle, text)
    return path


@contextlib.contextmanager
def connect(root: Path, address: str) -> Iterator[RemoteTarget]:
    """The target at `ssh://user@host[:port]/path`, while the block lasts.

    The connection is made at the first call. Calls raise TargetError (12) or, without any key that
    opens the host, RemoteError (21).
    """
    with way(address) as found:
        target = RemoteTarget(
            found.address.text, found.agent(), found.environ, partial(explain, found),
            partial(ship.over, partial(_sender, found)),
        )  # fmt: skip
        try:
            yield target
        finally:
            target.close()


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Target]:
    """The target in a folder of this machine that outlives the job.

    Where a house was installed there, its agent performs the calls, so that what is started runs by
    that house and not by a checkout that the next job replaces.
    """
    agent = folder / "agent"
    if not agent.is_file():
        yield LocalTarget(folder)
        return

    def line(words: Sequence[str] = ()) -> ship.Line:
        return ship.Line(["sh", str(agent), str(folder), *words], os.environ, _ended)

    def _ended(status: int | None, said: str) -> MainlineError:
        last = said.splitlines()[-1] if said else f"status {status}"
        return TargetError(f"The agent in {folder} ended ({last[:200]})", "Install it again")

    target = RemoteTarget(f"{folder.name}/", line().command, os.environ, _ended,
                          partial(ship.over, line))  # fmt: skip
    try:
        yield target
    finally:
        target.close()


def _sender(found: Way, words: Sequence[str]) -> ship.Line:
    return ship.Line(found.agent(*words), found.environ, partial(explain, found))


def explain(found: Way, status: int | None, said: str) -> MainlineError:
    """One sentence for the way in which an ssh ended, and its remedy."""
    place, text = found.address.text, said.lower()
    for words, kind, cause, remedy in REASONS:
        if any(word in text for word in words):
            return kind(cause.format(place=place), remedy.format(host=found.address.host))
    if "permission denied (" in text or "too many authentication failures" in text:
        return _refused(found)
    if status == 127 or "agent: no such file" in text or "can't open" in text:
        return TargetError(
            f"There is no Mainline at {place}", f"Run `./mainline host install --target {place}`"
        )
    last = said.splitlines()[-1] if said else f"ssh ended with status {status}"
    remedy = "Try `ssh` by hand" if status == 255 else "Look at the machine"
    return TargetError(f"{place} cannot be reached ({last[:200]})", remedy)


def _refused(found: Way) -> MainlineError:
    if found.with_key:
        return TargetError(
            f"{found.address.text} does not accept the key in {KEY}",
            f"Append its public half to ~/.ssh/authorized_keys of {found.address.place}",
        )
    return RemoteError(
        f"No key opens {found.address.text}", f"Set the secret {KEY}, or load a key into ssh-agent"
    )


Reason = tuple[tuple[str, ...], type[MainlineError], str, str]
REASONS: tuple[Reason, ...] = (
    (("remote host identification has changed", "host key for"), TargetError,
     "{place} shows another host key than the one that is known: somebody may stand in between",
     f"Ask who runs it; if it was set up anew, renew {KNOWN_HOSTS} or ~/.ssh/known_hosts"),
    (("host key is known", "host key verification failed", "no matching host key"), TargetError,
     "The host key of {place} is not known",
     "Compare what `ssh-keyscan {host}` prints with the machine's own, then put the line into "
     f"{KNOWN_HOSTS}"),
    (("invalid format", "error in libcrypto", "incorrect passphrase", "load key"), RemoteError,
     f"{KEY} holds no private key that ssh can read (it must have no passphrase)",
     "Set it to the whole content of the key file, first and last line too"),
    (("could not resolve", "name or service not known"), TargetError,
     "The host of {place} has no address", "Mend MAINLINE_TARGET"),
    (("connection refused", "connection timed out", "no route to host", "operation timed out",
      "network is unreachable", "banner exchange", "connection reset", "connection closed by"),
     TargetError, "{place} is away: it takes no connection",
     "See that the machine runs and that its port for ssh is open, then run this again"),
)  # fmt: skip
