"""Fuzz the engine for a while: `make fuzz`, or `make fuzz FUZZ="--minutes 2 --seed 7"`.

    PYTHONPATH=tests python -m fuzz [--minutes 30] [--seed N] [--processes 2] [--corpus FOLDER | --no-corpus]
    PYTHONPATH=tests python -m fuzz --replay fuzz/findings/*.bin

Exit code 1 when something was found that should not be; it stands in `fuzz/findings`, ready to be shown again.
"""

import argparse
import secrets
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from fuzz.child import UNWANTED
from fuzz.findings import Findings
from fuzz.line import FuzzedChild, Line
from fuzz.seeds import seeds_in_code, seeds_of

FOLDER = Path(__file__).resolve().parent
_CORPUS = FOLDER.parent.parent / "shared" / "corpus"
BAD = (*UNWANTED, "crash", "hang")
_SAYS_EVERY_SECONDS = 60.0


def main() -> int:
    """Fuzz, or replay; the exit code."""
    asked = _arguments()
    if asked.replay:
        return _replay(asked.replay)
    seeds = seeds_in_code()
    if asked.corpus is not None and asked.corpus.is_dir():
        seeds += seeds_of(asked.corpus)
    print(
        f"seed {asked.seed}, {len(seeds)} pictures to begin with, {asked.minutes:g} min in {asked.processes} processes"
    )
    findings = Findings(asked.findings, asked.seed)
    lines = [Line(f"{asked.seed}/{number}", seeds, findings.keep) for number in range(asked.processes)]
    _run(lines, asked.minutes * 60)
    _report(lines, findings)
    return 1 if findings.kinds else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", default=str(secrets.randbelow(10**9)))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--corpus", type=Path, default=_CORPUS, help="begin with its small files, too, if it is there")
    parser.add_argument("--no-corpus", dest="corpus", action="store_const", const=None)
    parser.add_argument("--findings", type=Path, default=FOLDER / "findings")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE")
    return parser.parse_args()


def _replay(files: list[Path]) -> int:
    child, worst = FuzzedChild(), 0
    for file in files:
        answer = child.show(file.read_bytes())
        print(f"{file}: {answer.verdict} {answer.format}\n{answer.detail}")
        worst |= answer.verdict in BAD
    child.end()
    return worst


def _run(lines: list[Line], seconds: float) -> None:
    began_at = time.monotonic()
    threads = [threading.Thread(target=line.run, args=(began_at + seconds, BAD), daemon=True) for line in lines]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(_SAYS_EVERY_SECONDS / len(threads))
        inputs = sum(line.inputs for line in lines)
        print(
            f"{time.monotonic() - began_at:5.0f} s  {inputs} inputs, {sum(line.behaviours for line in lines)} answers"
        )


def _report(lines: list[Line], findings: Findings) -> None:
    total: Counter[tuple[str, str]] = sum((line.tally for line in lines), Counter())
    for (kind, verdict), count in sorted(total.items(), key=lambda item: -item[1]):
        print(f"{count:8d}  {kind:22s} {verdict}")
    print(f"{total.total():8d}  inputs")
    for kind, count in findings.kinds.most_common():
        print(f"FOUND {count} times: {kind}")


if __name__ == "__main__":
    sys.exit(main())
