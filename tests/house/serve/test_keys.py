"""Bearer keys: who is let in, who is not, and what a change of the file does while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mainline.errors import SettingsError, UsageError
from mainline.serve import build, keys
from mainline.serve.keys import Keys, NoKey

PARAMS = """
model: {name: little, task: binary, target: bad, positive: 1}
split: {kind: row, salt: s, tune: 0.2, test: 0.2}
features: {build: "own.features:build"}
train: {estimator: "own.model:build"}
gate: {metric: roc_auc, delta: 0.05}
serve: {keys: keys.json}
"""


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose settings name a file of keys."""
    monkeypatch.delenv("MAINLINE_KEYS", raising=False)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def bearer(token: str) -> dict[bytes, bytes]:
    """The headers of a caller."""
    return {b"authorization": b"Bearer " + token.encode()}


def refused(known: Keys, headers: dict[bytes, bytes], scope: str = "predict") -> NoKey:
    """What a caller is told."""
    with pytest.raises(NoKey) as caught:
        known.require(headers, scope)
    return caught.value


def test_a_key_opens_what_it_was_made_for_and_nothing_else(root: Path) -> None:
    """Its own scopes pass; another is a 403 that names what is missing."""
    token = keys.add(root, "shop", ["predict", "feedback"])["key"]
    known = Keys(root / "keys.json")
    assert known.require(bearer(token), "predict").name == "shop"
    assert known.require(bearer(token), "feedback").name == "shop"
    told = refused(known, bearer(token), "metrics")
    assert told.http == 403
    assert b'scope="metrics"' in told.headers[0][1]


@pytest.mark.parametrize("change", [
    lambda t: "", lambda t: t[:-1], lambda t: t + "A", lambda t: t[:20] + "~" + t[21:],
    lambda t: t[:-2] + ("AA" if t[-2] != "A" else "BB"),
    lambda t: t.replace("mlk_", "mlx_"), lambda t: "mlk_00000000_" + t.split("_", 2)[2],
    lambda t: t.upper(), lambda t: t + "\r\n", lambda t: t + " x", lambda t: "x" * 100_000,
])  # fmt: skip
def test_what_is_not_the_key_is_a_401(root: Path, change: Callable[[str], str]) -> None:
    """A key that is cut, longer, changed in one character, of another id, or no key at all."""
    token = keys.add(root, "shop", ["predict"])["key"]
    if change(token).strip() == token:
        return  # white space at the end is not part of it
    told = refused(Keys(root / "keys.json"), bearer(change(token)))
    assert told.http == 401
    assert told.headers[0][0] == b"www-authenticate"
    assert token not in json.dumps(told.document())


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Basic dTpw", b"Token {t}", b"{t}"])
def test_another_scheme_is_a_401(root: Path, value: bytes) -> None:
    """The key must come as a bearer token."""
    token = keys.add(root, "shop", ["predict"])["key"]
    headers = {b"authorization": value.replace(b"{t}", token.encode())}
    told = refused(Keys(root / "keys.json"), headers)
    assert told.http == 401
    assert list(told.headers) == [(b"www-authenticate", b'Bearer realm="mainline"')]
    assert refused(Keys(root / "keys.json"), {}).http == 401


def test_the_scheme_is_read_without_case(root: Path) -> None:
    """RFC 9110: `bearer` is `Bearer`."""
    token = keys.add(root, "shop", ["predict"])["key"]
    known = Keys(root / "keys.json")
    assert known.require({b"authorization": b"bearer " + token.encode()}, "predict")


def test_the_file_holds_digests_and_no_key(root: Path) -> None:
    """Who reads the file cannot ask with it."""
    token = keys.add(root, "shop", ["predict"])["key"]
    text = (root / "keys.json").read_text()
    assert token not in text
    assert token.split("_", 2)[2] not in text
    assert keys.digest_of(token.encode()) in text
    assert token not in json.dumps(keys.listed(root))


def test_several_keys_are_added_listed_and_removed(root: Path) -> None:
    """Each has its name, id and scopes; a name is given once."""
    one = keys.add(root, "one", ["predict"])["key"]
    two = keys.add(root, "two", ["metrics", "metrics"])["key"]
    assert one != two
    assert [(k["name"], k["for"]) for k in keys.listed(root)["keys"]] == [
        ("one", ["predict"]), ("two", ["metrics"])
    ]  # fmt: skip
    with pytest.raises(UsageError, match="already"):
        keys.add(root, "one", ["predict"])
    keys.remove(root, "one")
    known = Keys(root / "keys.json")
    assert refused(known, bearer(one)).http == 401
    assert known.require(bearer(two), "metrics").name == "two"
    with pytest.raises(UsageError, match="no key"):
        keys.remove(root, "one")


@pytest.mark.parametrize(("name", "scopes"), [
    ("a b", ["predict"]), ("", ["predict"]), ("../x", ["predict"]), ("ok", ["admin"]), ("ok", []),
    ("ok", [""]),
])  # fmt: skip
def test_a_bad_name_or_scope_is_refused(root: Path, name: str, scopes: list[str]) -> None:
    """Nothing is written for them."""
    with pytest.raises(UsageError):
        keys.add(root, name, scopes)
    assert not (root / "keys.json").exists()


def test_a_change_is_seen_within_a_second_and_the_file_is_not_read_at_each_request(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new key opens and a removed one does not, without a restart; no look before a second."""
    one = keys.add(root, "one", ["predict"])["key"]
    clock = Clock()
    known = Keys(root / "keys.json", clock)
    two = keys.add(root, "two", ["predict"])["key"]
    keys.remove(root, "one")
    clock.now += 0.9
    looks: list[Path] = []
    stamp = keys._stamp
    monkeypatch.setattr(keys, "_stamp", lambda path: looks.append(path) or stamp(path))
    for _ in range(100):
        assert known.require(bearer(one), "predict")
    assert looks == []
    clock.now += 0.2
    for _ in range(100):
        assert known.require(bearer(two), "predict")
    assert refused(known, bearer(one)).http == 401
    assert len(looks) == 1


@pytest.mark.parametrize("damage", [
    b"", b"{", b'{"schema": "keys/2", "keys": []}', b'{"schema": "keys/1", "keys": [{}]}', b"[]",
    b'{"schema": "keys/1"}', b"\xff\xfe", None,
    b'{"schema": "keys/1", "keys": [{"id": "00000000", "name": "x", "digest": "plain", '
    b'"for": ["predict"]}]}',
])  # fmt: skip
def test_a_damaged_file_keeps_the_keys_that_were(
    root: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is everybody let in nor anybody locked out; it is counted and said once."""
    token = keys.add(root, "shop", ["predict"])["key"]
    clock = Clock()
    known = Keys(root / "keys.json", clock)
    if damage is None:
        (root / "keys.json").unlink()
    else:
        (root / "keys.json").write_bytes(damage)
    for _ in range(3):
        clock.now += 2
        assert known.require(bearer(token), "predict")
        assert refused(known, bearer("mlk_00000000_" + "A" * 43)).http == 401
    assert known.failures == 1
    assert sum("stay as they were" in r.message for r in caplog.records) == 1
    keys_file = root / "keys.json"
    keys_file.unlink(missing_ok=True)
    later = keys.add(root, "later", ["predict"])["key"]
    clock.now += 2
    assert known.require(bearer(later), "predict").name == "later"
    assert refused(known, bearer(token)).http == 401


@pytest.mark.parametrize("content", [None, b"{", b'{"schema": "keys/1", "keys": [{"id": 1}]}'])
def test_a_service_does_not_start_on_a_bad_file(root: Path, content: bytes | None) -> None:
    """At the start there are no older keys to keep."""
    if content is not None:
        (root / "keys.json").write_bytes(content)
    with pytest.raises(SettingsError):
        Keys(root / "keys.json")


def test_where_the_file_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MAINLINE_KEYS wins over the settings; nothing, or an empty one, asks nobody."""
    assert keys.place(root, None) is None
    assert keys.place(root, "keys.json") == (root / "keys.json").resolve()
    monkeypatch.setenv("MAINLINE_KEYS", str(root / "other.json"))
    assert keys.place(root, "keys.json") == (root / "other.json").resolve()
    monkeypatch.setenv("MAINLINE_KEYS", "")
    assert keys.place(root, "keys.json") is None
    with pytest.raises(SettingsError, match="asks nobody"):
        keys.listed(root)


def test_a_rollout_asks_with_the_key_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAINLINE_KEY goes with what a command asks; white space cannot make another header of it."""
    from mainline.rollout.traffic import Replay

    monkeypatch.delenv("MAINLINE_KEY", raising=False)
    assert keys.header() == {}
    assert Replay("http://127.0.0.1:1", [{}]).key == b""
    monkeypatch.setenv("MAINLINE_KEY", "mlk_1_2\r\n x")
    assert keys.header() == {"authorization": "Bearer mlk_1_2x"}
    assert Replay("http://127.0.0.1:1", [{}]).key == b"authorization: Bearer mlk_1_2x\r\n"


def test_the_command_prints_the_key_once(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mainline key add`, `list` and `remove`, as a person types them."""
    from mainline import cli

    monkeypatch.setenv("MAINLINE_ROOT", str(root))

    def call(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        assert ended.value.code == 0
        return capsys.readouterr().out

    token = call("key", "add", "shop", "--for", "predict,feedback").splitlines()[0]
    assert Keys(root / "keys.json").require(bearer(token), "feedback").name == "shop"
    assert token not in call("key", "list")
    assert "shop" in call("key", "list")
    call("key", "remove", "shop")
    assert len(Keys(root / "keys.json")) == 0


def test_the_checkout_that_serves_says_who_may_ask(tmp_path: Path) -> None:
    """A version from before the keys is guarded too; where nobody says, the Bento's own hold."""
    here, bento = tmp_path / "here", tmp_path / "bento"
    (bento / "src").mkdir(parents=True)
    here.mkdir()
    (bento / "src" / "params.yaml").write_text(PARAMS.replace("keys.json", "null"), "utf-8")
    (here / "params.yaml").write_text(PARAMS, "utf-8")
    assert build._keys(here, bento) == "keys.json"
    (here / "params.yaml").unlink()
    assert build._keys(here, bento) is None
    (bento / "src" / "params.yaml").write_text(PARAMS, "utf-8")
    assert build._keys(here, bento) == "keys.json"
