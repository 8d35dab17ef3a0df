"""Run Python code whose system calls fail, wait or kill it at a chosen moment (strace's fault injection)."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from needs import ROOT, need


def start_with(inject: list[str], code: str, *arguments: str | Path, only: str = "") -> subprocess.Popen[str]:
    """Start `code` with strace's `inject` expressions in force, like "renameat2:error=EINVAL"; `only` names a path."""
    calls = ",".join(expression.partition(":")[0] for expression in inject)
    command = [need("strace"), "-f", "-qq", "-o", "/dev/null", f"--trace={calls}"]
    command += [f"--inject={expression}" for expression in inject] + (["-P", only] if only else [])
    return subprocess.Popen(
        [*command, sys.executable, "-c", textwrap.dedent(code), *(str(argument) for argument in arguments)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_with(inject: list[str], code: str, *arguments: str | Path, only: str = "") -> str:
    """Run `code` to its end and return what it printed; AssertionError with its traceback when it fails."""
    started = start_with(inject, code, *arguments, only=only)
    printed, trouble = started.communicate(timeout=30)
    assert started.returncode == 0, trouble
    return printed
