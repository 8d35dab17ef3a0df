"""Thumbdrop as people get it: the built wheel in an environment of its own, away from the checkout."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from needs import ROOT


def run_python(*arguments: str, folder: Path = ROOT) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout as it stands."""
    folder = tmp_path_factory.mktemp("wheel")
    run_python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a new virtual environment with the wheel in it: bin/thumbdrop, share/thumbdrop/systemd.

    The packages that it depends on are those of the running tests, lent through a .pth file, so that nothing is
    downloaded; an editable Thumbdrop beside them stays out, because .pth files of a lent folder are not read.
    """
    prefix = tmp_path_factory.mktemp("installed")
    run_python("-m", "venv", "--without-pip", str(prefix))
    python = prefix / "bin" / "python"
    run_python("-m", "pip", "-qq", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages,) = prefix.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text("\n".join(lent) + "\n")
    return prefix
