"""The processes of a service: whichever is killed, callers get their answers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psutil
import pytest

from mainline.serve import loader as loading
from mainline.serve.reading import read_log

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="processes are forked there")
ROW = {"amount": 12.5, "hour": 3, "risk": 0.4, "channel": "web", "country": "FR", "foreign": False}


class Running(Protocol):
    """A service that runs."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    output: str

    def wait_ready(self) -> None:
        """Wait until /readyz says 200."""


Launch = Callable[..., AbstractContextManager[Running]]


class Load:
    """Callers that ask without a pause, each on a connection that it keeps while it may."""

    def __init__(self, service: Running, callers: int = 4) -> None:
        self.at = urlsplit(service.url)
        self.answered: list[str] = []  # request ids of answers with status 200
        self.refused = 0  # no connection: the port is closed
        self.cut: list[str] = []  # a connection was there and no answer came
        self.other: list[int] = []
        self.stopped = threading.Event()
        self.threads = [
            threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(callers)
        ]

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection(str(self.at.hostname), self.at.port, timeout=20)
        count = 0
        while not self.stopped.is_set():
            count += 1
            name = f"caller-{number}-{count}"
            try:
                if connection.sock is None:
                    connection.connect()
            except OSError:
                self.refused += 1
                time.sleep(0.01)
                continue
            try:
                connection.request(
                    "POST", "/predict", json.dumps(ROW),
                    {"content-type": "application/json", "x-request-id": name},
                )  # fmt: skip
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.cut.append(f"{name}: {error!r}")
                continue
            if answer.status == 200:
                self.answered.append(name)
            else:
                self.other.append(answer.status)

    def wait_answered(self, more: int, seconds: float = 20) -> None:
        """Wait until `more` requests were answered from now on."""
        wanted = len(self.answered) + more
        end = time.monotonic() + seconds
        while len(self.answered) < wanted and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self.answered) >= wanted, (self.cut[:3], self.other[:3], self.refused)


@contextmanager
def under_load(service: Running) -> Iterator[Load]:
    """Callers that ask until the block ends."""
    load = Load(service)
    for thread in load.threads:
        thread.start()
    try:
        load.wait_answered(50)
        yield load
    finally:
        load.stopped.set()
        for thread in load.threads:
            thread.join(30)


def loader_of(service: Running) -> psutil.Process:
    """The process that loaded the model."""
    names = [p for p in psutil.Process(service.process.pid).children() if p.children()]
    return names[0]


def wait_gone(process: psutil.Process, seconds: float = 20) -> None:
    """Wait until a process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.05)
    pytest.fail(f"{process} still runs")


def request_ids(service: Running) -> list[str]:
    """The request ids of the prediction log."""
    return list(read_log(service.folder / "log")["request_id"])


def test_sigterm_under_load_loses_nothing(launch: Launch) -> None:
    """Every connection that was made is answered; then the port is closed; the log has it all."""
    with launch() as service, under_load(service) as load:
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
        end = time.monotonic() + 20
        while not load.refused and time.monotonic() < end:
            time.sleep(0.01)
        load.stopped.set()
        assert load.cut == []
        assert load.other == []
        assert load.refused > 0
    kept = request_ids(service)
    assert sorted(kept) == sorted(load.answered)


def test_sigint_ends_it_in_order_too(launch: Launch) -> None:
    """Ctrl-C in a terminal ends the processes one by one, with status 0 and without a traceback."""
    with launch() as service:
        family = psutil.Process(service.process.pid).children(recursive=True)
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(20) == 0
        for process in family:
            wait_gone(process)
        assert "Traceback" not in service.output


def test_a_worker_that_was_killed_is_replaced_at_once(launch: Launch) -> None:
    """kill -9 under load: others are answered, only what was in its hands is cut."""
    with launch() as service, under_load(service) as load:
        (worker,) = loader_of(service).children()
        worker.kill()
        load.wait_answered(50)
        assert len(load.cut) <= len(load.threads)  # one request of each caller at most
        assert load.refused == 0
        assert loader_of(service).children()[0].pid != worker.pid
        assert "signal 9" in service.output
        load.stopped.set()
    assert not set(load.answered) - set(request_ids(service))


def test_a_worker_killed_by_9_under_load_loses_no_answer(launch: Launch) -> None:
    """Three times over: whatever was answered with 200 is in the log, once."""
    with launch() as service, under_load(service) as load:
        for _ in range(3):
            loader_of(service).children()[0].kill()
            load.wait_answered(50)
        load.stopped.set()
    kept = request_ids(service)
    assert len(set(kept)) == len(kept)
    assert set(load.answered) <= set(kept)
    cut = {name.partition(":")[0] for name in load.cut}
    assert set(kept) - set(load.answered) <= cut  # logged, and killed before it could answer


def test_a_full_log_disk_holds_up_no_request_and_loses_none(launch: Launch, tmp_path: Path) -> None:
    """Requests are answered as before, /metrics says how many wait; with room all are written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(245_760))  # 16 KB are left
        with launch(MAINLINE_LOG=str(disk / "log")) as service, under_load(service) as load:
            load.wait_answered(150)
            load.stopped.set()
            for thread in load.threads:
                thread.join(30)
            assert (load.cut, load.other) == ([], [])
            waiting = 0.0
            for line in get(service, "/metrics").decode().splitlines():
                if line.startswith("mainline_log_waiting_records "):
                    waiting = float(line.rpartition(" ")[2])
            kept = len(read_log(disk / "log"))
            assert (kept > 0, kept + waiting) == (True, len(load.answered))
            ballast.unlink()
        assert sorted(read_log(disk / "log")["request_id"]) == sorted(load.answered)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_loader_that_was_killed_is_replaced_and_nobody_notices(launch: Launch) -> None:
    """Its worker goes on until a new loader has loaded, and then ends in order."""
    with launch() as service, under_load(service) as load:
        loader = loader_of(service)
        (worker,) = loader.children()
        loader.kill()
        wait_gone(worker, 40)
        load.wait_answered(50)
        assert load.cut == []
        assert load.other == []
        assert load.refused == 0
        assert loader_of(service).pid != loader.pid


def test_a_loader_that_was_killed_while_it_loads_is_started_again(launch: Launch) -> None:
    """Killed from outside before it was ever ready: that says nothing of the model."""
    killed: list[int] = []

    def kill(service: Running) -> None:
        arbiter = psutil.Process(service.process.pid)
        while not (found := arbiter.children()):
            time.sleep(0.01)
        killed.append(found[0].pid)
        found[0].kill()

    with launch(meanwhile=kill) as service:
        assert loader_of(service).pid not in killed


def test_an_arbiter_that_was_killed_leaves_nobody_behind(launch: Launch) -> None:
    """Its workers answer what they accepted and end; the port is free for the next service."""
    with launch() as service, under_load(service) as load:
        family = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        for process in family:
            wait_gone(process)
        load.stopped.set()
        assert load.cut == []
        port = int(service.url.rpartition(":")[2])
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    assert sorted(request_ids(service)) == sorted(load.answered)


def test_features_that_hang_do_not_hold_a_worker_for_ever(launch: Launch) -> None:
    """The time limit answers 503; then another worker takes over, and the next row is answered."""
    with launch(OWN_BUG="hang") as service:
        (worker,) = loader_of(service).children()
        assert ask(service, {**ROW, "amount": 777})[0] == 503
        service.wait_ready()
        status, answer = ask(service, ROW)
        assert status == 200, answer
        wait_gone(worker)
        assert "worked on one batch" in service.output


def test_many_workers_count_together(launch: Launch) -> None:
    """With two workers /metrics has every answer, whichever worker is asked, also of a dead one."""
    with launch(MAINLINE_WORKERS="2") as service:
        loader = loader_of(service)
        assert len(loader.children()) == 2
        for _ in range(20):
            assert ask(service, ROW)[0] == 200
        loader.children()[0].kill()
        service.wait_ready()
        for _ in range(5):
            text = get(service, "/metrics").decode()
            counted = [
                float(line.rpartition(" ")[2])
                for line in text.splitlines()
                if line.startswith("mainline_requests_total") and 'route="/predict"' in line
            ]
            assert sum(counted) == 20


def test_all_processes_together_stay_below_350_mb(service: Running) -> None:
    """What is shared is counted once: the loader's memory, and what each other has for itself."""
    for _ in range(50):
        assert ask(service, ROW)[0] == 200
    loader = loader_of(service)
    family = psutil.Process(service.process.pid)
    others = [p for p in (family, *family.children(recursive=True)) if p.pid != loader.pid]
    used = loader.memory_info().rss + sum(p.memory_full_info().uss for p in others)
    assert used < 350 * 2**20


def test_a_second_service_on_the_port_is_refused_with_a_sentence(
    launch: Launch, project: Path, bento: Path
) -> None:
    """It says which port and what to do, and the first goes on."""
    from mainline.serve.build import command

    with launch() as service:
        port = int(service.url.rpartition(":")[2])
        arguments, environment = command(project, bento, port=port)
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert f"Port {port} of 127.0.0.1 cannot be used" in done.stderr
        assert "Traceback" not in done.stderr
        assert ask(service, ROW)[0] == 200


def test_an_answer_names_no_server(service: Running) -> None:
    """No Server header and no version of a tool, in an answer, a refusal or a broken request."""
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as raw:
        raw.sendall(b"NONSENSE\r\n\r\n")
        broken = raw.recv(10_000)
    assert broken.startswith(b"HTTP/1.1 400")
    for text in (
        broken.decode(),
        str(headers_of(service, "/version")),
        str(headers_of(service, "/x")),
    ):
        assert "uvicorn" not in text.lower()
        assert "bentoml" not in text.lower()
        assert "server" not in text.lower()


def test_who_hangs_is_told_from_who_works() -> None:
    """A batch beyond the time limit, or a silent event loop, is a reason; anything less is none."""
    memory = loading.mmap.mmap(-1, loading.Slot.SIZE)
    slot = loading.Slot(memory, 0)
    assert loading.stuck(slot, 1e9, 30) is None
    slot.tell("busy", 100.0)
    slot.tell("beat", 100.0)
    assert loading.stuck(slot, 130.0, 30) is None
    assert "one batch for 32 s" in str(loading.stuck(slot, 132.0, 30))
    slot.tell("busy", 0.0)
    assert "event loop" in str(loading.stuck(slot, 132.0, 30))


def test_a_start_that_fails_is_not_tried_for_ever(
    launch: Launch, project: Path, bento: Path, tmp_path: Path
) -> None:
    """A key file that is not there, or a broken model, ends the service with its sentence."""
    import shutil

    from mainline.serve.build import command

    broken = tmp_path / "broken"
    shutil.copytree(bento, broken)
    (broken / "src" / "schema.yaml").write_text("version: [")
    arguments, environment = command(project, bento, port=0)
    environment["PYTHONPATH"] = str(broken / "src")
    done = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 22, done.stderr
    assert "schema.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def ask(service: Running, row: dict[str, Any]) -> tuple[int, Any]:
    """Status and document of one POST /predict."""
    at = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=30)
    connection.request("POST", "/predict", json.dumps(row), {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def get(service: Running, path: str) -> bytes:
    """The body of one GET."""
    at = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=30)
    connection.request("GET", path)
    return connection.getresponse().read()


def headers_of(service: Running, path: str) -> dict[str, str]:
    """The headers of one GET."""
    at = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=30)
    connection.request("GET", path)
    return dict(connection.getresponse().headers)
