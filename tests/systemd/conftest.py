"""One booted machine for all tests of this folder: to boot is quick, to install and to start are not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from booted import booted_machine
from images import image_bytes
from installation import Installation
from needs import ROOT, missing

# So that a test need not wait for a minute before a service counts as hung.
_IMPATIENCE = "[Service]\nWatchdogSec=6\nTimeoutAbortSec=3\n"


@pytest.fixture(scope="session")
def package() -> Path:
    """The package, as `make deb` left it."""
    found = Path(os.environ.get("THUMBDROP_DEB", "")) if os.environ.get("THUMBDROP_DEB") else None
    built = sorted((ROOT / "dist").glob("thumbdrop_*.deb"), key=lambda file: file.stat().st_mtime)
    if found is None and not built:
        missing("no package in dist/: make deb")
    return found or built[-1]


@pytest.fixture(scope="session")
def installation(package: Path) -> Iterator[Installation]:
    """The running installation; it stays up between the tests, which use names of their own."""
    with booted_machine() as machine:
        thumbdrop = Installation(machine)
        thumbdrop.bring(package)
        thumbdrop.make_client()
        thumbdrop.follow_readme("install: debian", "sftp: machine", "sftp: uploader")
        thumbdrop.wait_running()
        thumbdrop.upload({"readme.jpg": image_bytes()})  # what the README leads to works as it is
        thumbdrop.wait_done("readme.jpg")
        thumbdrop.configure(thumbdrop.settings)
        with (
            thumbdrop.drop_in("thumbdrop-watcher.service", _IMPATIENCE),
            thumbdrop.drop_in("thumbdrop-worker@.service", _IMPATIENCE),
        ):
            thumbdrop.stop()
            thumbdrop.start()
            yield thumbdrop


@pytest.fixture
def thumbdrop(installation: Installation) -> Iterator[Installation]:
    """The installation with everything up, before the test and after it."""
    installation.wait_running()
    yield installation
    installation.wait_running()
