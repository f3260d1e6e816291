"""Nobody weakens a workflow unseen: each step and each grant, broken in every way, is noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import rules
import yaml

GITHUB = Path(__file__).resolve().parents[3] / ".github"
NAMES = ("check", "train", "comment", "release")
STEP = re.compile(
    r"^      - .*\n(?:(?:        .*)?\n)*?(?=      - |\S|  \S|\n|\Z|      #)", re.MULTILINE
)


def text_of(name: str) -> str:
    return (GITHUB / "workflows" / f"{name}.yml").read_text("utf-8")


def steps(text: str) -> list[str]:
    """The text of each step, in order."""
    return STEP.findall(text)


def with_line(step: str, line: str) -> str:
    """The step with one more line below its first; a key that is there is replaced."""
    key = line.partition(":")[0]
    rest = [old for old in step.splitlines()[1:] if not old.startswith(f"        {key}:")]
    return "\n".join([step.splitlines()[0], f"        {line}", *rest]) + "\n"


def of_steps(text: str) -> Iterator[tuple[str, str]]:
    """(what was done, the text) for each step of a workflow and each way to break it."""
    for step in steps(text):
        match = re.search(r"(?:run|uses): (\S+(?: [a-z]\S*)*)", step)
        assert match, step
        what = match[1].partition("@")[0]
        changes = {
            "removed": "",
            "never runs": with_line(step, "if: false"),
            "runs after failures only": with_line(step, "if: failure()"),
            "may fail": with_line(step, "continue-on-error: true"),
            "twice": step * 2,
        }
        if run := re.search(r"run: (?!\|)([^#\n]*[^#\s])", step):
            command = run[1]
            swaps = {
                "swallows": f"{command} || true", "swallows by an exit": f"{command} || exit 0",
                "ends well": f"{command}; exit 0", "in a pipe": f"{command} | cat",
                "in the background": f"{command} &", "not": f"|\n          ! {command}",
                "is renamed": re.sub(r"^(\S+ )(\S+)", r"\1another", command),
                "only echoes": f"echo {command}",
            }  # fmt: skip
            changes |= {how: step.replace(command, new) for how, new in swaps.items()}
            changes["another shell"] = with_line(step, "shell: bash -c true {0}")
            changes["elsewhere"] = with_line(step, "working-directory: /tmp")
        for how, changed in changes.items():
            yield f"{what} {how}", text.replace(step, changed)


def of_grants(text: str) -> Iterator[tuple[str, str]]:
    """Each grant made wider, and taken away."""
    for grant in re.finditer(r"^ {6}([a-z-]+): (read|write)( #.*)$", text, re.MULTILINE):
        ways = {right: f"      {grant[1]}: {right}{grant[3]}" for right in ("read", "write")}
        for how, new in {**ways, "gone": ""}.items():
            if new != grant[0]:
                yield f"{grant[1]} {how}", text[: grant.start()] + new + text[grant.end() :]
    yield (
        "more grants",
        text.replace("    permissions:\n", "    permissions:\n      id-token: write # x\n"),
    )
    yield "all grants", text.replace("permissions: {}", "permissions: write-all")


def of_jobs(text: str) -> Iterator[tuple[str, str]]:
    """Each job made to be skipped, to fail unseen, to wait for nothing, to last for ever."""
    for job in re.findall(r"^  ([a-z]+):\n    name:", text, re.MULTILINE):
        body = re.search(rf"^  {job}:\n(?:    .*\n|\n)*", text, re.MULTILINE)
        assert body
        rest = re.sub(r"^    if: .*\n", "", body[0], flags=re.MULTILINE)
        ways = {
            "skipped": rest.replace(f"  {job}:\n", f"  {job}:\n    if: false\n", 1),
            "skipped where the label is another": rest.replace(
                f"  {job}:\n", f"  {job}:\n    if: github.event.label.name == 'x'\n", 1
            ),
            "not after a cancelled one": rest.replace(
                f"  {job}:\n", f"  {job}:\n    if: ${{{{ !cancelled() }}}}\n", 1
            ),
            "fails unseen": body[0].replace(
                f"  {job}:\n", f"  {job}:\n    continue-on-error: true\n", 1
            ),
            "another runner": body[0].replace("runs-on: ubuntu-latest", "runs-on: self-hosted"),
            "without end": re.sub(r"    timeout-minutes: .*\n", "", body[0]),
            "without needs": re.sub(r"    needs: .*\n", "", body[0]),
            "without condition": rest,
            "in a container": body[0].replace(
                f"  {job}:\n", f"  {job}:\n    container: node:latest\n", 1
            ),
            "gone": "",
        }
        for how, new in ways.items():
            if new != body[0]:
                yield f"{job} {how}", text.replace(body[0], new)


def of_files(name: str, text: str) -> Iterator[tuple[str, str]]:
    """What starts a workflow, and what runs beside what, changed."""
    yield "no concurrency", re.sub(r"concurrency:\n(  .*\n)+", "", text)
    yield "one group for all", re.sub(r"  group: .*", "  group: all", text)
    yield (
        "paths",
        re.sub(r"^on:\n  (\w+):.*\n", r"on:\n  \1:\n    paths: [src/**]\n", text, flags=re.M),
    )
    yield "trusts strangers", text.replace("\non:\n", "\non:\n  pull_request_target:\n")
    if name == "train":
        for kind in ("synchronize", "labeled", "unlabeled", "reopened", "opened"):
            yield f"not on {kind}", re.sub(rf"(types: .*?)\b{kind}\b", r"\1edited", text)
        yield "no type at all", re.sub(r"    types: .*\n", "", text)
        yield "only for main", re.sub(r"    types: .*\n", "    branches: [main]\n", text)
        yield "name for every base", re.sub(r"name: \$\{\{ inputs.base.*", "name: gate", text)
        yield "another name", text.replace("|| 'gate' }}", "|| 'verdict' }}")
        yield "verdicts of elsewhere", text.replace("path: reports/verdicts", "path: reports")
        yield "another base", text.replace("inputs.base || 'auto'", "'HEAD'")
        yield "a secret", text.replace("${{ github.token }}", "${{ secrets.MAINLINE_APP_KEY }}")
        yield "all secrets", text.replace("'auto' }}", "toJSON(secrets) }}")
        yield (
            "a token for the pipeline",
            text.replace(
                "      - name: Validate, train, evaluate\n",
                "      - name: Validate, train, evaluate\n        env:\n"
                "          GITHUB_TOKEN: ${{ github.token }}\n",
            ),
        )
        yield (
            "a token for all",
            text.replace("  MAINLINE_UNDECIDED", "  X: ${{ github.token }}\n  MAINLINE_UNDECIDED"),
        )
        yield "shallow", text.replace("          fetch-depth: 0", "          fetch-depth: 1")
    if name == "comment":
        yield (
            "of the run's commit",
            text.replace(
                "persist-credentials: false",
                "persist-credentials: false\n          ref: ${{ github.event.workflow_run.id }}",
            ),
        )
        yield "of every workflow", text.replace("workflows: [train]", "workflows: [train, check]")
        yield "of another run", text.replace("workflow_run.id", "workflow_run.number")


def mutations() -> list[tuple[str, str, str]]:
    """(workflow, what was done to it, its text) of everything above."""
    found = []
    for name in NAMES:
        text = text_of(name)
        for made in (of_steps(text), of_grants(text), of_jobs(text), of_files(name, text)):
            found += [(name, how, changed) for how, changed in made]
    return found


ALL = mutations()


@pytest.mark.parametrize(("name", "how", "changed"), ALL, ids=[f"{n}: {h}" for n, h, _ in ALL])
def test_a_weakened_workflow_is_noticed(name: str, how: str, changed: str) -> None:
    """A step, a job, a grant or a trigger that is not as it was turns a rule red."""
    assert changed != text_of(name), how
    try:
        found = rules.problems(name, changed)
    except (yaml.YAMLError, KeyError, AttributeError, TypeError):
        return  # no workflow any more, which `test_static` says
    assert found, how


@pytest.mark.parametrize("name", ["setup", "keep"])
def test_a_weakened_action_is_noticed(name: str) -> None:
    """Each line of a composite action that does something, taken out, is noticed."""
    text = (GITHUB / "actions" / name / "action.yml").read_text("utf-8")
    body = text.index("runs:")
    for line in re.finditer(r"^ {6,}(?!with:|shell:)\S.*\n", text[body:], re.MULTILINE):
        changed = text[: body + line.start()] + text[body + line.end() :]
        document = yaml.load(changed, Loader=yaml.BaseLoader)
        assert list(rules.unlike_promise(f"action {name}", document)), line[0]


def test_every_step_was_tried() -> None:
    """The tests above cut up all steps there are."""
    for name in NAMES:
        jobs = yaml.safe_load(text_of(name))["jobs"].values()
        assert len(steps(text_of(name))) == sum(len(job.get("steps", ())) for job in jobs)
