"""The processes on this machine: Envoy, guard, watcher and one service a version, under supervisor.

supervisord runs in a session of its own, so that it outlives the job or the shell that started it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mainline
from mainline.errors import MainlineError, NotMeasured, PlatformError
from mainline.files import write_bytes, write_json, write_text
from mainline.rollout import envoy, state

MARK = "MAINLINE_HOST_ID"
# A runner ends every process that carries this name when its job ends.
DROPPED = ("RUNNER_TRACKING_ID",)
PORTS = range(20_000, 32_000)
RESERVE, RESERVE_BYTES = ".reserve", 2 << 20
OWN = ("envoy", "guard", "watcher")
CLOSES_SECONDS = 3.0
SOCKETS = Path("/tmp")  # noqa: S108 (a socket of mode 0700, by user and folder)
NEXT = "envoy-next"  # while one Envoy hands over to another
OF_A_HOUSE = ("PYTHONPATH", "VIRTUAL_ENV", "MAINLINE_VENV")


class HostError(MainlineError):
    """A process of the rollout did not start, or cannot be asked."""

    status = 12


def require_platform() -> None:
    """Raise PlatformError (23), naming the platform, where Envoy or supervisor cannot run."""
    envoy.binary()
    try:
        import supervisor  # noqa: F401
    except ImportError as error:
        raise PlatformError(
            "supervisor is not installed, so a rollout cannot run on this platform",
            "Roll out from Linux or macOS; all other commands work",
        ) from error


def ports(target: Path) -> dict[str, int]:
    """The ports `public` and `admin` of this target; NotMeasured (12) where it was never set up."""
    try:
        found = json.loads((target / "host.json").read_text("utf-8"))
        return {"public": int(found["public"]), "admin": int(found["admin"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotMeasured(
            f"Nothing is rolled out in {target.name}/", "Start with `./mainline rollout start`"
        ) from error


def url(target: Path) -> str:
    """The address at which clients reach whatever is live."""
    return f"http://127.0.0.1:{ports(target)['public']}"


def free_port(besides: int | None = None) -> int:
    """A TCP port that is free on 127.0.0.1 now, and another than `besides`.

    Below the range from which the system gives ports to outgoing connections, so that it is still
    free when the process is started again.
    """
    # Not the generator that a model's code may have seeded: two targets would draw the same.
    for port in random.SystemRandom().sample(PORTS, 200):
        if port != besides and is_free(port):
            return port
    raise HostError("No free port was found", "End what takes so many ports")


def is_free(port: int) -> bool:
    """Whether a TCP port of 127.0.0.1 is free now."""
    with contextlib.suppress(OSError, OverflowError), socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        return True
    return False


def mark(target: Path) -> str:
    """The value that all processes of `target` carry in their environment."""
    return hashlib.sha256(str(target.resolve()).encode("utf-8")).hexdigest()[:16]


def socket_path(target: Path) -> Path:
    """Its socket: in the target, or in /tmp where that path is too long.

    Never where $TMPDIR says or room was found: a login, a job and the boot must all meet there,
    and a full disk must not hide it.
    """
    path = target.resolve() / "supervisor.sock"
    if len(os.fsencode(path)) < 90:
        return path
    return SOCKETS / f"mainline-{os.getuid()}-{mark(target)}.sock"


def rpc(target: Path) -> Any:
    """supervisor's XML-RPC interface over its socket. Calls raise OSError when it is away."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{socket_path(target)}")
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor


def is_up(target: Path) -> bool:
    """Whether this target's supervisor answers."""
    try:
        return bool(rpc(target).getState()["statename"] == "RUNNING")
    except (OSError, ImportError, xmlrpc.client.Error):
        return False


def programs(target: Path) -> dict[str, dict[str, Any]]:
    """supervisor's processes by name: `state` (such as RUNNING), `pid`, `start`, `why`."""
    try:
        found = rpc(target).getAllProcessInfo()
    except (OSError, ImportError, xmlrpc.client.Error):
        return {}
    return {
        p["name"]: {"state": p["statename"], "pid": p["pid"], "start": p["start"],
                    "why": p["spawnerr"] or p["description"]}
        for p in found
    }  # fmt: skip


def ensure(target: Path, wait: float = 20.0) -> None:
    """Set the target up if it is not, and see Envoy, guard and watcher running.

    Safe to call again. Processes that a dead supervisor left behind are ended first. Raises
    PlatformError (23) or HostError (12).
    """
    require_platform()
    if not is_up(target):
        try:
            target.mkdir(parents=True, exist_ok=True)
            # A command may come while the watcher brings things back, or two commands at once.
            with state.locked(target, "host.lock", wait=wait):
                if not is_up(target):
                    _set_up(target)
        except OSError as error:
            raise HostError(
                f"{target.name}/ cannot be set up ({error.strerror or error})",
                "Give the folder to the user who runs this",
            ) from error
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        if is_up(target) and envoy_ready(target):
            return
        time.sleep(0.02)
    raise HostError(f"Envoy did not start ({last_line(target / 'log' / 'envoy.log')})",
                    f"Look into {target.name}/log/")  # fmt: skip


def _set_up(target: Path) -> None:
    sweep(target)
    # What the guard counted was of processes that are gone, which is no loss of the new ones.
    (target / "guard.json").unlink(missing_ok=True)
    _write_files(target)
    for port in ports(target).values():
        _require_free(port)
    _launch(target)


def deserted(target: Path) -> bool:
    """Whether the supervisor of this target was killed, and nobody has started another.

    Where nobody reaps it, as in a container without an init, its process id lives on.
    """
    pid = _supervisor_pid(target)
    return pid is not None and pid not in marked(target, pid)


def _require_free(port: int, wait: float = CLOSES_SECONDS) -> None:
    """Envoy itself would share a port with another Envoy, and half of the requests with it.

    What was killed a moment ago has no environment any more, but still has its sockets.
    """
    deadline = time.monotonic() + wait
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                return probe.bind(("127.0.0.1", port))
            except OSError as error:
                if time.monotonic() > deadline:
                    raise HostError(
                        f"Port {port} of this target is taken by another program",
                        f"End what listens there: `lsof -i :{port}` names it",
                    ) from error
        time.sleep(0.05)


def envoy_ready(target: Path) -> bool:
    """Whether Envoy answers and is live."""
    try:
        return envoy.ask(ports(target)["admin"], "/ready")[1].strip() == "LIVE"
    except (OSError, MainlineError, ValueError):
        return False


def _write_files(target: Path) -> None:
    # What a handover that was cut off left behind would answer on the same port.
    for suffix in ("conf", "json"):
        (target / "programs" / f"{NEXT}.{suffix}").unlink(missing_ok=True)
    for folder in ("xds", "log", "programs"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    if not (target / ".gitignore").exists():
        write_text(target / ".gitignore", "*\n")
    try:
        found = ports(target)
    except NotMeasured:
        public = free_port()
        found = {"public": public, "admin": free_port(besides=public)}
        write_json(target / "host.json", found)
    write_json(target / "bootstrap.json", envoy.bootstrap(found["public"], found["admin"]))
    envoy.write_empty(target)
    write_text(target / "supervisord.conf", _supervisord(target))
    if not (target / RESERVE).exists():
        # Real bytes: a file with a hole takes no room.
        write_bytes(target / RESERVE, os.urandom(RESERVE_BYTES))
    write_own(target)


def write_own(target: Path) -> None:
    """What supervisor runs of Mainline itself, by this code."""
    python = [sys.executable, "-m"]
    _write_program(target, "envoy", run_envoy("bootstrap.json"), target)
    _write_program(target, "guard", [*python, "mainline.rollout.guard", "."], target)
    _write_program(target, "watcher", [*python, "mainline.rollout.watcher", "."], target)


def use_reserve(target: Path) -> bool:
    """Make room on a full disk; whether there was a reserve to give up. The next set-up makes one.

    Without it a full disk would keep traffic at a canary: the way back is written down, too.
    """
    try:
        (target / RESERVE).unlink()
        return True
    except OSError:
        return False


def run_envoy(bootstrap: str) -> list[str]:
    """The command of an Envoy; asked to drain it is done in two seconds."""
    return [str(envoy.binary()), "-c", bootstrap, "--concurrency", "1",
            "--file-flush-interval-msec", "100", "--use-dynamic-base-id",
            "--drain-time-s", "2", "--drain-strategy", "immediate",
            "--log-level", "warning"]  # fmt: skip


# supervisord is started in the target, and stays there: names are relative, because supervisor
# expands %(name)s in paths, in some of them twice.
SUPERVISORD = """[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile=log/supervisord.log
pidfile=supervisord.pid
childlogdir=log
minfds=1024

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = programs/*.conf
"""

PROGRAM = """[program:{name}]
command={python} -P programs/program.py {name}
autostart=true
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs=5
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=log/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""


def _supervisord(target: Path) -> str:
    path = socket_path(target)
    relative = path.name if path.parent == target.resolve() else str(path).replace("%", "%%")
    return SUPERVISORD.format(socket=relative)


def port_of(target: Path, name: str) -> int | None:
    """The port on which a supervised service was told to answer; None where it is not there."""
    if name not in programs(target):
        return None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads((target / "programs" / f"{name}.json").read_text("utf-8"))["port"])
    return None


def _write_program(
    target: Path, name: str, command: Sequence[str], directory: Path, port: int | None = None
) -> None:
    """What supervisor runs: a few lines that go to `directory` and become `command`.

    The command itself stands in a JSON file, since any path may be in it; so does where its code
    is, which may be another house than supervisor's. Those lines are copied there, to outlive
    both.
    """
    python = shlex.quote(sys.executable).replace("%", "%%")
    env = _environment(target, {})
    document = {"command": list(command), "directory": str(directory.resolve()), "port": port,
                "environment": {k: env[k] for k in OF_A_HOUSE if k in env}}  # fmt: skip
    write_json(target / "programs" / f"{name}.json", document)
    lines = Path(__file__).with_name("program.py").read_text("utf-8")
    write_text(target / "programs" / "program.py", lines)
    text = PROGRAM.format(python=python, name=name)
    write_text(target / "programs" / f"{name}.conf", text)


def _environment(target: Path, more: Mapping[str, str]) -> dict[str, str]:
    source = str(Path(mainline.__file__).resolve().parents[1])
    env = {k: v for k, v in os.environ.items() if k not in DROPPED}
    paths = [source, *[p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p]]
    env["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(str(Path(p).resolve()) for p in paths))
    return {**env, MARK: mark(target), **more}


def log_address(target: Path) -> str:
    """Where the services log their predictions: MAINLINE_LOG, else `predictions/` in the target."""
    address = os.environ.get("MAINLINE_LOG") or str(target.resolve() / "predictions")
    return address if "://" in address else str(Path(address).resolve())


def labels_address() -> dict[str, str]:
    """MAINLINE_LABELS where it is set; a path is meant from here, a service starts elsewhere."""
    address = os.environ.get("MAINLINE_LABELS")
    if not address:
        return {}
    return {"MAINLINE_LABELS": address if "://" in address else str(Path(address).resolve())}


def _launch(target: Path) -> None:
    env = _environment(target, {"MAINLINE_LOG": log_address(target), **labels_address()})
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"],
        cwd=target, env=env, start_new_session=True, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[0]
        raise HostError(f"supervisor did not start ({said})", f"Look into {target.name}/log/")


def add_program(
    target: Path, name: str, command: Sequence[str], directory: Path, port: int | None = None
) -> None:
    """Start `command`, which answers on `port`, as a supervised process, unless it is there."""
    if name in programs(target):
        return
    _write_program(target, name, command, directory, port)
    server = rpc(target)
    try:
        server.reloadConfig()
        server.addProcessGroup(name)
    except xmlrpc.client.Fault as error:
        raise HostError(f"{name} did not start ({error.faultString})", "Look into log/") from error


def remove_program(target: Path, name: str) -> None:
    """Stop a supervised process and forget it; does nothing when it is not there."""
    for suffix in ("conf", "json"):
        (target / "programs" / f"{name}.{suffix}").unlink(missing_ok=True)
    if name not in programs(target):
        return
    server = rpc(target)
    with contextlib.suppress(xmlrpc.client.Fault):
        server.stopProcess(name)
    with contextlib.suppress(xmlrpc.client.Fault):
        server.removeProcessGroup(name)
    with contextlib.suppress(xmlrpc.client.Fault):
        server.reloadConfig()


def stop_program(target: Path, name: str) -> None:
    """End one supervised process, which stays down until it is added again or all come up anew."""
    with contextlib.suppress(OSError, xmlrpc.client.Error):
        rpc(target).stopProcess(name, False)


def restart_program(target: Path, name: str) -> None:
    """Stop a supervised process and start it as it stands in programs/ now."""
    server = rpc(target)
    for call in (server.stopProcess, server.removeProcessGroup):
        with contextlib.suppress(xmlrpc.client.Fault):
            call(name)
    server.reloadConfig()
    with contextlib.suppress(xmlrpc.client.Fault):
        server.addProcessGroup(name)


def kill_program(target: Path, name: str) -> None:
    """SIGKILL one supervised process, which supervisor then starts again."""
    with contextlib.suppress(OSError, xmlrpc.client.Error):
        rpc(target).signalProcess(name, "KILL")


def down(target: Path) -> None:
    """End supervisor and everything under it. Safe to call again; no process is left."""
    pid = _supervisor_pid(target)
    with contextlib.suppress(OSError, ImportError, xmlrpc.client.Error):
        rpc(target).shutdown()
    deadline = time.monotonic() + 10
    while pid and time.monotonic() < deadline and pid in marked(target):
        time.sleep(0.05)
    sweep(target)
    socket_path(target).unlink(missing_ok=True)
    # The next guard finds other processes, which are no loss of these: it counts again.
    (target / "guard.json").unlink(missing_ok=True)


def _supervisor_pid(target: Path) -> int | None:
    try:
        return int((target / "supervisord.pid").read_text("ascii"))
    except (OSError, ValueError):
        return None


def marked(target: Path, pid: int | None = None) -> list[int]:
    """The processes of this target that live, or `pid` if it is one: their environment has a mark.

    One that has ended and that nobody has reaped has no environment any more.
    """
    needle = f"{MARK}={mark(target)}".encode()
    if not Path("/proc/self/environ").exists():
        listing = subprocess.run(["ps", "eww", "-x", "-o", "pid=,command="],
                                 capture_output=True, check=False).stdout  # fmt: skip
        listed = [int(line.split()[0]) for line in listing.splitlines() if needle in line]
        return [p for p in listed if p != os.getpid() and pid in (None, p)]
    found = []
    for folder in [Path(f"/proc/{pid}")] if pid else Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if needle in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def sweep(target: Path) -> None:
    """SIGKILL what still carries this target's mark, the supervisor first."""
    for _ in range(50):
        left = marked(target)
        if not left:
            return
        pid = _supervisor_pid(target)
        for process in sorted(left, key=lambda p: p != pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def last_line(path: Path) -> str:
    """The last line of a log, or what is wrong with it."""
    try:
        lines = path.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return "no log"
    return lines[-1] if lines else "no message"
