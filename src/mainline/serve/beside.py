"""What stands beside /predict: explanations, the OpenAPI document, and who may ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mainline.serve import keys, openapi
from mainline.serve.app import Service
from mainline.serve.explain import Child, Explain
from mainline.serve.web import Call, Route


def add(service: Service, models: Path, root: Path, meta: dict[str, Any], setting: str | None
        ) -> None:  # fmt: skip
    """Give `service` /explain and /openapi.json, and ask for keys where a file of them is named.

    `models` is the bundle that is served, `root/src` the forker's code, `meta` its model.json,
    `setting` is `serve.keys`. Raises SettingsError where the file of keys is missing or damaged.
    """
    model = service.model
    about = {"model": model.name, "version": service.version, "digest": model.digest}
    explain = Explain(
        service.inputs, Child(models, root, model.digest), about,
        seconds=service.limits.timeout_seconds,
    )  # fmt: skip
    service.add("/explain", Route("POST", explain, group="predict"))
    service.closing.append(explain.close)
    # A relative place is that of whoever started the service, not of the Bento's code.
    place = keys.place(Path.cwd(), setting)
    if place is not None:
        service.guard = Guarded(keys.Keys(place))
    service.add("/openapi.json", Route("GET", Document(service, meta)))


class Guarded:
    """Lets a call through to a route when its key opens the route's group."""

    def __init__(self, known: keys.Keys) -> None:
        self.keys = known

    def __call__(self, route: Route, call: Call) -> None:
        """Raise Refused (401, 403) for one that may not; routes without a group are open."""
        if route.group is not None:
            self.keys.require(call.headers, route.group)


class Document:
    """The handler of GET /openapi.json: made when first asked, since routes may still come."""

    def __init__(self, service: Service, meta: dict[str, Any]) -> None:
        self._service = service
        self._meta = meta
        self._made: bytes | None = None

    async def __call__(self, content: bytes, call: Call) -> bytes:
        """The body of a 200."""
        if self._made is None:
            service, meta = self._service, self._meta
            about = openapi.About(
                service.model.name, service.version, service.model.digest, meta["task"],
                meta.get("classes"), service.model.golden,
            )  # fmt: skip
            made = openapi.document(
                service.schema, about, list(service.routes), max_rows=service.limits.max_rows,
                keys=service.guard is not None,
            )  # fmt: skip
            self._made = json.dumps(made).encode()
        return self._made
