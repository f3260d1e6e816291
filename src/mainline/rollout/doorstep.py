"""Sent to a host as text, where nothing of Mainline is yet: puts the house there and enters it.

`python3 -c <this> PATH DIGEST OPTIONS < archive`. Standard library only, and it must run under old
Pythons: the launcher of the house then finds a right one, or names it.
"""

import hashlib
import io
import json
import os
import shutil
import socket
import sys
import tarfile
import tempfile


def refuse(sentence, status=12):
    """Say why not, as the launcher does, and end with `status`."""
    sys.stderr.write("mainline: " + sentence + "\n")
    sys.exit(status)


def require_free(port):
    """Refuse a port that another program has, before a folder is made for nothing."""
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        refuse("Port %d of the host is taken. Choose another with `--port`." % port, 2)
    finally:
        probe.close()


def unpack(content, house):
    """The regular files of the archive in `house`, which appears whole or not at all."""
    near = tempfile.mkdtemp(dir=os.path.dirname(house), prefix=".tmp-")
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                parts = member.name.split("/")
                if not member.isreg() or ".." in parts or "" in parts:
                    refuse("The house holds " + repr(member.name) + ", which is no plain file.")
                path = os.path.join(near, *parts)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as made:
                    made.write(archive.extractfile(member).read())
        os.chmod(near, 0o755)
        if not os.path.isdir(house):
            os.rename(near, house)
    finally:
        shutil.rmtree(near, ignore_errors=True)


def main(path, digest, options):
    """Bring the house there, then become its launcher, which sets its environment up."""
    sys.stderr.write("mainline arrived\n")
    sys.stderr.flush()
    content = sys.stdin.buffer.read()
    if hashlib.sha256(content).hexdigest() != digest:
        refuse("The house did not arrive whole. Run the same command again.")
    folder = os.path.realpath(os.path.expanduser(path))
    home = os.path.join(folder, "house")
    house = os.path.join(home, digest[:12])
    port = json.loads(options).get("port")
    # Where something was set up already, the port may be its own.
    if port and not os.path.exists(os.path.join(folder, "host.json")):
        require_free(port)
    try:
        os.makedirs(folder, exist_ok=True)
        there = set(os.listdir(folder))
        if there and not there & {"house", "host.json", "agent"}:
            refuse("%s holds other things. Name a folder of its own for Mainline." % folder)
        os.makedirs(home, exist_ok=True)
        if not os.path.isdir(house):
            unpack(content, house)
        os.utime(house)
    except OSError as error:
        said = error.strerror or str(error)
        refuse("The host cannot write to %s (%s). Make room, or name another." % (folder, said))
    # One environment for all houses with the same locks.
    os.environ.setdefault("MAINLINE_VENV", os.path.join(home, ".venv"))
    words = [sys.executable, os.path.join(house, "mainline"), "host", "set-up", folder, options]
    os.execv(sys.executable, [*words, "--json"])


if __name__ == "__main__":
    main(*sys.argv[1:4])
