"""ARCHITECTURE.md is true: every module, log event, reason and guarding test that it names is there, and none is missing."""

import re
from pathlib import Path

import pytest

from tasks.errors import Reason

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
MODULES = sorted(path for package in ("config", "tasks", "watcher") for path in (ROOT / package).glob("*.py"))
SOURCE = "\n".join(path.read_text() for path in MODULES)


def section(title: str) -> str:
    """The text below a heading of the second level."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("package", ["config", "tasks", "watcher"])
def test_every_module_has_one_line(package: str) -> None:
    listed = section("Modules").partition(f"### {package}/")[2].partition("### ")[0]
    names = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^- `(\w+\.py)`: .+", listed, re.MULTILINE)) == names


def test_every_invariant_is_guarded_by_tests_that_exist() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    rows = [
        line for line in section("Invariants, and the tests that guard them").splitlines() if re.match(r"\| \d", line)
    ]
    assert len(rows) == 10
    for row in rows:
        guards = re.findall(r"`(test_\w+)`", row)
        assert guards, row
        assert [guard for guard in guards if f"def {guard}(" not in tests] == []


def test_every_log_event_is_listed() -> None:
    said = set(re.findall(r"log\.(?:debug|info|warning|error|exception)\(\s*\"([a-z_]+\.[a-z_]+)\"", SOURCE))
    assert said
    assert {event for event in said if f"`{event}`" not in section("Log events")} == set()


def test_every_reason_is_explained() -> None:
    assert {reason for reason in Reason if f"`{reason}`" not in section("Reasons")} == set()
