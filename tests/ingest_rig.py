"""An inbox, a library, a Redis and the worker's steps in this very process: tests give it messages by hand.

Fixtures: `rig`, with small sizes and nothing else set; `make_rig(...)` for `after`, `min_free`, `category` and keys of [limits].
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from images import encoded, photo
from servers import RedisServer
from tasks.ingest import Ingest
from tasks.leases import Leases
from tasks.messages import Arrival, to_message

MakeRig = Callable[..., "Rig"]


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    """A small photo-like JPEG."""
    return encoded(photo(width, height, seed=seed), "jpeg")


class Rig:
    """An inbox, a library, a Redis and the worker's steps; messages are given by hand."""

    def __init__(self, folder: Path, server: RedisServer, **options: Any) -> None:
        self.inbox = folder / "inbox"
        self.library = folder / "library"
        self.inbox.mkdir(exist_ok=True)
        self.library.mkdir(exist_ok=True)
        inbox = {"path": str(self.inbox), "name": "inbox", "after": options.pop("after", "archive")}
        settings = {
            "inbox": [inbox],
            "library": {"path": str(self.library), "min_free": options.pop("min_free", "1B")},
            "thumbnails": {"sizes": ["64x64", "32x32"]},
            "category": options.pop("category", {}),
            "limits": options,
        }
        self.settings = Settings.model_validate(settings)
        self.leases = Leases(server.client(1), task_time_seconds=60)
        self.ingest = Ingest(self.settings, self.leases)

    def put(self, name: str, content: bytes) -> Arrival:
        """A file in the inbox, and its arrival."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return self.arrival(name)

    def arrival(self, name: str) -> Arrival:
        """The arrival of what stands there."""
        stat = os.lstat(self.inbox / name)
        return Arrival("inbox", name, stat.st_size, stat.st_mtime_ns)

    def work(self, arrival: Arrival) -> dict[str, Any]:
        """Publish and do one message, as if its wait, if any, had ended."""
        self.leases.redis.delete(f"thumbdrop:due:{arrival.inbox}", "thumbdrop:pause")
        (verdict,) = self.leases.offer([arrival])
        assert verdict.state == "published"
        outcome = self.ingest.ingest(to_message(arrival, verdict.token))
        json.dumps(outcome)
        assert self.leases.states([arrival.id]) == [""], "whatever happened, the lease is released"
        return outcome

    def manifest(self, slot: str) -> dict[str, Any]:
        """The manifest of a slot as JSON."""
        content: dict[str, Any] = json.loads((self.library / f"manifests/{slot}.json").read_bytes())
        return content

    def files(self, below: str) -> list[str]:
        """What stands in a part of the library, hidden names included."""
        root = self.library / below
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def rig(tmp_path: Path, redis_server: RedisServer) -> Rig:
    redis_server.flush()
    return Rig(tmp_path, redis_server)


@pytest.fixture
def make_rig(tmp_path: Path, redis_server: RedisServer) -> MakeRig:
    redis_server.flush()
    return lambda **options: Rig(tmp_path, redis_server, **options)
