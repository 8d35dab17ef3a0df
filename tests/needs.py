"""What a test needs from the machine: there, or the test is skipped loudly; under CI (CI=true) it fails instead."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Servers live where an ordinary user's PATH does not look.
_SERVER_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"


def missing(what: str) -> NoReturn:
    """Skip the test because of `what`, or fail it where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing, and CI=true allows no skip: {what}", pytrace=False)
    pytest.skip(what)


def need(program: str, places: str = "") -> str:
    """The path of a program, looked for on PATH, where servers live, and in `places` (separated by colons)."""
    search = ":".join([places, os.environ.get("PATH", os.defpath), _SERVER_PLACES])
    found = shutil.which(program, path=search)
    if not found:
        missing(f"{program} is not installed")
    return str(found)


def corpus_folder() -> Path:
    """Where the test images are: $THUMBDROP_CORPUS, else ../shared/corpus beside the checkout."""
    folder = Path(os.environ.get("THUMBDROP_CORPUS") or ROOT.parent / "shared" / "corpus")
    if not (folder / "MANIFEST.tsv").is_file():
        missing(f"no test images at {folder} (THUMBDROP_CORPUS names another place)")
    return folder
