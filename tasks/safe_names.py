"""Make path components of the library out of text that strangers wrote: folder names, EXIF strings.

Pure. Names keep their surrogate escapes (they need not be UTF-8) but nothing else that could lead elsewhere, hide, or
be mistaken for one of our files: a category may not end like a file, because `manifests/a/b.json` is a manifest and
`originals/a/b.jpg` an original, and a directory of that name would stand in their place.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping

from config.settings import DEFAULT_SUFFIXES

MAX_COMPONENT_BYTES = 100
_HASH_HEX = 8

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_LIKE_A_FILE = re.compile(rf"\.(?=(?:json|{'|'.join(DEFAULT_SUFFIXES)})$)", re.IGNORECASE)


def safe_path(template: str, values: Mapping[str, str | None]) -> str | None:
    """Fill in the template's placeholders; each part between its own slashes becomes one safe component.

    None when the value of a placeholder is None: the image has no such fact. Empty parts ("a//b") are left out. Raises
    KeyError for a placeholder that is not in `values`.
    """
    if any(values[name] is None for name in _PLACEHOLDER.findall(template)):
        return None
    parts = [part for part in template.split("/") if part]
    return (
        "/".join(safe_component(_PLACEHOLDER.sub(lambda found: values[found[1]] or "", part)) for part in parts) or None
    )


def safe_component(text: str) -> str:
    """One path component: never empty, hidden, ".." or like a file's name, at most MAX_COMPONENT_BYTES long."""
    plain = "".join("_" if char in "/\\" or _is_control(char) else char for char in text).strip(". ")
    shown = _LIKE_A_FILE.sub("_", plain) or "_"
    content = shown.encode("utf-8", "surrogateescape")
    if len(content) <= MAX_COMPONENT_BYTES:
        return shown
    return f"{_cut(shown, MAX_COMPONENT_BYTES - 1 - _HASH_HEX)}~{hashlib.sha256(content).hexdigest()[:_HASH_HEX]}"


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Zl", "Zp")


def _cut(text: str, limit_bytes: int) -> str:
    """The longest beginning of at most so many bytes that ends between two characters."""
    room = limit_bytes
    for index, char in enumerate(text):
        room -= len(char.encode("utf-8", "surrogateescape"))
        if room < 0:
            return text[:index]
    return text
