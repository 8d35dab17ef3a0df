"""The client inside the virtual machine: drops files into the inbox for as long as the power is on, and tells of each.

    python3 guest_dropper.py INBOX BASES FIRST_SERIAL USER

Runs on Debian's own Python without any package, and is also imported on this side, because what a file must hold is told
by its name. A line `dropped <path>` comes only after what that client promises is done: half of them have synced file
and directory, and nothing excuses the loss of these; the others close the file and believe in it, as cp, OpenSSH's
SFTP server and rsync do.
"""

import itertools
import os
import pwd
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_CROWD = 12  # so many files waiting are enough: they shall be archived before the kernel writes them out by itself
_BREATH_SECONDS = 0.15
_FOLDERS = ("beach", "city", "woods")


def path_of(serial: int) -> str:
    """Where the file of that number goes, below the inbox."""
    return f"{_FOLDERS[serial % len(_FOLDERS)]}/{serial:05}.jpg"


def serial_of(path: str) -> int:
    """The number in such a path."""
    return int(path.rpartition("/")[2].removesuffix(".jpg"))


def is_synced(serial: int) -> bool:
    """Whether its client syncs before it counts the file as dropped."""
    return serial % 4 < 2


def fate_of(serial: int) -> str:
    """What must become of it: "done", or the reason in quarantine."""
    return {5: "not_an_image", 10: "truncated", 11: "not_an_image", 16: "truncated"}.get(serial % 24, "done")


def content_of(serial: int, bases: Sequence[bytes]) -> bytes:
    """What it holds; no two are alike."""
    base = bases[serial % len(bases)]
    match fate_of(serial):
        case "not_an_image":
            return b"a letter, not a photo: %d\n" % serial * 400
        case "truncated":
            return _marked(base, serial)[: len(base) * 2 // 3]
        case _:
            return _marked(base, serial)


def _marked(jpeg: bytes, serial: int) -> bytes:
    return jpeg[:2] + b"\xff\xfe\x00\x0a%08d" % serial + jpeg[2:]  # a comment: ITU-T T.81, B.2.4.5


def _drop(inbox: Path, serial: int, content: bytes) -> None:
    target = inbox / path_of(serial)
    if serial % 4 == 1:  # whole and safe before it has its name
        hidden = target.with_name(f".{target.name}.part")
        _write(hidden, content, sync=True)
        hidden.rename(target)
    else:
        _write(target, content, sync=is_synced(serial))
    if is_synced(serial):
        _sync_folder(target.parent)


def _write(path: Path, content: bytes, *, sync: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o664)
    try:
        half = len(content) // 2
        os.write(fd, content[:half])
        os.write(fd, content[half:])
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _drop_for_ever(inbox: Path, bases: Sequence[bytes], first: int, user: str) -> None:
    owner = pwd.getpwnam(user)
    os.umask(0o002)
    os.setegid(owner.pw_gid)
    for name in _FOLDERS:
        (inbox / name).mkdir(exist_ok=True)
    _sync_folder(inbox)
    for serial in itertools.count(first):
        while sum(len(names) for _, _, names in os.walk(inbox)) > _CROWD:
            time.sleep(_BREATH_SECONDS)
        # Some files belong to the service and are renamed into the archive, some to another user and are copied.
        os.seteuid(owner.pw_uid if serial % 3 else 0)
        _drop(inbox, serial, content_of(serial, bases))
        os.seteuid(0)
        sys.stdout.write(f"dropped {path_of(serial)}\n")
        sys.stdout.flush()
        time.sleep(_BREATH_SECONDS)


if __name__ == "__main__":
    _drop_for_ever(
        Path(sys.argv[1]),
        [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())],
        int(sys.argv[3]),
        sys.argv[4],
    )
