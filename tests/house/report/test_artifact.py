"""A run's report is data: what it may be, and what is taken out before it is shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainline.errors import DataError
from mainline.report import chart, markdown
from mainline.report.artifact import (
    MAX_BYTES,
    MAX_COMMENT,
    ROOM,
    comment,
    harmless,
    read_report,
)
from mainline.report.blocks import (
    Alert,
    Badge,
    Bullets,
    Chart,
    Code,
    Paragraph,
    Report,
    Section,
    Strong,
    Table,
)
from mainline.report.post import own, watermark
from mainline.verdict import Verdict


def write(folder: Path, name: str = "report.md", content: bytes = b"# Fine\n") -> None:
    """Put one file into the artifact."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def test_a_report_is_read(tmp_path: Path) -> None:
    """The Markdown beside its page is what is posted."""
    write(tmp_path / "a")
    write(tmp_path / "a", "report.html")
    assert read_report(tmp_path / "a") == "# Fine\n"


@pytest.mark.parametrize("made", [True, False])
def test_a_run_that_left_nothing_is_no_error(tmp_path: Path, made: bool) -> None:
    """An artifact that is absent or empty is told from one that is bad."""
    if made:
        (tmp_path / "a").mkdir()
    assert read_report(tmp_path / "a") is None


@pytest.mark.parametrize("name", ["pr.txt", "verdict.json", ".git", "report.md.sh", "rëport.md"])
def test_another_name_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever is not on the list is refused, and with it the rest."""
    write(tmp_path / "a")
    write(tmp_path / "a", name)
    with pytest.raises(DataError, match="it holds") as refused:
        read_report(tmp_path / "a")
    assert refused.value.status == 20


def test_a_link_is_refused(tmp_path: Path) -> None:
    """A symbolic link could publish a file of the runner."""
    write(tmp_path, "secret", b"key")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "report.md").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="not a regular file"):
        read_report(tmp_path / "a")


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    """Only regular files are opened: a pipe would be waited for without end."""
    (tmp_path / "a" / "report.md").mkdir(parents=True)
    with pytest.raises(DataError, match="not a regular file"):
        read_report(tmp_path / "a")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "report.md")
    with pytest.raises(DataError, match="not a regular file"):
        read_report(tmp_path / "b")


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    """The size of all files together is looked at before one is opened."""
    write(tmp_path / "a")
    write(tmp_path / "a", "report.html", b"")
    with (tmp_path / "a" / "report.html").open("r+b") as stream:
        stream.truncate(MAX_BYTES)
    with pytest.raises(DataError, match="larger than 20 MB"):
        read_report(tmp_path / "a")


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    """What is not UTF-8 is refused; a byte order mark is left out."""
    write(tmp_path / "a", content="# Grün".encode("utf-16"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_report(tmp_path / "a")
    write(tmp_path / "b", content="# Grün".encode("utf-8-sig"))
    assert read_report(tmp_path / "b") == "# Grün"


def test_a_page_without_a_report_is_refused(tmp_path: Path) -> None:
    """There is nothing to post in a page alone."""
    write(tmp_path / "a", "report.html")
    with pytest.raises(DataError, match=r"no report\.md"):
        read_report(tmp_path / "a")


# What GitHub's Markdown may be made of after the pass; HTML only as the two elements of the house.
KINDS = frozenset({
    "paragraph_open", "paragraph_close", "inline", "text", "text_special", "softbreak",
    "heading_open", "heading_close", "bullet_list_open", "bullet_list_close", "list_item_open",
    "list_item_close", "blockquote_open", "blockquote_close", "table_open", "table_close",
    "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open",
    "th_close", "td_open", "td_close", "code_inline", "strong_open", "strong_close", "html_inline",
    "fence",
})  # fmt: skip
HTML = {"<code>", "</code>", "<strong>", "</strong>"}
BEGIN = f"```mermaid\n{chart.COLOURS}\nxychart-beta\n"
ATTACKS = [
    "@team hello", "a@b.example", "![x](https://x.invalid/y.png)", "<img src=z>", "[a]: http://x",
    "[a][b]\n\n[b]: http://evil.example", "see [a]\n\n[a]: <http://evil.example> 'x'",
    "www.evil.example and http://evil.example", "<http://evil.example>", "<mailto:a@b.example>",
    "a[^1]\n\n[^1]: http://evil.example", "<details open><summary>x</summary>", "<!-- hide",
    "<!-- hide\n\nmore -->", "&lt;img&gt; &#64;octocat &commat;octocat &#x202e;",
    "@\u200boctocat @\u2060octocat", "\u202egnp.exe\u2066", "#123 GH-1 owner/repo#4",
    "owner/repo@0123456789abcdef0123456789abcdef01234567 and deadbee",
    ":octocat: :+1:", "```mermaid\ngraph TD\nclick A href \"http://evil.example\"\n```",
    f"{BEGIN}    title \"%%{{init: {{}}}}%%\"\n    x-axis [\"a\", \"b\"]\n"
    "    y-axis 0 --> 1\n    line [0, 1]\n```",
    f"{BEGIN}    title \"x\"\n    x-axis [\"a\", \"<img src=x>\"]\n"
    "    y-axis 0 --> 1\n    line [0, 1]\n```",
    "~~~mermaid\ngraph TD\n~~~", "````mermaid\ngraph TD", "```math\nx\n```", "```geojson\n{}\n```",
    "```suggestion\nx\n```", "$$x$$ $`x`$", "- [ ] task\n- [x] done", "Title\n=====", "Title\n---",
    "    indented", "1. one\n2. two", "* star\n+ plus", "***", "> quoted\n> > deeper",
    "| a | b |\n| --- | --- |\n| `x | y` | <td> |", "| a |\n| --- |\n| [x](http://evil.example) |",
    "> [!CAUTION]\n> [x](http://evil.example) @octocat <b>", "# [x](http://evil.example) @octocat",
    "- `x` [y](z) @octocat\n- <script>alert(1)</script>", "**[x](y) @octocat**", "`a``b` ``c``",
    "<code>@octocat <img></code>", "<strong><a href=x>y</strong>", "\\`[x](http://evil.example)`",
    "\\\\[x](http://evil.example)", "`x\n[y](http://evil.example)`", "a  \nb\\\nc",
    "\x00\x1b[31m \x85 \u2028 [x](http://evil.example)", "<table><tr><td>", "</code></td>",
    "<a id=x></a>", "[[wiki]]", "![][x]\n\n[x]: http://evil.example/x.png",
    "xmpp:a@b.example ftp://evil.example", "&lt;@octocat&gt;", "@octo\u200bcat",
]  # fmt: skip


def tokens(text: str) -> list[Any]:
    """All that GitHub's Markdown would make of `text`, within lines too."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [t for token in parser.parse(text) for t in (token, *(token.children or ()))]


def live(text: str) -> list[str]:
    """What in `text` acts when GitHub shows it."""
    found = []
    for token in tokens(text):
        if token.type not in KINDS or (token.type.startswith("html") and token.content not in HTML):
            found.append(f"{token.type} {token.content}")
        if token.type == "fence" and (
            token.info != "mermaid" or chart.parse(token.content.splitlines()) is None
        ):
            found.append(f"fence {token.info} {token.content}")
        if token.type in ("text", "text_special"):
            found += re.findall(ACTS, token.content)
    # A line may be put together from several pieces of text.
    said = "".join(t.content for t in tokens(text) if t.type in ("text", "text_special"))
    return found + re.findall(ACTS, said)


ACTS = (
    r"@\w|://|(?i:www\.)|(?i:mailto:)|(?i:xmpp:)|#\d|(?i:\bgh-\d)|:[\w+-]+:|\[[ x]\] "
    r"|\b(?=[0-9]*[a-f])[0-9a-f]{7,40}\b|[\x00-\x08\u202a-\u202e\u2066-\u2069]"
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_report_is_text(attack: str) -> None:
    """Whatever Markdown or HTML a run leaves, nothing of it acts on anybody."""
    for text in (attack, f"## 🟢 PASS: x\n\n> [!TIP]\n> y\n\n### Gates\n\n{attack}\n\nafter"):
        assert live(harmless(text)) == []


PIECES = [*"\n|`*_~[]()<>!&#@\\:->=$", "\n\n", "```", "| ", "- ", "<code>", "</code>", "**",
          "> [!TIP]\n> ", "&lt;", "\u200b", "a "]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*ATTACKS, *PIECES]), max_size=12))
def test_attacks_in_any_order_are_text(pieces: list[str]) -> None:
    """Put together in any way too."""
    assert live(harmless("".join(pieces))) == []


def test_the_mark_of_a_comment_is_broken() -> None:
    """No comment is impersonated by a report that bears the mark."""
    mark = watermark("mainline:fraud", "ab" * 20)
    text = harmless(f"x\n\n{mark}\n")
    assert "CML watermark" not in text
    assert own([{"id": 1, "body": text}], "mainline:fraud") is None


def ordinary() -> Report:
    """A report with every kind of block, and names that need escaping."""
    nasty = "a|b `c` *d* <e> &lt; [f](g) @h #1 :i: http://j \\ _k_ deadbeef"
    blocks = (
        Paragraph(("Judged on ", Code("age"), ", ", Strong("well"), f": {nasty}")),
        Alert("note", (nasty,)),
        Bullets((("one",), (Code(nasty), " two"))),
        Table(("x", nasty), (((Badge(Verdict.PASS),), (nasty,)), ((Code("z"),), ("1",))),
              frozenset({1})),
        Chart("difference", ("all rows", nasty), ((0.01, 0.02), (-0.01, 0.0))),
    )  # fmt: skip
    sections = (Section("What changed", blocks), Section(nasty, blocks[:2]))
    return Report(
        "card-fraud", Verdict.PASS, (Strong("This may be merged"), f": {nasty}."), sections
    )


def test_an_ordinary_report_is_left_as_it_is() -> None:
    """What the house wrote comes out as it was, character by character, and does nothing either."""
    text = markdown.render(ordinary())
    assert harmless(text) == text.rstrip() + "\n"
    assert live(text) == []
    assert "```mermaid" in text


def test_a_megabyte_of_mentions_becomes_one_comment() -> None:
    """A report that is too long is cut between paragraphs, and says what and where it is."""
    body = comment(
        "@you\n" * 250_000, fork=True, run="https://github.com/acme/fraud/actions/runs/1"
    )
    assert len(body) < MAX_COMMENT
    assert "@you" not in body
    assert re.search(r"Cut here \([\d,]+ more paragraphs\): it is in the artifact", body)
    assert body.startswith("> [!CAUTION]")
    assert body.rstrip().endswith("(https://github.com/acme/fraud/actions/runs/1)")


def test_a_long_report_loses_whole_sections() -> None:
    """No table ends in its middle; the least important goes first, and the verdict stays."""
    cells = tuple((("x" * 500,), ("1",)) for _ in range(40))
    names = ("What changed", "Slices", "Data", "Parameters, locks and code", "Gates", "Next steps")
    sections = tuple(Section(n, (Table(("a", "b"), cells),)) for n in names)
    report = Report("fraud", Verdict.FAIL, (Strong("This may not be merged"), "."), sections)
    body = comment(markdown.render(report, 200_000), fork=True, run="https://x/1",
                   cautions=["> [!CAUTION]\n> y\n"] * 3)  # fmt: skip
    assert len(body) <= MAX_COMMENT - ROOM
    for gone in ("Data", "Parameters, locks and code", "Slices"):
        assert re.search(rf"### {gone}\n\nCut here \([\d,]+ characters\): it is in the art", body)
    for kept in ("What changed", "Gates", "Next steps"):
        table = body.partition(f"### {kept}\n\n")[2].partition("\n\n")[0]
        assert table.count("\n") == 41
    assert "## 🔴 FAIL: fraud" in body


def test_ten_thousand_headings_are_counted() -> None:
    """Even headings may be too many."""
    text = harmless("".join(f"## heading {n}\n\nx\n\n" for n in range(10_000)))
    assert len(text) <= MAX_COMMENT
    assert "sections): it is in the artifact" in text


def test_a_fence_left_open_swallows_nothing() -> None:
    """What stands below the report is shown."""
    body = comment("```\nopen", fork=False, run="https://github.com/x")
    assert "```" not in body
    assert "[The run, its page and its model](https://github.com/x)" in body
    assert not body.startswith("> [!CAUTION]")


def test_an_empty_report_is_said() -> None:
    """Nothing but blanks is not shown as nothing."""
    assert harmless(" \n\n") == "The report is empty.\n"
