"""What people who know Celery will try: `celery -A tasks` worker, inspect, result, call, beat and flower."""

import importlib.util
import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from images import image_bytes
from needs import missing
from running import SETTINGS, Running, Said, Thumbdrop, thumbdrops
from servers import RedisServer, free_ports
from waiting import wait_until

TASKS = ("thumbdrop.expire", "thumbdrop.ingest", "thumbdrop.sweep")


@dataclass(frozen=True)
class Crew:
    """A folder with thumbdrop.toml in which `celery -A tasks worker` runs and has ingested `photo.jpg`."""

    thumbdrop: Thumbdrop
    worker: Running
    redis: RedisServer

    def celery(self, *words: str) -> list[str]:
        """The words of `celery -A tasks ...` in the installed environment."""
        return [str(self.thumbdrop.program.with_name("python")), "-m", "celery", "-A", "tasks", *words]

    def ask(self, *words: str) -> Said:
        """Run it to its end."""
        said = self.thumbdrop.run(*self.celery(*words), seconds=30)
        assert said.code == 0, said
        return said


@pytest.fixture(scope="module")
def crew(installed_program: Any, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Crew]:
    redis_server.flush()
    stores = f'\n[broker]\nurl = "{redis_server.broker_url}"\n[results]\nurl = "{redis_server.results_url}"\n'
    with thumbdrops(installed_program, tmp_path_factory.mktemp("celery")) as make:
        thumbdrop = make(SETTINGS + stores)
        thumbdrop.library.mkdir()
        python = str(installed_program.with_name("python"))
        words = [python, "-m", "celery", "-A", "tasks", "worker", "--loglevel=INFO", "--concurrency=1"]
        worker = thumbdrop.spawn(words, "worker")
        thumbdrop.drop("photo.jpg", image_bytes())
        assert thumbdrop.command("scan", "--wait").code == 0
        yield Crew(thumbdrop, worker, redis_server)


def result(crew: Crew, task_id: str) -> Any:
    with crew.redis.client(1) as client:
        text: Any = client.get(f"celery-task-meta-{task_id}")
    return json.loads(text) if text else None


def test_the_worker_s_banner_shows_the_registered_tasks_and_the_queue(crew: Crew) -> None:
    banner = crew.worker.text.partition("worker.ready")[0]
    assert re.findall(r"^  \. (\S+)$", banner, re.MULTILINE) == list(TASKS)
    assert re.search(r"^ +\.> thumbdrop ", banner, re.MULTILINE)
    assert "image.done inbox=inbox path=photo.jpg" in crew.worker.text


def test_inspect_tells_of_the_worker(crew: Crew) -> None:
    (tasks,) = json.loads(crew.ask("inspect", "registered", "--json").text).values()
    assert tuple(tasks) == TASKS
    (active,) = json.loads(crew.ask("inspect", "active", "--json").text).values()
    assert active == []
    assert "pong" in crew.ask("inspect", "ping").text
    assert "1 node online" in crew.ask("status").text


def test_result_tells_what_became_of_the_file_that_why_names(crew: Crew) -> None:
    why = crew.thumbdrop.command("why", "inbox/photo.jpg", "--json").json
    assert why["state"] == "done"
    said = crew.ask("result", why["arrival_id"])
    assert "'outcome': 'done'" in said.text
    assert "originals/uncategorized/photo.jpg" in said.text


def test_a_periodic_job_can_be_called_by_name_and_its_result_stands_in_the_result_store(crew: Crew) -> None:
    leftover = crew.thumbdrop.inbox / "emptied"
    leftover.mkdir()
    task_id = crew.ask("call", "thumbdrop.sweep").text.strip()
    found = wait_until(lambda: result(crew, task_id), "the sweep has ended", 20)
    assert found["status"] == "SUCCESS"
    # Nothing here is old enough: what is, tests/integration/test_housekeeping.py shows.
    assert found["result"] == {"temporaries": 0, "claims": 0, "put_back": 0, "directories": 0}
    assert leftover.is_dir()


def test_beat_sends_the_periodic_jobs_and_the_worker_runs_them(crew: Crew) -> None:
    with crew.redis.client(1) as client:
        client.delete("thumbdrop:beat")
    words = crew.celery("beat", "--loglevel=INFO", f"--schedule={crew.thumbdrop.folder / 'schedule'}")
    beat = crew.thumbdrop.spawn(words, "beat")
    wait_until(lambda: jobs_that_ran(crew) == {"sweep", "expire"}, "both jobs ran", 30)
    beat.process.terminate()
    assert beat.wait() == 0
    status = crew.thumbdrop.command("status", "--json").json
    assert set(status["beat"]) == {"sweep", "expire"}


def jobs_that_ran(crew: Crew) -> set[str]:
    with crew.redis.client(1) as client:
        found: Any = client.hkeys("thumbdrop:beat")
    return set(found)


def test_flower_lists_the_worker_and_what_it_can_do(crew: Crew) -> None:
    if not importlib.util.find_spec("flower"):
        missing("flower is not installed: pip install 'thumbdrop[flower]'")
    (port,) = free_ports(1)
    crew.thumbdrop.environ["FLOWER_UNAUTHENTICATED_API"] = "true"
    flower = crew.thumbdrop.spawn(crew.celery("flower", "--address=127.0.0.1", f"--port={port}"), "flower")

    def lists_the_worker() -> Any:
        assert flower.process.poll() is None, flower.text
        return get(f"http://127.0.0.1:{port}/api/workers?refresh=1")

    workers = json.loads(wait_until(lists_the_worker, f"flower lists the worker:\n{flower.text}", 30, every=0.3))
    (facts,) = workers.values()
    assert set(TASKS) <= set(facts["registered"])
    assert [queue["name"] for queue in facts["active_queues"]] == ["thumbdrop"]
    (name,) = workers
    # What the page's script fills its table with; it knows whom it heard.
    wait_until(
        lambda: f'"{name}"' in get(f"http://127.0.0.1:{port}/workers?json=1"), "the page lists it", 20, every=0.3
    )


def get(url: str) -> str:
    """What stands there; empty while nobody answers, or nothing is known yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            text: str = reply.read().decode()
    except OSError:
        return ""
    return "" if text.strip() == "{}" else text
