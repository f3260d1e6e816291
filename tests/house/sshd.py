"""A real sshd on 127.0.0.1: its own host key, its own port, one user, ended with the test."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tools

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey "{folder}/host_key"
PidFile "{folder}/pid"
AuthorizedKeysFile "{folder}/authorized"
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
LogLevel ERROR
SetEnv {variables}
"""


@dataclass
class Sshd:
    """The server: `folder` holds its files; `environ` is what lets a client in."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def environ(self) -> dict[str, str]:
        """The two variables with which this server is reached."""
        return {"MAINLINE_SSH_KEY": self.key("client"), "MAINLINE_SSH_KNOWN_HOSTS": self.known()}

    def key(self, name: str) -> str:
        """The content of a private key, made at the first need."""
        path = self.folder / name
        if not path.exists():
            _keygen(path)
        return path.read_text("utf-8")

    def known(self, name: str = "host_key") -> str:
        """The line of known_hosts that names the key `name` as this server's."""
        self.key(name)
        public = (self.folder / f"{name}.pub").read_text("utf-8")
        return f"[127.0.0.1]:{self.port} {public}"

    def address(self, path: Path | str) -> str:
        """The address of a folder on this host."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def sessions(self) -> list[int]:
        """The processes of this server that serve a connection now."""
        return _children(self.process.pid)


@contextlib.contextmanager
def serving(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[Sshd]:
    """An sshd that lets the key `client` in; `variables` are set for what it starts."""
    sshd = tools.sshd()
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks itself in
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "client"):
        _keygen(folder / name)
    shutil.copy(folder / "client.pub", folder / "authorized")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The venv of this run is what a host's own would be; services of tests need its Python.
    given = {"MAINLINE_VENV": sys.prefix, "PATH": os.environ["PATH"], **(variables or {})}
    words = " ".join(f'"{name}={value}"' for name, value in given.items())
    config = folder / "sshd_config"
    config.write_text(CONFIG.format(port=port, folder=folder, variables=words), "utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=log)
    try:
        _await(port, process, folder / "log")
        yield Sshd(folder, port, process)
    finally:
        for pid in [process.pid, *_children(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)
        process.wait(10)


def power_cut(folder: Path) -> None:
    """End all that runs in a host's folder, as a reboot does; what it left names another boot."""
    from mainline.rollout import host

    host.sweep(folder)
    with contextlib.suppress(FileNotFoundError):
        kept = json.loads((folder / "guard.json").read_text("utf-8"))
        (folder / "guard.json").write_text(json.dumps({**kept, "boot_id": "before"}), "utf-8")


def _keygen(path: Path) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"sshd did not start: {log.read_text('utf-8', 'replace')}")


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(stat.parent.name))
    return found
