"""Read the few EXIF facts that matter from a decoded image: orientation, when it was taken, with which camera, whose it is.

Everything here may be a lie, garbage or missing, and none of it is a reason to refuse a picture. Only for images whose
pixels are loaded: for a PNG asking for EXIF loads the pixels, and a failure that is swallowed here would make a second,
silently incomplete load look fine.
"""

import re
import struct
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from PIL import Image

from tasks.codecs import DECODER_ERRORS

_MAKE, _MODEL, _ORIENTATION, _DATE_TIME = 0x010F, 0x0110, 0x0112, 0x0132
_ARTIST, _COPYRIGHT = 0x013B, 0x8298
_EXIF_DIRECTORY, _DATE_TIME_ORIGINAL = 0x8769, 0x9003
_MAX_CAMERA = 100
_MAX_CREDIT_BYTES = 500  # of each text; a guess: real ones have tens
_TIME = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")

# Formats whose decoder turns the picture itself; their EXIF orientation must not be applied again.
TURNED_BY_DECODER = ("tiff", "heic")


@dataclass(frozen=True, slots=True)
class ExifFacts:
    """See the attributes of the same names in `ImageFacts`; `artist` and `copyright` are what the file says of its rights."""

    orientation: int = 1
    taken: str | None = None
    camera: str | None = None
    artist: str = ""
    copyright: str = ""


def read_exif(image: Image.Image, kind: str) -> ExifFacts:
    """Read the facts of a loaded image; what cannot be read counts as absent."""
    try:
        exif = image.getexif()
        tags = dict(exif)
    except DECODER_ERRORS:
        return ExifFacts()
    try:
        original = exif.get_ifd(_EXIF_DIRECTORY).get(_DATE_TIME_ORIGINAL)
    except DECODER_ERRORS:
        original = None
    orientation = 1 if kind in TURNED_BY_DECODER else valid_orientation(tags.get(_ORIENTATION))
    if kind == "tiff" and isinstance(as_byte := tags.get(_ORIENTATION), bytes):  # libtiff knows that, Pillow does not
        orientation = valid_orientation(int.from_bytes(as_byte, "little"))
    taken = taken_at(original) or taken_at(tags.get(_DATE_TIME))
    camera = camera_name(tags.get(_MAKE), tags.get(_MODEL))
    return ExifFacts(orientation, taken, camera, _credit(tags.get(_ARTIST)), _credit(tags.get(_COPYRIGHT)))


def valid_orientation(value: object) -> int:
    """1 to 8; anything else (0 and 9 are common, text has been seen) means upright."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def taken_at(value: object) -> str | None:
    """ISO local time from EXIF's "2024:05:06 07:08:09"; None for blanks, zeros and impossible dates."""
    match = _TIME.match(_text(value))
    if not match:
        return None
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        return datetime(year, month, day, hour, minute, second).isoformat()  # noqa: DTZ001  # EXIF has no zone
    except ValueError:
        return None


def camera_name(make: object, model: object) -> str | None:
    """Join make and model, the make said once ("Canon" and "Canon EOS 6D" give "Canon EOS 6D"); None when both are empty."""
    maker, name = _text(make), _text(model)
    # NIKON CORPORATION makes the NIKON D90: the first word decides.
    if maker and name and maker.split()[0].casefold() == name.split()[0].casefold():
        maker = ""
    return f"{maker} {name}".strip()[:_MAX_CAMERA].strip() or None


def credits_only(facts: ExifFacts) -> bytes:
    """EXIF with nothing but Artist and Copyright, written anew; empty when the image names neither."""
    texts = [(tag, text) for tag, text in ((_ARTIST, facts.artist), (_COPYRIGHT, facts.copyright)) if text]
    if not texts:
        return b""
    entries, bodies, at = b"", b"", 8 + 2 + 12 * len(texts) + 4
    for tag, text in texts:
        # Five bytes at least, because four would belong into the entry itself (TIFF 6.0, page 15).
        body = text.encode().ljust(4) + b"\0"
        entries += struct.pack("<HHII", tag, 2, len(body), at + len(bodies))
        bodies += body + bytes(len(body) % 2)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(texts)) + entries + bytes(4) + bodies


def _credit(value: object) -> str:
    """One line of text; a copyright may have two parts, photographer and editor, with a NUL between (EXIF 2.32, 4.6.5)."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode()  # the standard says ASCII, everybody writes UTF-8
    line = "; ".join(part for part in map(_text, text.split("\0")) if part)
    return line.encode()[:_MAX_CREDIT_BYTES].decode(errors="ignore").strip()


def _text(value: object) -> str:
    """One line of printable text, up to the first NUL, from an EXIF value that should be ASCII."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    visible = (c if unicodedata.category(c)[0] != "C" else " " if c.isspace() else "" for c in value.split("\0")[0])
    return " ".join("".join(visible).split())
