"""Keep what should not be: the input that did it, with what it did, under a name that says what and from which seed."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

from fuzz.line import Answer

_KEPT_OF_A_KIND = 3


def kind_of(answer: Answer) -> str:
    """What findings of the same cause have in common, as far as words can tell: no numbers, no names of files."""
    last_line = answer.detail.strip().rpartition("\n")[2]
    return f"{answer.verdict} {answer.format} {re.sub(r'0x[0-9a-f]+|[0-9]+', '#', last_line)[:120]}"


class Findings:
    """The findings of one run, in a folder."""

    def __init__(self, folder: Path, seed: str) -> None:
        self._folder = folder
        self._seed = seed
        self.kinds: Counter[str] = Counter()

    def keep(self, answer: Answer, content: bytes, where: str) -> None:
        """Write down a finding, unless there are some of its kind already; `where` says which input of which line it was."""
        kind = kind_of(answer)
        self.kinds[kind] += 1
        if self.kinds[kind] > _KEPT_OF_A_KIND:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{answer.verdict}-{answer.format}-{hashlib.sha256(content).hexdigest()[:12]}"
        (self._folder / f"{name}.bin").write_bytes(content)
        record = {"seed": self._seed, "input": where, **answer._asdict()}
        (self._folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"FOUND {name}: {kind}", flush=True)
