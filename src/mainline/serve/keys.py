"""Bearer keys: who may predict, give feedback or read metrics; hashed, and changed while it runs.

A key is `mlk_<id>_<secret>`: eight hex digits that name it and 256 random bits. The file holds
SHA-256 digests of whole keys; a slow hash such as bcrypt guards short words and brings nothing for
256 random bits. `GET /healthz`, `/readyz`, `/version` and `/openapi.json` ask for no key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainline.errors import SettingsError, UsageError
from mainline.files import write_json
from mainline.serve.inputs import Refused

SCHEMA = "keys/1"
SCOPES = ("predict", "feedback", "metrics")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TOKEN = re.compile(rb"mlk_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NOBODY = "sha256:" + "0" * 64
EVERY = 1.0  # seconds between two looks at the file
REALM = 'Bearer realm="mainline"'
logger = logging.getLogger("mainline.serve")


@dataclass(frozen=True)
class Key:
    """One key: its public id, whose it is, the digest of the whole, and what it opens."""

    id: str
    name: str
    digest: str
    scopes: frozenset[str]
    created: str


class NoKey(Refused):
    """401 or 403; its `headers` say what is wanted (RFC 6750)."""

    def __init__(self, http: int, detail: str, challenge: str) -> None:
        kind, title = ("no-key", "No valid key")
        if http == 403:
            kind, title = ("not-allowed", "The key does not open this")
        wanted = ((b"www-authenticate", challenge.encode("ascii")),)
        super().__init__(http, kind, title, detail, headers=wanted)


def read(path: Path) -> dict[str, Key]:
    """The keys of a file by id; SettingsError when it is missing, damaged or names an id twice."""
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(document["schema"])
        keys = [_key(entry) for entry in document["keys"]]
        found = {key.id: key for key in keys}
        if len(found) != len(keys):
            raise ValueError("an id stands twice")
        return found
    except FileNotFoundError as error:
        raise SettingsError(
            f"The file of keys {path.name} was not found",
            "Make it with `./mainline key add NAME --for predict`, or unset serve.keys",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"The file of keys {path.name} is damaged", "Restore it, or add the keys again"
        ) from error


def _key(entry: Mapping[str, Any]) -> Key:
    key = Key(entry["id"], entry["name"], entry["digest"], frozenset(entry["for"]),
              str(entry.get("created", "")))  # fmt: skip
    if not (NAME.fullmatch(key.name) and DIGEST.fullmatch(key.digest)
            and re.fullmatch("[0-9a-f]{8}", key.id)):  # fmt: skip
        raise ValueError("not a key")
    if not key.scopes or not key.scopes <= set(SCOPES):
        raise ValueError("an unknown scope")
    return key


def digest_of(token: bytes) -> str:
    """What the file holds of a key."""
    return "sha256:" + hashlib.sha256(token).hexdigest()


class Keys:
    """The keys of one running worker. The file is looked at once a second at most.

    A file that becomes unreadable or damaged while the service runs leaves the keys as they were,
    is logged once a change and counted in `failures`: a slip of an editor must not lock all callers
    out, nor let everybody in. Raises SettingsError where it is so at the start.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.failures = 0
        self._clock = clock
        self._looked = clock()
        self._seen = _stamp(path)
        self._keys = read(path)

    def __len__(self) -> int:
        return len(self._keys)

    def require(self, headers: Mapping[bytes, bytes], scope: str) -> Key:
        """The caller's key; raises NoKey: 401 without a known key, 403 where it lacks `scope`."""
        if self._clock() - self._looked >= EVERY:
            self._look()
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        if not token or kind.lower() != b"bearer":
            raise NoKey(401, "Send `Authorization: Bearer KEY`", REALM)
        match = TOKEN.fullmatch(token.strip())
        key = self._keys.get(match[1].decode()) if match else None
        # The id is public; the secret is compared in a time that tells nothing of it.
        same = hmac.compare_digest(digest_of(token.strip()), key.digest if key else NOBODY)
        if key is None or not same:
            raise NoKey(401, "This key is not known (any more)", f'{REALM}, error="invalid_token"')
        if scope not in key.scopes:
            raise NoKey(
                403, f"Ask for a key with {scope!r}",
                f'{REALM}, error="insufficient_scope", scope="{scope}"',
            )  # fmt: skip
        return key

    def _look(self) -> None:
        self._looked = self._clock()
        stamp = _stamp(self.path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = read(self.path)
            logger.info("%d keys are known now", len(self._keys))
        except SettingsError as error:
            self.failures += 1
            logger.error("The keys stay as they were: %s", error.cause)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def place(root: Path, setting: str | None) -> Path | None:
    """The file of keys: MAINLINE_KEYS, else `serve.keys` below `root`; None where nobody is asked.

    An empty MAINLINE_KEYS asks nobody, whatever the settings say.
    """
    named = os.environ.get("MAINLINE_KEYS", setting)
    return (root / named).resolve() if named else None


def header() -> dict[str, str]:
    """What a command that asks a service sends: the bearer key in MAINLINE_KEY, where it is set."""
    key = "".join(os.environ.get("MAINLINE_KEY", "").split())
    return {"authorization": f"Bearer {key}"} if key else {}


# ---- `mainline key` ----------------------------------------------------------------------------


def add(root: Path, name: str, scopes: Iterable[str]) -> dict[str, Any]:
    """Make a key, keep its digest, and return it: it is shown this once and never again.

    Raises UsageError for a name that is taken or a scope that is unknown.
    """
    path, known = _file(root)
    wanted = sorted({s.strip() for s in scopes})
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a key", "Use letters, digits, `.`, `_` and `-`")
    if name in {key.name for key in known}:
        raise UsageError(f"There is a key {name!r} already", f"`./mainline key remove {name}` it")
    if not wanted or not set(wanted) <= set(SCOPES):
        raise UsageError(f"--for {','.join(wanted)} is not known", f"Known are {', '.join(SCOPES)}")
    identity = next(i for i in iter(lambda: secrets.token_hex(4), None)
                    if i not in {key.id for key in known})  # fmt: skip
    token = f"mlk_{identity}_{secrets.token_urlsafe(32)}"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(identity, name, digest_of(token.encode()), frozenset(wanted), created)
    _write(path, [*known, key])
    return {"key": token, "name": name, "for": wanted, "file": path.name,
            "text": f"{token}\nThis is the only time that it is shown."}  # fmt: skip


def remove(root: Path, name: str) -> dict[str, Any]:
    """Take a key away; a service that runs notices within a second. UsageError where it is not."""
    path, known = _file(root)
    left = [key for key in known if key.name != name]
    if len(left) == len(known):
        raise UsageError(f"There is no key {name!r}", "`./mainline key list` shows them")
    _write(path, left)
    return {"removed": name, "text": f"The key {name!r} is removed"}


def listed(root: Path) -> dict[str, Any]:
    """The keys, without what would let anybody use them."""
    _, known = _file(root)
    rows = [{"name": k.name, "id": k.id, "for": sorted(k.scopes), "created": k.created}
            for k in known]  # fmt: skip
    lines = [f"{r['name']}  mlk_{r['id']}_...  {','.join(r['for'])}  {r['created']}" for r in rows]
    return {"keys": rows, "text": "\n".join(lines) or "There are no keys: every caller is refused"}


def _file(root: Path) -> tuple[Path, list[Key]]:
    from mainline import settings

    path = place(root, settings.load(root).serve.keys)
    if path is None:
        raise SettingsError(
            "No file of keys is named, so the service asks nobody for one",
            "Set serve.keys in params.yaml, such as `keys.json`, or MAINLINE_KEYS",
        )
    return path, list(read(path).values()) if path.exists() else []


def _write(path: Path, keys: Iterable[Key]) -> None:
    write_json(path, {"schema": SCHEMA, "keys": [
        {"id": k.id, "name": k.name, "digest": k.digest, "for": sorted(k.scopes),
         "created": k.created}
        for k in keys
    ]})  # fmt: skip
