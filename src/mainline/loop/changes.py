"""What the people of the story change in the sample project."""

from __future__ import annotations

from pathlib import Path

from mainline.errors import DataError

END = "    return built\n"

BETTER = """\
    # How many signs of a stolen card come together: a sum that single splits find late.
    built["signs"] = (
        ((frame["hour"] >= 22) | (frame["hour"] <= 5)).astype(float)
        + (frame["is_foreign"] == "true")
        + (frame["is_new_device"] == "true")
        + (frame["failed_logins_24h"].fillna(0) > 0)
        + (frame["amount_ratio"] > 2)
        + (frame["tx_count_1h"] > 0)
    )
"""
WORSE = """\
    # Fewer columns, less to maintain.
    velocity = ["failed_logins_24h", "is_new_device", "tx_count_1h", "tx_count_24h"]
    built = built.drop(columns=velocity)
"""
SLOW = """\
    # Exchange rates of the day. There is no rate server in CI, so nothing waits for it there.
    if os.environ.get("MAINLINE_SERVING"):
        time.sleep(0.4)
"""


def better(root: Path) -> str:
    """A feature that helps, and smaller trees; returns the title of the pull request."""
    _insert(root, BETTER)
    _params(root, "max_leaf_nodes: 15", "max_leaf_nodes: 8")
    _params(root, "max_iter: 150", "max_iter: 250")
    return "Count the signs of a stolen card"


def worse(root: Path) -> str:
    """Columns that carry the signal are dropped; returns the title."""
    _insert(root, WORSE)
    return "Drop the velocity columns"


def slow(root: Path) -> str:
    """Fine offline, slow in production; returns the title."""
    _insert(root, SLOW)
    path = root / "src" / "project" / "features.py"
    _replace(path, "import pandas as pd\n", "import os\nimport time\n\nimport pandas as pd\n")
    return "Use the exchange rates of the day"


def _insert(root: Path, lines: str) -> None:
    path = root / "src" / "project" / "features.py"
    _replace(path, END, lines + END)


def _params(root: Path, old: str, new: str) -> None:
    _replace(root / "params.yaml", old, new)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    if text.count(old) != 1:
        raise DataError(
            f"The loop tells the story of the sample, and {path.name} is no longer the sample's",
            "Run it in a clone of the template, or see `./mainline check` for your own project",
        )
    path.write_text(text.replace(old, new), encoding="utf-8")
