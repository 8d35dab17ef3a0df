"""What all tests share: the servers, the test images, and a summary of what could not be tested on this machine."""

import os
from collections import Counter
from pathlib import Path

import pytest

from needs import corpus_folder, missing

# In the order in which they import each other: pytest rewrites the asserts of each before it is loaded.
pytest_plugins = ["installed", "servers", "running", "sftp", "ingest_rig"]


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real test images; never written to."""
    return corpus_folder()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep tests that mount, or give files away, from running without the right to."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        missing("needs to be root")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped and why: a green line alone would hide it."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    # A skipped test's report carries (path, line, reason).
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    terminalreporter.section(f"NOT TESTED ON THIS MACHINE: {len(skipped)} tests", yellow=True, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4d}  {reason}", yellow=True)
