"""Remakes constraints.txt: the newest versions that pyproject.toml allows, for every Python that is named.

Usage: constraints.py PYTHON [PYTHON ...]. Nothing is installed; each Python's own pip resolves, because markers like
`python_version < "3.13"` are answered for the pip that runs. Where two Pythons get different versions, both stand in
the file, each with its marker.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Debian 12's Python 3.11.2 needs it (redis asks for it below 3.11.3), and no later 3.11 would name it.
ALSO = ["async-timeout"]

HEADER = """\
# What is installed, to the digit: all that Thumbdrop, its tests and its tools need on Python {pythons}.
# Remade by `make constraints`; used as `pip install -c constraints.txt ...`. A line here installs nothing by itself.
"""


def requirements() -> list[str]:
    """Everything that pyproject.toml names: to run, to test, to develop and to build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = chain(*project["project"]["optional-dependencies"].values())
    named = [*project["build-system"]["requires"], *project["project"]["dependencies"], *extras, *ALSO]
    return [requirement for requirement in named if not requirement.startswith("thumbdrop[")]


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """Ask that Python's pip what all of it leads to: ("3.11", {name: version})."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        report = Path(folder, "report.json")
        options = ["-qq", "install", "--dry-run", "--ignore-installed", "--report", str(report)]
        subprocess.run([f"{folder}/bin/python", "-m", "pip", *options, *requirements()], check=True)
        found = json.loads(report.read_text())
    packages = [item["metadata"] for item in found["install"]]
    versions = {package["name"].lower().replace("_", "-"): package["version"] for package in packages}
    return found["environment"]["python_version"], versions


def pins(resolved: dict[str, dict[str, str]]) -> list[str]:
    """One line a package, or one for each Python where they differ."""
    lines = []
    for name in sorted({name for versions in resolved.values() for name in versions}):
        by_python = {python: versions[name] for python, versions in resolved.items() if name in versions}
        if len(set(by_python.values())) == 1:
            lines.append(f"{name}=={next(iter(by_python.values()))}")
        else:
            lines += [f'{name}=={version} ; python_version == "{python}"' for python, version in by_python.items()]
    return lines


def main() -> None:
    """Resolve for every Python that is named and write the file."""
    resolved = dict(resolve(python) for python in sys.argv[1:])
    text = HEADER.format(pythons=" and ".join(resolved)) + "\n".join(pins(resolved)) + "\n"
    (ROOT / "constraints.txt").write_text(text)


if __name__ == "__main__":
    main()
