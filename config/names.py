"""What an operator may call things: directories, inboxes, categories, globs, suffixes, formats, days and colours.

Pure: no directory is looked at. A refused value raises ValueError whose text says what is allowed (see
`config/values.py`). What a reader would get wrong: a template's placeholders are checked here, but what they become
is made safe where they are filled in, since that comes from uploaded files.
"""

import datetime as dt
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

PLACEHOLDERS = ("folder", "inbox", "year", "month", "day", "camera", "format", "orientation")
IMAGE_FORMATS = ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic")

_MATCHES_ALL = re.compile(r"\*(?:[*?/]*\*)?(?:\.\*+)?")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def parse_background(value: Any) -> str:
    """A colour like "#ffffff"."""
    if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError('write a colour as "#" and six hex digits, like "#ffffff"')
    return value


def parse_day(value: Any) -> str:
    """A day like "2024-05-06" from text or from a TOML date; it must be in the calendar."""
    words = 'a day of the calendar, like "2024-05-06"'
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError(words)
    try:
        return dt.date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError(words) from None


def parse_path(value: Any) -> Path:
    """A directory. "~" is refused, since it would be another one for each user who types a command."""
    if isinstance(value, Path):
        value = os.fspath(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError('a directory, like "/srv/thumbdrop/inbox"')
    if value.startswith("~"):
        raise ValueError('a directory without "~": write the whole path, it must be the same for every user')
    if not _is_utf8(value):
        raise ValueError("a directory whose name is UTF-8, also where its symbolic links lead")
    return Path(value)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def parse_inbox_name(value: Any) -> str:
    """The name of an inbox; it becomes a folder name and a part of keys in Redis."""
    if value == "" or (isinstance(value, str) and _NAME.fullmatch(value)):
        return str(value)
    raise ValueError("1 to 64 letters (A to Z), digits, dots, dashes or underscores, a dot or dash not first")


def inbox_name_from(path: str) -> str:
    """A name of that kind from the last part of a path: "/srv/Fotos von Zoë" gives "Fotos-von-Zoe"."""
    last = os.path.basename(os.path.abspath(path))
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip(".-")[:64] or "inbox"


def parse_suffix(value: Any) -> str:
    """A file name's suffix, lower-case and without its dot: ".JPG" gives "jpg"."""
    suffix = value.removeprefix(".").lower() if isinstance(value, str) else ""
    if not re.fullmatch(r"[a-z0-9_+-]{1,16}", suffix):
        raise ValueError('the last suffix of a file name, like "jpg"')
    return suffix


def parse_ignore_glob(value: Any) -> str:
    """A glob over names; one that matches every name is refused, since the inbox would be dead without a word."""
    if not isinstance(value, str) or not value or _MATCHES_ALL.fullmatch(value):
        raise ValueError('a glob that does not match everything, like "*.bak" or "drafts/"')
    return value


def parse_image_format(value: Any) -> str:
    """The name of an image format; the usual suffixes "jpg", "tif" and "heif" are understood."""
    name = value.lower() if isinstance(value, str) else ""
    name = {"jpg": "jpeg", "tif": "tiff", "heif": "heic"}.get(name, name)
    if name not in IMAGE_FORMATS:
        raise ValueError(f"one of {', '.join(IMAGE_FORMATS)}")
    return name


def parse_template(value: Any) -> str:
    """A category with placeholders, like "phones/{year}": folder names with "/" between them."""
    if not isinstance(value, str) or any(unicodedata.category(letter) == "Cc" for letter in value):
        raise ValueError('text, like "phones/{year}"')
    rest = re.sub("|".join(f"{{{name}}}" for name in PLACEHOLDERS), "", value)
    if "{" in rest or "}" in rest:
        raise ValueError(f"of placeholders only {' '.join(f'{{{name}}}' for name in PLACEHOLDERS)}")
    if any(not part.strip() or part.startswith(".") for part in value.split("/")):
        raise ValueError('folder names with "/" between them, none empty and none beginning with a dot')
    return value
