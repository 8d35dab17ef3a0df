"""The check of `thumbdrop check` that compares the systemd units with the directories in the settings.

A unit that may not write where the settings say fails for each file, and only then. What a reader would get wrong: two
directories in ReadWritePaths= are two mounts for the service, so that a rename from one to the other fails (EXDEV).
"""

import os
import shutil
import subprocess

from config.mounts import is_below
from config.settings import Settings
from watcher.finding import Finding

_WORKER = "thumbdrop-worker@1.service"
_ASKED = ("LoadState", "ProtectSystem", "ProtectHome", "ReadWritePaths", "InaccessiblePaths")
_HOMES = ("/home", "/root", "/run/user")
_SECONDS = 5.0


def check_units(settings: Settings) -> list[Finding]:
    """Look whether the installed worker unit may write inboxes and library; nothing where there is no such unit."""
    shown = _show(_WORKER)
    if shown.get("LoadState") != "loaded":
        return []
    places = {f"inbox {inbox.name}": os.fspath(inbox.path) for inbox in settings.inbox if inbox.after != "keep"}
    return judge_unit(shown, {"library": os.fspath(settings.library.path), **places})


def judge_unit(shown: dict[str, str], places: dict[str, str]) -> list[Finding]:
    """Judge what systemd shows of the worker unit against the directories that it has to write, by name; pure."""
    if shown.get("ProtectSystem") != "strict":
        return []
    # A dash before a path says that it may be missing; a plus, that it is below RootDirectory=.
    writable = [path.lstrip("-+") for path in shown.get("ReadWritePaths", "").split()]
    found = []
    for name, path in places.items():
        if not any(is_below(path, one) for one in writable):
            found.append(_failed(f"{name} {path} is read-only for {_WORKER}", f"ReadWritePaths={path}"))
        if shown.get("ProtectHome", "no") != "no" and any(is_below(path, home) for home in _HOMES):
            found.append(_failed(f"{name} {path} is hidden from {_WORKER} by ProtectHome=", "ProtectHome=no"))
    return found or [Finding("ok", f"units: {_WORKER} can write library and inboxes"), *_other_mounts(places, writable)]


def _other_mounts(places: dict[str, str], writable: list[str]) -> list[Finding]:
    # Of paths in one another the inner one is a mount of its own as well.
    mounts = {name: max((one for one in writable if is_below(path, one)), key=len) for name, path in places.items()}
    return [
        Finding(
            "note",
            f"units: {name} is in another path of ReadWritePaths= than the library, so originals are copied and not renamed",
            "name one directory above both, if there is one",
        )
        for name, mount in mounts.items()
        if mount != mounts["library"]
    ]


def _failed(what: str, line: str) -> Finding:
    remedy = f"systemctl edit thumbdrop-worker@.service: [Service] and {line}; then restart it"
    return Finding("failed", f"units: {what}", remedy)


def _show(unit: str) -> dict[str, str]:
    program = shutil.which("systemctl")
    if not program or not os.path.isdir("/run/systemd/system"):
        return {}
    command = [program, "show", unit, *(f"--property={name}" for name in _ASKED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())
