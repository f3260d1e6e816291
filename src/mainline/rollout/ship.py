"""A Bento on its way to a host: a tar in one go, checked there, and moved into place whole.

What lies in `artifacts/` is named by the model and by all its files, so that what is there already
is never sent again. A transfer that is cut leaves nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mainline.errors import DataError, MainlineError
from mainline.files import digest_files, short, visible_files
from mainline.rollout import wire
from mainline.rollout.remote import RemoteTarget
from mainline.rollout.state import locked, sync_folder
from mainline.rollout.target import TargetError

FOLDER = "artifacts"
MOST_BYTES, MOST_FILES = 8_000_000_000, 50_000
PART = re.compile(r"[^\x00-\x1f\x7f/\\]{1,255}")
NAME = re.compile(r"[0-9a-f]{12}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Line:
    """How a second process is started that takes a tar on its stdin, and what its end means."""

    command: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    explain: Callable[[int | None, str], MainlineError] = field(repr=False)


def over(sender: Callable[[Sequence[str]], Line], target: RemoteTarget, digest: str,
         artifact: Path) -> str:  # fmt: skip
    """Bring `artifact` to the host of `target` unless it is there; returns its path there.

    What is no Bento (a service with a command of its own) is the host's own affair. Raises
    TargetError (12), or the host's reason.
    """
    if not (artifact / "bento.yaml").is_file():
        return str(artifact)
    files = files_of(artifact)
    tree = digest_files(files, artifact)
    name = f"{short(digest)}-{short(tree)}"
    there = target.call("artifact", name=name)
    return str(there or send(sender(["receive", name, digest, tree]), artifact, files))


def files_of(artifact: Path) -> list[Path]:
    """The files of a Bento in order, without the offline answers that are kept beside them."""
    return sorted(
        f for f in visible_files(artifact)
        if not f.is_symlink() and not (f.parent == artifact and f.name.startswith("answers-"))
    )  # fmt: skip


def send(line: Line, artifact: Path, files: Sequence[Path]) -> Any:
    """Write a tar of `files` to the process; the value of its answer."""
    process = subprocess.Popen(
        list(line.command), env=dict(line.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        # Where the host refuses at once there is nobody to write to; its answer says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pack(process.stdin, artifact, files)
        out, said = process.communicate()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    answers = [a for a in map(wire.parse, out.splitlines()) if a and a.keys() & {"value", "error"}]
    if not answers:
        raise line.explain(process.returncode, said.decode("utf-8", "replace").strip())
    if "error" in answers[-1]:
        raise wire.error_of(answers[-1]["error"])
    return answers[-1]["value"]


def pack(stream: IO[bytes], folder: Path, files: Sequence[Path]) -> None:
    """Write a tar of regular files to `stream`: names, sizes and contents, nothing else."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            with path.open("rb") as source:
                tar.addfile(member, source)


def present(folder: Path, name: str) -> str | None:
    """The path of an artifact that is there whole, or None."""
    found = folder / FOLDER / name
    return str(found) if NAME.fullmatch(name) and found.is_dir() else None


def receive(folder: Path, name: str, digest: str, tree: str, stream: IO[bytes]) -> str:
    """Unpack a Bento from `stream` into `artifacts/NAME` of `folder`; returns its path.

    It is checked as `serve` checks it, and to be the model `digest`, before it gets its name. What
    transfers that were cut left behind is taken away first. Raises DataError or TargetError.
    """
    from mainline.serve import build

    if not NAME.fullmatch(name):
        raise TargetError(f"{name[:40]!r} is no name of an artifact")
    home = folder / FOLDER
    with _said_plainly(), locked(folder, "receive.lock", wait=60.0):
        home.mkdir(parents=True, exist_ok=True)
        for left in home.glob(".tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
        if (found := present(folder, name)) is not None:
            return found
        with tempfile.TemporaryDirectory(dir=home, prefix=".tmp-") as near:
            made = Path(near) / "bento"
            unpack(stream, made)
            if digest_files(files_of(made), made) != tree:
                raise TargetError("What arrived is not what was sent", "Run the command again")
            if build.check(made)["digest"] != digest:
                raise DataError(f"The Bento does not hold the model {short(digest)}")
            made.replace(home / name)
            sync_folder(home)
    return str(home / name)


def unpack(stream: IO[bytes], folder: Path) -> None:
    """Write the regular files of a tar below `folder`, which is made.

    Raises TargetError for any other member, a name that leads out of it or stands twice, or too
    much of it; and for a tar that breaks off.
    """
    folder.mkdir(parents=True)
    seen: set[str] = set()
    total = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                path = _plain(member)
                total += member.size
                if str(path).casefold() in seen or len(seen) >= MOST_FILES or total > MOST_BYTES:
                    raise TargetError(f"The archive holds {str(path)[:80]!r} twice, or too much")
                seen.add(str(path).casefold())
                source = tar.extractfile(member)
                assert source is not None
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with (folder / path).open("xb") as made:
                    shutil.copyfileobj(source, made, 1 << 20)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise TargetError(
            f"The transfer broke off ({error})", "Run the same command again"
        ) from error


def _plain(member: tarfile.TarInfo) -> PurePosixPath:
    path = PurePosixPath(member.name)
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    parts = path.parts
    if (not plain or not parts or len(member.name) > 1000
            or any(p in ("..", ".") or not PART.fullmatch(p) for p in parts)):  # fmt: skip
        raise TargetError(f"The archive holds {member.name[:80]!r}, which is no plain file of it")
    return path


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TargetError(
            f"The host cannot write there ({error.strerror or error})",
            "Make room on its disk, or name a folder that its user may write to",
        ) from error


def archive_digest(content: bytes) -> str:
    """The sha256 of an archive, in hex."""
    return hashlib.sha256(content).hexdigest()


def archive_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files: the same bytes for the same files, whenever it is made."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()
