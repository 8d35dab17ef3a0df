"""One chaos run: the stage is set, clients drop and faults strike while real processes work, and then comes the judge.

    python tests/chaos/chaos_run.py --files 5000 --faults 330 --minutes 10 [--seed N]      (make chaos)

Prints a table of figures; exit code 1 when anything was lost, wrong, doubled, stray or unfinished. What a reader would
get wrong: the same seed gives the same files and faults at the same times, not the same race.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from chaos_clients import Clients, Place
from chaos_faults import Crew, Faults
from chaos_files import MAX_BYTES
from chaos_judge import BOXES, Verdict, judge
from chaos_plan import WIPES, Expected, Plan, make_plan, slot_of
from chaos_servers import Servers
from running import Thumbdrop, manifests_in, reasons_in, thumbdrops

TASK_SECONDS = 3
SETTINGS = """\
[[inbox]]
name = "far"
path = "{far}"
settle = "300ms"

[[inbox]]
name = "near"
path = "{near}"
settle = "300ms"

[[inbox]]
name = "kept"
path = "{kept}"
settle = "300ms"
after = "keep"

[[inbox]]
name = "deleted"
path = "{deleted}"
settle = "300ms"
after = "delete"

[library]
path = "{library}"
min_free = "{min_free}"

[thumbnails]
sizes = [{sizes}]

[watcher]
rescan = "2s"

[limits]
task_time = "{task_seconds}s"
max_bytes = "{max_bytes}B"
truncated_grace = "20s"
empty_grace = "10s"
"""
_DISK_SIZE = "600m"  # of a tmpfs, which takes what is used
_DRAIN_SECONDS = 240.0

# Housekeeping without its patience: what is hours old in a real library is seconds old here.
_SWEEP_NOW = """
from config.load import load
from tasks import periodic
for name in ("STALE_TEMPORARY_SECONDS", "STALE_CLAIM_SECONDS", "STALE_REMOVAL_SECONDS", "EMPTY_DIRECTORY_SECONDS"):
    setattr(periodic, name, 0.0)
print(periodic.sweep(load().settings))
"""


@dataclass(frozen=True)
class Stage:
    """Where it all happens. `disk` is a small file system with the library and the near inbox, None without root."""

    thumbdrop: Thumbdrop
    library: Path
    places: dict[str, Place]
    disk: Path | None
    servers: Servers | None

    @property
    def inboxes(self) -> dict[str, Path]:
        """The inboxes by name."""
        return {name: place.inbox for name, place in self.places.items()}


@dataclass(frozen=True)
class Report:
    """What a run came to."""

    plan: Plan
    verdict: Verdict
    faults: Counter[str]
    missed: Counter[str]
    client_errors: list[str]
    slowest_recovery: float  # from a fault to the next image that was done, when there was one to do
    slowest_image: float  # from its last byte to its manifest
    seconds: float
    exit_codes: list[int]
    filled: bool

    @property
    def is_fine(self) -> bool:
        """Whether all ended as it must."""
        return not self.verdict.complaints and not self.client_errors and set(self.exit_codes) == {0}

    def table(self) -> str:
        """The figures, a line each."""
        rows: list[tuple[str, object]] = [("seed", self.plan.seed)]
        rows += [("broker", "RabbitMQ")] if self.plan.with_rabbitmq else []
        rows += [("files", self.plan.files_by_kind.total())]
        rows += [(f"  {kind}", number) for kind, number in sorted(self.plan.files_by_kind.items())]
        ways = Counter(step.how for drop in self.plan.drops for step in drop.steps)
        rows += [(f"  way: {how}", number) for how, number in sorted(ways.items())]
        rows.append(("faults", self.faults.total()))
        rows += [(f"  {kind}", number) for kind, number in sorted(self.faults.items())]
        rows += [(f"  found no victim: {kind}", number) for kind, number in sorted(self.missed.items())]
        rows.append(("wipes", sum(self.faults[kind] for kind in WIPES)))
        rows += self.verdict.counts.items()
        rows.append(("slowest recovery", f"{self.slowest_recovery:.1f} s"))
        rows.append(("slowest image", f"{self.slowest_image:.1f} s"))
        rows.append(("duration", f"{self.seconds:.0f} s"))
        lines = [f"{name:<45} {value}" for name, value in rows]
        if not self.filled:
            lines.append("NOT TESTED: not root, so no disk was filled")
        return "\n".join([*lines, *self.verdict.complaints, *(f"client: {error}" for error in self.client_errors)])


@contextmanager
def run_and_keep(program: Path, folder: Path, plan: Plan) -> Iterator[tuple[Report, Stage]]:
    """Do a run in that folder; what it left stands there until the end of the block."""
    began = time.monotonic()
    with thumbdrops(program, folder) as make:
        thumbdrop = make(None)
        with small_disk(thumbdrop.folder / "disk") as disk:
            stage = set_up(thumbdrop, plan, disk)
            try:
                yield perform(stage, plan, began), stage
            finally:
                if stage.servers:
                    stage.servers.stop()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own that can be filled; None for who is not root."""
    folder.mkdir()
    if os.geteuid() != 0:
        yield None
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_SIZE}", "thumbdrop-chaos", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def set_up(thumbdrop: Thumbdrop, plan: Plan, disk: Path | None) -> Stage:
    """Make the folders and write the settings."""
    near, far = thumbdrop.folder / "disk", thumbdrop.folder
    roots = {"near": near, "deleted": near, "far": far, "kept": far}
    places = {name: Place(root / f"inbox-{name}", root / f"staging-{name}") for name, root in roots.items()}
    for place in places.values():
        place.inbox.mkdir(exist_ok=True)
        place.staging.mkdir()
    servers = Servers(thumbdrop.folder) if plan.with_rabbitmq else None
    stage = Stage(thumbdrop, near / "library", places, disk, servers)
    more = servers.settings if servers else ""
    thumbdrop.configure(
        more
        + SETTINGS.format(
            **{name: place.inbox for name, place in places.items()},
            library=stage.library,
            min_free=plan.min_free,
            sizes=", ".join(f'"{box}"' for box in BOXES),
            task_seconds=TASK_SECONDS,
            max_bytes=MAX_BYTES,
        )
    )
    return stage


def perform(stage: Stage, plan: Plan, began: float) -> Report:
    """Drop and inject, wait until all is done, judge."""
    clients = Clients(stage.places)
    if stage.servers:
        stage.servers.start()
    crew = Crew(stage.thumbdrop, stage.servers)
    faults = Faults(crew, clients, stage.library, stage.disk)
    now = time.monotonic()
    dropping = threading.Thread(target=clients.drop_all, args=(plan.drops, now), name="clients")
    dropping.start()
    try:
        faults.inject_all(plan.faults, now)
        while dropping.is_alive():  # the last steps of the last drops
            crew.keep_running()
            dropping.join(0.1)
        drain(stage, crew, plan.expected)
    finally:
        clients.stop()
        dropping.join()
    exit_codes = crew.stop()
    verdict = judge(stage.library, stage.inboxes, plan.expected)
    waits = waits_of(plan, clients, verdict)
    return Report(
        plan=plan,
        verdict=verdict,
        faults=Counter(kind for _, kind in faults.done),
        missed=faults.missed,
        client_errors=clients.errors,
        slowest_recovery=slowest_recovery([at for at, _ in faults.done], waits),
        slowest_image=max((done - delivered for delivered, done in waits), default=0.0),
        seconds=time.monotonic() - began,
        exit_codes=exit_codes,
        filled=stage.disk is not None,
    )


def drain(stage: Stage, crew: Crew, expected: Expected) -> None:
    """Wait until the inboxes are empty, what stays is done, and nothing is left for housekeeping; at most for some minutes."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    emptied = [inbox for name, inbox in stage.inboxes.items() if name != "kept"]
    while time.monotonic() < deadline:
        crew.keep_running()
        if not any(_candidates(inbox) for inbox in emptied) and _is_all_told(stage.library, expected):
            sweep_now(stage.thumbdrop)  # may put back what a killed worker held aside
            if not any(any(inbox.iterdir()) for inbox in emptied):
                return
        time.sleep(0.3)


def _is_all_told(library: Path, expected: Expected) -> bool:
    """Whether each image has its manifest and each bad file its reason: of files that stay, nothing else tells that."""
    committed = {manifest["sha256"] for manifest in manifests_in(library).values()}
    return len(reasons_in(library)) >= len(expected.bad) and committed >= {sha256 for _, _, sha256 in expected.required}


def sweep_now(thumbdrop: Thumbdrop) -> None:
    """Do the periodic jobs as if everything were old."""
    said = thumbdrop.run(thumbdrop.program.parent / "python", "-P", "-c", _SWEEP_NOW)
    assert said.code == 0, said.err.decode()


def _candidates(inbox: Path) -> bool:
    return any(
        not name.startswith(".") and "/." not in folder.removeprefix(str(inbox))
        for folder, _, names in os.walk(inbox)
        for name in names
    )


def waits_of(plan: Plan, clients: Clients, verdict: Verdict) -> list[tuple[float, float]]:
    """(last byte, manifest) of every image that had one path, as Unix times."""
    waits = []
    for drop in plan.drops:
        if drop.kind not in ("good", "good, a name taken", "truncated, then resumed"):
            continue
        delivered = clients.delivered.get((drop.inbox, drop.path))
        content = b"".join(step.content for step in drop.steps)
        done = verdict.committed.get(slot_of(drop.path, content))
        if delivered is not None and done is not None:
            waits.append((delivered, done))
    return waits


def slowest_recovery(faults: list[float], waits: list[tuple[float, float]]) -> float:
    """The longest time from a fault to the next image that was done, over the faults that struck while one waited."""
    done = sorted(end for _, end in waits)
    slowest = 0.0
    for at in faults:
        if any(begin <= at < end for begin, end in waits):
            slowest = max(slowest, done[bisect_right(done, at)] - at)
    return slowest


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(
        description="Drop thousands of files while everything fails, and see what is lost."
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--faults", type=int, default=330)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long files and faults come")
    parser.add_argument(
        "--rabbitmq", action="store_true", help="with RabbitMQ as broker, which is killed and stopped too"
    )
    parser.add_argument("--program", type=Path, default=Path(sys.executable).parent / "thumbdrop")
    parser.add_argument("--keep", action="store_true", help="keep what all processes printed, even if all is well")
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    plan = make_plan(arguments.seed, arguments.files, arguments.faults, seconds, with_rabbitmq=arguments.rabbitmq)
    sys.stdout.write(f"chaos with seed {arguments.seed}: {len(plan.drops)} drops, {len(plan.faults)} faults\n")
    folder = Path(tempfile.mkdtemp(prefix="tdc-", dir="/var/tmp"))  # on a disk; short, because a socket's path is
    output = folder / "output"
    with (
        output.open("w") as file,
        redirect_stdout(file),
        run_and_keep(arguments.program, folder, plan) as (report, _),
    ):
        pass
    sys.stdout.write(report.table() + "\n")
    if report.is_fine and not arguments.keep:
        shutil.rmtree(folder)
    else:
        sys.stdout.write(f"what all processes printed: {output}\n")
    return 0 if report.is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
