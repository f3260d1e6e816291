"""A sound model is not stopped: the defaults on the sample and on tables of other kinds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import real
import rooms
import small
import yaml
from copies import ROOT

pytestmark = pytest.mark.slow

SEEDS = range(20)


def test_the_sample_over_twenty_seeds(tmp_path: Path) -> None:
    """Other rows and another seed of the model each time: nothing fires."""
    from mainline import settings
    from sample.feed import raw_month

    found = {}
    for seed in SEEDS:
        root = tmp_path / str(seed)
        (root / "data").mkdir(parents=True)
        for name in ("schema.yaml", "requirements.txt"):
            shutil.copy(ROOT / name, root / name)
        shutil.copytree(ROOT / "tests" / "model", root / "tests" / "model")
        text = (ROOT / "params.yaml").read_text("utf-8").replace("seed: 0", f"seed: {seed}")
        (root / "params.yaml").write_text(text, encoding="utf-8")
        for number in range(1, small.MONTHS + 1):
            rows = raw_month(number, n=2500, seed=seed)
            rows.to_parquet(root / "data" / f"{number}.parquet", index=False)
        assert settings.load(root).train.seed == seed
        found[seed] = rooms.train_in(root).fired()
    assert found == {seed: {} for seed in SEEDS}


@pytest.mark.parametrize("kind", ["trees", "linear", "forest"])
@pytest.mark.parametrize("name", rooms.REAL_TABLES)
def test_real_tables_and_common_estimators(name: str, kind: str, tmp_path: Path) -> None:
    """Boosted trees, a linear model and a forest on 344, 891 and 17,379 rows, three splits each."""
    params, rules = (yaml.safe_load(text) for text in rooms.REAL_TABLES[name])
    model = rooms.MODELS[kind, params["model"]["task"] == "regression"]
    found = {}
    for salt in "abc":
        split = {**params["split"], "salt": salt}
        rows = pd.read_csv(real.table(name), dtype=str, keep_default_na=False)
        found[salt] = rooms.furnish(
            tmp_path / salt, {**params, "split": split}, rules, rows, model
        ).fired()
    assert found == {salt: {} for salt in "abc"}
