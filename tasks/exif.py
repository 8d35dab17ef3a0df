"""Read the few EXIF facts that matter from a decoded image: orientation, when it was taken, with which camera.

Everything here may be a lie, garbage or missing, and none of it is a reason to refuse a picture. Only for images whose
pixels are loaded: for a PNG asking for EXIF loads the pixels, and a failure that is swallowed here would make a second,
silently incomplete load look fine.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from PIL import Image

from tasks.codecs import DECODER_ERRORS

_MAKE, _MODEL, _ORIENTATION, _DATE_TIME = 0x010F, 0x0110, 0x0112, 0x0132
_EXIF_DIRECTORY, _DATE_TIME_ORIGINAL = 0x8769, 0x9003
_MAX_CAMERA = 100
_TIME = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")

# Formats whose decoder turns the picture itself; their EXIF orientation must not be applied again.
TURNED_BY_DECODER = ("tiff", "heic")


@dataclass(frozen=True, slots=True)
class ExifFacts:
    """See the attributes of the same names in `ImageFacts`."""

    orientation: int = 1
    taken: str | None = None
    camera: str | None = None


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
    taken = taken_at(original) or taken_at(tags.get(_DATE_TIME))
    return ExifFacts(orientation, taken, camera_name(tags.get(_MAKE), tags.get(_MODEL)))


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


def _text(value: object) -> str:
    """One line of printable text, up to the first NUL, from an EXIF value that should be ASCII."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    visible = (c if unicodedata.category(c)[0] != "C" else " " if c.isspace() else "" for c in value.split("\0")[0])
    return " ".join("".join(visible).split())
