"""Tells systemd how a service does (sd_notify(3)): READY, STATUS, STOPPING, WATCHDOG. Silent without systemd."""

import os
import socket
from collections.abc import Mapping


def notify_systemd(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    r"""Send newline-separated assignments like "READY=1\nSTATUS=watching"; False when nobody listens.

    Limits: an unreachable socket counts as nobody listening; a service must not fail because its supervisor is odd.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket, unix(7)
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(state.encode())
    except OSError:
        return False
    return True
