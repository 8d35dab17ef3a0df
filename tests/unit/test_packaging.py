"""What is installed: pins that guards depend on, constraints that fit pyproject.toml, and nothing about where from."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from needs import ROOT
from tasks.broker_guard import GUARDED_KOMBU

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(pin.name): pin for pin in map(Requirement, CONSTRAINTS)}


def required(*extras: str) -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines if not line.startswith("thumbdrop[")]


def exact_version(name: str) -> str:
    (requirement,) = (one for one in required() if one.name == name)
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_the_guard_in_the_broker_stands_for_the_kombu_that_is_required_and_installed() -> None:
    assert exact_version("kombu") == GUARDED_KOMBU == version("kombu")


def test_watchdog_is_the_very_version_whose_private_methods_are_overridden() -> None:
    assert exact_version("watchdog") == "7.1.0" == version("watchdog")


@pytest.mark.parametrize("requirement", required("test", "dev", "flower"), ids=str)
def test_constraints_pin_every_requirement_to_a_version_that_it_allows(requirement: Requirement) -> None:
    (pin,) = PINS[canonicalize_name(requirement.name)].specifier
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)


@pytest.mark.parametrize("line", CONSTRAINTS)
def test_a_constraint_is_a_name_and_an_exact_version_and_no_address(line: str) -> None:
    assert re.fullmatch(r'[a-z0-9-]+==[0-9][0-9a-z.]*( ; python_version == "3\.\d+")?', line)


def test_constraints_hold_what_debian_12s_python_needs_beyond_a_newer_one() -> None:
    assert "async-timeout" in PINS


def test_no_file_that_is_packaged_or_run_by_ci_names_a_package_index() -> None:
    files = [ROOT / name for name in ("pyproject.toml", "constraints.txt", "Makefile")]
    scripts = [path for path in (ROOT / ".ci").iterdir() if path.is_file()]
    for file in [*files, *scripts]:
        assert not names_an_index(file), file


def names_an_index(file: Path) -> bool:
    return bool(re.search(r"index-url|find-links|trusted-host|pypi\.org|deb http", file.read_text()))
