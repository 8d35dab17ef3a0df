"""Memory is asked of the kernel for the first pictures, not for each."""

import io
import os
import subprocess
import sys

import pytest

import images

MANY = """
import resource, sys
from rendering import rendered, size

content = sys.stdin.buffer.read()
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    rendered(content, size(1280, 1280, kind="jpeg"), size(640, 640, kind="jpeg"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is the GNU C library's")
def test_later_pictures_take_no_new_memory() -> None:
    buffer = io.BytesIO()
    images.photo(2000, 1500).save(buffer, "jpeg", quality=92, icc_profile=images.icc_profile(gamma=1.8))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MANY]
    done = subprocess.run(command, input=buffer.getvalue(), env=environment, stdout=subprocess.PIPE, check=True)
    new_pages = int(done.stdout)
    assert new_pages < 1000  # of 4 kB; thumbnail and colours alone are 5000
