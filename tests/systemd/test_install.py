"""The README's two ways to install, upgrade and remove, command by command, one after the other on one machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from booted import booted_machine
from images import image_bytes
from installation import Installation
from needs import ROOT, missing
from waiting import wait_until

pytestmark = [pytest.mark.timeout(420), pytest.mark.root]

PIP_WITHOUT_A_NETWORK = "[global]\nno-index = true\nfind-links = /var/wheels\n"


@pytest.fixture(scope="module")
def machine(package: Path) -> Iterator[Installation]:
    """A machine on which nothing of Thumbdrop has ever been, with what the README's commands expect in /root."""
    wheels = ROOT / "dist/wheels"
    own = [*wheels.glob("thumbdrop-*.whl")]
    if not own:
        missing("no wheels in dist/wheels: make wheels")
    with booted_machine() as booted:
        thumbdrop = Installation(booted)
        thumbdrop.inbox = booted.root / "srv/thumbdrop/inbox"
        thumbdrop.bring(package)
        shutil.copy(own[0], booted.root / "root")
        shutil.copy(ROOT / "constraints.txt", booted.root / "root")
        shutil.copytree(wheels, booted.root / "var/wheels", ignore=shutil.ignore_patterns(".pip"))
        (booted.root / "etc/pip.conf").write_text(PIP_WITHOUT_A_NETWORK)
        # No power is cut here, and to sync each of its files makes a package's installation slow.
        (booted.root / "etc/dpkg/dpkg.cfg.d/tests").write_text("force-unsafe-io\n")
        yield thumbdrop


def drop(thumbdrop: Installation, name: str) -> None:
    hidden = thumbdrop.inbox / f".{name}"
    hidden.write_bytes(image_bytes())
    hidden.rename(thumbdrop.inbox / name)


def nothing_runs(thumbdrop: Installation) -> bool:
    return thumbdrop.machine.succeed("systemctl", "list-units", "--no-legend", "thumbdrop*.service") == ""


def test_by_hand_it_ends_in_a_running_system_that_can_be_upgraded_and_removed(machine: Installation) -> None:
    machine.follow_readme("install: by hand")
    machine.wait_running()
    drop(machine, "by-hand.jpg")
    machine.wait_done("by-hand.jpg")
    machine.follow_readme("upgrade: by hand")
    machine.wait_running()
    drop(machine, "upgraded.jpg")
    machine.wait_done("upgraded.jpg")
    # The package would be hidden by the units, and mixed with the programs, of the other way.
    refused = machine.machine.run("sh", "-c", "dpkg -i /root/thumbdrop_*.deb")
    assert refused.returncode != 0
    assert b"/opt/thumbdrop is there and not from this package" in refused.stderr
    machine.follow_readme("remove: by hand")
    wait_until(lambda: nothing_runs(machine), "all services are gone", 30, 0.3)
    assert machine.is_done("by-hand.jpg")
    assert machine.toml.exists()
    # Which leaves the machine as it was for the other way.
    machine.toml.unlink()


def test_the_package_leaves_settings_when_it_is_removed_and_photos_when_it_is_purged(machine: Installation) -> None:
    machine.follow_readme("install: debian")
    machine.wait_running()
    drop(machine, "package.jpg")
    machine.wait_done("package.jpg")
    machine.toml.write_text(f"{machine.toml.read_text()}\n# changed\n")
    machine.follow_readme("remove: debian")
    assert nothing_runs(machine)
    assert machine.toml.read_text().endswith("# changed\n")
    assert not (machine.machine.root / "opt/thumbdrop").exists()
    # Installed again it is as it was, enabled, but starts nothing unasked.
    machine.machine.succeed("sh", "-c", "dpkg -i /root/thumbdrop_*.deb", seconds=120)
    assert machine.machine.succeed("systemctl", "is-enabled", "thumbdrop.target").strip() == "enabled"
    assert nothing_runs(machine)
    assert machine.toml.read_text().endswith("# changed\n")
    machine.follow_readme("purge: debian")
    left = machine.machine.succeed("find", "/etc", "/usr", "/var/lib", "/lib", "/run", "-xdev", "-name", "*thumbdrop*")
    assert left.splitlines() == []
    assert machine.is_done("package.jpg")
    assert machine.machine.succeed("stat", "-c", "%U", "/srv/thumbdrop/library").strip() == "thumbdrop"


def test_programs_of_the_package_know_no_place_where_they_were_built(package: Path, machine: Installation) -> None:
    folder = machine.machine.root / "root/unpacked"
    machine.machine.succeed("sh", "-c", f"dpkg-deb -x /root/{package.name} /root/unpacked")
    programs = [file for file in (folder / "opt/thumbdrop/bin").iterdir() if file.is_file() and not file.is_symlink()]
    scripts = [file.read_bytes() for file in programs if file.read_bytes()[:2] == b"#!"]
    assert scripts
    assert {script.partition(b"\n")[0] for script in scripts} == {b"#!/opt/thumbdrop/bin/python"}
    written = [folder / "opt/thumbdrop/pyvenv.cfg", *folder.rglob("*.dist-info/*")]
    assert not any(b"/tmp/" in file.read_bytes() for file in written if file.is_file() and file.name != "METADATA")
