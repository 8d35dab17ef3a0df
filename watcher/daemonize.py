"""`--daemon`: a watcher or a worker detached from the terminal, for hosts without systemd.

python-daemon detaches; the pid file is our own, because its lock must not outlive the process (flock(2): the kernel
drops it on any death). What a reader would get wrong: everything but the lock, the log and one pipe is closed on the
way, so nothing may be opened before; and what can be wrong is looked at before, while there is a terminal to say it on.
"""

import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from daemon import DaemonContext

_STARTED = b"started"


class AlreadyRunningError(Exception):
    """The pid file is locked by a living process, which the text names."""


class PidFile:
    """A pid file that means something: locked while its process lives, and a stale one is simply taken over."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # the daemon's working directory is another
        self.fd = -1

    def take(self) -> None:
        """Lock it. Raises AlreadyRunningError, and OSError when it cannot be made."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
                os.close(fd)
                raise AlreadyRunningError(f"{self.path} is locked by process {holder or '(starting)'}") from None
            if self._is_still(fd):
                self.fd = fd
                return
            os.close(fd)  # its last owner removed it while we opened it

    def write(self) -> None:
        """Put this process's id into it."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def remove(self) -> None:
        """Remove it while it is still locked, so that nobody else's is hit."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)

    def _is_still(self, fd: int) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        return False


class LogFile(io.TextIOBase):
    """Standard output and error of a daemon: goes on in a new file once logrotate has moved the old one away.

    Looks at each line, as logging's WatchedFileHandler does, instead of waiting for a signal: a worker's children have
    the file as well, and nobody signals them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    def write(self, text: str) -> int:
        """Append; what cannot be written is lost, as for any process whose disk is full."""
        with suppress(OSError):
            self._follow()
        with suppress(OSError):
            os.write(sys.__stderr__.fileno(), text.encode(errors="backslashreplace"))  # type: ignore[union-attr]
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return sys.__stderr__.fileno()  # type: ignore[union-attr]

    def open(self) -> int:
        """Open the file that stands under the name now, or make it; the caller closes the descriptor."""
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _follow(self) -> None:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self.fileno())):
                return
        new = self.open()
        for stream in (sys.__stdout__, sys.__stderr__):
            os.dup2(new, stream.fileno())  # type: ignore[union-attr]
        os.close(new)


def detach(run: Callable[[], int], pid_file: Path, log_file: Path) -> int:
    """Run a function in a detached process; return 0 once its pid stands in the file, 1 if it did not get so far.

    Standard output and error go to `log_file`. Raises AlreadyRunningError and OSError before anything is detached.
    """
    pid = PidFile(pid_file)
    pid.take()
    log_to = LogFile(log_file)
    log = log_to.open()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _become_daemon(run, pid, log, log_to, writer)
    os.close(writer)
    os.close(log)
    os.close(pid.fd)  # the daemon's copy of the lock stays
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as status:
        return 0 if status.read() == _STARTED else 1


def _become_daemon(run: Callable[[], int], pid: PidFile, log: int, log_to: LogFile, writer: int) -> NoReturn:
    with os.fdopen(log, "ab", buffering=0) as output, open(os.devnull, "rb") as nothing:
        context = DaemonContext(
            detach_process=True,  # its own guess is wrong below a process 1 that is no init
            umask=0o022,  # its default 0 makes files that everybody may write
            files_preserve=[pid.fd, writer],
            stdin=nothing,  # what it opens by itself is closed again in programs that are started
            stdout=output,
            stderr=output,
            signal_map={signal.SIGTSTP: None, signal.SIGTTIN: None, signal.SIGTTOU: None},  # `run` sets its own
        )
        with context:
            sys.stdout = sys.stderr = log_to
            pid.write()
            os.write(writer, _STARTED)
            os.close(writer)
            try:
                code = run()
            finally:
                pid.remove()
            sys.exit(code)
