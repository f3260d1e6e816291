"""The command line: one command a step, in the order of the flow. No logic lives here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mainline import console
from mainline.errors import MainlineError, UsageError

OUTPUT = "`--json` on any command prints the machine's form; `--debug` shows where a bug is."
app = typer.Typer(
    name="mainline", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False, epilog=OUTPUT,
    help="Git as the control plane of a machine-learning model.",
)  # fmt: skip
Base = Annotated[str, typer.Option(help="auto, or a version, branch or commit to compare with")]
Push = Annotated[bool, typer.Option(help="write the tag to origin first, where races are seen")]
Reason = Annotated[str, typer.Option(help="why, for `mainline history`")]


def root() -> Path:
    """The repository: the folder that the launcher names, else the current one."""
    return Path(os.environ.get("MAINLINE_ROOT") or Path.cwd())


# ---- check the data, train, evaluate -----------------------------------------------------------


@app.command()
def validate() -> None:
    """Check the data against schema.yaml."""
    from mainline.data import validate as step

    console.show(step.run(root()))


@app.command()
def train() -> None:
    """Train the model and choose its threshold."""
    from mainline.train import train as step

    console.show(step.run(root()))


@app.command()
def evaluate() -> None:
    """Measure the model on rows that it has not seen."""
    from mainline.evaluate import evaluate as step

    console.show(step.run(root()))


@app.command()
def pipeline(force: Annotated[bool, typer.Option(help="run every stage again")] = False) -> None:
    """Validate, train and evaluate what has changed (`dvc repro`)."""
    from mainline import pipeline as step

    status = step.reproduce(root(), force=force)
    if status == console.INCONCLUSIVE and console.decided_later():
        status = 0
    if console.JSON:
        console.done({"steps": step.verdicts(root()), "status": status})
    raise typer.Exit(status)


# ---- compare, report, decide -------------------------------------------------------------------


@app.command()
def compare(base: Base = "auto") -> None:
    """Compare the candidate with production on the same rows."""
    from mainline.compare import compare as step

    console.show(step.run(root(), base))


@app.command()
def report(
    summary: Annotated[bool, typer.Option(help="add it to $GITHUB_STEP_SUMMARY")] = False,
    post: Annotated[bool, typer.Option(help="post an artifact's report with CML")] = False,
    artifact: Annotated[Path | None, typer.Option(help="folder of the artifact to post")] = None,
) -> None:
    """Write the report: Markdown and one HTML page."""
    if post:
        from mainline.report import post as poster

        console.done(poster.run(root(), artifact))
        return
    from mainline.report import report as step

    console.done(step.run(root(), summary=summary))


@app.command()
def gate(
    ask: Annotated[bool, typer.Option(help="which run's verdicts were accepted")] = False,
    tell: Annotated[bool, typer.Option(help="an issue says which merge to revert")] = False,
) -> None:
    """Turn all verdict files into one exit status."""
    if ask or tell:
        from mainline.report import blame, merged

        console.done(blame.tell(root()) if tell else merged.tell(root()))
        return
    from mainline.report import gate as step

    console.show(step.run(root()))


@app.command()
def check(base: Base = "auto") -> None:
    """Run all gates here, as CI does."""
    from mainline.report import check as step

    console.done(step.run(root(), base))


# ---- register, serve, roll out -----------------------------------------------------------------


@app.command()
def register(
    push: Annotated[bool, typer.Option(help="push the tag to origin")] = False,
    plan: Annotated[bool, typer.Option(help="only say whether there is anything to do")] = False,
) -> None:
    """Register the approved commit: an annotated tag with the digests and the verdict."""
    from mainline.register import register as step

    console.done(step.plan(root()) if plan else step.run(root(), push=push))


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="such as v1.0.0 or card-fraud@v1.0.0")],
    to: Annotated[str, typer.Option(help="dev, staging or prod")] = "prod",
    push: Push = False,
    reason: Reason = "",
) -> None:
    """Assign a version to a stage."""
    from mainline.register import lifecycle as step

    console.done(step.assign(root(), version, to, push=push, reason=reason))


@app.command()
def rollback(
    version: Annotated[str | None, typer.Argument(help="default: the one before")] = None,
    push: Push = False,
    reason: Reason = "",
) -> None:
    """All traffic back to the version before, then its tag at prod; twice is once."""
    from mainline.rollout import goback as step

    console.done(step.run(root(), version, push=push, reason=reason))


@app.command()
def archive(version: str, push: Push = False, reason: Reason = "") -> None:
    """Mark a version as one that is not to be used again."""
    from mainline.register import lifecycle as step

    console.done(step.put_away(root(), version, "archived", push=push, reason=reason))


@app.command()
def reject(version: str, push: Push = False, reason: Reason = "") -> None:
    """Mark a version as one that its rollout found to be bad."""
    from mainline.register import lifecycle as step

    console.done(step.put_away(root(), version, "rejected", push=push, reason=reason))


@app.command()
def history() -> None:
    """Who registered, promoted, rolled back, archived and rejected what, when and why."""
    from mainline.register import lifecycle as step

    console.done(step.history(root()))


@app.command()
def publish(
    version: Annotated[
        str | None, typer.Argument(help="default: what a stopped run left as a draft")
    ] = None,
) -> None:
    """Make the GitHub release of a version: its model, card, SBOM, report and plots."""
    from mainline.register import publish as step

    console.done(step.run(root(), version))


@app.command()
def verify(
    version: Annotated[str | None, typer.Argument(help="default: the newest version")] = None,
) -> None:
    """Check a version's tag, commit, lock, model, SBOM and signature."""
    from mainline.register import verify as step

    console.show(step.run(root(), version))


@app.command()
def keygen(
    private: Annotated[Path, typer.Argument(help="where the private key goes: not in here")],
) -> None:
    """Make a pair of keys to sign versions with."""
    from mainline.register import keygen as step

    console.done(step.run(root(), private))


@app.command()
def build(
    version: Annotated[str | None, typer.Argument(help="default: the newest version")] = None,
    image: Annotated[bool, typer.Option(help="also its image, where Docker or Podman is")] = False,
) -> None:
    """Build the Bento of a registered version."""
    from mainline.rollout import versions as step

    done = step.build_version(root(), version)
    if image:
        from mainline.serve import image as images

        made = images.run(Path(done["path"]))
        done = {**done, **made, "text": f"{done['text']}. {made['text']}"}
    console.done(done)


@app.command()
def serve(
    bento: Annotated[str | None, typer.Option(help="folder or tag; default: the newest")] = None,
    host: str = "127.0.0.1",
    port: int = 3000,
    version: str | None = None,
    try_: Annotated[
        bool, typer.Option("--try", help="ask the candidate for ten held-out rows, and compare")
    ] = False,
) -> None:
    """Serve a built Bento over HTTP."""
    if try_:
        from mainline.serve import tryout

        console.show(tryout.run(root()))
        return
    from mainline.rollout import versions
    from mainline.serve import build as step

    if bento is None:
        bento = str(versions.build_version(root(), version)["path"])
    step.serve(root(), bento, host=host, port=port, version=version)


@app.command()
def predict(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or Parquet of rows")],
    out: Annotated[Path, typer.Option(help="where predictions.parquet goes")] = Path(
        "build/predictions.parquet"
    ),
    log: Annotated[str | None, typer.Option(help="also write a prediction log there")] = None,
    part: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Score a file of rows with the model in models/."""
    if log is not None:
        from mainline.serve import batch

        console.done(batch.predict_file(root(), file, out, log))
        return
    from mainline.evaluate import predict as step

    console.done(step.run(root(), file, out, part or "test"))


keys_ = typer.Typer(help="Bearer keys of the service.", no_args_is_help=True)
app.add_typer(keys_, name="key")


@keys_.command("add")
def key_add(
    name: Annotated[str, typer.Argument(help="whose key it is")],
    for_: Annotated[
        str, typer.Option("--for", help="predict, feedback, metrics; commas between them")
    ] = "predict",
) -> None:
    """Make a key and print it, this once; the service knows it within a second."""
    from mainline.serve import keys as step

    console.done(step.add(root(), name, for_.split(",")))


@keys_.command("list")
def key_list() -> None:
    """Whose keys there are and what they open."""
    from mainline.serve import keys as step

    console.done(step.listed(root()))


@keys_.command("remove")
def key_remove(name: str) -> None:
    """Take a key away; the service knows it within a second."""
    from mainline.serve import keys as step

    console.done(step.remove(root(), name))


log_ = typer.Typer(help="Keep the prediction log in order.", no_args_is_help=True)
app.add_typer(log_, name="log")


@log_.command("compact")
def log_compact(
    log: Annotated[str | None, typer.Option(help="its address; default: MAINLINE_LOG")] = None,
    before: Annotated[str | None, typer.Option(help="leave this day and later ones")] = None,
) -> None:
    """Turn the days of the prediction log that have ended into Parquet."""
    from mainline.serve import compact as step

    console.done(step.run(root(), log, before))


rollout = typer.Typer(help="Move traffic to a version, judged at each stage.", no_args_is_help=True)
app.add_typer(rollout, name="rollout")


@rollout.command("rehearse")
def rollout_rehearse(
    version: Annotated[str, typer.Argument(help="a registered version")],
    down: Annotated[bool, typer.Option(help="stop everything afterwards")] = True,
    rate: Annotated[
        float | None, typer.Option(help="requests a second; default: all it can")
    ] = None,
) -> None:
    """All stages in one go, against replayed held-out rows, on this machine."""
    from mainline.rollout import commands, versions

    done = versions.rehearse_version(
        root(), version, down=down, rate=rate, told=console.stage_done
    )  # fmt: skip
    console.show(commands.said(done))


Of = Annotated[str | None, typer.Option("--version", help="only if the rollout is of this version")]
Wait = Annotated[float, typer.Option(help="seconds to wait for a verdict")]


@rollout.command("start")
def rollout_start(
    version: str,
    supersede: Annotated[bool, typer.Option(help="end the rollout of an older version")] = False,
    revert: Annotated[bool, typer.Option(help="a model that was healthy in production")] = False,
) -> None:
    """Start a version beside the stable one; no traffic yet."""
    from mainline.rollout import commands as step

    console.show(step.start(root(), version, supersede, revert))


@rollout.command("stage")
def rollout_stage(name: str, version: Of = None, wait: Wait = 600.0) -> None:
    """Move to a stage and wait for its verdict."""
    from mainline.rollout import commands as step

    console.show(step.stage(root(), name, version, wait))


@rollout.command("promote")
def rollout_promote(version: Of = None, wait: Wait = 600.0) -> None:
    """All traffic to the canary, when its last stage passed."""
    from mainline.rollout import commands as step

    console.show(step.promote(root(), version, wait))


@rollout.command("settle")
def rollout_settle(version: Of = None) -> None:
    """End the guarded time of a promotion, when it is over and labels do not contradict."""
    from mainline.rollout import commands as step

    console.show(step.settle(root(), version))


@rollout.command("abort")
def rollout_abort(version: Of = None, reason: str = "Aborted by hand") -> None:
    """All traffic back to the stable version."""
    from mainline.rollout import commands, rollout

    console.done(commands.ended(rollout.abort(root(), reason, version=version)))


@rollout.command("pause")
def rollout_pause(reason: str = "") -> None:
    """Nobody moves a stage on; the guard judges and rolls back all the same."""
    from mainline.rollout import commands, rollout

    console.done(commands.ended(rollout.pause(root(), reason)))


@rollout.command("resume")
def rollout_resume() -> None:
    """Stages may be moved on again."""
    from mainline.rollout import commands, rollout

    console.done(commands.ended(rollout.resume(root())))


@rollout.command("status")
def rollout_status() -> None:
    """The state of the rollout, and whether traffic follows it."""
    from mainline.rollout import commands as step

    console.done(step.status(root()))


@rollout.command("history")
def rollout_history(
    version: Annotated[
        str, typer.Option(help="whose rollout is drawn; default: the last one's")
    ] = "",
    picture: Annotated[
        Path | None, typer.Option(help="draw it into this file (.svg, .png, .pdf)")
    ] = None,
) -> None:
    """Who did what, and the numbers of each look."""
    from mainline.rollout import commands as step

    found = step.history(root())
    if picture is None:
        console.done(found)
        return
    from mainline.rollout.picture import draw

    console.done({"text": f"Drawn into {draw(found['history'], picture, version)}"})


Back = Annotated[bool, typer.Option("--revert", help="a model that was healthy in production")]


@rollout.command("plan")
def rollout_plan(
    version: Annotated[
        str | None, typer.Argument(help="default: what the target is in the middle of")
    ] = None,
    revert: Back = False,
) -> None:
    """Which jobs of deploy.yml have something to do; nothing is moved."""
    from mainline.rollout import deploy as step

    console.done(step.plan(root(), version or None, back=revert))


@rollout.command("dispatch")
def rollout_dispatch(version: str, revert: Back = False) -> None:
    """Start deploy.yml for a registered version."""
    from mainline.rollout import deploy as step

    console.done(step.dispatch(root(), version, back=revert))


@rollout.command("undo")
def rollout_undo(version: str) -> None:
    """After a rollback: prod goes back, the version is rejected, and its revert is proposed."""
    from mainline.rollout import undo as step

    console.done(step.run(root(), version))


@rollout.command("propose-revert")
def rollout_propose_revert(version: str, reason: Reason = "") -> None:
    """Open the pull request that takes back what made a version."""
    from mainline.rollout import revert as step

    console.done(step.run(root(), version, reason=reason))


@rollout.command("tell")
def rollout_tell(
    version: str,
    record: Annotated[Path | None, typer.Option(help="folder with a rehearsal's record")] = None,
) -> None:
    """Say on its pull request what came of a version, and keep the record with its release."""
    from mainline.rollout import tell as step

    console.done(step.run(root(), version, record))


@rollout.command("down")
def rollout_down() -> None:
    """Stop Envoy, guard and services of the target: that of MAINLINE_TARGET, else serving/ here."""
    from mainline.rollout import rollout as step

    step.down(root())
    console.done({"text": "Envoy, guard and services are stopped"})


host_ = typer.Typer(help="A machine that serves: set up, look after.", no_args_is_help=True)
app.add_typer(host_, name="host")
At = Annotated[
    str | None,
    typer.Option(help="ssh://user@host/path or a folder; default: MAINLINE_TARGET, or here"),
]


@host_.command("install")
def host_install(
    target: At = None,
    port: Annotated[int | None, typer.Option(help="the public port; default: a free one")] = None,
    system: Annotated[bool, typer.Option("--system", help="a unit of the system: root")] = False,
) -> None:
    """Bring the committed house there and set it up; what runs goes on."""
    from mainline.rollout import install as step

    console.done(step.install(root(), target, port, system))


@host_.command("set-up", hidden=True)
def host_set_up(folder: str, options: str) -> None:
    """What `install` runs on the host."""
    from mainline.rollout import install as step

    console.done(step.set_up(folder, options))


@host_.command("up")
def host_up(
    target: At = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Envoy, guard and watcher by the newest house")
    ] = False,
) -> None:
    """Start what is to run there, at its weights."""
    from mainline.rollout import install as step

    console.done(step.up(root(), target, restart))


@host_.command("down")
def host_down(target: At = None) -> None:
    """Stop everything there; the state stays."""
    from mainline.rollout import install as step

    console.done(step.down(root(), target))


@host_.command("status")
def host_status(target: At = None) -> None:
    """What runs there, by which house, and whether traffic follows."""
    from mainline.rollout import install as step

    console.done(step.status(root(), target))


@host_.command("logs")
def host_logs(
    target: At = None, lines: Annotated[int, typer.Option(help="of each program")] = 10
) -> None:
    """The last lines of each program's log."""
    from mainline.rollout import install as step

    console.done(step.logs(root(), target, lines))


@host_.command("uninstall")
def host_uninstall(
    target: At = None,
    purge: Annotated[bool, typer.Option("--purge", help="also remove the folder")] = False,
) -> None:
    """Stop everything there and start nothing at boot."""
    from mainline.rollout import install as step

    console.done(step.uninstall(root(), target, purge))


# ---- watch, retrain ----------------------------------------------------------------------------


@app.command()
def monitor(
    as_of: Annotated[str | None, typer.Option(help="look as if it were this day")] = None,
    log: Annotated[str | None, typer.Option(help="the prediction log")] = None,
    labels: Annotated[str | None, typer.Option(help="labels that came later")] = None,
    html: Annotated[bool, typer.Option(help="draw alarmed windows with Evidently")] = True,
) -> None:
    """Watch production: drift, quality and data."""
    from mainline.monitor import monitor as step

    console.show(step.run(root(), as_of=as_of, log=log, labels=labels, html=html))


@app.command()
def retrain(
    as_of: Annotated[str | None, typer.Option(help="look as if it were this day")] = None,
    open_: Annotated[bool, typer.Option("--open", help="open the pull request")] = False,
    dry_run: Annotated[bool, typer.Option(help="only say what would be done")] = False,
) -> None:
    """Put new data and a new model on one branch, with the text of its pull request."""
    from mainline.retrain import retrain as step

    console.done(step.run(root(), as_of=as_of, open_=open_, dry_run=dry_run))


# ---- try the gates -----------------------------------------------------------------------------


@app.command()
def drill(
    names: Annotated[list[str] | None, typer.Argument(help="default: all of them")] = None,
    list_: Annotated[bool, typer.Option("--list", help="only say what there is")] = False,
    markdown: Annotated[bool, typer.Option(help="print a Markdown table")] = False,
) -> None:
    """Break data, code and model on purpose, in throw-away clones, and see which gate blocks it."""
    from mainline.drill import drill as step

    console.done(step.run(root(), tuple(names or ()), list_=list_, markdown=markdown))


# ---- new data, new labels ----------------------------------------------------------------------

data = typer.Typer(help="Add or fetch rows.", no_args_is_help=True)
app.add_typer(data, name="data")
labels_ = typer.Typer(help="Add labels that came later.", no_args_is_help=True)
app.add_typer(labels_, name="labels")


@data.command("add")
def data_add(files: list[Path]) -> None:
    """Check files of rows, add them to data/ and version them."""
    from mainline.data import add as step

    console.done(step.add_rows(root(), files))


@data.command("pull")
def data_pull() -> None:
    """Fetch the data that data.dvc points to."""
    from mainline.data import add as step

    console.done(step.pull(root()))


@labels_.command("add")
def labels_add(files: list[Path]) -> None:
    """Check files of labels, add them to data/ and version them."""
    from mainline.data import add as step

    console.done(step.add_labels(root(), files))


# ---- all of it ---------------------------------------------------------------------------------


@app.command()
def status() -> None:
    """What should run, what does run, the rollout's stage, the last look at production."""
    from mainline.status import status as step

    console.done(step(root()))


@app.command()
def loop(
    keep: Annotated[bool, typer.Option(help="keep the throw-away clone")] = False,
    seed: int = 7,
    fast: Annotated[bool, typer.Option(help="less traffic, fewer months")] = False,
    open_: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
    out: Annotated[Path | None, typer.Option(help="where the page goes")] = None,
) -> None:
    """Every step above on the sample, in a throw-away clone, and a page that shows it."""
    from mainline.loop import loop as step

    raise typer.Exit(step.run(root(), keep=keep, seed=seed, fast=fast, open_page=open_, out=out))


@app.command()
def lock(upgrade: Annotated[bool, typer.Option(help="take newer versions")] = False) -> None:
    """Renew the locks from pyproject.toml."""
    from mainline.lock import run

    run(root(), upgrade=upgrade)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context, slow: bool = False) -> None:
    """Run the tests, the linter and the type checker; more arguments go to pytest."""
    from mainline.testing import run

    raise typer.Exit(run(root(), slow, context.args))


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its status: an error is one sentence, never a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console.JSON = _take(arguments, "--json")
    debug = _take(arguments, "--debug")
    sys.exit(
        _guarded(lambda: app(args=arguments, prog_name="mainline", standalone_mode=False), debug)
    )


def _take(arguments: list[str], flag: str) -> bool:
    found = flag in arguments
    while flag in arguments:
        arguments.remove(flag)
    return found


def _guarded(call: Callable[[], Any], debug: bool) -> int:
    try:
        returned = call()
        return returned if isinstance(returned, int) else 0
    except MainlineError as error:
        if debug:
            raise
        console.failed(error)
        return error.status
    except (KeyboardInterrupt, typer.Abort):
        print("mainline: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        # Some releases of typer carry a click of their own, so its class is not asked for.
        if hasattr(error, "format_message"):
            console.failed(UsageError(error.format_message(), "See `./mainline --help`"))
            return UsageError.status
        if debug:
            raise
        console.failed(MainlineError(
            f"Mainline has a bug here: {type(error).__name__}: {error}",
            "Run it again with `--debug` and report what it prints",
        ))  # fmt: skip
        return 1
