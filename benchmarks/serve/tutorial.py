"""The usual BentoML tutorial: a service class, an endpoint of typed rows, `predict_proba`.

Copied into a throw-away folder and served from there by `bentoml serve tutorial:Tutorial`.
"""

from typing import Any

import bentoml
import pandas as pd
from peers import bundle
from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """One row; its fields are the columns of the table."""

    model_config = ConfigDict(extra="allow")


@bentoml.service
class Tutorial:
    """Loads the model and answers with its scores."""

    def __init__(self) -> None:
        self.model = bundle()
        self.names = [f["name"] for f in self.model.meta["features"]]
        self.flags = [c["name"] for c in self.model.meta["raw"] if c["type"] == "bool"]

    @bentoml.api
    def predict(self, rows: list[Row]) -> list[float]:
        """The score of each row."""
        made: list[dict[str, Any]] = [row.model_dump() for row in rows]
        frame = self.model.build(pd.DataFrame(made))
        for name in self.flags:  # the model knows the categories "true" and "false"
            frame[name] = frame[name].astype(str).str.lower()
        return self.model.estimator.predict_proba(frame[self.names])[:, 1].tolist()
