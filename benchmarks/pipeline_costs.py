"""Where the pipeline's time goes: processor time of each part, Redis commands and fsyncs, all for one photo."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_thumbdrop import Thumbdrop

_TICKS = os.sysconf("SC_CLK_TCK")


def costs_of(thumbdrop: Thumbdrop, work: Callable[[], float]) -> dict[str, Any]:
    """Totals over `work`: {"cpu_ms": {part: ms}, "redis": {command: calls}, "fsyncs": number or None}.

    The fsyncs are counted in a second go, because strace slows everything down.
    """
    cpu, calls = _cpu_ms(thumbdrop), thumbdrop.redis_calls()
    work()
    after_cpu, after_calls = _cpu_ms(thumbdrop), thumbdrop.redis_calls()
    return {
        "cpu_ms": {part: round(after_cpu[part] - cpu.get(part, 0.0)) for part in after_cpu},
        "redis": {name: n - calls.get(name, 0) for name, n in sorted(after_calls.items()) if n > calls.get(name, 0)},
        "fsyncs": _fsyncs(thumbdrop, work),
    }


def _cpu_ms(thumbdrop: Thumbdrop) -> dict[str, float]:
    """Processor time so far by part; that of children that were replaced is in their parent's."""
    found: dict[str, float] = {}
    for pid, part in thumbdrop.parts().items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        found[part] = found.get(part, 0.0) + sum(map(int, fields[11:15])) * 1000 / _TICKS
    return found


def _fsyncs(thumbdrop: Thumbdrop, work: Callable[[], float]) -> int | None:
    if not shutil.which("strace"):
        return None
    with tempfile.NamedTemporaryFile() as log:
        pids = [str(pid) for pid, part in thumbdrop.parts().items() if part == "children"]
        command = ["strace", "-f", "-qq", "-c", "-e", "trace=fsync,fdatasync", "-o", log.name]
        tracer = subprocess.Popen([*command, *(word for pid in pids for word in ("-p", pid))])
        work()
        tracer.terminate()
        tracer.wait(10)
        counted = re.findall(r"^ *\S+ +\S+ +\S+ +(\d+) .*f(?:data)?sync$", Path(log.name).read_text(), re.MULTILINE)
        return sum(map(int, counted))
