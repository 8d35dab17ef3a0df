"""The unit files as systemd itself reads them, and what they promise each other and the settings."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.settings import Settings
from needs import ROOT, need

UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
INSTALLED_IN = "/opt/thumbdrop/bin"


def service_section(name: str) -> dict[str, list[str]]:
    """The directives of [Service] with those of all services, each with all its values: a key may stand there twice."""
    files = (UNITS / name, UNITS / "thumbdrop-.service.d" / "10-hardening.conf")
    texts = (file.read_text().partition("[Service]\n")[2].partition("\n[")[0] for file in files)
    found: dict[str, list[str]] = {}
    for line in "\n".join(texts).splitlines():
        key, is_directive, value = line.partition("=")
        if is_directive and not key.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def units_as_installed(tmp_path: Path) -> Path:
    """The units beside programs that exist: a missing one is all that verify would talk about."""
    for program in ("thumbdrop", "celery", "redis-server"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    units = tmp_path / "units"
    units.mkdir()
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.target"), *UNITS.glob("*.slice")]:
        text = unit.read_text().replace(INSTALLED_IN, str(tmp_path)).replace("/usr/bin/redis", f"{tmp_path}/redis")
        (units / unit.name).write_text(text)
    shutil.copytree(UNITS / "thumbdrop-.service.d", units / "thumbdrop-.service.d")
    return units


def verify(units: Path) -> str:
    files = sorted(str(unit) for unit in units.iterdir() if unit.is_file())
    command = [need("systemd-analyze"), "verify", "--man=no", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    # verify ends with 0 even after an unknown directive: only its silence says that all is well.
    return done.stdout + done.stderr


def test_systemd_has_nothing_to_say_about_the_units(units_as_installed: Path) -> None:
    assert verify(units_as_installed) == ""


@pytest.mark.parametrize("wrong", ["KillMode=perhaps", "NoSuchDirective=yes"])
def test_systemd_does_speak_up_about_a_wrong_unit(units_as_installed: Path, wrong: str) -> None:
    unit = units_as_installed / "thumbdrop-watcher.service"
    unit.write_text(unit.read_text().replace("[Service]\n", f"[Service]\n{wrong}\n"))
    assert verify(units_as_installed)


def test_systemd_reads_what_all_services_have_in_common(units_as_installed: Path) -> None:
    shared = units_as_installed / "thumbdrop-.service.d" / "10-hardening.conf"
    shared.write_text(f"{shared.read_text()}NoSuchDirective=yes\n")
    assert verify(units_as_installed).count("NoSuchDirective") >= len(SERVICES)


def test_the_target_starts_every_service() -> None:
    target = configparser.ConfigParser()
    target.read(UNITS / "thumbdrop.target")
    started = {re.sub(r"@\w+", "@", name) for name in target["Unit"]["Wants"].split()}
    assert started == set(SERVICES) - {"thumbdrop-redis.service"}  # which is optional


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_unprivileged_and_comes_back_unless_its_settings_are_wrong(name: str) -> None:
    service = service_section(name)
    assert service["User"] == ["thumbdrop"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["Restart"] == ["always"]
    if name != "thumbdrop-redis.service":
        assert "78" in service["RestartPreventExitStatus"][0].split()


@pytest.mark.parametrize("name", SERVICES)
def test_inbox_and_library_are_one_mount_for_a_service(name: str) -> None:
    assert len(" ".join(service_section(name).get("ReadWritePaths", [])).split()) <= 1


def test_a_worker_is_given_the_time_to_finish_the_images_at_hand() -> None:
    service = service_section("thumbdrop-worker@.service")
    assert int(service["TimeoutStopSec"][0]) > Settings().limits.task_time_seconds + 10
    assert service["KillMode"] == ["mixed"]


@pytest.mark.root
def test_user_and_directories_come_out_as_the_units_need_them(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for program, option in (("systemd-sysusers", "--no-pager"), ("systemd-tmpfiles", "--create")):
        file = UNITS / f"thumbdrop.{program.removeprefix('systemd-')}"
        subprocess.run([need(program), f"--root={tmp_path}", option, str(file)], check=True, capture_output=True)
    name, _, uid, gid = (tmp_path / "etc/passwd").read_text().split(":")[:4]
    inbox, library = ((tmp_path / "srv/thumbdrop" / folder).stat() for folder in ("inbox", "library"))
    assert name == "thumbdrop"
    assert (inbox.st_uid, inbox.st_gid) == (library.st_uid, library.st_gid) == (int(uid), int(gid))
    assert inbox.st_mode & 0o7777 == 0o2775
    assert library.st_mode & 0o7777 == 0o755
