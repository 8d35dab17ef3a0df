"""The packages that Thumbdrop depends on, as wheels in a folder, for a machine that has no network.

They are chosen by Debian's own Python: 3.11.2 needs async-timeout where a later 3.11 does not, so that a set gathered by
the Python of the tests cannot be installed there.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from booted import CACHE
from needs import ROOT, missing

PYTHON = "/usr/bin/python3"


def dependency_wheels() -> Path:
    """A folder with a wheel of each dependency, in the versions of constraints.txt; fetched on the first call (10 s)."""
    if not Path(PYTHON).exists():
        missing(f"there is no {PYTHON}")
    version = _said(PYTHON, "-V").strip()
    recipe = "".join([version, (ROOT / "pyproject.toml").read_text(), (ROOT / "constraints.txt").read_text()])
    wheels = CACHE / f"wheels-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not wheels.exists():
        CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="wheels-", dir=CACHE, ignore_cleanup_errors=True) as folder:
            half = Path(folder) / "wheels"
            _fetch(Path(folder) / "venv", half)
            try:
                os.rename(half, wheels)
            except OSError:  # somebody else was faster
                shutil.rmtree(half)
    return wheels


def _fetch(venv: Path, wheels: Path) -> None:
    _said(PYTHON, "-m", "venv", str(venv))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    options = ["--disable-pip-version-check", "-qq", "download", "--only-binary", ":all:", "-d", str(wheels)]
    _said(str(venv / "bin" / "pip"), *options, "-c", str(ROOT / "constraints.txt"), *wanted)


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout
