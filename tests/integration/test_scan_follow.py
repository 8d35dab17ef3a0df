"""What `scan --wait` takes for the end of an arrival, against a real Redis."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from config.settings import Settings
from ingesting import arrival_of
from servers import RedisServer
from tasks.leases import End, Leases
from watcher.scan import Follow


class Interrupted(Redis):
    """A client between whose questions something happens."""

    meanwhile: Callable[[], None] | None = None

    def mget(self, *args: Any, **options: Any) -> Any:
        """Ask, and let it happen once."""
        reply = super().mget(*args, **options)
        if self.meanwhile:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        return reply


@pytest.mark.parametrize("end", ["done", "quarantined"])
def test_an_image_that_ends_between_two_questions_counts_as_what_it_is(
    redis_server: RedisServer, tmp_path: Path, end: str
) -> None:
    redis_server.flush()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    arrival = arrival_of(tmp_path, photo.name)
    settings = Settings.model_validate({"inbox": [{"path": tmp_path, "name": arrival.inbox}]})
    with Interrupted(unix_socket_path=str(redis_server.socket), decode_responses=True) as client:
        leases = Leases(client, task_time_seconds=60)
        (verdict,) = leases.offer([arrival])
        leases.begin(arrival, verdict.token)
        follow = Follow(settings, leases, iter([arrival]))

        def ends() -> None:
            photo.unlink()
            leases.finish([End(arrival, verdict.token, [end], outcome={"outcome": end})])

        client.meanwhile = ends
        found = follow.to_the_end(lambda _: None)
    assert (found.done, found.quarantined) == (int(end == "done"), int(end == "quarantined"))
