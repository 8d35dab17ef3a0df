"""The commands that run something: up, watch, worker, scan."""

# ruff: noqa: PLC0415 - see watcher/cli.py

import os
import shlex
import shutil
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watcher.options import config_option, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from config.settings import Settings
    from watcher.options import Command
    from watcher.printing import Lines

BROKER_SECONDS = 5.0
DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
_FILE_OPTIONS = ("--config", "--pidfile", "--logfile")


@click.command()
@click.option("--inbox", type=DIRECTORY, metavar="DIR", help="The one inbox, instead of those in the settings.")
@click.option("--library", type=DIRECTORY, metavar="DIR", help="The library, instead of the one in the settings.")
@click.option(
    "--workers", type=click.IntRange(1, 512), metavar="N", help="Worker processes. Default: one for each CPU."
)
@config_option
def up(inbox: Path | None, library: Path | None, workers: int | None, config: Path | None) -> None:
    """Run everything on this machine in the foreground, until Ctrl-C."""
    from functools import partial

    from watcher import standalone
    from watcher.printing import Lines

    overrides = {
        "inbox": [{"path": str(inbox)}] if inbox else None,
        "library": {"path": str(library)} if library else None,
    }
    loaded = load_settings(config, overrides)
    lines, count = Lines(), workers or available_cpus()
    welcome = partial(_welcome, lines, loaded.settings, count)
    try:
        sys.exit(standalone.up(loaded, count, is_changed=bool(inbox or library), say=lines.say, welcome=welcome))
    except OSError as error:  # directories or state that cannot be made
        raise click.ClickException(str(error)) from error


def _welcome(lines: "Lines", settings: "Settings", workers: int, file: Path | None) -> None:
    from watcher.wording import counted

    config = f" --config {shlex.quote(str(file))}" if file else ""
    for inbox in settings.inbox:
        lines.say("up", f"drop photos into   {inbox.path}")
    lines.say("up", f"thumbnails appear  {settings.library.path / 'thumbnails'}")
    lines.say("up", f"what happened?     {_own_name()} status{config}; {_own_name()} why{config} PHOTO")
    lines.say("up", f"{counted(workers, 'worker process', 'worker processes')}; Ctrl-C stops everything in order")


def _own_name() -> str:
    """How this program can be called from here: by its name, or by its path where the name is not found."""
    called = Path(sys.argv[0])
    if called.name != "thumbdrop" or shutil.which("thumbdrop"):
        return "thumbdrop"
    return shlex.quote(os.path.relpath(called))


def daemon_options(command: "Command") -> "Command":
    """Add `--daemon` and the files of a daemon, passed on as `daemon`, `pidfile` and `logfile`."""
    for option in (
        click.option("--logfile", type=FILE, metavar="FILE", help="Its log. Default: in the state directory."),
        click.option("--pidfile", type=FILE, metavar="FILE", help="Its pid file. Default: in the state directory."),
        click.option("--daemon", is_flag=True, help="Detach from the terminal, where there is no systemd."),
    ):
        command = option(command)
    return command


@click.command()
@daemon_options
@config_option
def watch(*, daemon: bool, pidfile: Path | None, logfile: Path | None, config: Path | None) -> None:
    """Run the watcher alone."""
    loaded = load_settings(config)

    def run() -> int:
        # Inside, because a detached process has lost whatever was opened before.
        from config.logs import configure
        from watcher.daemon import watch

        configure()
        return watch(loaded.settings, lambda: load_settings(loaded.file).settings)

    sys.exit(_run(run, "watcher", loaded.settings, daemon=daemon, pidfile=pidfile, logfile=logfile))


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 512), metavar="N", help="Processes. Default: one for each CPU.")
@daemon_options
@config_option
def worker(
    concurrency: int | None, *, daemon: bool, pidfile: Path | None, logfile: Path | None, config: Path | None
) -> None:
    """Run one worker unit: the Celery worker, as `celery -A tasks worker` does."""
    loaded, here = load_settings(config), Path.cwd()
    if loaded.file:
        os.environ["THUMBDROP_CONFIG"] = str(loaded.file)  # tasks/celery.py reads the settings itself

    def run() -> int:
        if not loaded.file:  # the defaults are relative to where it was started
            os.chdir(here)
        return _work(concurrency or available_cpus(), loaded.file)

    # SIGHUP lets Celery finish what is at hand and start this very command again, from another directory.
    sys.argv = [os.path.abspath(sys.argv[0]), *_absolute(sys.argv[1:])]
    sys.exit(_run(run, "worker", loaded.settings, daemon=daemon, pidfile=pidfile, logfile=logfile))


def _work(concurrency: int, config: Path | None) -> int:
    from celery import signals

    from tasks.celery import app

    signals.worker_ready.connect(lambda **_: _look_before_restart(config), weak=False)

    # Seven lines about running as root; `thumbdrop check` has one.
    warnings.filterwarnings("ignore", module=r"celery\.platforms")
    argv = ["--quiet", "worker", "--concurrency", str(concurrency), "--loglevel", "INFO"]
    # They cost connections and a second at the start, and nothing here asks for them (measured with Celery 5.7). The
    # heartbeat stays: by it a flower that is started later learns of the worker.
    argv += ["--without-gossip", "--without-mingle", "-n", f"thumbdrop-{os.getpid()}@%h"]
    return app.start(argv)


def _look_before_restart(config: Path | None) -> None:
    """Let SIGHUP, with which Celery starts this command again, first find out whether the settings can be read.

    Only from when the worker is ready; before, wrong settings end it.
    """
    from config.load import SettingsError
    from config.logs import get_logger

    restart = signal.getsignal(signal.SIGHUP)

    def on_hangup(number: int, frame: "FrameType | None") -> None:
        try:
            load_settings(config)
        except SettingsError as error:
            get_logger(__name__).error("settings.refused", why=str(error))
        else:
            if callable(restart):
                restart(number, frame)

    signal.signal(signal.SIGHUP, on_hangup)


def _run(
    run: "Callable[[], int]",
    name: str,
    settings: "Settings",
    *,
    daemon: bool,
    pidfile: Path | None,
    logfile: Path | None,
) -> int:
    """Run it here, or detached; return the exit code."""
    if not daemon:
        if pidfile or logfile:
            raise click.UsageError("--pidfile and --logfile go with --daemon")
        return run()
    from config.urls import make_private_dir, state_dir
    from watcher.daemonize import AlreadyRunningError, detach

    state = state_dir(settings)
    try:
        make_private_dir(state)
        return detach(run, pidfile or state / f"{name}.pid", logfile or state / f"{name}.log")
    except (AlreadyRunningError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _absolute(words: list[str]) -> list[str]:
    """The words of a command line with the files that they name made absolute."""
    found = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if before in _FILE_OPTIONS:
            word = os.path.abspath(word)  # noqa: PLW2901
        elif equals and option in _FILE_OPTIONS:
            word = f"{option}={os.path.abspath(value)}"  # noqa: PLW2901
        found.append(word)
    return found


@click.command()
@click.option("--wait", is_flag=True, help="Show progress until everything that stands there has been dealt with.")
@config_option
def scan(*, wait: bool, config: Path | None) -> None:
    """Publish what stands in the inboxes now; exit code 1 if anything was quarantined."""
    from redis import RedisError

    from config.addresses import masked
    from config.logs import configure
    from config.urls import broker_url
    from watcher.asking import ask, explain
    from watcher.progress import shown_progress
    from watcher.scan import scan_once
    from watcher.status_questions import reach_broker
    from watcher.wording import counted

    settings = load_settings(config).settings
    configure("WARNING")  # where no watcher runs, this process is one for a while
    broker = ask(lambda: reach_broker(settings), BROKER_SECONDS)
    if broker.error:
        text = f"nothing can be published, the broker {masked(broker_url(settings))} is away: {broker.error}"
        raise click.ClickException(f"{text}; `thumbdrop status` shows what is down")
    try:
        with shown_progress() as show:
            result = scan_once(settings, wait, show)
    except (RedisError, OSError) as error:
        raise click.ClickException(f"{explain(error)}; `thumbdrop status` shows what is down") from error
    if wait:
        click.echo(f"{result.done} done, {result.quarantined} quarantined, {result.waiting} waiting")
    else:
        click.echo(f"{counted(result.published, 'file')} found; what is still to do goes to the workers")
    sys.exit(1 if result.quarantined else 0)


def available_cpus() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
