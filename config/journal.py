"""Speaks to systemd's journal in its own protocol, so that every field of an event can be asked for by its name.

Lines on stderr reach the journal as text alone. What a reader would get wrong: journald ascribes an entry to the unit in
whose control group the sender runs, so nothing here names it, and a fork may go on using the same socket.
The protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import array
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping

ADDRESS = "/run/systemd/journal/socket"

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def field_name(key: str) -> str:
    """A key of ours as the journal's field: `arrival_id` is THUMBDROP_ARRIVAL_ID; the prefix keeps it off MESSAGE and the like."""
    return "THUMBDROP_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:50]  # at most 64 in all


def entry(fields: Mapping[str, str]) -> bytes:
    """One entry as it is sent; a value of several lines comes with its length in bytes before it."""
    return b"".join(_field(name.encode(), value.encode(errors="backslashreplace")) for name, value in fields.items())


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name, struct.pack("<Q", len(value)), value)
    return b"%s=%s\n" % (name, value)


class Journal:
    """The socket of journald; made once in a process."""

    def __init__(self, address: str = ADDRESS) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def send(self, fields: Mapping[str, str]) -> bool:
        """Send one entry; False when it did not arrive: journald is being restarted, or there is none."""
        message = entry(fields)
        try:
            self._socket.sendto(message, self._address)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                return False
            return self._send_as_file(message)
        return True

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _send_as_file(self, message: bytes) -> bool:
        """What is too large for a datagram (some 200 kB) goes as a sealed file in memory."""
        try:
            descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            with open(descriptor, "wb", closefd=True, buffering=0) as file:
                file.write(message)
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
                passed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
                self._socket.sendmsg([], [passed], 0, self._address)
        except OSError:
            return False
        return True
