"""What the service is measured against: the bare limit, and FastAPI as tutorials write it.

Each is a factory for uvicorn: `uvicorn --factory peers:bare`. Both serve the model of the folder
MAINLINE_ROOT.
"""

import copy
import json
import os
from pathlib import Path
from typing import Any

from mainline.data import schema
from mainline.train.bundle import Bundle, build_features, load, raw_inputs

ROOT = Path(os.environ.get("MAINLINE_ROOT", "."))


def bundle() -> Bundle:
    """The model that all serve."""
    return load(ROOT / "models", ROOT)


def golden(model: Bundle) -> list[dict[str, Any]]:
    """Rows to send: the golden rows of the model, truth as a client writes it."""
    flags = {c["name"] for c in model.meta["raw"] if c["type"] == "bool"}
    return [
        {name: value == "true" if name in flags else value for name, value in entry["row"].items()}
        for entry in model.meta["golden"]
    ]


def encoded(model: Bundle, rows: list[dict[str, Any]]) -> list[list[float | None]]:
    """`rows` as the numbers that the trees themselves see; missing is null."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=[c["name"] for c in model.meta["raw"]], dtype=object)
    inputs = build_features(model.build, raw_inputs(frame, model.meta["raw"]))
    names = [f["name"] for f in model.meta["features"]]
    ready = model.estimator._preprocess_X(inputs[names], reset=False)
    return [[None if v != v else v for v in row] for row in ready.tolist()]


def bare() -> Any:
    """The limit: numbers in, treelite, a score out. No checks, no features, no log."""
    import numpy as np
    import treelite.sklearn
    from treelite import gtil

    plain = copy.copy(bundle().estimator)
    plain._preprocessor = None  # the caller sends what it would make
    trees = treelite.sklearn.import_model(plain)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        if scope["method"] == "POST":
            more = True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
            rows = np.array(json.loads(body), dtype="float64")
            body = json.dumps(gtil.predict(trees, rows, nthread=1).ravel().tolist()).encode()
        headers = [(b"content-type", b"application/json"),
                   (b"content-length", str(len(body)).encode())]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def fastapi() -> Any:
    """The usual tutorial: a pydantic model, a data frame, `predict_proba`."""
    import fastapi
    import pandas as pd
    from pydantic import create_model

    model = bundle()
    names = [f["name"] for f in model.meta["features"]]
    kinds = {"number": float, "integer": int, "bool": bool}
    fields: dict[str, Any] = {
        c.name: (kinds.get(c.type, str) | None, None) for c in schema.load(ROOT).features
    }
    row_of = create_model("Row", **fields)
    app = fastapi.FastAPI()

    def scores(rows: list[Any]) -> list[float]:
        frame = model.build(pd.DataFrame([row.model_dump() for row in rows]))
        for name, kind in fields.items():
            if kind[0] == bool | None:  # the model knows the categories "true" and "false"
                frame[name] = frame[name].astype(str).str.lower()
        return model.estimator.predict_proba(frame[names])[:, 1].tolist()

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/predict")
    def predict(row: row_of) -> dict[str, Any]:  # type: ignore[valid-type]
        return {"score": scores([row])[0]}

    @app.post("/predict_many")
    def predict_many(rows: list[row_of]) -> dict[str, Any]:  # type: ignore[valid-type]
        return {"scores": scores(rows)}

    return app
