"""What must fit together across keys: places that may not overlap, names that may not collide, addresses that need another.

Pure: paths are compared as they stand, so `config/load.py` resolves symbolic links first. Checks are given the keys that
are wrong already and say nothing about those, because a mistake that follows from another only confuses.
Limits: the same directory under two bind mounts is not noticed.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

from config.addresses import AMQP_SCHEMES
from config.mistakes import Mistake, shown
from config.settings import Settings

_SUFFIXES = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "png": "png"}


def cross_mistakes(settings: Settings, is_wrong: Callable[[str], bool] = lambda _key: False) -> Iterator[Mistake]:
    """Every way in which the settings do not fit together; `is_wrong` tells which keys are mistaken already."""
    yield from _overlaps(settings, is_wrong)
    yield from _same_names(settings, is_wrong)
    yield from _same_files(settings)
    yield from _empty_spans(settings)
    if settings.broker.url.startswith(AMQP_SCHEMES) and not settings.results.url and not is_wrong("results.url"):
        allowed = "the address of a Redis, since the broker is none: results, leases and attempts are kept there"
        yield Mistake("results.url", shown(""), allowed)


def _overlaps(settings: Settings, is_wrong: Callable[[str], bool]) -> Iterator[Mistake]:
    inboxes = [(f"inbox[{index}].path", inbox.path) for index, inbox in enumerate(settings.inbox)]
    places = [("library.path", settings.library.path), *inboxes]
    if settings.state.path and not _is_hidden_in(settings.library.path, settings.state.path):
        places.append(("state.path", settings.state.path))
    for (key, path), (other_key, other) in combinations(places, 2):
        if is_wrong(key) or is_wrong(other_key):
            continue
        if path.is_relative_to(other) or other.is_relative_to(path):
            yield Mistake(other_key, shown(other), f"a directory neither inside nor around {key} ({shown(path)})")


def _is_hidden_in(library: Path, state: Path) -> bool:
    """Whether the state lies in the library under a hidden name, as it does by default: hidden names there are ours."""
    return state != library and state.is_relative_to(library) and state.relative_to(library).parts[0].startswith(".")


def _same_names(settings: Settings, is_wrong: Callable[[str], bool]) -> Iterator[Mistake]:
    seen: dict[str, int] = {}
    for index, inbox in enumerate(settings.inbox):
        key = f"inbox[{index}].name"
        if is_wrong(key) or is_wrong(f"inbox[{index}].path"):
            continue
        first = seen.setdefault(inbox.name.lower(), index)
        if first != index:
            allowed = f"a name of its own, also when upper and lower case are the same; inbox[{first}] is called so"
            yield Mistake(key, shown(inbox.name), allowed)


def _same_files(settings: Settings) -> Iterator[Mistake]:
    seen: dict[tuple[tuple[int, int], str], int] = {}
    for index, size in enumerate(settings.thumbnails.sizes):
        suffix = _SUFFIXES[size.format or settings.thumbnails.format]
        first = seen.setdefault((size.box, suffix), index)
        if first != index:
            box = f"{size.box[0]}x{size.box[1]}"
            allowed = f"another box or format than sizes[{first}]: both would be written to <stem>_{box}.{suffix}"
            yield Mistake(f"thumbnails.sizes[{index}]", shown(box), allowed)


def _empty_spans(settings: Settings) -> Iterator[Mistake]:
    for index, rule in enumerate(settings.category.rule):
        if rule.taken_after and rule.taken_before and rule.taken_after >= rule.taken_before:
            # taken_before is the first day that does not count any more (tasks/category.py).
            allowed = f"a day later than taken_after ({rule.taken_after}), or the rule never matches"
            yield Mistake(f"category.rule[{index}].taken_before", shown(rule.taken_before), allowed)
