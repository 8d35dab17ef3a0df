"""Decide which folder of the library an image belongs in: rules over its path and its facts, the first match wins.

Pure. A condition on a fact that the image does not have is not met, and neither is a rule whose name needs one. What
comes out is safe as a relative path whatever an uploader or a camera wrote (`tasks.safe_names`).
"""

import unicodedata
from fnmatch import fnmatchcase
from typing import Literal

from config.settings import CategorySettings, RuleSettings
from tasks.facts import ImageFacts
from tasks.messages import Arrival
from tasks.safe_names import safe_path

UNCATEGORIZED = "uncategorized"


def choose_category(settings: CategorySettings, facts: ImageFacts, arrival: Arrival) -> str:
    """The category, its parts joined by "/": of the first rule that matches, else of the default, else "uncategorized"."""
    known = _placeholders(facts, arrival)
    for rule in settings.rule:
        if _matches(rule, facts, arrival):
            category = safe_path(rule.name, known)
            if category is not None:
                return category
    return safe_path(settings.default, known) or UNCATEGORIZED


def shape_of(facts: ImageFacts) -> Literal["landscape", "portrait", "square"]:
    """The orientation of the upright picture, as rules name it."""
    if facts.width == facts.height:
        return "square"
    return "landscape" if facts.width > facts.height else "portrait"


def _placeholders(facts: ImageFacts, arrival: Arrival) -> dict[str, str | None]:
    """The value of each of config.names.PLACEHOLDERS; None where the image has no such fact."""
    folder, slash, _ = arrival.path.partition("/")
    year, month, day = facts.taken[:10].split("-") if facts.taken else (None, None, None)
    return {
        "folder": folder if slash else None,
        "inbox": arrival.inbox,
        "year": year,
        "month": month,
        "day": day,
        "camera": facts.camera,
        "format": facts.format,
        "orientation": shape_of(facts),
    }


def _matches(rule: RuleSettings, facts: ImageFacts, arrival: Arrival) -> bool:
    """Whether every condition that is set holds."""
    return (
        rule.inbox in (None, arrival.inbox)
        and (rule.path is None or _path_matches(rule.path, arrival.path))
        and rule.format in (None, facts.format)
        and rule.orientation in (None, shape_of(facts))
        and facts.width >= (rule.min_width or 0)
        and facts.height >= (rule.min_height or 0)
        and facts.width * facts.height >= (rule.min_megapixels or 0) * 1_000_000
        and (rule.camera is None or _camera_matches(rule.camera, facts.camera))
        and _taken_between(rule.taken_after, rule.taken_before, facts.taken)
    )


def _path_matches(pattern: str, path: str) -> bool:
    """Whether the whole path below the inbox fits the glob; `*` also crosses "/", so "scans/*" is everything below scans."""
    # A Mac writes é as two characters, a settings file usually as one.
    return fnmatchcase(unicodedata.normalize("NFC", path), unicodedata.normalize("NFC", pattern))


def _camera_matches(pattern: str, camera: str | None) -> bool:
    return camera is not None and fnmatchcase(camera.casefold(), pattern.casefold())


def _taken_between(after: str | None, before: str | None, taken: str | None) -> bool:
    """`after` is the first day that counts, `before` the first that does not any more: neighbouring rules meet."""
    if after is None and before is None:
        return True
    if taken is None:
        return False
    day = taken[:10]  # ISO dates sort as text
    return (after is None or day >= after) and (before is None or day < before)
