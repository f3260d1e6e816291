#!/usr/bin/env python3
"""Stands in for the launcher: the real command, but what took long is not done twice.

What `pipeline` and `compare` left for a tree (and, for the second, for the same refs) is kept in
`$REMEMBER` and put back when they are called there again. `build` and `serve --try` do nothing
(`test_real.py` has them); everything else runs as it is. Calls are noted in `$REMEMBER/calls`;
`$REMEMBER/kill` holds `before` or `after`, the number of a call and the file with act's process id:
there act and this end at once, as on a runner that is gone.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LEFT = ("reports", "models", "build", "dvc.lock")
LAUNCH = (
    "import sys; sys.path.insert(0, sys.argv[1] + '/src'); from mainline import environment;"
    "sys.exit(environment.launch(sys.argv[1], sys.argv[2:]))"
)


def git(*arguments: str) -> str:
    """What Git says of this checkout."""
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True)


def place(arguments: list[str]) -> Path:
    """The folder for what this call leaves here."""
    told = [git("rev-parse", "HEAD^{tree}"), *arguments]
    if arguments[0] == "compare":
        told += [
            git("rev-parse", "HEAD", "refs/remotes/origin/main"),
            git("tag", "--format=%(objectname)"),
        ]
    return Path(os.environ["REMEMBER"], hashlib.sha256("\n".join(told).encode()).hexdigest()[:16])


def launch(arguments: list[str]) -> int:
    """The real command."""
    return subprocess.call([sys.executable, "-c", LAUNCH, str(ROOT), *arguments])


def copy(source: Path, target: Path) -> None:
    """Let the folders and files of LEFT in `target` be as they are in `source`."""
    for name in LEFT:
        if (target / name).is_dir():
            shutil.rmtree(target / name)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif (source / name).is_file():
            shutil.copy2(source / name, target / name)


def run(arguments: list[str]) -> int:
    """Run the command, or put back what it left."""
    if arguments[:1] == ["build"] or arguments[:2] == ["serve", "--try"]:
        return 0
    if arguments[:1] not in (["pipeline"], ["compare"]):
        return launch(arguments)
    kept = place(arguments)
    if (kept / "status").exists():
        print(f"as before: {' '.join(arguments)}")
        copy(kept, ROOT)
    else:
        status = launch(arguments)
        kept.mkdir(parents=True)
        copy(ROOT, kept)
        (kept / "status").write_text(str(status))
    return int((kept / "status").read_text())


def counted(arguments: list[str]) -> int:
    """Note the call; returns its number, from 1."""
    with Path(os.environ["REMEMBER"], "calls").open("a+", encoding="utf-8") as calls:
        calls.write(" ".join(arguments) + "\n")
        calls.seek(0)
        return len(calls.readlines())


def end(when: str, number: int) -> None:
    """End act and this process where that is asked for here."""
    asked = Path(os.environ["REMEMBER"], "kill")
    if not asked.exists():
        return
    wanted, count, place = asked.read_text("utf-8").split("\n")
    if (wanted, int(count)) == (when, number):
        asked.unlink()
        os.kill(int(Path(place).read_text("utf-8")), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if "DVC_STAGE" in os.environ:  # a stage of `pipeline`, which is one call
        sys.exit(launch(sys.argv[1:]))
    mine = counted(sys.argv[1:])
    end("before", mine)
    done = run(sys.argv[1:])
    end("after", mine)
    sys.exit(done)
