"""The model file: skops, with bytes that depend on the model alone and types from an exact list."""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import json
import zipfile
from collections.abc import Iterable
from typing import Any

from mainline.errors import DataError

# Types of scikit-learn and numpy that skops asks about, each looked at: none runs code on loading.
# A forker adds their own under `train.trusted`.
ALLOWED = frozenset(
    {
        # The function inside a partial is asked about by itself.
        "functools.partial",
        "numpy.dtype",
        "sklearn._loss._loss.CyExponentialLoss",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn._loss._loss.CyAbsoluteError",
        "sklearn._loss._loss.CyHalfGammaLoss",
        "sklearn._loss._loss.CyHalfPoissonLoss",
        "sklearn._loss._loss.CyPinballLoss",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    }
)
# What an archive may unpack to: so many bytes, and so many for each of its own. Models shrink to a
# tenth or so; Deflate can do a thousandth.
ROOM, RATIO, MOST_MEMBERS = 64_000_000, 100, 100_000
EPOCH = (1980, 1, 1, 0, 0, 0)


@functools.cache
def _skops() -> Any:
    """`skops.io`, without its list of all estimators.

    For that list it imports the whole of scikit-learn, which takes half a second in every process;
    the few estimators that a file names are looked at one by one instead.
    """
    import sklearn.utils

    listing = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = lambda *_, **__: []
    try:
        import skops.io
    finally:
        sklearn.utils.all_estimators = listing
    return skops.io


def _is_estimator(name: str) -> bool:
    """Whether `name` is one of scikit-learn's public estimators, which skops trusts itself."""
    from sklearn.base import BaseEstimator

    module, _, own = name.rpartition(".")
    if not module.startswith("sklearn.") or own.startswith("_"):
        return False
    try:
        found = getattr(importlib.import_module(module), own, None)
    except ImportError:
        return False
    return (isinstance(found, type) and issubclass(found, BaseEstimator)
            and not inspect.isabstract(found))  # fmt: skip


def dump(estimator: Any) -> bytes:
    """`estimator` as skops bytes that are the same for the same model.

    skops names its members by memory addresses and stamps them with the time; both are replaced
    (members numbered in the order in which the schema names them, a fixed date).
    """
    return canonical(_skops().dumps(estimator))


def canonical(content: bytes) -> bytes:
    """Rewrite a skops archive with numbered members, sorted keys, a fixed date and deflate."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members.pop("schema.json"))
    numbers: dict[Any, int] = {}
    files: dict[str, str] = {}
    renumbered = _renumber(schema, numbers, files)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        pieces = {files[old]: body for old, body in members.items()}
        pieces["schema.json"] = json.dumps(renumbered, sort_keys=True).encode()
        for name in sorted(pieces):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, pieces[name])
    return out.getvalue()


def _renumber(node: Any, numbers: dict[Any, int], files: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renumber(item, numbers, files) for item in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key in sorted(node):
        value = node[key]
        if key == "__id__":
            value = numbers.setdefault(value, len(numbers) + 1)
        elif key == "file" and isinstance(value, str):
            suffix = "." + value.rpartition(".")[2]
            value = files.setdefault(value, f"{len(files) + 1:06d}{suffix}")
        else:
            value = _renumber(value, numbers, files)
        out[key] = value
    return out


def _refuse_bomb(content: bytes) -> None:
    """Raise DataError unless the archive's members are what a model's may be, each once.

    No more is unpacked of a member than its entry declares, so the declared sizes bound it all.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"The model file is damaged ({error})", "Train it again") from error
    size = sum(m.file_size for m in members)
    most = ROOM + RATIO * len(content)
    if len({m.filename for m in members}) < len(members) or len(members) > MOST_MEMBERS:
        raise DataError("The model file is no skops archive (its members repeat)", "Train it again")
    if size > most:
        raise DataError(
            f"The model file would unpack to {size / 1e6:,.0f} MB, more than {most / 1e6:,.0f} MB",
            "Do not use it: a model of that size does not shrink so far",
        )


def load(content: bytes, trusted: Iterable[str] = ()) -> Any:
    """The estimator in skops bytes.

    Raises DataError before anything is built when the bytes are no skops archive or hold a type
    that is neither scikit-learn's own, nor in `ALLOWED`, nor in `trusted`, or would unpack to what
    no model of that size does.
    """
    _refuse_bomb(content)
    skops = _skops()
    allowed = ALLOWED | set(trusted)
    try:
        asked = skops.get_untrusted_types(data=content)
    except Exception as error:
        raise DataError(f"The model file is damaged ({error})", "Train it again") from error
    strange = sorted(name for name in set(asked) - allowed if not _is_estimator(name))
    if strange:
        raise DataError(
            f"The model file holds the type {strange[0]!r}, which is not on the allow-list",
            "If it is yours, add it to train.trusted in params.yaml",
        )
    return skops.loads(content, trusted=list(asked))
