"""Text that came from data, made fit to stand in Markdown or HTML: it is shown and does nothing.

All of a report passes through here, a column's name as much as a branch's. On GitHub some things
act on rendered text, where a backslash no longer helps (mentions, references, addresses, emoji);
those are broken by a space without width.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata

NOTHING = "\u200b"
MOST = 600  # characters of one piece of text
UNSEEN = frozenset({"Cc", "Cf", "Cs"})  # control, direction and zero width, half a surrogate pair

# Marks that begin something in GFM wherever they stand; an underscore only at a word's edge.
MARKS = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
# Marks that begin a heading, a list, a quotation or an underline where they come first.
LEADING = re.compile(r"^(\s*)([#>]|[-+=](?=[\s=-]|$)|\d+(?=[.)](?:\s|$)))")
ACTS = (
    (re.compile("@"), "@" + NOTHING),
    (re.compile(r"://"), ":" + NOTHING + "//"),
    (re.compile(r"(?i)(www|mailto|xmpp)([.:])"), rf"\1{NOTHING}\2"),
    (re.compile(r"#(?=\d)"), "#" + NOTHING),
    (re.compile(r"(?i)\b(gh-)(?=\d)"), rf"\1{NOTHING}"),
    (re.compile(r":(?=[\w+-]+:)"), ":" + NOTHING),
    (re.compile(r"\\\[(?=[ xX]\\\])"), r"\\[" + NOTHING),  # the box of a list of tasks
)
# What could be a commit; a number alone is left as it is.
COMMIT = re.compile(r"\b(?=[0-9]*[a-f])[0-9a-f]{7,}\b")
# What may stand between backticks, in a table too, without ending either.
SAFE_CODE = re.compile(r"[\w./=+,:@#%(){}<>'\"!?&;*-][\w ./=+,:@#%(){}<>'\"!?&;*-]*", re.ASCII)


def plain(text: object, most: int = MOST) -> str:
    """`text` on one line of at most `most` characters; what nobody can see becomes U+FFFD."""
    shown = "".join(_seen(c) for c in str(text)[: most * 4])
    shown = re.sub(r" {2,}", " ", shown)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _seen(character: str) -> str:
    if character.isspace():
        return " "
    return "\ufffd" if unicodedata.category(character) in UNSEEN else character


def markdown(text: object, most: int = MOST) -> str:
    """`text` for GitHub's Markdown, in a table too: no markup, link, image, mention or break."""
    out = plain(text, most).replace("&", "&amp;").replace("<", "&lt;")
    out = LEADING.sub(_leading, MARKS.sub(r"\\\g<0>", out))
    for pattern, broken in ACTS:
        out = pattern.sub(broken, out)
    return COMMIT.sub(lambda found: NOTHING.join(re.findall(".{1,6}", found[0])), out)


def _leading(found: re.Match[str]) -> str:
    space, mark = found.groups()
    return f"{space}{mark}\\" if mark[0].isdigit() else f"{space}\\{mark}"


def markdown_code(text: object, most: int = MOST) -> str:
    """`text` as code in GitHub's Markdown; between backticks where nothing in it could end them."""
    out = plain(text, most).strip()
    if SAFE_CODE.fullmatch(out):
        return f"`{out}`"
    return f"<code>{markdown(out, most)}</code>" if out else "(empty)"


def html(text: object, most: int = MOST) -> str:
    """`text` for HTML, between tags and inside a quoted attribute."""
    return _html.escape(plain(text, most), quote=True)
