"""Run a piece of a test as somebody whom file modes bind: root may read everything, so the tests' own user will not do."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def become_nobody() -> None:
    """Give up root's rights, if we have them; to be called after the imports, for nobody may not read root's Python."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """A temporary directory that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="thumbdrop-test-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


def run_as_nobody(program: str, *arguments: str | Path) -> str:
    """Run Python code which calls `become_nobody()` after its imports; its output. Fails when it fails."""
    tests = Path(__file__).parent
    code = f"from unprivileged import become_nobody\n{textwrap.dedent(program)}"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={"PYTHONPATH": f"{tests.parent}:{tests}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout
