"""A private SFTP server: OpenSSH's sshd on a free port with keys of its own, whose only user is shut up in a folder.

    def test_something(sftp_server: SftpServer) -> None:
        subprocess.run(["sftp", "-F", sftp_server.ssh_config, "sftp-server:/inbox"])    # as seen by a client
        sftp_server.inbox                                                               # the same, as seen by the server

Nothing on the machine is changed for it but two folders that are made: the user is `nobody`, whom every system has and
who has no shell, so that nothing but SFTP is to be had. What a reader would get wrong: the session of each client is a
process of its own, which outlives the server's main process; `kill` and `pause` mean the sessions.
"""

import os
import pwd
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from needs import missing, need
from servers import die_with_pytest, free_ports
from waiting import wait_until

USER = "nobody"
HOST = "sftp-server"  # a name that only `ssh_config` knows
# sshd shuts users up only below folders that nobody but root may write to, which /tmp is not.
_PLACE = Path("/srv")

_SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/client.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
AllowUsers {user}
MaxStartups 100
ClientAliveInterval {alive}
ClientAliveCountMax 2
Subsystem sftp internal-sftp
ChrootDirectory {root}
ForceCommand internal-sftp -u 0022
AllowTcpForwarding no
"""
_SSH_CONFIG = """\
Host {host}
HostName 127.0.0.1
Port {port}
User {user}
IdentityFile {folder}/client
IdentitiesOnly yes
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


class SftpServer:
    """One server; its port, keys and folders stay the same when it is killed and started again."""

    def __init__(self, folder: Path, alive_seconds: int = 0) -> None:
        """Prepare it in an empty folder.

        `alive_seconds`: after about thrice that time a client that does not answer loses its connection; 0: never.
        """
        self.folder = folder
        self.root = folder / "root"  # "/" to the clients
        self.inbox = self.root / "inbox"
        self.key = folder / "client"
        self.ssh_config = folder / "ssh_config"
        (self.port,) = free_ports(1)
        self._sshd = need("sshd")
        self._alive_seconds = alive_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare()

    def start(self) -> None:
        """Start it and wait until it lets a client in."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self._sshd, "-D", "-e", "-f", str(self.folder / "sshd_config"), *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_pytest,
            )
        wait_until(self._answers, f"sshd lets a client in; its log is {self.folder}/log", every=0.1)

    def kill(self) -> None:
        """End it and every session, as when the machine dies."""
        if not self._process:
            return
        doomed = [self._process.pid, *self._below(self._process.pid)]
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def sessions(self) -> list[int]:
        """The processes that do what clients ask for."""
        return [pid for pid in self._below(self._process.pid if self._process else 0) if _is_session(pid)]

    @contextmanager
    def hanging(self, at_most_seconds: float = 90.0) -> Iterator[None]:
        """Let all sessions hang: connections stay, questions are taken and not answered.

        They go on after `at_most_seconds`, for a test that hangs with them could not even fail.
        """
        stopped = self.sessions()
        assert stopped, "nobody is connected"

        def go_on() -> None:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        timer = threading.Timer(at_most_seconds, go_on)
        timer.daemon = True
        timer.start()
        try:
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            timer.cancel()
            go_on()

    def make_folder(self, name: str) -> Path:
        """Make another folder that the clients may write to, beside `inbox`."""
        folder = self.root / name
        folder.mkdir()
        os.chown(folder, *_ids_of(USER))
        return folder

    def _prepare(self) -> None:
        self.folder.chmod(0o755)  # sshd reads the public key as the user
        self.root.mkdir()
        self.make_folder("inbox")
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd shuts itself up
        facts = {"host": HOST, "user": USER, "port": self.port, "folder": self.folder, "root": self.root}
        (self.folder / "sshd_config").write_text(_SSHD_CONFIG.format(**facts, alive=self._alive_seconds))
        self.ssh_config.write_text(_SSH_CONFIG.format(**facts))

    def _options(self) -> list[str]:
        """From 9.8 on sshd refuses those whose connections ended badly, which is what these tests are about."""
        options = ["-o", "PerSourcePenalties=no"]
        command = [self._sshd, "-t", "-f", str(self.folder / "sshd_config"), *options]
        is_known = subprocess.run(command, capture_output=True, check=False).returncode == 0
        return options if is_known else []

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.folder / "log").read_text()
        command = ["sftp", "-q", "-b", "-", "-F", str(self.ssh_config), HOST]
        return subprocess.run(command, input=b"ls /inbox\n", capture_output=True, check=False).returncode == 0

    def _below(self, parent: int) -> list[int]:
        children = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == parent]
        return [pid for child in children for pid in (child, *self._below(child))]


@contextmanager
def sftp_servers(alive_seconds: int = 0) -> Iterator[SftpServer]:
    """A running server for a fixture of any scope; everything of it is gone afterwards."""
    if os.geteuid() != 0:
        missing("an SFTP server that shuts its user up needs to be root")
    need("ssh-keygen")
    need("sftp")
    with tempfile.TemporaryDirectory(prefix="td-sftp-", dir=_PLACE, ignore_cleanup_errors=True) as folder:
        server = SftpServer(Path(folder), alive_seconds)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
def sftp_server() -> Iterator[SftpServer]:
    """A server of the test's own."""
    with sftp_servers() as server:
        yield server


def _ids_of(user: str) -> tuple[int, int]:
    found = pwd.getpwnam(user)
    return found.pw_uid, found.pw_gid


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return -1


def _is_session(pid: int) -> bool:
    with suppress(OSError):
        return b"internal-sftp" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
