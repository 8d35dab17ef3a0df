"""Measure the whole pipeline: `make bench BENCH=pipeline`, or `python benchmarks/pipeline.py --quick` for a first look.

All contestants take turns in one run, on the same photos and the same disk (build/bench). Photos per second are medians
over the rounds; the ratios to the bare engine and to the peers are medians of the ratios within each round.
"""

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pipeline_bare
import pipeline_photos
from pipeline_costs import costs_of
from pipeline_latency import latencies
from pipeline_peers import ObviousCelery, xargs_missing, xargs_seconds
from pipeline_thumbdrop import FOLDER, Thumbdrop, put_aside
from results import ROOT, save, version

PROCESSES = 2
ROUNDS = 3
COUNTS = {"12 MP": 400, "0.3 MP": 4000}
TOGETHER = {"12 MP": 4, "0.3 MP": 8}  # about what the pipeline's batches come to
PEERS_SHARE = 10  # they are slow and steady: a tenth of the photos tells the same
WARM_UP = 16
DROPS = 150


def main() -> None:
    """Measure, print what comes out on the way, and leave build/bench/pipeline.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the photos, and one round")
    quick = parser.parse_args().quick
    os.environ["PYTHONPATH"] = str(ROOT)
    results: dict[str, Any] = {
        "processes": PROCESSES,
        "versions": {name: version(name) for name in ("celery", "pillow")},
    }
    shutil.rmtree(FOLDER, ignore_errors=True)
    results["sizes"] = {
        size: _measured(size, count // 20 if quick else count, 1 if quick else ROUNDS, 10 if quick else DROPS)
        for size, count in COUNTS.items()
    }
    shutil.rmtree(FOLDER)
    print(f"written: {save('pipeline', results)}")


def _measured(size: str, count: int, rounds: int, drops: int) -> dict[str, Any]:
    folder = FOLDER / size.replace(" ", "-")
    photos = pipeline_photos.make(folder / "photos", size, count)
    size_bytes = photos[0].stat().st_size
    some = photos[: max(20, count // PEERS_SHARE)]
    with (
        Thumbdrop(folder / "thumbdrop", PROCESSES) as thumbdrop,
        ObviousCelery(folder / "obvious", PROCESSES) as obvious,
    ):
        contestants: dict[str, Callable[[], float]] = {
            "pipeline": lambda: _rate(photos, _pipeline_seconds(thumbdrop, photos)),
            "bare": lambda: _rate(photos, _bare_seconds(folder / "bare", photos)),
            "together": lambda: _rate(photos, _bare_seconds(folder / "bare", photos, TOGETHER[size])),
            "celery": lambda: _rate(some, _emptied(folder / "made", lambda out: obvious.seconds_for(some, out))),
        }
        if not xargs_missing():
            contestants["xargs"] = lambda: _rate(
                some, _emptied(folder / "made", lambda out: xargs_seconds(some, out, PROCESSES))
            )
        _pipeline_seconds(thumbdrop, photos[:WARM_UP])
        _bare_seconds(folder / "bare", photos[:WARM_UP])
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds):
            for name, measure in contestants.items():
                rates[name].append(measure())
                print(f"{size}, round {number + 1}: {name:8} {rates[name][-1]:7.1f} photos/s", flush=True)
        costs = costs_of(thumbdrop, lambda: _pipeline_seconds(thumbdrop, photos[: max(50, count // 4)]))
        costs["photos"] = len(photos[: max(50, count // 4)])
        latency = latencies(thumbdrop, photos[:drops], folder / "alone")
    print(f"{size}: ratio to bare {_ratio(rates, 'bare'):.3f}; {latency['summary']}", flush=True)
    return {
        "photos": count,
        "bytes": size_bytes,
        "rates": rates,
        "ratios": {name: _ratio(rates, name) for name in rates if name != "pipeline"},
        "without": {"xargs": xargs_missing()},
        "costs": costs,
        "latency": latency,
    }


def _rate(photos: Sequence[Path], seconds: float) -> float:
    return len(photos) / seconds


def _ratio(rates: dict[str, list[float]], name: str) -> float:
    return statistics.median(ours / theirs for ours, theirs in zip(rates["pipeline"], rates[name], strict=True))


def _pipeline_seconds(thumbdrop: Thumbdrop, photos: Sequence[Path]) -> float:
    seconds = thumbdrop.seconds_for(photos)
    thumbdrop.take_back(photos[0].parent)
    _settled()
    return seconds


def _bare_seconds(root: Path, photos: Sequence[Path], together: int = 1) -> float:
    seconds = pipeline_bare.run(root, photos, PROCESSES, together)
    for photo in photos:
        (root / "originals" / photo.name).rename(photo)
    put_aside(path for path in root.rglob("*") if path.is_file())
    _settled()
    return seconds


def _emptied(out: Path, measure: Callable[[Path], float]) -> float:
    seconds = measure(out)
    put_aside([out])
    _settled()
    return seconds


def _settled() -> None:
    """Let nothing of one measurement burden the next one: what is dirty goes to the disk."""
    os.sync()
    time.sleep(0.5)


if __name__ == "__main__":
    main()
