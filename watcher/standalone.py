"""`thumbdrop up`: everything on this machine in the foreground, for people who have no systemd or do not want it.

Decides which parts there are and in what order they start and stop; watcher/crew.py keeps them running. What a reader
would get wrong: the parts are the same programs that systemd starts, each a process of its own, so nothing here is a
second way to do the work.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from config.load import Loaded
from config.logs import printable
from config.mistakes import EXIT_WRONG_SETTINGS
from config.mounts import network_mount_of
from config.notify import notify_systemd
from config.settings import Settings
from config.show import to_toml
from config.urls import is_embedded, make_private_dir, state_dir
from watcher.asking import ask
from watcher.crew import Crew, Ladder, Part, Say
from watcher.embedded import EmbeddedError, EmbeddedRedis, StateLock

# Celery's beat has no command of ours: it runs where `celery -A tasks` would, but never imports from the current
# directory, which may be one that strangers write to.
_BEAT = "import sys; from tasks.celery import app; sys.exit(app.start(sys.argv[1:]))"

_REDIS_START_SECONDS = 60.0  # a long append-only file takes its time
_MOUNT_SECONDS = 3.0  # for a network file system to make a directory, or say that it is there

_STOP_WATCHER: Ladder = ((signal.SIGTERM, 8.0), (signal.SIGKILL, 2.0))
_STOP_BEAT: Ladder = ((signal.SIGTERM, 4.0), (signal.SIGKILL, 2.0))
# SIGTERM finishes the image at hand. The first SIGQUIT would wait for as long as a task may take, the second one gives
# the message back at once (celery.apps.worker, on_cold_shutdown and during_soft_shutdown).
_STOP_WORKER: Ladder = (
    (signal.SIGTERM, 10.0),
    (signal.SIGQUIT, 0.3),
    (signal.SIGQUIT, 2.0),
    (signal.SIGKILL, 2.0),
)
_STOP_REDIS: Ladder = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0))  # SIGTERM is Redis's SHUTDOWN: it syncs its file


class RedisPart:
    """The embedded server as a part: each start after one that never answered questions the data."""

    def __init__(self, settings: Settings, lock_fd: int) -> None:
        self._redis = EmbeddedRedis(settings)
        self._has_ever_answered = False
        self.part = Part("redis", self._command, _STOP_REDIS, is_ready=self._is_ready, keep_fds=(lock_fd,))

    def _command(self) -> list[str]:
        died_early = self.part.exit_code is not None and not self.part.was_ready
        if died_early and not self._redis.suspect_data() and not self._has_ever_answered:
            log_end = "\n".join(map(printable, self._redis.last_words())) or "(nothing)"
            raise EmbeddedError(f"the embedded Redis does not start; {self._redis.log_file} ends with\n{log_end}")
        return self._redis.prepare()

    def _is_ready(self) -> bool:
        if not self._redis.answers():
            return False
        self._redis.trust_data()
        self._has_ever_answered = True
        return True


def up(loaded: Loaded, workers: int, *, is_changed: bool, say: Say, welcome: Callable[[Path | None], None]) -> int:
    """Run all parts until SIGINT, SIGTERM or SIGHUP; return the exit code.

    `is_changed`: the settings are not those of their file, so the parts get a file of their own. `say` gets each line
    with its part's name; `welcome` is called with the file, None for the defaults, when all parts have been started.
    Raises EmbeddedError when another `up` runs on this library, or the embedded Redis cannot be run.
    """
    settings = loaded.settings
    make_directories(settings)
    lock = StateLock(settings)
    lock_fd = lock.take()
    try:
        file = write_settings(settings) if is_changed else loaded.file
        redis = RedisPart(settings, lock_fd).part if is_embedded(settings) else None
        crew = Crew(part_environ(os.environ, file), say)
        with crew.listening():
            _run(crew, redis, work_parts(settings, file, workers), partial(welcome, file))
    finally:
        lock.release()
    return EXIT_WRONG_SETTINGS if crew.has_wrong_settings else 0


def _run(crew: Crew, redis: Part | None, parts: list[Part], welcome: Callable[[], None]) -> None:
    try:
        if redis is None or _start_redis(crew, redis):
            for part in reversed(parts):
                crew.start(part)
            notify_systemd("READY=1")
            welcome()
            crew.run()
    finally:
        notify_systemd("STOPPING=1")
        for part in (*parts, *([redis] if redis else [])):
            crew.stop(part)


def _start_redis(crew: Crew, redis: Part) -> bool:
    """Start the server and wait until it answers; False when somebody asked to stop meanwhile."""
    crew.start(redis)
    if crew.wait_for(lambda: redis.was_ready, _REDIS_START_SECONDS):
        return True
    if crew.should_stop:
        return False
    raise EmbeddedError(f"the embedded Redis did not answer within {_REDIS_START_SECONDS:g} s")


def work_parts(settings: Settings, config_file: Path | None, workers: int) -> list[Part]:
    """Watcher, beat and worker, in the order in which they are stopped: first no new work, then what is at hand."""
    config = [] if config_file is None else ["--config", str(config_file)]
    # -P: never import from the current directory, see _BEAT.
    thumbdrop = [sys.executable, "-P", "-m", "watcher.cli"]
    beat = ["--quiet", "beat", "--schedule", str(state_dir(settings) / "beat-schedule"), "--loglevel", "INFO"]
    commands: dict[str, tuple[list[str], Ladder]] = {
        "watcher": ([*thumbdrop, "watch", *config], _STOP_WATCHER),
        "beat": ([sys.executable, "-P", "-c", _BEAT, *beat], _STOP_BEAT),
        "worker": ([*thumbdrop, "worker", "--concurrency", str(workers), *config], _STOP_WORKER),
    }
    return [Part(name, partial(list, argv), ladder) for name, (argv, ladder) in commands.items()]


def part_environ(environ: Mapping[str, str], config_file: Path | None) -> dict[str, str]:
    """Return what the parts inherit: all but what is said to this process alone; lines arrive as they are written."""
    ours_alone = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"}
    inherited = {name: value for name, value in environ.items() if name not in ours_alone}
    if config_file is not None:
        inherited["THUMBDROP_CONFIG"] = str(config_file)
    return inherited | {"PYTHONUNBUFFERED": "1"}


def make_directories(settings: Settings) -> None:
    """Create the library, and each inbox that is not to be mounted there by somebody else."""
    settings.library.path.mkdir(parents=True, exist_ok=True)
    for inbox in settings.inbox:
        if inbox.require_mount:
            continue
        make = partial(inbox.path.mkdir, parents=True, exist_ok=True)
        if network_mount_of(str(inbox.path)) is None:
            make()
        else:  # it may hang; what comes of it is told by the watcher
            ask(make, _MOUNT_SECONDS, apart=True)


def write_settings(settings: Settings) -> Path:
    """Write the settings, with what the command line changed, for the parts and for the other commands to read."""
    make_private_dir(state_dir(settings))
    file = state_dir(settings) / "up.toml"
    # Private, because it may hold passwords; renamed, because another `up` may be reading it.
    temporary = file.with_name(f".up.toml.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as output:
        output.write(to_toml(settings))
    temporary.replace(file)
    return file
