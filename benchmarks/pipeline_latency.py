"""How soon thumbnails are there when nothing else is to do, against the engine alone and a task that does nothing."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline_bare import BareLibrary
from pipeline_photos import recipe
from pipeline_thumbdrop import Thumbdrop, wait_for

PAUSE_SECONDS = 0.4
LOOK_SECONDS = 0.0003


def latencies(thumbdrop: Thumbdrop, photos: Sequence[Path], scratch: Path) -> dict[str, Any]:
    """Drop photos one by one into the idle inbox; milliseconds as lists, their p50 and p99, and a line for the reader.

    "visible": from the rename into the inbox to the last thumbnail under its name. "engine": header, pixels and hash of the
    same photo in this process. "alone": the same, with the thumbnails written and synced until they stand under their names.
    "round_trip": a task that does nothing, sent to the same worker by the same broker.
    """
    alone = BareLibrary(scratch, recipe())
    found: dict[str, list[float]] = {"visible": [], "engine": [], "alone": [], "round_trip": []}
    for _ in range(3):
        thumbdrop.round_trip()
    for photo in photos:
        time.sleep(
            PAUSE_SECONDS
        )  # a processor that was idle is slower at first: the engine begins as the pipeline does
        engine, with_syncs = alone.show(photo)
        found["engine"].append(engine * 1000)
        found["alone"].append(with_syncs * 1000)
        time.sleep(PAUSE_SECONDS)
        found["round_trip"].append(thumbdrop.round_trip() * 1000)
        time.sleep(PAUSE_SECONDS)
        found["visible"].append(_visible_seconds(thumbdrop, photo) * 1000)
    times = {name: {"p50": statistics.median(ms), "p99": _p99(ms)} for name, ms in found.items()}
    summary = ", ".join(f"{name} {at['p50']:.1f}/{at['p99']:.1f}" for name, at in times.items())
    return {"ms": found, "times": times, "summary": f"p50/p99 in ms: {summary}"}


def _visible_seconds(thumbdrop: Thumbdrop, photo: Path) -> float:
    wanted = thumbdrop.done() + 1
    waiting = thumbdrop.thumbnails_of(photo)
    began = time.perf_counter()
    thumbdrop.drop([photo])
    while waiting:
        if waiting[-1].exists():
            waiting.pop()
        elif time.perf_counter() - began > 30:
            raise RuntimeError(f"no thumbnails of {photo}")
        else:
            time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - began
    wait_for(lambda: thumbdrop.done() >= wanted, 30, f"the end of {photo}")
    return seconds


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.99 * len(values)))]
