"""A stand-in for the model's service: the same HTTP contract, and faults on request.

`python fake_service.py PORT DIGEST MODE`. MODE is one of

    good     down (500 always)    half (500 half of the time)    few (500 one time in twenty)
    hang     reset (one time in five the connection ends instead of an answer)
    slow     tail (one in twenty slow)    cold (slow for COLD_SECONDS from the first request on)
    busy (works at one request at a time)    leak (keeps LEAK_BYTES of each request)
    constant swapped    slice (wrong for one row in ten)
    unready  other (another model's digest)

`live-` before a mode shows the fault to the canary's own share only, not to mirrored requests.
`GET /mode/<mode>`, asked of the service itself, changes it; `GET /load` says how many requests at
once there were at most. Predictions are logged under MAINLINE_LOG like the real ones.
"""

import asyncio
import json
import os
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

SLOW_SECONDS = 0.4
COLD_SECONDS = 2.0
BUSY_SECONDS = 0.02
LEAK_BYTES = 1 << 20
FAILING = {"down": 1.0, "half": 0.5, "few": 0.05}
OTHER = "sha256:" + "f" * 64
KEPT = []  # what leaked


class Now:
    """The fault, the requests at once, and when the first came."""

    mode = "good"
    load = most = 0
    first = None


def score(row, digest):
    """What the model of this digest answers: known to the tests as the offline answer."""
    shift = int(digest.removeprefix("sha256:")[:4], 16) / 0xFFFF / 50
    return min(1.0, row["x"] * 0.9 + shift)


def served(row, mode):
    if mode == "constant":
        return 0.5
    right = score(row, DIGEST)
    wrong = mode == "swapped" or (mode == "slice" and 0.6 <= row["x"] < 0.7)
    return 1 - right if wrong else right


def mode_of(headers):
    live = headers.get("x-mainline-arm") == "canary"
    return Now.mode.removeprefix("live-") if live or not Now.mode.startswith("live-") else "good"


class Log:
    def __init__(self):
        folder = Path(os.environ["MAINLINE_LOG"]) / f"date={datetime.now(UTC):%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.waiting = folder / f"fake-{os.getpid()}-0.jsonl", []

    def add(self, headers, row, value, ms):
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        arm = "shadow" if host.endswith("-shadow") else headers.get("x-mainline-arm", "stable")
        self.waiting.append(json.dumps({
            "v": 1, "prediction_id": str(random.random()), "row": 0, "digest": DIGEST,
            "request_id": headers.get("x-request-id"), "arm": arm, "scores": [value], "ms": ms,
            "generation": headers.get("x-mainline-generation"), "features": row, "status": 200,
        }))  # fmt: skip

    async def run(self):
        while True:
            await asyncio.sleep(0.05)
            if self.waiting:
                lines, self.waiting = self.waiting, []
                try:
                    with self.path.open("a") as stream:
                        stream.write("\n".join(lines) + "\n")
                except OSError:
                    pass  # a full disk must not end a service


async def predict(headers, body):
    began = time.perf_counter()
    Now.first = Now.first or began
    mode = mode_of(headers)
    if random.random() < FAILING.get(mode, 0.0):
        return 500, {"error": "told to fail"}
    if mode == "reset" and random.random() < 0.2:
        raise ConnectionResetError("told to")
    if mode == "hang":
        await asyncio.sleep(3600)
    cold = mode == "cold" and began - Now.first < COLD_SECONDS
    if cold or mode == "slow" or (mode == "tail" and random.random() < 0.05):
        await asyncio.sleep(SLOW_SECONDS)
    if mode == "busy":
        async with BUSY:
            await asyncio.sleep(BUSY_SECONDS)
    if mode == "leak":
        KEPT.append(os.urandom(1024) * (LEAK_BYTES // 1024))
    row = json.loads(body)["rows"][0]
    value = served(row, mode)
    LOG.add(headers, row, value, (time.perf_counter() - began) * 1000)
    return 200, {"predictions": [{"prediction_id": "p", "scores": [value], "decision": 0}],
                 "model": "fake", "version": "v", "digest": DIGEST}  # fmt: skip


async def answer(path, headers, body):
    if path == "/predict":
        Now.load += 1
        Now.most = max(Now.most, Now.load)
        try:
            return await predict(headers, body)
        finally:
            Now.load -= 1
    if path.startswith("/mode/"):
        Now.mode = path.removeprefix("/mode/")
    if path == "/load":
        return 200, {"most": Now.most}
    if path == "/readyz":
        return (503 if Now.mode == "unready" else 200), {}
    if path == "/version":
        return 200, {"digest": OTHER if Now.mode == "other" else DIGEST}
    return (200, {}) if path == "/healthz" or path.startswith("/mode/") else (404, {})


async def connection(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length") or 0))
            code, document = await answer(head[0].split()[1], headers, body)
            content = json.dumps(document).encode()
            digest = OTHER if mode_of(headers) == "other" else DIGEST
            writer.write(
                b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\nx-model-version: %s\r\n"
                b"content-length: %d\r\n\r\n%s"
                % (code, digest.removeprefix("sha256:")[:12].encode(), len(content), content)
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(connection, "127.0.0.1", PORT)
    await asyncio.gather(server.serve_forever(), LOG.run())


if __name__ == "__main__":
    PORT, DIGEST, Now.mode = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    LOG, BUSY = Log(), asyncio.Semaphore(1)
    asyncio.run(main())
