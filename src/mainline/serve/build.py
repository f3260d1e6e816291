"""`mainline build` and `mainline serve`: a Bento of one version, offline, and that Bento only."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mainline import console, registry, settings
from mainline.errors import DataError, UsageError
from mainline.files import digest_file, digest_tree, write_json
from mainline.register import sbom, signature, statement, verify
from mainline.registry import Version
from mainline.serve import keys, packing

RECORD = "mainline.json"
HOME = Path("build", "bentoml")
KEEP_ALIVE = 75  # longer than a proxy keeps an idle connection, or each one is closed under it
DRAIN = 20


def build(root: Path, version: str | None = None, out: Path | None = None) -> dict[str, Any]:
    """Build the Bento `<model>:<version>` from `models/`, the code and the settings of `root`.

    None is the newest registered version; a name that is not registered, such as that of a
    candidate, is taken as it is. It goes into `build/bentoml` (or `out`), replacing one of the
    same version. Returns tag, path, name, version and digest (`sha256:...`), which the Bento also
    carries in `mainline.json`. Raises DataError when there is no whole model or another one than
    was registered, SettingsError when BentoML refuses the version.
    """
    options = settings.load(root)
    digest = model_digest(root / "models")
    found = _registered(root, options.model.name, version, digest)
    name = found.name if found else str(version).rpartition("@")[2]
    home = (out or root / HOME).resolve()
    path = home / "bentos" / options.model.name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "schema": "bento/1", "name": options.model.name, "version": name, "digest": digest,
        "commit": found.commit if found else None,
        "signed_by": verify.seal(found).by if found else signature.NONE,
    }  # fmt: skip
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mainline-bento-") as folder:
        # Not under `root`: BentoML refuses a path with a hidden folder in it.
        context = Path(folder).resolve()
        packing.collect(root, context, options)
        write_json(context / RECORD, record)
        if found is not None:
            _write_release(root, context, found)
        packing.write_bentofile(root, context, record)
        shutil.rmtree(path, ignore_errors=True)
        packing.build(context, name, environment(context / "src", home))
        packing.lock(root, path)
    check(path)
    seconds = round(time.perf_counter() - began, 2)
    tag = f"{options.model.name}:{name}"
    return {"tag": tag, "path": str(path), **record, "seconds": seconds}


def _registered(root: Path, model: str, asked: str | None, digest: str) -> Version | None:
    """The registered version, after its model was found to be the one that is here."""
    name = (asked or "").rpartition("@")[2]
    if asked is not None and name not in {v.name for v in registry.versions(root, model)}:
        return None
    found = registry.find(root, model, asked)
    if found.digest not in (None, digest):
        raise DataError(
            f"models/ holds {digest} and {found.tag} was registered with {found.digest}",
            f"Check out {found.commit[:12]} and run `./mainline pipeline`, or pull its model",
        )
    verify.require(root, found, root / "models")
    return found


def _write_release(root: Path, context: Path, version: Version) -> None:
    """What the tag of a version says, its SBOM and its signature: the Bento can go without Git."""
    (context / statement.FILE).write_bytes(statement.content(statement.of(version)))
    name = version.model
    (context / sbom.FILE).write_bytes(sbom.document(root, name, version.name, version.digest or ""))
    if version.signature is not None:
        (context / signature.FILE).write_bytes(version.signature)


def model_digest(folder: Path) -> str:
    """The digest of a bundle; DataError when it is absent, damaged or only half there.

    The files are checked against model.json without loading the model, which takes seconds.
    """
    try:
        recorded = json.loads((folder / "model.json").read_text("utf-8"))["files"]
        whole = all(digest_file(folder / name) == digest for name, digest in recorded.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"There is no whole model in {folder.name}/", "Run `./mainline pipeline` first"
        ) from error
    if not whole:
        raise DataError(
            f"{folder.name}/ holds another model than model.json says", "Train or pull it again"
        )
    return digest_tree(folder)


def check(bento: Path) -> dict[str, Any]:
    """The record of a built Bento; DataError when its model is not the recorded one."""
    source = bento / "src"
    try:
        record: dict[str, Any] = json.loads((source / RECORD).read_text("utf-8"))
        wanted = record["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{bento.name} is no Bento of ours (no {RECORD})", "Build it with `./mainline build`"
        ) from error
    found = digest_tree(source / "models")
    if found != wanted:
        raise DataError(
            f"The model in this Bento is {found} and it was built with {wanted}",
            "Build it again from the registered version",
        )
    return record


def environment(source: Path, home: Path) -> dict[str, str]:
    """The environment of a BentoML process that sees the code under `source` and no other."""
    return {**os.environ, **packing.QUIET, "BENTOML_HOME": str(home), "PYTHONPATH": str(source)}


def find(root: Path, bento: str | Path | None = None) -> Path:
    """The folder of a Bento: a path, a tag `name:version` of `build/bentoml`, or the newest there.

    Raises UsageError when there is none.
    """
    store = root / HOME / "bentos"
    if bento is None:
        built = sorted(store.glob("*/*/bento.yaml"), key=lambda p: p.stat().st_mtime)
        path = built[-1].parent if built else store
    else:
        name, _, version = str(bento).partition(":")
        path = Path(bento) if (Path(bento) / "bento.yaml").is_file() else store / name / version
    if not (path / "bento.yaml").is_file():
        raise UsageError(
            f"There is no Bento {str(bento)!r}" if bento else "No Bento was built here",
            "Build it with `./mainline build`",
        )
    return path.resolve()


def command(
    root: Path,
    bento: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    workers: int | None = None,
    log: str | None = None,
    version: str | None = None,
    trial: bool = False,
) -> tuple[list[str], dict[str, str]]:
    """The argument list and the environment that serve `bento`, after its model was checked.

    For a supervisor, or for `serve`. `log` is the address of the prediction log (MAINLINE_LOG
    where not given); `version` is what /version says (the Bento's own where not given); `workers`
    is MAINLINE_WORKERS where not given; a `trial` is of a candidate that is no version yet.
    """
    path = find(root, bento)
    record = check(path)
    held = verify.require_bento(root, path, record, named=version, trial=trial)
    if not held and not trial:
        console.progress("serve: this is no registered version: only its own record vouches for it")
    # BentoML empties a folder of its home at the start: two services must not share one.
    home = (root / "build" / "serve" / str(port)).resolve()
    home.mkdir(parents=True, exist_ok=True)
    environ = environment(path / "src", home)
    if workers is not None:
        environ["MAINLINE_WORKERS"] = str(workers)
    if log is not None:
        environ["MAINLINE_LOG"] = log if "://" in log else str(Path(log).resolve())
    if version is not None:
        environ["MAINLINE_VERSION"] = version
    known = keys.place(root, _keys(root, path))
    if known is not None:  # it stays here, so that it can be changed while the service runs
        environ["MAINLINE_KEYS"] = str(known)
    if sys.platform == "linux":
        arguments = [
            sys.executable, "-m", "mainline.serve.arbiter", "--host", host, "--port", str(port),
            "--keep-alive", str(KEEP_ALIVE), "--drain", str(DRAIN),
        ]  # fmt: skip
    else:  # where a process that has loaded the model cannot be forked
        arguments = [
            sys.executable, "-m", "bentoml", "serve", str(path), "--host", host,
            "--port", str(port), "--timeout-keep-alive", str(KEEP_ALIVE),
            "--timeout-graceful-shutdown", str(DRAIN),
        ]  # fmt: skip
    return arguments, environ


def _keys(root: Path, bento: Path) -> str | None:
    """Who may ask is said by the checkout that serves, if it says so, and else by the Bento."""
    here = settings.load(root).serve.keys if (root / "params.yaml").is_file() else None
    return here or settings.load(bento / "src").serve.keys


def serve(
    root: Path,
    bento: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 3000,
    workers: int | None = None,
    log: str | None = None,
    version: str | None = None,
) -> None:
    """Serve a built Bento in the foreground: this process becomes BentoML's. Does not return.

    Raises UsageError when there is no such Bento, DataError when its model is not its own.
    """
    arguments, environment = command(
        root, bento, host=host, port=port, workers=workers, log=log, version=version
    )
    _require_free(host, port)
    if os.name == "nt":  # there exec starts a second process and ends this one
        raise SystemExit(subprocess.run(arguments, env=environment, check=False).returncode)
    os.execve(arguments[0], arguments, environment)


def _require_free(host: str, port: int) -> None:
    """Raise UsageError where something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(
                f"Port {port} of {host} cannot be used ({reason})", "Choose another with `--port`"
            ) from error
