"""Bad input: one sentence with cause and remedy, the right status, and nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small
from small import Ran, edit, git, leftovers

from mainline.files import digest_tree

Call = Callable[..., Ran]
JUNE = "data/rows/2024-06.parquet"
STEPS = ("validate", "train")


def told(ran: Ran, status: int, *words: str) -> None:
    """The command ended with `status`, one sentence of cause and no traceback."""
    text = ran.out + ran.err
    assert ran.status == status, text
    assert "Traceback" not in text
    assert "bug here" not in text
    for word in words:
        assert word in text, text


def change(root: Path, edit_frame: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Edit all rows, put into one file."""
    frames = [pd.read_parquet(f) for f in sorted((root / "data" / "rows").iterdir())]
    shutil.rmtree(root / "data" / "rows")
    (root / "data" / "rows").mkdir()
    table = edit_frame(pd.concat(frames, ignore_index=True))
    table.to_parquet(root / "data" / "rows" / "all.parquet", index=False)


@pytest.fixture
def models(repository: Path) -> Callable[[], bool]:
    """Whether the model of the earlier run is still there, whole."""
    before = digest_tree(repository / "models")
    return lambda: digest_tree(repository / "models") == before and not leftovers(repository)


FILES = {
    "empty": (lambda f: f.write_bytes(b""), "2024-06.parquet is empty"),
    "damaged": (lambda f: f.write_bytes(f.read_bytes()[:-400]), "could not be read"),
    "no rows": (lambda f: pd.read_parquet(f).iloc[:0].to_parquet(f), "has no rows"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("step", STEPS)
def test_a_bad_file_is_named(
    repository: Path, call: Call, models: Callable[[], bool], kind: str, step: str
) -> None:
    """An empty, damaged or rowless file: its name, status 20, the old model untouched."""
    spoil, said = FILES[kind]
    spoil(repository / JUNE)
    told(call(repository, step), 20, said)
    assert models()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("june.csv", "transaction_id,amount\né,1\n".encode("latin-1"), "june.csv is not UTF-8"),
        ("june.csv", b"\xff\xfea\x00", "june.csv is not UTF-8"),
        ("june.csv", b"a,a\n1,2\n", "'a"),
        ("june.csv", b"a,b\n", "june.csv has no rows"),
        ("june.csv", b"\n", "june.csv has no columns"),
        ("june.csv", b'a,b\n1,"2\n3,4,5,6\n', "june.csv"),
        ("june.csv", b"a\x00b", "june.csv"),
        ("june.csv.gz", b"no gzip", "could not be read"),
        ("june.csv.gz", bytes.fromhex("1f8b0800000000000003"), "could not be read"),
        ("june.xlsx", b"PK", "no table that is known here"),
    ],
)
def test_a_file_that_is_no_table_is_refused_when_it_is_added(
    repository: Path, call: Call, name: str, content: bytes, said: str
) -> None:
    """Wrong encoding, no header, no rows, broken compression: nothing is added."""
    (repository / "build").mkdir(exist_ok=True)
    file = repository / "build" / name
    file.write_bytes(content)
    before = digest_tree(repository / "data")
    told(call(repository, "data", "add", str(file)), 20, said)
    assert digest_tree(repository / "data") == before
    assert leftovers(repository) == []


def test_a_file_that_is_missing_is_named(repository: Path, call: Call) -> None:
    """The name that was typed, and what would have been a right one."""
    told(call(repository, "data", "add", "july.csv"), 20, "july.csv was not found")
    told(call(repository, "predict", "july.csv"), 20, "july.csv was not found")


def test_no_rows_at_all(repository: Path, call: Call) -> None:
    """An empty data/ says how to have the rows."""
    shutil.rmtree(repository / "data")
    (repository / "data").mkdir()
    for step in STEPS:
        told(call(repository, step), 20, "no rows under data/", "./mainline data pull")


TABLES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "one class": (lambda t: t.assign(is_fraud=0), "is constant"),
    "target all missing": (
        lambda t: t.assign(is_fraud=pd.array([None] * len(t), dtype="Int8")),
        "missing in every row",
    ),
    "target gone": (lambda t: t.drop(columns="is_fraud"), "'is_fraud'"),
    "three classes": (lambda t: t.assign(is_fraud=np.arange(len(t)) % 3), "3 classes"),
    "column gone": (lambda t: t.drop(columns="amount"), "'amount' of schema.yaml is not in"),
    "id gone": (lambda t: t.drop(columns="transaction_id"), "'transaction_id' of schema.yaml"),
    "entity gone": (lambda t: t.drop(columns="customer_id"), "'customer_id' of schema.yaml"),
    "column extra": (lambda t: t.assign(extra=1), "'extra' is not in schema.yaml"),
    "another type": (lambda t: t.assign(amount="much"), "'amount' are not type number"),
    "a time for a number": (lambda t: t.assign(amount=t["timestamp"]), "'amount' are not type"),
    "no times": (lambda t: t.assign(timestamp="soon"), "'timestamp' are not type datetime"),
    "infinity": (lambda t: t.assign(amount=np.inf), "'amount' are not type number (row"),
    "nan": (lambda t: t.assign(amount=np.nan), "100.0% of 'amount' is missing"),
    "duplicate ids": (lambda t: pd.concat([t, t.iloc[:3]]), "6 of 3603 rows of 'transaction_id'"),
    "missing ids": (lambda t: t.assign(transaction_id=None), "'transaction_id'"),
    "beyond a limit": (lambda t: t.assign(hour=25), "'hour' are not at most 23"),
    "unknown category": (lambda t: t.assign(channel="fax"), "'channel' are not a known category"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_bad_table_fails_the_check_of_the_data(
    repository: Path, call: Call, models: Callable[[], bool], kind: str
) -> None:
    """`validate` says which column, which rule, how many rows and the first of them."""
    change_, said = TABLES[kind]
    change(repository, change_)
    told(call(repository, "validate"), 10, said)
    assert models()


UNTRAINABLE = {
    "one class": 20,
    "target all missing": 20,
    "target gone": 20,
    "three classes": 20,
    "column gone": 20,
    "another type": 20,
    "infinity": 20,
    "duplicate ids": 20,
    "missing ids": 20,
    "id gone": 20,
}


@pytest.mark.parametrize("kind", UNTRAINABLE)
def test_training_on_a_bad_table_is_a_sentence_too(
    repository: Path, call: Call, models: Callable[[], bool], kind: str
) -> None:
    """Whoever skips `validate` gets status 20 and keeps the model that was there."""
    change(repository, TABLES[kind][0])
    told(call(repository, "train"), UNTRAINABLE[kind])
    assert models()


def test_values_of_people_are_never_shown(repository: Path, call: Call) -> None:
    """A broken column of e-mail addresses or customers is told by row ids alone."""

    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        table["customer_id"] = "Jane Roe"
        return table

    change(repository, spoil)
    ran = call(repository, "validate")
    told(ran, 10, "'customer_id' are not type integer (row")
    assert "Jane" not in ran.out + ran.err


SETTINGS = [
    ("params.yaml", "  salt:", "  slat:", "params.yaml:15", "'salt'"),
    ("params.yaml", "task: binary", "task: binry", "params.yaml:5", "'binary'"),
    ("params.yaml", "  delta: 0.03", "  delta: small", "params.yaml:35", "number"),
    ("params.yaml", "project.model:build", "project.modle:build", "project.modle", "src/"),
    ("params.yaml", "project.model:build", "project.model:biuld", "biuld", "Define"),
    ("params.yaml", "max_iter:", "max_itre:", "max_itre", "train.args"),
    ("params.yaml", "target: is_fraud", "target: fraud", "'fraud'", "Name one target"),
    ("schema.yaml", "role: slice", "role: slise", "schema.yaml:", "'slice'"),
    ("schema.yaml", "entity: customer_id", "entity: customer", "customer", ""),
    ("schema.yaml", "{name: amount,", "{nmae: amount,", "schema.yaml:", "'name'"),
]


@pytest.mark.parametrize(("file", "old", "new", "where", "remedy"), SETTINGS)
def test_a_mistyped_setting_is_named(
    repository: Path, call: Call, models: Callable[[], bool], file: str, old: str, new: str,
    where: str, remedy: str,
) -> None:  # fmt: skip
    """File, line and the nearest right word, with status 22."""
    edit(repository, file, old, new)
    told(call(repository, "train"), 22, where, remedy)
    assert models()


def test_the_pipeline_says_so_before_dvc_does(repository: Path) -> None:
    """`mainline pipeline` in a process of its own: the sentence, not DVC's."""
    edit(repository, "params.yaml", "  salt:", "  slat:")
    told(small.run(repository, "pipeline"), 22, "params.yaml:15", "'salt'")
    git(repository, "checkout", "params.yaml")
    edit(repository, "params.yaml", "  maturity_days: 30", "  # maturity_days: 30")
    told(small.run(repository, "pipeline"), 22, "'monitor.maturity_days' is missing")
    git(repository, "checkout", "params.yaml")
    shutil.rmtree(repository / "data")
    told(small.run(repository, "pipeline"), 20, "./mainline data pull")
    (repository / "data.dvc").unlink()
    told(small.run(repository, "pipeline"), 20, "./mainline data add")
    told(small.run(repository, "data", "pull"), 2, "There is no data.dvc here")


def test_the_pipeline_ends_with_the_status_of_the_stage_that_failed(repository: Path) -> None:
    """DVC ends with 1 or 255 whatever happened; the reader gets 10 for bad rows."""
    change(repository, lambda t: t.assign(hour=25))
    told(small.run(repository, "pipeline"), 10, "'hour' are not at most 23")
    assert leftovers(repository) == []


@pytest.mark.parametrize("step", ["train", "validate", "evaluate", "compare"])
def test_a_full_disk(
    repository: Path, call: Call, models: Callable[[], bool], monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:  # fmt: skip
    """The first write that finds no room is told; the model stays, no temporary file does."""
    import errno
    import os

    def full(self: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    told(call(repository, step), 20, "No space left on device", "Make room")
    assert models()


def test_a_disk_that_is_really_full(repository: Path) -> None:
    """Under a limit on the size of files, as the kernel enforces it, the same holds."""
    resource = pytest.importorskip("resource", reason="no such limit on Windows")
    import subprocess
    import sys

    before = digest_tree(repository / "models")
    done = subprocess.run(
        [sys.executable, "-m", "mainline", "train"], cwd=repository, capture_output=True, text=True,
        env=small.variables(repository), check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    told(
        Ran(done.returncode, done.stdout, done.stderr), 20, "could not be written (File too large)"
    )
    assert digest_tree(repository / "models") == before
    assert leftovers(repository) == []


# ---- Git ---------------------------------------------------------------------------------------


def test_no_repository(repository: Path, call: Call) -> None:
    """Steps that need Git say so; training does not need it."""
    shutil.rmtree(repository / ".git")
    for step in ("compare", "register", "pipeline"):
        told(call(repository, step), 2, "not a Git repository", "git init")
    told(call(repository, "data", "pull"), 2, "not a DVC project")
    told(call(repository, "train"), 0)


def test_no_commit_yet(repository: Path, call: Call) -> None:
    """A fresh `git init` is told to commit first."""
    shutil.rmtree(repository / ".git")
    git(repository, "init", "--quiet")
    for step in ("compare", "register"):
        told(call(repository, step), 2, "no commit yet", "Commit first")
    told(call(repository, "train"), 0)


def test_a_shallow_clone(repository: Path, call: Call, tmp_path: Path) -> None:
    """Comparing and registering need the history and say how to have it; training does not."""
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    for name in ("data", "models", "reports"):
        shutil.copytree(repository / name, shallow / name, dirs_exist_ok=True)
    for step in ("compare", "register"):
        told(call(shallow, step), 21, "shallow", "git fetch --unshallow")
    told(call(shallow, "train"), 0)


def test_a_detached_head_without_tags_compares_and_registers(repository: Path, call: Call) -> None:
    """As CI checks out: no branch, no tag; the first version comes of it."""
    git(repository, "checkout", "--quiet", "--detach")
    told(call(repository, "compare"), 0, "baseline")
    told(call(repository, "gate"), 0)
    told(call(repository, "register"), 0, "card-fraud@v1.0.0")


def test_a_dirty_tree_is_not_registered(repository: Path, call: Call) -> None:
    """What is registered must be in the commit; the changed file is named."""
    told(call(repository, "compare"), 0)
    edit(repository, "src/project/features.py", "1.0 +", "2.0 +")
    told(call(repository, "register"), 2, "src/project/features.py is not committed")
    assert git(repository, "tag") == ""


def test_no_version_is_a_sentence(repository: Path, call: Call) -> None:
    """Asking for a version where none is registered."""
    told(call(repository, "promote", "v1.0.0"), 2, "No version of 'card-fraud'")
    told(call(repository, "compare", "--base", "v9.0.0"), 2, "No version of 'card-fraud'")
    told(call(repository, "compare", "--base", "nowhere"), 12, "'nowhere' was not found")


def test_a_store_that_lost_the_data(repository: Path, call: Call) -> None:
    """A pull that finds nothing is status 21 and says what DVC said."""
    shutil.rmtree(repository / "data")
    shutil.rmtree(repository / "demo-store")
    shutil.rmtree(repository / ".dvc" / "cache")
    told(call(repository, "data", "pull"), 21, "dvc pull failed")


def test_no_model_and_a_damaged_model(repository: Path, call: Call) -> None:
    """Evaluating needs the model that was trained, whole."""
    model = repository / "models" / "model.skops"
    model.chmod(0o644)
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    told(call(repository, "evaluate"), 20, "models/model.skops is not the file that was trained")
    (repository / "models" / "model.json").unlink()
    told(call(repository, "evaluate"), 20, "There is no model in models/")


def test_wrong_words_on_the_command_line(repository: Path, call: Call) -> None:
    """An unknown command or option is status 2."""
    told(call(repository, "trian"), 2, "trian")
    told(call(repository, "compare", "--bsae", "main"), 2, "--bsae")


@pytest.mark.slow
def test_the_whole_pipeline_in_a_folder_with_spaces_and_other_letters(
    sample_repository: Path, tmp_path: Path
) -> None:
    """A path is data: blanks, umlauts, a hash sign and quotes change nothing."""
    root = tmp_path / "Größe & 'Maß' #1 数据"
    shutil.copytree(sample_repository, root, symlinks=True)
    digest = digest_tree(root / "models")
    told(small.run(root, "pipeline"), 0)
    told(small.run(root, "train"), 0)
    assert digest_tree(root / "models") == digest
    told(small.run(root, "compare"), 0)
    told(small.run(root, "register"), 0, "card-fraud@v1.0.0")
    edit(root, "params.yaml", "max_iter: 150", "max_iter: 140")
    small.commit(root, "Fewer trees")
    told(small.run(root, "pipeline"), 0)
    ran = small.run(root, "compare")
    assert ran.status in (0, 11), ran.out + ran.err
    assert "average_precision" in ran.out
