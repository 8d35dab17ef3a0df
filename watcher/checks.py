"""`thumbdrop check`: looks at everything that an installation needs, before or while it runs.

Puts together the checks of places (watcher/check_places.py), of servers (watcher/check_servers.py) and of systemd's units,
and has those of this machine's programs. What a reader would get wrong: a check may hang with what it looks at, so each is asked with a
time limit, and no answer is a finding too.
"""

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from config.load import Loaded
from config.mounts import network_mount_of, read_mounts
from config.settings import Settings
from watcher.asking import Answer, ask_all
from watcher.check_inotify import check_inotify
from watcher.check_places import check_inbox, check_library, whoever
from watcher.check_servers import check_broker, check_results
from watcher.check_units import check_units
from watcher.finding import Finding
from watcher.mounts import Layout

SECONDS = 15.0
SERVICES_FILE = Path("/etc/thumbdrop/thumbdrop.toml")
SERVICES_USER = "thumbdrop"

# Asked of a process of its own: nobody on the watcher's side loads Pillow.
_ASK_PILLOW = """
import json
from PIL import features
found = {name: bool(features.check(feature)) for name, feature in
         {"jpeg": "jpg", "png": "zlib", "webp": "webp", "avif": "avif", "tiff": "libtiff"}.items()}
try:
    import pillow_heif
    found["heic"] = True
except ImportError:
    found["heic"] = False
print(json.dumps(found))
"""


def check_for_services(loaded: Loaded) -> list[Finding] | None:
    """Look at everything as the user of the systemd services: root may do what they may not, and would find nothing wrong.

    None when that is not the question: we are not root, or the settings are not those of the services.
    """
    if os.geteuid() != 0 or loaded.file != SERVICES_FILE:
        return None
    try:
        user = pwd.getpwnam(SERVICES_USER)
    except KeyError:
        return None
    # Addresses may come from where that user may not read.
    urls = {"THUMBDROP_BROKER_URL": loaded.settings.broker.url, "THUMBDROP_RESULTS_URL": loaded.settings.results.url}
    reply = subprocess.run(
        [sys.executable, "-P", "-c", "from watcher.cli import main; main()", "check", "--json"],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
        env={**os.environ, **urls, "THUMBDROP_CONFIG": str(loaded.file)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = [Finding(**one) for one in json.loads(reply.stdout)]
    except ValueError:
        why = (reply.stderr.strip().splitlines() or ["no answer"])[-1]
        return [Finding("failed", f"user {user.pw_name}: cannot check: {why}", f"let it read {loaded.file}")]
    return [Finding("ok", f"user: checked as {user.pw_name}, the user of the services"), *found]


def check_everything(settings: Settings, seconds: float = SECONDS) -> list[Finding]:
    """Look at everything; the findings in the order in which one would mend them."""
    questions: dict[str, Callable[[], list[Finding]]] = {"library": partial(check_library, settings)}
    for inbox in settings.inbox:
        questions[f"inbox {inbox.name}"] = partial(check_inbox, inbox, settings)
    questions["inotify"] = partial(check_inotify, settings, whoever())
    questions["units"] = partial(check_units, settings)
    questions["broker"] = partial(check_broker, settings)
    questions["result store"] = partial(check_results, settings)
    questions["image formats"] = partial(check_formats, settings)
    answers = ask_all(questions, seconds, _on_network(settings))
    settings_are_valid = Finding("ok", "settings: no mistakes")  # or nobody would have come here
    return [
        settings_are_valid,
        *_check_user(),
        *(finding for name, answer in answers.items() for finding in _findings(name, answer)),
    ]


def _on_network(settings: Settings) -> set[str]:
    """The questions that touch a network file system."""
    mounts = read_mounts()
    found = {f"inbox {i.name}" for i in settings.inbox if Layout(str(i.path), mounts).network_parts}
    if found:
        found.add("inotify")
    return found | ({"library"} if network_mount_of(str(settings.library.path), mounts) else set())


def _findings(name: str, answer: Answer[list[Finding]]) -> list[Finding]:
    if answer.value is None:
        return [Finding("failed", f"{name}: {answer.error}", "see whether it hangs, for instance a network mount")]
    return answer.value


def _check_user() -> list[Finding]:
    if os.geteuid() != 0:
        return []
    remedy = "run it as a user of its own; the systemd units do"
    return [Finding("warning", "user: root, though images of strangers are decoded", remedy)]


def check_formats(settings: Settings) -> list[Finding]:
    """Look whether the image libraries were built with every format that is read or written."""
    command = [sys.executable, "-P", "-c", _ASK_PILLOW]
    reply = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if reply.returncode != 0:
        last = reply.stderr.strip().splitlines()[-1:] or ["no answer"]
        return [Finding("failed", f"image formats: {last[0]}", "install Thumbdrop again with its dependencies")]
    return judge_formats(json.loads(reply.stdout), wanted_formats(settings))


def wanted_formats(settings: Settings) -> set[str]:
    """List the formats in which thumbnails are wanted."""
    return {size.format or settings.thumbnails.format for size in settings.thumbnails.sizes}


def judge_formats(found: dict[str, bool], wanted: set[str]) -> list[Finding]:
    """Judge which formats can be had; pure."""
    missing = sorted(name for name, is_there in found.items() if not is_there)
    if not missing:
        return [Finding("ok", f"image formats: {', '.join(sorted(found))}")]
    remedy = "install the Pillow and pillow-heif wheels of PyPI, which have them all"
    return [
        Finding("failed", f"image formats: thumbnails are wanted as {name}, which Pillow cannot write", remedy)
        if name in wanted
        else Finding("warning", f"image formats: no {name}; such files would be quarantined", remedy)
        for name in missing
    ]
