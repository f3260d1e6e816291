"""What monitor found, as Markdown for an issue, a pull request or the job's summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHOWN_WINDOWS = 10


def markdown(found: Mapping[str, Any]) -> str:
    """`reports/monitor.md` from the document of `reports/monitor.json`."""
    asked = found["trigger"]
    lines = [
        f"### Production of {code(found['model']['name'])} on {found['as_of'][:10]}",
        "",
        f"**{asked['kind']}**: {escape(asked['reason'])}.",
        "",
        *windows_table(found),
        "",
        *quality_table(found),
        *labels_lines(found.get("labels", {})),
    ]
    for page in found.get("pages", []):
        lines += ["", escape(page)]
    return "\n".join(lines) + "\n"


def windows_table(found: Mapping[str, Any]) -> list[str]:
    """The newest windows, a row each: level, rows, what was over, and quality where it is known."""
    lines = [
        "| window | rows | drift | over the threshold | matured | recall |",
        "|---|---|---|---|---|---|",
    ]
    for window in found["windows"][-SHOWN_WINDOWS:]:
        over = [
            f"{code(name)} {c['psi']:.3f} > {c['threshold']:.3f}"
            for name, c in window["columns"].items()
            if c["over"]
        ]
        said = ", ".join(over) or escape("; ".join(window["reasons"])) or "-"
        span = f"{window['start'][:10]} to {window['end'][:10]}"
        lines.append(
            f"| {span} | {window['n']} | {window['level']} | {said} | {window['matured']} "
            f"| {percent(window.get('recall'))} |"
        )
    return lines


def quality_table(found: Mapping[str, Any]) -> list[str]:
    """The streams of outcomes and the evidence in each."""
    lines = ["| stream | bad of matured | rate | reference | bound | e | fired |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, stream in found["quality"].items():
        lines.append(
            f"| {escape(name)} | {stream['bad']} of {stream['n']} | {percent(stream['rate'])} "
            f"| {percent(stream['reference_rate'])} | {percent(stream['bound'])} "
            f"| {stream['e'] if stream['e'] < 1000 else 'over 1000'} "
            f"| {(stream['fired_at'] or '-')[:10]} |"
        )
    return lines


def labels_lines(labels: Mapping[str, int]) -> list[str]:
    """What of the labels that came by prediction id could not be used as it is; often nothing."""
    said = {
        "unmatched": "of no logged prediction",
        "contradicted": "of predictions with another label before",
        "skipped_lines": "in lines that cannot be read",
    }
    told = [f"{labels[k]} {text}" for k, text in said.items() if labels.get(k)]
    return ["", f"Labels by feedback: {', '.join(told)}."] if told else []


def percent(value: float | None) -> str:
    """A share for people; a dash where there is none."""
    return "-" if value is None else f"{value:.0%}"


def code(text: object) -> str:
    """A name in code, with nothing in it that could end the code or the table cell."""
    plain = " ".join(str(text).replace("`", "'").split())
    return f"`{plain}`".replace("|", "\\|")


def escape(text: object) -> str:
    """Text from data, with nothing in it that Markdown or HTML would act on."""
    plain = " ".join(str(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A zero-width space keeps a name in the data from calling somebody.
    plain = plain.replace("@", "@\u200b")
    for mark in "\\`*_[]|#~!":
        plain = plain.replace(mark, "\\" + mark)
    return plain
