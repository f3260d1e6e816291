"""`python -m mainline`."""

import atexit
import os
import sys
import threading

from mainline.cli import main


def _end(status: int) -> None:
    """End the process with `status`, everything written and every thread of ours done.

    Without the interpreter's own way out: pyarrow's threads, still on their way when its statics
    are taken down, abort the process now and then with "terminate called" and status 134.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a pipe that nobody reads, as in `| head`
            status = status or 1
    os._exit(status)


try:
    main()
except SystemExit as end:
    if not isinstance(end.code, int | None):
        raise
    _end(end.code or 0)
