"""The import rule at run time: what each process really loads. (The rule on paper is import-linter's, in `make lint`.)"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from needs import ROOT

LOAD = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""


def modules_of(package: str) -> list[str]:
    return [f"{package}.{path.stem}" for path in (ROOT / package).glob("*.py") if path.stem != "__init__"]


def loaded_with(modules: list[str], folder: Path) -> set[str]:
    """Top-level packages in a new interpreter that has imported these, with default settings."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    command = [sys.executable, "-W", "error", "-c", LOAD, *modules]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=40)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("package", "expected", "unwanted"),
    [
        ("watcher", {"watchdog", "celery"}, {"PIL", "pillow_heif", "simplejpeg", "numpy"}),
        ("tasks", {"PIL", "celery"}, {"watchdog", "daemon", "watcher"}),
        (
            "config",
            {"pydantic"},
            {"PIL", "pillow_heif", "simplejpeg", "numpy", "watchdog", "daemon", "tasks", "watcher"},
        ),
    ],
)
def test_a_package_loads_what_it_works_with_and_nothing_of_the_other_side(
    package: str, expected: set[str], unwanted: set[str], tmp_path: Path
) -> None:
    loaded = loaded_with(modules_of(package), tmp_path)
    assert expected <= loaded
    assert not unwanted & loaded


def test_the_worker_process_never_loads_watchdog(tmp_path: Path) -> None:
    loaded = loaded_with(["tasks.celery"], tmp_path)
    assert "PIL" in loaded
    assert "watchdog" not in loaded


def test_the_watcher_process_never_loads_pillow(tmp_path: Path) -> None:
    loaded = loaded_with(["watcher.daemon"], tmp_path)
    assert "watchdog" in loaded
    assert "PIL" not in loaded
