"""Text from data is shown and does nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainline.report import escape

NASTY = [
    "@octocat", "@org/team please", "a@b.example", "[click](https://evil.example)",
    "![x](https://evil.example/x.png)", "<img src=x onerror=alert(1)>", "<script>alert(1)</script>",
    "<!-- hidden", "https://evil.example", "www.evil.example", "a | b | c", "a \\| b", "a\\", "`a`",
    "``a`", "*bold* _em_ ~~gone~~", "line\nbreak\n\n# heading", "\r\n---\r\n", "> [!NOTE]",
    "#123 and GH-5", "owner/repo#7", "$x^2$ $$y$$", ":octocat: :+1:", "&lt;b&gt; &#64;octocat",
    "1. item", "- item", "+ item", "# heading", "```mermaid\ngraph TD; A-->B\n```",
    "[^1]", "[x]: http://y",
    "<https://evil.example>", "</td></tr></table>", "\u202egnp.exe", "\ud800", "a\x00b", "=====",
    "-- -", "deadbeef", "0123456789abcdef0123456789abcdef01234567", "[ ] task",
    "mailto:a@b.example", "a__b__c", "</code>`|", "<details><summary>x",
]  # fmt: skip


def parse(text: str) -> list:
    """The tokens of a table whose one cell is `text`, by a parser of GitHub's tables."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return parser.parse(f"| a | b |\n| --- | --- |\n| {text} | end |\n\nafter\n")


def flat(tokens: list) -> list:
    """All tokens, those within a line too."""
    return [t for token in tokens for t in (token, *(token.children or ()))]


def acts(text: str) -> str | None:
    """What in Markdown `text` GitHub would act on after rendering; None where there is nothing."""
    lines = [t.children or () for t in parse(text) if t.type == "inline"]
    shown = " ".join("".join(t.content for t in line if t.type == "text") for line in lines)
    for pattern in (
        r"@\w",
        r"://",
        r"(?i)www\.",
        r"(?i)mailto:",
        r"#\d",
        r"(?i)\bgh-\d",
        r":[\w+-]+:",
        r"\b(?=[0-9]*[a-f])[0-9a-f]{7,40}\b",
        r"\[[ x]\]",
    ):
        if found := re.search(pattern, shown):
            return found[0]
    return None


def kinds(text: str) -> list[str]:
    """The kinds of tokens that a table with `text` in a cell is made of."""
    return [t.type for t in flat(parse(text)) if t.type != "text_special"]


PLAIN = kinds("word")


@pytest.mark.parametrize("nasty", NASTY)
def test_markdown_shows_nasty_text_as_text(nasty: str) -> None:
    """No markup, HTML, link, image, mention, reference or table break comes out of text."""
    shown = escape.markdown(nasty)
    assert set(kinds(shown)) == set(PLAIN)
    assert kinds(shown).count("td_open") == 2
    assert acts(shown) is None


@given(st.text(alphabet=st.sampled_from("aZ1 @#|\\`*_~[]()<>!&$:/.-+=\n\t\u202e'\"w")))
def test_markdown_of_any_text_is_one_cell_of_text(text: str) -> None:
    """Whatever marks are put together, a parser finds two cells of text and no markup."""
    shown = escape.markdown(text)
    assert set(kinds(shown)) <= set(PLAIN)
    assert kinds(shown).count("td_open") == 2
    assert acts(shown) is None


@given(st.text(alphabet=st.sampled_from("aZ1 @#|\\`*_~[]()<>!&$:/.-+=\n\t'\"w")))
def test_code_of_any_text_is_one_cell(text: str) -> None:
    """Code ends where its text ends, and HTML in it is the one element that was put around it."""
    found = flat(parse(escape.markdown_code(text)))
    assert sum(t.type == "td_open" for t in found) == 2
    html = [t.content for t in found if t.type.startswith("html")]
    assert html in ([], ["<code>", "</code>"])
    assert not {"link_open", "image", "em_open", "strong_open", "s_open"} & {t.type for t in found}


@given(st.text())
def test_markdown_says_what_the_text_says(text: str) -> None:
    """Rendered, the text is the one that was put in, less what nobody can see."""
    shown = escape.markdown(text)
    # Within "a … a", because a cell is stripped of the spaces at its ends.
    cell = next(
        t for t in parse(f"a {shown} a") if t.type == "inline" and t.content.startswith("a ")
    )
    said = "".join(c.content for c in cell.children or ())
    wanted = escape.plain(text)
    assert said.replace(escape.NOTHING, "").split() == f"a {wanted} a".split()


@given(st.text())
def test_html_of_any_text_has_no_markup(text: str) -> None:
    """Nothing opens a tag, ends an attribute or begins an entity that was not made here."""
    shown = escape.html(text)
    assert not re.search(r"[<>\"']", shown)
    assert not re.search(r"&(?!(amp|lt|gt|quot|#x27);)", shown)
    shown.encode("utf-8")


def test_invisible_characters_can_be_seen() -> None:
    """Text that turns its direction, hides or ends a line is shown as what it is."""
    assert escape.plain("a\u202eb\u200bc\nd\u2028e") == "a\ufffdb\ufffdc d e"


def test_long_text_is_cut() -> None:
    """One piece of text never fills a report."""
    assert len(escape.plain("x" * 10_000)) == escape.MOST
    assert escape.plain("x" * 20, 10) == "x" * 9 + "…"


def test_ordinary_names_stay_readable() -> None:
    """What is harmless is not touched."""
    for text in ("average_precision", "age_band = 18-25", "0.7690", "+0.0728", "recall (test)"):
        assert escape.markdown(text) == text
    assert escape.markdown_code("card-fraud@v1.0.0") == "`card-fraud@v1.0.0`"
