"""Measure the engine against what people use: all in one run, by turns, on the same photos; build/bench/engine.json.

CPU time (user and system, of all threads and children) is what counts: it hardly depends on what else a machine does,
and it is what is paid for. A first turn warms up and is not counted; of the others the median is taken.
"""

import argparse
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from engine_peers import NAMES, Cost, MissingError, Peer, start
from engine_photos import large, photos
from results import save

MEMORY_PHOTOS = {"24 MP": {}, "24 MP, progressive": {"progressive": True}}
MEMORY_SIDES = (6000, 4000)


def main() -> None:
    """Measure everybody who is here, and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="how often each photo is given to each of them")
    turns = parser.parse_args().turns
    peers, missing = _started()
    for why in missing.values():
        print(f"NOT MEASURED: {why}", flush=True)
    try:
        measured = [_by_turns(peers, photo, turns) for photo in photos()]
    finally:
        for peer in peers.values():
            with suppress(OSError):
                peer.stop()
    results = {
        "titles": {name: peer.title for name, peer in peers.items()},
        "missing": missing,
        "turns": turns,
        "photos": measured,
        "memory": {name: _memory(name, **options) for name, options in MEMORY_PHOTOS.items()},
    }
    print(f"written: {save('engine', results)}")


def _started() -> tuple[dict[str, Peer], dict[str, str]]:
    peers: dict[str, Peer] = {}
    missing = {}
    for name in NAMES:
        try:
            peers[name] = start(name)
        except MissingError as why:
            missing[name] = str(why)
    return peers, missing


def _by_turns(peers: dict[str, Peer], photo: Path, turns: int) -> dict[str, Any]:
    costs: dict[str, list[Cost]] = {name: [] for name in peers}
    for turn in range(turns + 1):
        for name, peer in peers.items():
            cost = peer.make(photo)
            if turn:
                costs[name].append(cost)
        print(f"{photo.name}: turn {turn} of {turns}", flush=True)
    return {"name": photo.name, "costs": {name: _median(found) for name, found in costs.items()}}


def _median(costs: list[Cost]) -> dict[str, float]:
    found = [asdict(cost) for cost in costs]
    return {key: median(cost[key] for cost in found) for key in found[0]}


def _memory(name: str, *, progressive: bool = False) -> float:
    """The most memory in MB that a fresh worker child takes for that photo, which it is given three times."""
    photo = large(name.replace(",", ""), MEMORY_SIDES, progressive=progressive)
    peer = start("child")
    try:
        return max(peer.make(photo).peak_mb for _ in range(3))
    finally:
        peer.stop()


if __name__ == "__main__":
    main()
