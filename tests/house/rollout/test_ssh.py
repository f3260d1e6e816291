"""What may go wrong between here and a host, and that a rollout over ssh loses nothing."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sshd
from rollout.rig import Rig, argv, digest, expected, policy, rig

from mainline.errors import MainlineError, RaceError, RemoteError, SettingsError
from mainline.files import digest_files, digest_tree, short, write_json
from mainline.rollout import host, machine, remote, rollout, ship, ssh, wire
from mainline.rollout.local import LocalTarget
from mainline.rollout.target import TargetError, target_of
from mainline.serve import build
from mainline.verdict import Verdict


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    """An sshd for this module."""
    with sshd.serving(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the host in which an agent is, and nothing was ever served."""
    place = tmp_path / "here; it's $(odd)"
    place.mkdir()
    machine.put_agent(place)
    return place


@pytest.fixture
def secrets(server: sshd.Sshd, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The two variables set, and nothing of the user's own ssh in the way."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return monkeypatch


def refused(address: str) -> MainlineError:
    """The error with which reading the state at `address` ends."""
    with pytest.raises(MainlineError) as raised, target_of(Path(), address) as target:
        target.read()
    said = raised.value
    assert said.cause.count(". ") == 0 and said.remedy, said
    return said


# ---- addresses and what ssh is told --------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["ssh://-oProxyCommand=touch%20x/path", "ssh://-oProxyCommand=id@host/path",
     "ssh://host:22:22/path", "ssh://host:0/path", "ssh://host:99999/path", "ssh://host",
     "ssh://host/", "ssh://host//", "ssh://host/~", "ssh:///path", "ssh://a b/path",
     "ssh://host/pa\nth", "ssh://user@-host/path", "ssh://host -p 1/path"],
)  # fmt: skip
def test_what_is_no_address_never_reaches_ssh(text: str) -> None:
    """An address that could be an option, or has no path, is refused with 22 before any ssh."""
    with pytest.raises(SettingsError) as raised:
        ssh.parse(text)
    assert raised.value.status == 22


def test_an_address_is_taken_apart(tmp_path: Path) -> None:
    """User, host, port and path are data; below the home a path cannot begin with a dash."""
    found = ssh.parse("ssh://me@host.example:2222/srv/a b/'$(x)")
    assert (found.user, found.host, found.port) == ("me", "host.example", 2222)
    assert found.path == "/srv/a b/'$(x)"
    assert ssh.parse("ssh://[::1]/p").host == "::1"
    assert ssh.parse("ssh://host/~/-x").path == "./-x"
    way = ssh.Way(found, ("-o", "BatchMode=yes"), {})
    words = way.agent("receive", "a;b")
    assert words[-3:-1] == ["--", "me@host.example"] and words[words.index("-p") + 1] == "2222"
    echoed = subprocess.run(["sh", "-c", words[-1].replace("sh ", "printf '%s|' ", 1)],
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert echoed == "/srv/a b/'$(x)/agent|/srv/a b/'$(x)|receive|a;b|"


def test_the_key_is_in_a_file_only_its_owner_reads_and_gone_afterwards() -> None:
    """The secrets are in no argument and in no environment; on Linux the file is in memory."""
    given = {"MAINLINE_SSH_KEY": "a\r\nsecret key\r\n", "MAINLINE_SSH_KNOWN_HOSTS": "host key"}
    with ssh.way("ssh://host/path", {**os.environ, **given}) as way:
        words = way.command("true")
        path = Path(words[words.index("-i") + 1])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == b"a\nsecret key\n"
        assert "secret key" not in " ".join(words) + "".join(way.environ.values()) + repr(way)
        assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes"} <= set(words)
    assert not path.exists()
    with ssh.way("ssh://host/path", {}) as way:
        assert "-i" not in way.command("true")
        assert "UserKnownHostsFile" not in " ".join(way.options)


# ---- what fails, in one sentence -----------------------------------------------------------------


def test_a_wrong_key_is_named(server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path) -> None:
    """A key that the host does not know is status 12, and the remedy names authorized_keys."""
    secrets.setenv("MAINLINE_SSH_KEY", server.key("stranger"))
    said = refused(server.address(folder))
    assert isinstance(said, TargetError) and "does not accept the key" in said.cause
    assert "authorized_keys" in said.remedy


def test_no_key_at_all_is_a_missing_credential(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    """Without a key here or in the user's agent it is status 21, and the secret is named."""
    secrets.delenv("MAINLINE_SSH_KEY")
    # ssh looks for the user's own keys in the home of the password file, not in HOME.
    empty = tmp_path / "none"
    empty.write_text(server.key("stranger"), "utf-8")
    empty.chmod(0o600)
    with ssh.way(server.address(folder)) as way:
        only = ssh.Way(way.address, (*way.options, "-i", str(empty), "-o", "IdentitiesOnly=yes",
                                     "-o", "IdentityAgent=none"), way.environ)  # fmt: skip
        done = subprocess.run(only.agent(), env=dict(only.environ), capture_output=True,
                              text=True, check=False)  # fmt: skip
        said = ssh.explain(only, done.returncode, done.stderr)
    assert isinstance(said, RemoteError) and said.status == 21
    assert "MAINLINE_SSH_KEY" in said.remedy


def test_a_damaged_key_is_named(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path
) -> None:
    """What ssh cannot read as a key is said so, with status 21."""
    secrets.setenv("MAINLINE_SSH_KEY", server.key("client")[:150])
    said = refused(server.address(folder))
    assert said.status == 21 and "no private key that ssh can read" in said.cause


def test_an_unknown_host_is_never_trusted(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path
) -> None:
    """A host whose key nobody named is not talked to, and neither is one with another key."""
    secrets.setenv(
        "MAINLINE_SSH_KNOWN_HOSTS", "elsewhere.example " + server.known().split(" ", 1)[1]
    )
    said = refused(server.address(folder))
    assert said.status == 12 and "not known" in said.cause and "ssh-keyscan" in said.remedy
    secrets.setenv("MAINLINE_SSH_KNOWN_HOSTS", server.known("another_host_key"))
    said = refused(server.address(folder))
    assert said.status == 12 and "another host key" in said.cause


def test_a_host_that_is_away_is_said_so(secrets: pytest.MonkeyPatch) -> None:
    """Nobody listens at the port, or the name has no address: status 12, before the time is up."""
    said = refused(f"ssh://root@127.0.0.1:{host.free_port()}/srv/mainline")
    assert said.status == 12 and "is away" in said.cause
    said = refused("ssh://root@no-such-host.invalid/srv/mainline")
    assert said.status == 12 and "has no address" in said.cause


def test_a_host_without_mainline_is_told_how_to_get_it(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder in which nothing was installed: the remedy is the command that does."""
    said = refused(server.address(tmp_path / "nothing"))
    assert said.status == 12 and "There is no Mainline" in said.cause
    assert "mainline host install" in said.remedy


def test_another_version_of_the_protocol_is_refused(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path
) -> None:
    """An agent that speaks another protocol is not asked anything."""
    secrets.setattr(remote.wire, "PROTOCOL", "agent/0")
    said = refused(server.address(folder))
    assert said.status == 12 and "'agent/1'" in said.cause and "host install" in said.remedy


def test_what_a_login_shell_prints_is_not_taken_for_an_answer(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path
) -> None:
    """Greetings before the agent's first line are passed over."""
    agent = (folder / "agent").read_text("utf-8")
    greeting = "#!/bin/sh\necho 'Welcome! {\"value\": 1}'; echo '{\"value\": 2}'\n"
    (folder / "agent").write_text(agent.replace("#!/bin/sh\n", greeting), "utf-8")
    with target_of(Path(), server.address(folder)) as target:
        assert target.read().status == "idle"


def test_the_agents_error_is_the_one_that_is_raised_here(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path
) -> None:
    """Class, sentence, remedy and status of an error are the same on both sides."""
    (folder / "rollout.json").write_text("{", "utf-8")
    with target_of(Path(), server.address(folder)) as target:
        with pytest.raises(MainlineError) as there:
            target.read()
        with pytest.raises(MainlineError) as here:
            LocalTarget(folder).read()
        assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
        assert there.value.status == here.value.status
        assert isinstance(target, remote.RemoteTarget)
        with pytest.raises(MainlineError, match="knows no call"):
            target.call("no-such-call")


def test_what_a_library_prints_on_the_host_is_not_taken_for_an_answer(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path
) -> None:
    """Words on the agent's stdout in the middle of a call go to its stderr."""
    script = folder / "noisy.py"
    script.write_text(
        "import os, sys\nfrom mainline.rollout import agent\n"
        "from mainline.rollout.local import LocalTarget\n"
        "read = LocalTarget.read\n"
        "LocalTarget.read = lambda self: print('noise', end='', flush=True) or read(self)\n"
        "agent.main(sys.argv[1:])\n",
        "utf-8",
    )
    text = (folder / "agent").read_text("utf-8")
    words = text.replace("-m mainline.rollout.agent", shlex.quote(str(script)))
    (folder / "agent").write_text(words, "utf-8")
    secrets.setattr(remote.RemoteTarget.call, "__defaults__", (10.0,))
    with target_of(Path(), server.address(folder)) as target:
        assert target.read().status == "idle"


def test_the_lock_is_taken_again_with_the_connection(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path
) -> None:
    """A command whose ssh was killed goes on alone: nobody else gets in after its next call."""
    address = server.address(folder)
    with ssh.connect(Path(), address) as target, target.alone():
        _kill(target)
        assert target.read().status == "idle"
        with ssh.connect(Path(), address) as other:
            secrets.setattr(remote, "LOCK_SECONDS", 0.0)
            with pytest.raises(RaceError), other.alone():
                pass


def test_an_agent_that_hears_nothing_ends(folder: Path) -> None:
    """A caller that is gone without closing keeps no lock: the agent ends by itself."""
    script = (
        "import sys\nfrom mainline.rollout import agent, wire\n"
        "wire.SILENCE_SECONDS = 0.5\nagent.main([sys.argv[1]])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[2])},
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        # Before it listens: half a second of silence must not come between.
        process.stdin.write(wire.line({"call": "lock", "with": {}}))
        process.stdin.flush()
        assert wire.PROTOCOL in process.stdout.readline().decode()
        assert json.loads(process.stdout.readline()) == {"value": None}
        assert process.wait(30) == 0  # its stdin is still open
        with LocalTarget(folder).alone():
            pass
    finally:
        process.kill()
        process.wait()


# ---- artifacts -----------------------------------------------------------------------------------


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    """A small Bento of the house's kind: a record, and the model that it names."""
    made = tmp_path / "bento"
    models = made / "src" / "models"
    models.mkdir(parents=True)
    (models / "model.skops").write_bytes(os.urandom(3_000_000))
    (made / "bento.yaml").write_text("name: x\n", "utf-8")
    (made / "answers-0.parquet").write_bytes(b"kept beside it")
    write_json(made / "src" / build.RECORD, {"digest": digest_tree(models), "name": "x"})
    return made


def sent(target: remote.RemoteTarget, bento: Path, wanted: str | None = None) -> str:
    """Bring a Bento to the host; its path there."""
    return target._ship(target, wanted or digest_tree(bento / "src" / "models"), bento)


def test_an_artifact_is_sent_whole_and_once(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path, bento: Path
) -> None:
    """It arrives as it is, checked as `serve` checks it; what is there already is not sent."""
    with ssh.connect(Path(), server.address(folder)) as target:
        there = Path(sent(target, bento))
        assert there.parent == folder / "artifacts"
        files = ship.files_of(bento)
        assert digest_files(ship.files_of(there), there) == digest_files(files, bento)
        assert not (there / "answers-0.parquet").exists()
        secrets.setattr(ship, "send", lambda *_: pytest.fail("was sent again"))
        assert sent(target, bento) == str(there)


def test_an_artifact_with_another_model_is_refused(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path, bento: Path
) -> None:
    """A Bento that does not hold what its record says, or not the version's model, stays out."""
    with ssh.connect(Path(), server.address(folder)) as target:
        with pytest.raises(MainlineError, match="does not hold the model"):
            sent(target, bento, digest("x"))
        (bento / "src" / "models" / "model.skops").write_bytes(b"changed")
        with pytest.raises(MainlineError, match="was built with") as raised:
            sent(target, bento)
        assert raised.value.status == 20
    assert not list((folder / "artifacts").iterdir())


def test_a_cut_transfer_leaves_nothing_and_is_done_again(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, folder: Path, bento: Path
) -> None:
    """The connection breaks in the middle of the tar: nothing has its name, and again is enough."""
    whole = ship.pack

    def half(stream: io.BufferedWriter, *rest: object) -> None:
        made = io.BytesIO()
        whole(made, *rest)  # type: ignore[arg-type]
        stream.write(made.getvalue()[: len(made.getvalue()) // 2])
        stream.flush()

    secrets.setattr(ship, "pack", half)
    with ssh.connect(Path(), server.address(folder)) as target:
        with pytest.raises(TargetError) as raised:
            sent(target, bento)
        assert raised.value.status == 12 and "again" in raised.value.remedy
        assert not list((folder / "artifacts").iterdir())
        # What a receiver that was killed left behind goes with the next transfer.
        (folder / "artifacts" / ".tmp-old").mkdir()
        secrets.setattr(ship, "pack", whole)
        there = sent(target, bento)
    assert [str(p) for p in (folder / "artifacts").iterdir()] == [there]


def test_what_arrives_otherwise_than_it_was_sent_is_refused(folder: Path, bento: Path) -> None:
    """A file that was changed on the way, the model's or another, keeps the whole Bento out."""
    model = digest_tree(bento / "src" / "models")
    tree = digest_files(ship.files_of(bento), bento)
    (bento / "bento.yaml").write_text("name: other\n", "utf-8")
    made = io.BytesIO()
    ship.pack(made, bento, ship.files_of(bento))
    made.seek(0)
    name = f"{short(model)}-{short(tree)}"
    with pytest.raises(TargetError, match="not what was sent"):
        ship.receive(folder, name, model, tree, made)
    with pytest.raises(TargetError, match="no name"):
        ship.receive(folder, "../../x", model, tree, made)
    assert not list((folder / "artifacts").iterdir())


def test_a_full_disk_of_the_host_leaves_no_half_bento(
    folder: Path, bento: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no room the host says so, and keeps nothing of what arrived."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    made = io.BytesIO()
    ship.pack(made, bento, ship.files_of(bento))
    made.seek(0)
    monkeypatch.setattr(ship.shutil, "copyfileobj", full)
    with pytest.raises(TargetError, match="No space left on device"):
        ship.receive(folder, "0" * 12 + "-" + "0" * 12, digest("x"), digest("x"), made)
    assert not list((folder / "artifacts").iterdir())


def tar_of(*members: tuple[str, bytes, str]) -> io.BytesIO:
    """A tar of members `(name, type, content)`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(content.encode()))
    made.seek(0)
    return made


@pytest.mark.parametrize(
    "members",
    [[("../x", tarfile.REGTYPE, "x")], [("/etc/x", tarfile.REGTYPE, "x")],
     [("a/../../x", tarfile.REGTYPE, "x")], [("x", tarfile.SYMTYPE, "")],
     [("x", tarfile.LNKTYPE, "")], [("x", tarfile.FIFOTYPE, "")], [("x", tarfile.CHRTYPE, "")],
     [("x", tarfile.DIRTYPE, "")], [("a", tarfile.REGTYPE, "1"), ("A", tarfile.REGTYPE, "2")],
     [("a\\..\\b", tarfile.REGTYPE, "x")], [("a\x01b", tarfile.REGTYPE, "x")]],
    ids=str,
)  # fmt: skip
def test_only_plain_files_come_out_of_a_tar(
    tmp_path: Path, members: list[tuple[str, bytes, str]]
) -> None:
    """No link, device, folder or doubled name, and no way out of the folder."""
    with pytest.raises(TargetError):
        ship.unpack(tar_of(*members), tmp_path / "in" / "here")
    assert not (tmp_path / "x").exists() and not (tmp_path / "in" / "x").exists()


# ---- a rollout over ssh --------------------------------------------------------------------------

JUDGED = ["errors", "predictions"]
STAGES = [
    {"name": "shadow", "weight": 0, "requests": 100, "judge": JUDGED},
    {"name": "canary-25", "weight": 25, "requests": 500, "min_seconds": 1, "judge": JUDGED},
    {"name": "canary-50", "weight": 50, "requests": 500, "judge": JUDGED},
    {"name": "promote", "weight": 100, "requests": 0},
]


def started(root: Path, target: object, name: str) -> None:
    """`rollout start` of version `name` at the host."""
    found = rollout.start(
        root, name, root, digest(name), command=argv(name, "good"), expected=expected("a", name),
        policy=policy(stages=STAGES), target=target,
    )  # fmt: skip
    assert found.verdict is Verdict.PASS, found.to_dict()


def test_a_rollout_over_ssh_loses_no_request(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stage by stage under a client of its own, ssh killed in the middle of one: 0 lost, promoted.

    The stage whose connection was killed goes on by a new one; run again it moves nothing.
    """
    with rig(tmp_path) as live:
        machine.put_agent(live.target)
        with ssh.connect(tmp_path, server.address(live.target)) as target, \
                live.traffic(rate=500) as client:  # fmt: skip
            started(tmp_path, target, "b")
            for name in ("shadow", "canary-25", "canary-50"):
                if name == "canary-25":
                    given = (live, target, name)
                    threading.Thread(target=_kill_in, args=given, daemon=True).start()
                verdict = rollout.stage(tmp_path, name, 60.0, target=target)
                assert verdict.verdict is Verdict.PASS, verdict.to_dict()
                moved = live.state().route
                again = rollout.stage(tmp_path, name, 60.0, target=target)
                assert again.verdict is Verdict.PASS and live.state().route == moved
            done = rollout.promote(tmp_path, target=target)
            assert done.verdict is Verdict.PASS, done.to_dict()
            assert target._cuts == 1
            time.sleep(0.5)
        assert live.state().stable is not None and live.state().stable.version == "b"
        assert client.totals.sent > 1000 and (client.totals.lost, client.totals.wrong) == (0, 0)


def _kill_in(live: Rig, target: remote.RemoteTarget, stage: str) -> None:
    """Kill the ssh once traffic is in the stage: its command then holds the lock, and waits."""
    live.until(lambda: live.state().stage == stage)
    _kill(target)


def _kill(target: remote.RemoteTarget) -> None:
    with contextlib.suppress(ProcessLookupError):
        if target.link is not None:
            os.kill(target.link.process.pid, signal.SIGKILL)


def test_a_command_whose_process_is_killed_is_run_again(
    server: sshd.Sshd, secrets: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kill -9 of the whole command in a stage: the lock is free, and again it ends the same."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom mainline.rollout import rollout\n"
        "from mainline.rollout.target import target_of\n"
        "with target_of(Path('.'), sys.argv[1]) as target:\n"
        "    rollout.stage(Path('.'), 'shadow', 60.0, target=target)\n"
    )
    with rig(tmp_path) as live:
        machine.put_agent(live.target)
        address = server.address(live.target)
        with ssh.connect(tmp_path, address) as target:
            started(tmp_path, target, "b")
        env = {**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[2])}
        process = subprocess.Popen([sys.executable, "-c", script, address], env=env)
        try:
            assert live.until(lambda: live.state().stage == "shadow", 60)
            assert live.state().running
        finally:
            process.kill()
            process.wait()
        moved = live.state().route
        with ssh.connect(tmp_path, address) as target, live.traffic() as client:
            verdict = rollout.stage(tmp_path, "shadow", 60.0, target=target)
            assert verdict.verdict is Verdict.PASS, verdict.to_dict()
        assert live.state().route == moved
        assert (client.totals.lost, client.totals.wrong) == (0, 0)
