"""A client inside the virtual machine that writes a file in pieces, and pauses between them with the file open.

    python3 guest_pauses.py FILE TARGET PIECES SECONDS

Each piece is sent to the server before the pause (fsync). Over NFSv3, which knows no open files, the server then opens
and closes the file for every piece, so that on its side the upload looks finished in every pause.
"""

import os
import sys
import time
from pathlib import Path

content, target, pieces, seconds = Path(sys.argv[1]).read_bytes(), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
size = -(-len(content) // pieces)
fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o664)
for at in range(0, len(content), size):
    if at:
        time.sleep(seconds)
    os.write(fd, content[at : at + size])
    os.fsync(fd)
os.close(fd)
