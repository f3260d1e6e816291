"""What a hostile caller sends: raw bytes, and the statuses with which they may be answered."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

GOOD: dict[str, Any] = {
    "amount": 12.5,
    "hour": 3,
    "risk": 0.5,
    "channel": "web",
    "country": "FR",
    "foreign": False,
}
TEXT = json.dumps(GOOD)
HOST = b"host: a\r\n"
KIND = b"content-type: application/json\r\n"


@dataclass(frozen=True)
class Case:
    """One thing to send; an empty `wanted` means that the connection may just be closed."""

    name: str
    sent: bytes
    wanted: tuple[int, ...]
    closes: bool = False  # the caller shuts its side down after sending

    def __str__(self) -> str:
        return self.name


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A raw request."""
    return line + b"\r\n" + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


def post(body: bytes | str, *headers: bytes, path: bytes = b"/predict") -> bytes:
    """A POST of JSON with its right length."""
    body = body.encode() if isinstance(body, str) else body
    given = {h.split(b":")[0].lower() for h in headers}
    lines = [] if b"content-type" in given else [b"content-type: application/json"]
    lines.append(b"content-length: %d" % len(body))
    return request(b"POST " + path + b" HTTP/1.1", b"host: a", *lines, *headers, body=body)


def row(**change: Any) -> str:
    """The good row with other values."""
    return json.dumps({**GOOD, **change})


def raw(field: str, literal: str) -> str:
    """The good row with a literal that `json.dumps` would not write."""
    return TEXT[:-1].replace(f'"{field}": {json.dumps(GOOD[field])}', f'"{field}": {literal}') + "}"


def values() -> Iterator[Case]:
    """Wrong types, numbers at the edge, texts of all kinds: 422 or 400, named by field."""
    wrong = [None, True, "1", "", [], {}, [1], {"a": 1}, -1, -0.1, "NaN", "Infinity", "0x10", "1e3"]
    for value in wrong:
        yield Case(f"amount={value!r}", post(row(amount=value)), (422,))
    literals = [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "nan",
        "inf",
        "+1",
        "01",
        "1.",
        ".5",
        "0x10",
        "1e",
        "--1",
        "1_000",
        "True",
        "undefined",
        "'1'",
        "1,",
        "9" * 5000,
        "1e-400",
        "-0",
        "-0.0",
        "5e-324",
        "1.7976931348623157e308",
        "1.8e308",
        "1" + "0" * 308,
        "1" * 400,
        "0." + "1" * 5000,
        "1E+2",
        "1e0000001",
    ]
    fine = {
        "1e-400",
        "-0",
        "-0.0",
        "5e-324",
        "1.7976931348623157e308",
        "1" + "0" * 308,
        "0." + "1" * 5000,
        "1E+2",
        "1e0000001",
    }
    for literal in literals:
        wanted = (200,) if literal in fine else (400, 422)
        yield Case(f"amount: {literal[:24]}", post(raw("amount", literal)), wanted)
    for value in [
        None,
        True,
        "3",
        3.5,
        -1,
        24,
        2**53,
        2**63,
        2**64,
        -(2**63),
        10**30,
        1e300,
        [],
        {},
    ]:
        yield Case(f"hour={value!r}"[:40], post(row(hour=value)), (422,))
    yield Case("hour=3.0", post(row(hour=3.0)), (200,))
    for value in [None, "", "WEB", "web ", " web", "wéb", "web\x00", 1, True, [], {}, "x" * 15_000]:
        yield Case(f"channel={value!r}"[:40], post(row(channel=value)), (422,))
    for value in [None, "", "XX", "é" * 200, "\u202e", "\ud800\udc00", "\x00", "a\nb", 7, -7]:
        yield Case(f"country={value!r}"[:40], post(row(country=value)), (200,))
    for value in ["x" * 201, True, 1.5, [], {}, ["FR"], {"$gt": ""}]:
        yield Case(f"country={value!r}"[:40] + "!", post(row(country=value)), (422,))
    for value in [None, 0, 1, "true", "false", "", [], {}, 0.0]:
        yield Case(f"foreign={value!r}", post(row(foreign=value)), (422,))
    for value in [None, "r1", 7, "x" * 200, "a\r\nb", "\u2028", '{"v": 1}']:
        yield Case(f"id={value!r}"[:40], post(row(id=value)), (200,))
    for value in ["x" * 201, 1.5, True, [], {}]:
        yield Case(f"id={value!r}"[:40] + "!", post(row(id=value)), (422,))
    yield Case(
        "id: a number of 4,000 digits",
        post(row(id=0).replace('"id": 0', '"id": ' + "9" * 4000)),
        (200, 400, 422),
    )


def shapes() -> Iterator[Case]:
    """Bodies that are no rows, too many rows, too much nesting, unknown and doubled keys."""
    bodies: dict[str, tuple[str, tuple[int, ...]]] = {
        "empty": ("", (400,)),
        "blank": ("  \n ", (400,)),
        "null": ("null", (400,)),
        "true": ("true", (400,)),
        "number": ("1", (400,)),
        "text": ('"x"', (400,)),
        "list": ("[]", (400,)),
        "list of rows": (f"[{TEXT}]", (400,)),
        "object": ("{}", (422,)),
        "no rows": ('{"rows": []}', (400,)),
        "rows null": ('{"rows": null}', (400,)),
        "rows object": (f'{{"rows": {TEXT}}}', (400,)),
        "rows text": ('{"rows": "x"}', (400,)),
        "rows of null": ('{"rows": [null]}', (422,)),
        "rows of lists": ('{"rows": [[]]}', (422,)),
        "rows of texts": ('{"rows": ["x"]}', (422,)),
        "rows and more": (f'{{"rows": [{TEXT}], "x": 1}}', (400,)),
        "one bad of two": (f'{{"rows": [{TEXT}, {{}}]}}', (422,)),
        "too many rows": (json.dumps({"rows": [GOOD] * 51}), (413,)),
        "most rows": (json.dumps({"rows": [GOOD] * 50}), (200,)),
        "50 bad rows": (json.dumps({"rows": [{}] * 50}), (422,)),
        "unknown field": (row(x=1), (422,)),
        "target sent": (row(bad=1), (422,)),
        "personal column sent": (row(email="a@b"), (422,)),
        "later column sent": (row(known="x"), (422,)),
        "field __proto__": (row(__proto__={"a": 1}), (422,)),
        "field __class__": (row(__class__="x"), (422,)),
        "empty field": (row(**{"": 1}), (422,)),
        "field of 5,000": (row(**{"f" * 5000: 1}), (422,)),
        "field with new line": (row(**{"a\r\nx: y": 1}), (422,)),
        "500 unknown fields": (row(**{f"f{i}": i for i in range(500)}), (422,)),
        "doubled key, last bad": (TEXT[:-1] + ', "amount": -1}', (422, 400)),
        "doubled key, first bad": ('{"amount": -1, ' + TEXT[1:], (200, 400, 422)),
        "doubled rows": (f'{{"rows": [{TEXT}], "rows": []}}', (400,)),
        "nested 100": ("[" * 100 + "]" * 100, (400,)),
        "nested 9,000": ("[" * 9000 + "]" * 9000, (400,)),
        "nested in a field": (raw("amount", "[" * 5000 + "]" * 5000), (400, 422)),
        "nested objects": ('{"a":' * 3000 + "1" + "}" * 3000, (400, 422)),
        "open lists": ("[" * 15_000, (400,)),
        "open objects": ('{"a":' * 3000, (400,)),
        "open text": ('{"amount": "' + "x" * 10_000, (400,)),
        "cut off": (TEXT[:-1], (400,)),
        "comma at the end": (TEXT[:-1] + ",}", (400,)),
        "two documents": (TEXT + TEXT, (400,)),
        "lines": (TEXT + "\n" + TEXT, (400,)),
        "comment": ("/* */" + TEXT, (400,)),
        "single quotes": (TEXT.replace('"', "'"), (400,)),
        "rubbish behind": (TEXT + "x", (400,)),
        "blanks around": (f"\n\t {TEXT} \r\n", (200,)),
        "form": ("amount=1", (400,)),
        "xml": ("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>", (400,)),
        "yaml": ("!!python/object/apply:os.system ['id']", (400,)),
        "sql": (row(id="'; drop table x"), (200,)),
        "template": (row(id="{{7*7}}${7*7}"), (200,)),
        "jndi": (row(id="${jndi:ldap://x}"), (200,)),
        "escaped key": (TEXT.replace("amount", "\\u0061mount"), (200,)),
        "bad escape": (raw("channel", '"\\x41"'), (400,)),
        "raw control": (raw("channel", '"a\nb"'), (400, 422)),
        "lone surrogate": (raw("country", '"\\ud800"'), (200, 400, 422)),
        "lone surrogate as a key": (TEXT[:-1] + ', "\\udfff": 1}', (400, 422)),
    }
    for name, (body, wanted) in bodies.items():
        yield Case(name, post(body), wanted)
    bytes_: dict[str, bytes] = {
        "not UTF-8": TEXT.encode().replace(b"FR", b"\xff\xfe"),
        "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
        "UTF-16": TEXT.encode("utf-16"),
        "UTF-32": TEXT.encode("utf-32"),
        "latin-1": b'{"a": "\xe9"}',
        "zero bytes": b"\x00" * 100,
        "zero byte inside": TEXT.encode().replace(b"FR", b"F\x00R"),
        "overlong": TEXT.encode().replace(b"FR", b"\xc0\xaf"),
        "gzip": b"\x1f\x8b\x08" + b"\x00" * 50,
        "pickle": b"\x80\x04\x95" + b"\x00" * 20,
        "bad UTF-8 as a key": b'{"\xff": 1}',
        "cut UTF-8": TEXT.encode()[:-1] + b', "x": "\xe2\x82"}',
        "messagepack": b"\x81\xa6amount\x01",
    }
    for name, content in bytes_.items():
        yield Case(name, post(content), (400, 422))
    yield Case("too large", post(row(id="x" * 20_000)), (413,))
    yield Case("too large, blank", post(" " * 20_001), (413,))
    yield Case("as large as may be", post(TEXT + " " * (20_000 - len(TEXT))), (200,))


def headers() -> Iterator[Case]:
    """Content types and encodings, forged ids, many and large headers."""
    for kind in [
        b"text/plain",
        b"",
        b"application/xml",
        b"application/jsonx",
        b"text/json",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"json",
        b"application/json, text/plain",
        b"*/*",
        b"\xff\xff",
        b"application",
    ]:
        yield Case(f"type {kind!r}", post(TEXT, b"content-type: " + kind), (415,))
    for kind in [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b"application/json;charset=latin-1",
        b" application/json ",
    ]:
        yield Case(f"type {kind!r}", post(TEXT, b"content-type: " + kind), (200,))
    yield Case(
        "no type",
        request(b"POST /predict HTTP/1.1", b"host: a", b"content-length: 2", body=b"{}"),
        (415,),
    )
    for coding in [b"gzip", b"br", b"deflate", b"identity, gzip", b"x", b"zstd"]:
        yield Case(f"encoding {coding!r}", post(TEXT, b"content-encoding: " + coding), (415,))
    for name, header in {
        "id with blanks": b"x-request-id: a b",
        "id with quotes": b'x-request-id: "\\"',
        "long id": b"x-request-id: " + b"a" * 500,
        "id in latin-1": b"x-request-id: \xe9",
        "id with a tab": b"x-request-id: a\tb",
        "unknown arm": b"x-mainline-arm: evil",
        "arm with a tab": b"x-mainline-arm: \tcanary",
        "generation": b"x-mainline-generation: a b c",
        "long cookie": b"cookie: " + b"a" * 8000,
        "forwarded": b"x-forwarded-for: 1.2.3.4, <script>",
        "strange host": b"x-host: ../../etc/passwd",
        "range": b"range: bytes=0-1",
        "accept": b"accept: text/html",
        "user agent": b"user-agent: () { :; }; echo x",
        "te": b"te: trailers",
        "upgrade h2c": b"upgrade: h2c",
        "basic": b"authorization: Basic dTpw",
        "override": b"x-http-method-override: DELETE",
    }.items():
        yield Case(name, post(TEXT, header), (200,))
    upgrade = (b"connection: Upgrade", b"upgrade: websocket", b"sec-websocket-key: eA==")
    # What follows an upgrade is not read as a body.
    yield Case("websocket", post(TEXT, *upgrade), (400, 426))
    yield Case(
        "upgrade on GET",
        request(
            b"GET /healthz HTTP/1.1", b"host: a", b"connection: upgrade", b"upgrade: websocket"
        ),
        (200,),
    )
    yield Case("90 headers", post(TEXT, *[b"x-%d: y" % i for i in range(90)]), (200,))
    yield Case("200 headers", post(TEXT, *[b"x-%d: y" % i for i in range(200)]), (431,))
    yield Case("a header of 40,000", post(TEXT, b"x-a: " + b"a" * 40_000), (431,))
    yield Case("a header of 2,000,000", post(TEXT, b"x-a: " + b"a" * 2_000_000), (431, 0))
    yield Case("a header name of 40,000", post(TEXT, b"a" * 40_000 + b": x"), (431,))
    yield Case("a header without end", b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 400_000, (431, 0))
    yield Case("headers without end", b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 50_000, (431, 0))
    for name, bad in {
        "no colon": b"abc",
        "blank before the colon": b"a : b",
        "blank name": b" a: b",
        "zero byte": b"a: \x00b",
        "bare carriage return": b"a: b\rc: d",
        "folded": b"a: b\r\n c",
        "no name": b": x",
        "control": b"a\x01: b",
    }.items():
        yield Case(f"header with {name}", post(TEXT, bad), (400, 200))


def framing() -> Iterator[Case]:
    """Lengths that lie, requests inside requests, chunks, methods, paths, versions."""
    body = TEXT.encode()
    start = b"POST /predict HTTP/1.1\r\n" + HOST + KIND
    inner = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
    for length in [
        b"-1",
        b"1e2",
        b"0x10",
        b"+5",
        b"5 5",
        b"5,5",
        b"abc",
        b"9" * 30,
        b"\xb2",
        b"1.0",
        b"",
    ]:
        yield Case(
            f"length {length!r}", start + b"content-length: " + length + b"\r\n\r\n" + body, (400,)
        )
    for length in [b"99999999", b"999999999999", b"20001"]:
        yield Case(
            f"length {length!r}", start + b"content-length: " + length + b"\r\n\r\n" + body, (413,)
        )
    yield Case("two lengths", post(body, b"content-length: 5"), (400,))
    yield Case("the same length twice", post(body, b"content-length: %d" % len(body)), (400, 200))
    chunked = start + b"transfer-encoding: chunked\r\n\r\n"
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    yield Case("chunked", chunked + whole, (200,))
    yield Case(
        "a chunk a byte",
        chunked + b"".join(b"1\r\n%c\r\n" % b for b in body) + b"0\r\n\r\n",
        (200,),
    )
    yield Case(
        "chunk with an extension",
        chunked + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        (200, 400),
    )
    yield Case(
        "chunk with a long extension",
        chunked + b"%x;%s\r\n%s\r\n0\r\n\r\n" % (len(body), b"a" * 100_000, body),
        (200, 400, 413, 0),
    )
    yield Case("trailers", chunked + whole[:-2] + b"x: y\r\n\r\n", (200, 400))
    yield Case(
        "trailers without end",
        chunked + whole[:-2] + b"x: y\r\n" * 20_000 + b"\r\n",
        (200, 400, 431, 0),
    )
    for size in [b"-1", b"xyz", b"fffffffffffffffff", b"", b"0x5", b" 5", b"1_0"]:
        yield Case(
            f"chunk of {size!r}", chunked + size + b"\r\n" + body + b"\r\n0\r\n\r\n", (400, 0)
        )
    yield Case("a huge chunk", chunked + b"fffffff\r\n" + b"a" * 30_000, (413,))
    yield Case(
        "chunks beyond the limit",
        chunked
        + b"1000\r\n"
        + b" " * 4096
        + b"\r\n"
        + (b"1000\r\n" + b" " * 4096 + b"\r\n") * 5
        + b"0\r\n\r\n",
        (413,),
    )
    yield Case(
        "chunk and length",
        start + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + whole + inner,
        (400,),
    )
    yield Case(
        "length and chunk",
        start + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n" + whole + inner,
        (400,),
    )
    for coding in [
        b"chunked, chunked",
        b"chunked, identity",
        b"identity",
        b"gzip, chunked",
        b"xchunked",
        b"chunked\x0b",
        b"\x00chunked",
        b"cow",
    ]:
        yield Case(
            f"transfer {coding!r}",
            start + b"transfer-encoding: " + coding + b"\r\n\r\n" + whole + inner,
            (400,),
        )
    yield Case(
        "transfer encoding twice",
        start + b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n" + whole,
        (400, 0),
    )
    yield Case(
        "line feeds only", start.replace(b"\r\n", b"\n") + b"content-length: 2\n\n{}", (400, 422)
    )
    yield Case("continue", post(body, b"expect: 100-continue"), (200,))
    yield Case(
        "continue, too large",
        start + b"expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n",
        (413,),
    )
    yield Case("another expectation", post(body, b"expect: 200-ok"), (200, 417))
    yield Case(
        "GET with a body",
        request(b"GET /healthz HTTP/1.1", b"host: a", b"content-length: 5", body=b"hello"),
        (200,),
    )
    for method in [
        b"PUT",
        b"DELETE",
        b"PATCH",
        b"OPTIONS",
        b"TRACE",
        b"PROPFIND",
        b"GET",
        b"HEAD",
        b"LINK",
        b"MKCOL",
        b"QUERY",
    ]:
        yield Case(
            f"{method.decode()} /predict",
            request(method + b" /predict HTTP/1.1", b"host: a"),
            (405, 400),
        )
    for method in [b"FOO", b"get", b"", b"POST\x00", b"G" * 5000, b"PRI"]:
        yield Case(
            f"method {method[:9]!r}",
            request(method + b" /predict HTTP/1.1", b"host: a"),
            (400, 405, 431, 0),
        )
    yield Case("CONNECT", request(b"CONNECT a:443 HTTP/1.1", b"host: a"), (400, 404, 405))
    for path in [
        b"/",
        b"//predict",
        b"/predict/",
        b"/predict/..",
        b"/../../etc/passwd",
        b"/%2e%2e/",
        b"/predict%00",
        b"/PREDICT",
        b"/predict;a=b",
        b"/%ff%fe",
        b"/%",
        b"/%zz",
        b"/a%0d%0ax:%20y",
        b"/docs",
        b"/docs.json",
        b"/livez",
        b"/static_content/x",
        b"/schema.json",
        b"/openapi.yaml",
        b"/.git/config",
        b"/mainline.json",
        b"/params.yaml",
        b"/src/models/model.skops",
        b"/" + b"a" * 8000,
        b"/<script>",
        b"/metrics/../predict",
        b"http://evil/predict/x",
        b"*",
    ]:
        yield Case(
            f"path {path[:24]!r}",
            request(b"GET " + path + b" HTTP/1.1", b"host: a"),
            (404, 400, 405),
        )
    yield Case(
        "path of 40,000", request(b"GET /" + b"a" * 40_000 + b" HTTP/1.1", b"host: a"), (431, 414)
    )
    yield Case("path in latin-1", request(b"GET /\xe9 HTTP/1.1", b"host: a"), (400, 404))
    yield Case("path with a blank", request(b"GET /a b HTTP/1.1", b"host: a"), (400,))
    yield Case(
        "whole address", request(b"GET http://evil/healthz HTTP/1.1", b"host: a"), (200, 400, 404)
    )
    yield Case("query", request(b"GET /healthz?" + b"a" * 5000 + b" HTTP/1.1", b"host: a"), (200,))
    for version in [
        b"HTTP/0.9",
        b"HTTP/2.0",
        b"HTTP/9.9",
        b"HTTP/1.11",
        b"HTTP/x",
        b"HTTP/-1.1",
        b"ICE/1.0",
        b"RTSP/1.0",
    ]:
        yield Case(
            f"version {version!r}", request(b"GET /healthz " + version, b"host: a"), (400, 200, 505)
        )
    yield Case("HTTP/1.0", request(b"GET /healthz HTTP/1.0"), (200,))
    yield Case("no version", b"GET /healthz\r\n\r\n", (400, 200, 0), closes=True)
    yield Case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 405, 0))
    yield Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, (400,))
    yield Case("rubbish", bytes(range(256)) * 20, (400,))
    yield Case(
        "new lines", b"\r\n" * 2000 + b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n", (200, 400)
    )
    yield Case(
        "proxy protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /healthz HTTP/1.1\r\n\r\n", (400,)
    )
    yield Case("no host", request(b"GET /healthz HTTP/1.1"), (200, 400))
    yield Case(
        "two hosts", request(b"GET /healthz HTTP/1.1", b"host: a", b"host: b-shadow"), (200, 400)
    )
    yield Case("nothing", b"", (0,), closes=True)
    yield Case("half a head", b"POST /pre", (400, 0), closes=True)
    yield Case("half a body", start + b"content-length: 100\r\n\r\n{", (400, 408, 0), closes=True)


def others() -> Iterator[Case]:
    """The paths beside /predict."""
    for path in [b"/explain", b"/predict"]:
        for body in [
            b"",
            b"[]",
            b"{}",
            b"null",
            b"\xff",
            b"[" * 5000,
            b'{"rows": []}',
            row(amount="x").encode(),
        ]:
            yield Case(f"{path.decode()} {body[:12]!r}", post(body, path=path), (400, 422))
    yield Case(
        "/explain of two rows", post(json.dumps({"rows": [GOOD] * 2}), path=b"/explain"), (400,)
    )
    known = {"prediction_id": "01900000-0000-7000-8000-000000000000", "label": 1}
    bodies = [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 5000,
        b'{"labels": []}',
        b'{"labels": [[]]}',
        *(
            json.dumps({**known, **change}).encode()
            for change in [
                {"prediction_id": "../../etc/passwd"},
                {"prediction_id": None},
                {"prediction_id": "ffffffff-ffff-7fff-bfff-ffffffffffff"},
                {"label": 2},
                {"label": None},
                {"label": "x" * 9000},
                {"known_at": "2999-01-01"},
                {"known_at": "0001-01-01T00:00:00+23:59"},
                {"known_at": 1e300},
                {"known_at": "a\r\nb"},
                {"source": "x" * 201},
                {"x": 1},
            ]
        ),
    ]
    for number, body in enumerate(bodies):
        name = f"/feedback {number} {body[-40:]!r}"
        yield Case(name, post(body, path=b"/feedback"), (400, 422))
    for path in [b"/healthz", b"/readyz", b"/version", b"/metrics", b"/openapi.json"]:
        yield Case(f"POST {path.decode()}", post(TEXT, path=path), (405,))
        yield Case(
            f"HEAD {path.decode()}", request(b"HEAD " + path + b" HTTP/1.1", b"host: a"), (200,)
        )


CASES = [*values(), *shapes(), *headers(), *framing(), *others()]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; status 0 where the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes


def send(
    address: tuple[str, int], case: Case, seconds: float = 20.0, least: int = 1
) -> list[Answer]:
    """What the service answers until it closes, or has answered and says nothing more."""
    head = case.sent.startswith(b"HEAD")
    with socket.create_connection(address, timeout=seconds) as connection:
        try:
            connection.sendall(case.sent)
            if case.closes:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # refused while it was still being sent
            pass
        content = b""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answers, rest = parse(content, head)
            # After an answer a moment is left, in which a smuggled request would be answered too.
            done = len(answers) >= least and not rest
            connection.settimeout(0.02 if done else seconds)
            try:
                got = connection.recv(65536)
            except TimeoutError:
                if done:
                    return answers
                break
            except OSError:
                got = b""
            if not got:
                return answers or [Answer(0, {}, b"")]
            content += got
    raise AssertionError(f"no end: {content[:200]!r}")


def parse(content: bytes, head: bool = False) -> tuple[list[Answer], bytes]:
    """The whole answers in `content`, interim ones left out, and what stands behind them."""
    found: list[Answer] = []
    while b"\r\n\r\n" in content:
        top, _, rest = content.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        status = int(lines[0].split()[1])
        names = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        size = 0 if head or status < 200 else int(names["content-length"])
        if len(rest) < size:
            break
        if status >= 200:
            found.append(Answer(status, names, rest[:size]))
        content = rest[size:]
    return found, content


def reset(connection: socket.socket) -> None:
    """Close a connection with a reset, as a caller that vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
