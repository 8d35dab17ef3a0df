"""Works in an inbox on a network file system on behalf of a worker, as a program in a process of its own.

A call into a mount whose server hangs cannot be interrupted, and its process often not even killed; so the worker, which
has other inboxes to serve, lets this one make all such calls (see tasks/far_source.py). Questions and answers are JSON,
one a packet on a socket. What a reader would get wrong: it has no deadlines; whoever asks must be ready for no answer.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.durable import copy_content
from tasks.errors import IngestError, TransientError
from tasks.far_source import FACTS, MAX_PACKET_BYTES, TIMES
from tasks.periodic import sweep_inbox
from tasks.source import Source, open_source


class FarEnd:
    """Does what is asked with one inbox; holds the file that is open."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._source: Source | None = None

    def answer(self, question: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Do what is asked: {"value": ...}, or {"error": class, "reason", "message", "hint"}."""
        actions: dict[str, Callable[[], Any]] = {
            "open": lambda: self._open(question["path"]),
            "copy": lambda: self._copy(descriptors[0]),
            "is_unchanged": lambda: self._open_source().is_unchanged(),
            "stands": lambda: self._open_source().stands(),
            "remove": lambda: self._open_source().remove(),
            "close": self.close,
            "sweep": lambda: sweep_inbox(self._root, time.time()),
        }
        try:
            return {"value": actions[question["do"]]()}
        except IngestError as why:
            return _told(why)
        except OSError as error:
            return _told(TransientError(f"could not {question['do']} in {self._root}: {error.strerror}"))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def close(self) -> None:
        """Close the file, so that whoever unmounts the file system may."""
        if self._source is not None:
            self._source.close()
        self._source = None

    def _open(self, path: str) -> dict[str, int]:
        self.close()
        self._source = open_source(self._root, path)
        return {name: int(getattr(self._source.stat, name)) for name in (*FACTS, *TIMES)}

    def _open_source(self) -> Source:
        if self._source is None:
            raise TransientError("no file is open")
        return self._source

    def _copy(self, descriptor: int) -> None:
        source = self._open_source()
        copy_content(source.fd, descriptor, source.stat.st_size)


def _told(why: IngestError) -> dict[str, Any]:
    return {"error": type(why).__name__, "reason": str(why.reason), "message": why.message, "hint": why.hint}


def main() -> None:
    """Answer what comes in by the socket whose descriptor is the first argument, until its other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the worker; this process ends with its socket
        signal.signal(number, signal.SIG_IGN)
    far_end = FarEnd(Path(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as asker, suppress(BrokenPipeError, ConnectionResetError):
        while True:
            packet, descriptors, _, _ = socket.recv_fds(asker, MAX_PACKET_BYTES, 1)
            if not packet:
                return
            asker.send(json.dumps(far_end.answer(json.loads(packet), list(descriptors))).encode("ascii"))


if __name__ == "__main__":
    main()
