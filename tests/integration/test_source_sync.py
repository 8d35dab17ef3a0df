"""No client syncs what it uploads (cp, rsync, SFTP servers), so Thumbdrop does before it speaks for a file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ingesting
from needs import ROOT, need

_QUARANTINE = """
import sys
from pathlib import Path
from config.settings import Settings
from ingesting import arrival_of
from tasks.errors import InputError, Reason
from tasks.quarantine import Quarantine
from tasks.source import open_source

root, inbox = map(Path, sys.argv[1:3])
settings = Settings.model_validate({"inbox": [{"path": inbox}], "library": {"path": root}})
why = InputError(Reason.NOT_AN_IMAGE, "no image", "send one")
with open_source(inbox, "photo.jpg") as source:
    Quarantine(settings).put(arrival_of(inbox, "photo.jpg"), source, why, attempts=1, first_seen_at=None, keep=False)
"""


def calls_of(code: str, folder: Path) -> list[str]:
    """The syncs, renames and links of a program that takes `inbox/photo.jpg` away, with the paths that they are about."""
    root, inbox, log = folder / "library", folder / "inbox", folder / "calls"
    root.mkdir()
    inbox.mkdir()
    (inbox / "photo.jpg").write_bytes(b"not synced by anybody" * 1000)
    strace = [need("strace"), "-f", "-qq", "-y", "-s", "500", "-o", str(log), "--trace=fsync,renameat,renameat2,linkat"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", code, str(root), str(inbox), b"photo.jpg".hex()]
    subprocess.run([*strace, *words], env=environment, check=True)
    return [re.sub(r"^\d+ +", "", line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("end", ["archived", "quarantined"])
def test_an_original_is_synced_before_it_gets_its_final_name(tmp_path: Path, end: str) -> None:
    """Else a power cut leaves an empty file there, and the upload that the inbox still knew is gone."""
    calls = calls_of(Path(ingesting.__file__).read_text() if end == "archived" else _QUARANTINE, tmp_path)
    synced = [number for number, call in enumerate(calls) if re.match(r"fsync\(\d+<.*/inbox/photo\.jpg>\)", call)]
    (moved,) = (number for number, call in enumerate(calls) if re.match(r"renameat2\(\d+<.*/inbox>, ", call))
    assert len(synced) == 1, calls
    assert synced[0] < moved
    if end == "archived":
        (committed,) = (number for number, call in enumerate(calls) if '"photo.json"' in call)
        assert synced[0] < committed, "from then on the manifest says where the original stands"
