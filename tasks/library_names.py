"""Turn names from an inbox into names in the library: pure text, no files.

Names are `str` with surrogate escapes (`os.fsdecode`) and need not be UTF-8, so every length here is one of bytes
(`os.fsencode`), because that is what a file system counts (NAME_MAX, 255 on every Linux one).
"""

import hashlib
import os
import re
from collections.abc import Iterator

NAME_MAX_BYTES = 255
STEM_MAX_BYTES = 180
# What a slot's stem may grow to with its hash: the longest thing put behind a stem is "_99999x99999.jpeg".
_SLOT_STEM_MAX_BYTES = NAME_MAX_BYTES - len("_99999x99999.jpeg")
_SUFFIX_MAX_BYTES = 32
_HASH_DIGITS = (8, 16, 32, 64)


def split_path(path: str) -> tuple[str, ...]:
    """The parts of a relative path with `/` between them.

    Raises ValueError for whatever could lead out of the root or name nothing: absolute, empty, ".", "..", NUL.
    """
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"not a path below its root: {path!r}")
    return parts


def split_name(name: str) -> tuple[str, str]:
    """(stem, suffix with its dot); only the last suffix counts, and a leading dot starts none.

    What is longer than any suffix belongs to the stem, so that a stem can always be cut to make a name fit.
    """
    stem, suffix = os.path.splitext(name)
    return (stem, suffix) if len(os.fsencode(suffix)) <= _SUFFIX_MAX_BYTES else (name, "")


def cut(text: str, max_bytes: int) -> str:
    """The text itself, or its beginning with `~` and eight digits of its hash when it is longer than `max_bytes`.

    Never cuts through a UTF-8 character: that would make a name that is not UTF-8 out of one that is.
    """
    raw = os.fsencode(text)
    if len(raw) <= max_bytes:
        return text
    mark = "~" + hashlib.sha256(raw).hexdigest()[:8]
    end = max_bytes - len(mark)
    for _ in range(3):  # a UTF-8 character has at most three continuation bytes
        if raw[end] & 0xC0 == 0x80:
            end -= 1
    return os.fsdecode(raw[:end]) + mark


def join_name(stem: str, suffix: str, max_bytes: int = NAME_MAX_BYTES) -> str:
    """`stem + suffix`, the stem cut where the name would be longer than `max_bytes`."""
    return cut(stem, max_bytes - len(os.fsencode(suffix))) + suffix


def marked_name(name: str, mark: str, max_bytes: int = NAME_MAX_BYTES) -> str:
    """`photo~mark.jpg` for `photo.jpg`: the name beside an occupied one."""
    stem, suffix = split_name(name)
    return join_name(stem, f"~{mark}{suffix}", max_bytes)


def stem_of(path: str) -> str:
    """The slot's stem for a file of that path: its own name without the last suffix, at most 180 bytes.

    A leading dot becomes an underscore: hidden names in the library are ours.
    """
    stem = split_name(path.rpartition("/")[2])[0]
    return cut("_" + stem[1:] if stem.startswith(".") else stem, STEM_MAX_BYTES)


def plain_stem(stem: str) -> str:
    """A stem that any file system takes, for those that refuse `:` or bytes that are not UTF-8 (SMB, FAT, exFAT)."""
    return cut(re.sub(r"[^A-Za-z0-9._-]", "_", stem), 60)


def slot_stems(stem: str, sha256: str) -> Iterator[str]:
    """The stems to try for one content, best first: its own, then with 8, 16, 32 and 64 digits of its hash.

    The last one is the content's alone, so trying them in order always ends.
    """
    yield cut(stem, STEM_MAX_BYTES)
    for digits in _HASH_DIGITS:
        yield cut(stem, min(STEM_MAX_BYTES, _SLOT_STEM_MAX_BYTES - 1 - digits)) + "~" + sha256[:digits]
