"""Resolves the symbolic links of the directories in the settings, without ever waiting for a network file system.

Every command begins with this. What a reader would get wrong: os.path.realpath looks at each part of a path, and a look
at the root of a mount that hangs lasts for ever; so beyond such a root a process of its own looks, for a bounded time.
"""

import os
import subprocess
import sys

from config.mounts import is_network, read_mounts

_SECONDS = 2.0  # a network file system that takes longer is away
_MAX_LINKS = 40  # as in path_resolution(7)
_RESOLVE = "import os, sys; sys.stdout.buffer.write(os.fsencode(os.path.realpath(sys.argv[1])))"


def resolved(path: str) -> str:
    """Resolve a path as os.path.realpath does; what does not exist, or does not answer, stays as it is written."""
    network = {mount.point for mount in read_mounts() if is_network(mount.fstype)}
    here, links = "/", 0
    ahead = os.path.join(os.getcwd(), path).split("/")[::-1]
    while ahead:
        part = ahead.pop()
        if part in ("", ".", ".."):
            here = os.path.dirname(here) if part == ".." else here
            continue
        there = os.path.join(here, part)
        if there in network:
            return _resolved_apart(os.path.join(there, *ahead[::-1])) if ahead else there  # a mount's root is no link
        target = _link_at(there) if links < _MAX_LINKS else ""
        links += bool(target)
        ahead += target.split("/")[::-1] if target else []
        here = ("/" if target.startswith("/") else here) if target else there
    return here


def _link_at(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # no link, or nothing
        return ""


def _resolved_apart(path: str) -> str:
    asked = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _RESOLVE, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answer, _ = asked.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        asked.kill()  # it ends when the file system answers, and nobody waits for that
        answer = b""
        asked.returncode = -1
    return os.fsdecode(answer) or os.path.normpath(path)
