"""A file in an inbox on a network file system: looked at, read and removed by another process, with a deadline.

Has the face of tasks/source.py. The content is copied once into an unnamed local file, and whatever decodes or archives
reads that. What a reader would get wrong: a process that hangs in a mount is left alone until the kernel lets it go;
meanwhile there is no other for that inbox, so everything in it is put off at once, and nothing piles up.
"""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from config.mounts import Mount, is_below, is_network, mount_of, network_mount_of, read_mounts
from tasks import errors
from tasks.durable import hash_of
from tasks.errors import IngestError, Reason, TransientError
from tasks.source import Source, open_source

MAX_PACKET_BYTES = 65_536  # a path has 4096 bytes at most, each six characters as JSON
# What is told of a file's os.stat_result, in the order of its fields.
FACTS = ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size")
TIMES = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")

_HINT = "see whether its server is up; work goes on by itself"


class Reach:
    """Opens the files of all inboxes, each from where it cannot do harm; one for each process that works on them."""

    def __init__(self, library: Path, silence_seconds: float, max_bytes: int) -> None:
        """Prepare.

        `silence_seconds` is how long a network file system may say nothing. Files beyond `max_bytes` are not copied; they are
        looked at directly.
        """
        self._library = library
        self._silence_seconds = silence_seconds
        self._max_bytes = max_bytes
        self._far: dict[Path, FarInbox] = {}

    def open(self, root: Path, path: str) -> Source:
        """Open a file as `open_source` does; TransientError also when its file system does not answer."""
        far = self._far_inbox_of(network_mount_of(os.path.join(root, path)), root)
        if far is None:
            return open_source(root, path)
        source = FarSource(far, path)
        if source.stat.st_size <= self._max_bytes:
            return source
        source.close()
        return open_source(root, path)

    def far_inbox(self, root: Path) -> "FarInbox | None":
        """The inbox to be asked about all of its tree; None for one that has nothing to do with networks."""
        inside = [mount for mount in read_mounts() if is_network(mount.fstype) and is_below(mount.point, str(root))]
        return self._far_inbox_of(next(iter(inside), network_mount_of(str(root))), root)

    def _far_inbox_of(self, mount: Mount | None, root: Path) -> "FarInbox | None":
        """None for what is local, and for what is on the library's own mount, which then hangs as well."""
        if mount is None or mount == mount_of(str(self._library), read_mounts()):
            return None
        if root not in self._far:
            self._far[root] = FarInbox(root, self._silence_seconds)
        return self._far[root]


class FarInbox:
    """One inbox, by way of the process that works in it (`tasks.far_end`); started when it is needed."""

    def __init__(self, root: Path, silence_seconds: float) -> None:
        self.root = root
        self._silence_seconds = silence_seconds
        self._worker: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._left: subprocess.Popen[bytes] | None = None  # was silent, and has not ended yet

    def ask(self, do: str, *, copy_to: int | None = None, **fields: str) -> Any:
        """Ask, and wait for the answer as long as `copy_to`, a descriptor, grows; raises the IngestError that is the answer."""
        if self._left and self._left.poll() is None:
            raise TransientError(f"the inbox {self.root} does not answer yet", _HINT)
        self._left = None
        try:
            packet = self._exchange({"do": do, **fields}, copy_to)
        except (OSError, ValueError) as error:
            self._drop()
            raise TransientError(f"the process that works in {self.root} died: {error}") from error
        answer = json.loads(packet)
        if "error" in answer:
            raise _error_of(answer)
        return answer["value"]

    def ask_if_there(self, do: str) -> None:
        """Ask, unless there is no process to be asked."""
        if self._worker is not None:
            self.ask(do)

    def _exchange(self, question: dict[str, str], copy_to: int | None) -> bytes:
        near = self._socket or self._start()
        socket.send_fds(near, [json.dumps(question).encode("ascii")], [] if copy_to is None else [copy_to])
        seen, quiet_since = -1, time.monotonic()
        while not select.select([near], [], [], 0.2)[0]:
            size = 0 if copy_to is None else os.fstat(copy_to).st_size
            if size != seen:
                seen, quiet_since = size, time.monotonic()
            elif time.monotonic() - quiet_since > self._silence_seconds:
                self._leave()
                raise TransientError(f"the inbox {self.root} does not answer within {self._silence_seconds:g} s", _HINT)
        return near.recv(MAX_PACKET_BYTES) or _died()

    def _start(self) -> socket.socket:
        self._socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package_parent = str(Path(__file__).resolve().parent.parent)
        places = [*filter(None, [os.environ.get("PYTHONPATH")]), package_parent]
        with far:
            self._worker = subprocess.Popen(
                # -P: the current directory may be anywhere, an uploader's json.py must not be imported from it.
                [sys.executable, "-P", "-m", "tasks.far_end", str(far.fileno()), str(self.root)],
                stdin=subprocess.DEVNULL,
                pass_fds=[far.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
                start_new_session=True,  # what is sent to the worker's group is not for it
            )
        return self._socket

    def _leave(self) -> None:
        """Let the process finish what it is at: killed, it would leave a file that it removes half removed."""
        self._left, self._worker = self._worker, None
        self._drop()

    def _drop(self) -> None:
        worker, near = self._worker, self._socket
        self._worker = self._socket = None
        if near:
            near.close()
        if worker:
            worker.kill()
            worker.wait()


class FarSource(Source):
    """One regular file of a far inbox; see `Source`, which says what each method promises."""

    is_alone = True

    def __init__(self, far: FarInbox, path: str) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.dir_fd = -1  # there is no directory here to rename from
        self._far = far
        self._sha256 = None
        self._copy: BinaryIO | None = None
        facts = far.ask("open", path=path)
        times = {name: facts[name] for name in TIMES}
        seconds = [facts[name] // 10**9 for name in TIMES]
        self.stat = os.stat_result([*(facts[name] for name in FACTS), *seconds], times)

    @property
    def file(self) -> BinaryIO:  # type: ignore[override] # read once, when it is needed
        """The local copy of the content."""
        if self._copy is None:
            copy: BinaryIO = tempfile.TemporaryFile(prefix="thumbdrop-")  # noqa: SIM115 - closed with the source
            try:
                self._far.ask("copy", copy_to=copy.fileno())
            except BaseException:
                copy.close()
                raise
            copy.seek(0)
            self._copy = copy
        return self._copy

    def close(self) -> None:
        """Close the copy and the file."""
        if self._copy is not None:
            self._copy.close()
        with suppress(IngestError):  # it does not answer, and is closed in the end by its process's end
            self._far.ask_if_there("close")

    def sha256(self) -> str:
        """The hex sha256 of the copy."""
        if self._sha256 is None:
            self._sha256 = hash_of(self.fd, self.stat.st_size + 1)
        return self._sha256

    def start_sync(self) -> None:
        """Nothing, as `sync`."""

    def sync(self) -> None:
        """Nothing: what is far is its server's to keep, and what becomes ours is a copy, which is synced when it is made."""

    def is_unchanged(self) -> bool:
        """Whether the file is as it was at opening."""
        return bool(self._far.ask("is_unchanged"))

    def has_writer(self) -> bool:
        """False, for the servers of such file systems do not tell; and our own copy is open for writing."""
        return False

    def stands(self) -> bool:
        """Whether the name still leads to this very file."""
        return bool(self._far.ask("stands"))

    def remove(self) -> bool:
        """Delete the file from the inbox."""
        return bool(self._far.ask("remove"))


def _died() -> bytes:
    raise ConnectionResetError("it closed its end")


def _error_of(answer: dict[str, str]) -> IngestError:
    kind: type[IngestError] = getattr(errors, answer["error"])
    why = kind.__new__(kind)
    IngestError.__init__(why, Reason(answer["reason"]), answer["message"], answer["hint"])
    return why
