"""GitHub's releases and their files, for emulated GitHubs: with drafts, uploads and downloads."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

ALL = re.compile(r"/repos/[^/]+/[^/]+/releases")
ONE = re.compile(r"/repos/[^/]+/[^/]+/releases/(\d+)")
OF_TAG = re.compile(r"/repos/[^/]+/[^/]+/releases/tags/([^/]+)")
UPLOAD = re.compile(r"/repos/[^/]+/[^/]+/releases/(\d+)/assets")
ASSET = re.compile(r"/repos/[^/]+/[^/]+/releases/assets/(\d+)")
Answer = tuple[int, bytes]


@dataclass
class Releases:
    """The releases of one repository; `digests` is whether GitHub tells those of files.

    `stop_after` uploads are taken whole; the next one is cut off. A draft is seen by who may write.
    """

    url: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[int, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    digests: bool = True
    stop_after: int | None = None

    def answer(
        self, method: str, path: str, query: dict[str, str], body: bytes, *, writes: bool
    ) -> Answer | None:
        """Status and content; None where the path is not about releases."""
        if not any(p.fullmatch(path) for p in (ALL, ONE, OF_TAG, UPLOAD, ASSET)):
            return None
        if method != "GET" and not writes:
            return _json(403, {"message": "Resource not accessible by integration"})
        if ALL.fullmatch(path):
            return self._all(method, path, query, body, writes)
        if match := OF_TAG.fullmatch(path):
            tag = unquote(match[1])
            found = [r for r in self.made if r["tag_name"] == tag and not r["draft"]]
            return _json(200, found[0]) if found else _json(404, {"message": "Not Found"})
        if match := UPLOAD.fullmatch(path):
            return self._upload(int(match[1]), query["name"], body)
        if match := ASSET.fullmatch(path):
            return self._asset(method, int(match[1]))
        return self._one(method, int(path.rpartition("/")[2]), body)

    def _all(
        self, method: str, path: str, query: dict[str, str], body: bytes, writes: bool
    ) -> Answer:
        if method == "GET":
            seen = [r for r in reversed(self.made) if writes or not r["draft"]]
            size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            return _json(200, seen[size * (page - 1) : size * page])
        number = 1 + max((r["id"] for r in self.made), default=0)
        release = {"id": number, "draft": False, "body": "", **json.loads(body), "assets": [],
                   "upload_url": f"{self.url}{path}/{number}/assets{{?name,label}}",
                   "html_url": f"{self.url}/releases/{number}"}  # fmt: skip
        self.made.append(release)
        return _json(201, release)

    def _one(self, method: str, number: int, body: bytes) -> Answer:
        release = next((r for r in self.made if r["id"] == number), None)
        if release is None:
            return _json(404, {"message": "Not Found"})
        if method == "DELETE":
            self.made.remove(release)
            return 204, b""
        if method == "PATCH":
            release.update(json.loads(body))
        return _json(200, release)

    def _upload(self, number: int, name: str, body: bytes) -> Answer:
        release = next(r for r in self.made if r["id"] == number)
        if any(a["name"] == name for a in release["assets"]):
            return _json(422, {"message": "already_exists"})
        cut = self.stop_after is not None and len(self.uploads) >= self.stop_after
        asset = 1 + max(self.files, default=500)
        self.files[asset] = b"" if cut else body
        digest = "sha256:" + hashlib.sha256(body).hexdigest() if self.digests else None
        release["assets"].append({
            "id": asset, "name": name, "size": len(body), "digest": digest,
            "state": "starter" if cut else "uploaded",
        })  # fmt: skip
        self.uploads.append(name)
        return _json(502, {"message": "cut off"}) if cut else _json(201, release["assets"][-1])

    def _asset(self, method: str, number: int) -> Answer:
        for release in self.made:
            for asset in release["assets"]:
                if asset["id"] == number and method == "DELETE":
                    release["assets"].remove(asset)
                    return 204, b""
                if asset["id"] == number:
                    return 200, self.files[number]
        return _json(404, {"message": "Not Found"})

    def give(self, tag: str, name: str, content: bytes) -> None:
        """A release that is out, with one file, as somebody put it there."""
        path = "/repos/acme/fraud/releases"
        body = json.dumps({"tag_name": tag}).encode()
        self._all("POST", path, {}, body, writes=True)
        self._upload(self.made[-1]["id"], name, content)

    def of(self, tag: str) -> dict[str, Any]:
        """The one release of a tag, draft or not."""
        (found,) = [r for r in self.made if r["tag_name"] == tag]
        return found  # type: ignore[no-any-return]


def _json(status: int, document: Any) -> Answer:
    return status, json.dumps(document).encode()
