"""The README's other commands around an installation, followed on a machine of their own: by hand, upgraded, removed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from booted import booted_machine
from images import image_bytes
from installation import Installation
from needs import ROOT, missing

pytestmark = [pytest.mark.timeout(500), pytest.mark.root]

# What pip would fetch comes from a folder.
_OFFLINE = "[global]\nno-index = true\nfind-links = /root/wheels\ndisable-pip-version-check = true\n"


@pytest.fixture(scope="module")
def bare() -> Iterator[Installation]:
    """A machine with nothing but what the README tells to bring: wheels, constraints, a key."""
    wheels = Path(os.environ.get("THUMBDROP_WHEELS") or ROOT / "dist/wheels")
    if not list(wheels.glob("thumbdrop-*.whl")):
        missing(f"no wheels in {wheels}: make wheels")
    with booted_machine() as machine:
        thumbdrop = Installation(machine)
        (machine.root / "root/wheels").mkdir()
        for wheel in wheels.glob("*.whl"):
            folder = "root" if wheel.name.startswith("thumbdrop-") else "root/wheels"
            (machine.root / folder / wheel.name).write_bytes(wheel.read_bytes())
        (machine.root / "root/constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
        (machine.root / "etc/pip.conf").write_text(_OFFLINE)
        thumbdrop.make_client()
        yield thumbdrop


def assert_works(thumbdrop: Installation, name: str, width: int) -> None:
    thumbdrop.wait_running()
    thumbdrop.upload({name: image_bytes(width=width)})
    thumbdrop.wait_done(name)


def test_an_installation_by_hand_runs_is_upgraded_and_leaves_the_photos(bare: Installation) -> None:
    bare.follow_readme("install: by hand", "sftp: machine", "sftp: uploader")
    assert_works(bare, "by-hand.jpg", 510)
    bare.follow_readme("upgrade: by hand")
    assert_works(bare, "by-hand-2.jpg", 520)
    bare.follow_readme("remove: by hand")
    assert bare.machine.succeed("systemctl", "list-units", "--plain", "--no-legend", "thumbdrop-*.service") == ""
    assert bare.is_done("by-hand.jpg")
    assert bare.toml.exists()
