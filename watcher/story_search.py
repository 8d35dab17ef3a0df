"""Looks for the facts of `thumbdrop why`: on the disk, in the library and (watcher/story_store.py) in Redis, all bounded in time.

Decides nothing (watcher/story.py does). What a reader would get wrong: Redis may be away, and the disk may hang; then
the story is told from what is left, and says what is missing.
"""

import os
import stat
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from config.mounts import read_mounts
from config.rights import what_stands_in_the_way
from config.settings import InboxSettings, Settings
from tasks.bysource import Memory, recall
from tasks.library_tree import Tree
from tasks.manifest import Manifest
from tasks.messages import Arrival
from tasks.quarantine import REASON_SUFFIX, Entry, Quarantine
from tasks.slots import Slots, manifest_path
from watcher.asking import ask
from watcher.mounts import Layout, Offline, check_root
from watcher.names import Names
from watcher.patience import rules_for
from watcher.settle import AskWriter, WaitSeconds, judge, trace
from watcher.sighting import Sighting
from watcher.story_facts import Done, Facts, Kind, Quarantined
from watcher.story_place import InInbox, InLibrary, Place, places, quarantined_of, slot_of
from watcher.story_store import add_from_store
from watcher.walk import open_parent, see
from watcher.writers import ignore_sigio, writer_of

_DISK_SECONDS = 3.0
_STORE_SECONDS = 2.5
_KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "directory"}


def gather(settings: Settings, asked: str, cwd: str | None = None) -> Facts:
    """Find everything that is known of a path; never raises for what is away."""
    ignore_sigio()  # the writer test below
    now = time.time()
    question = partial(_from_disk, settings, asked, cwd or os.getcwd(), now)
    disk = ask(question, _DISK_SECONDS, apart=_may_hang(settings))
    if disk.value is None:
        return Facts(asked, now, disk_error=disk.error)
    facts, arrival = disk.value
    if not facts.inbox:
        return facts
    store = ask(partial(add_from_store, settings, facts, arrival), _STORE_SECONDS)
    return store.value or replace(facts, store_error=store.error)


def _may_hang(settings: Settings) -> bool:
    mounts = read_mounts()
    roots = [settings.library.path, *(inbox.path for inbox in settings.inbox)]
    return any(Layout(str(root), mounts).network_parts for root in roots)


# -- the disk


def _from_disk(settings: Settings, asked: str, cwd: str, now: float) -> tuple[Facts, Arrival | None]:
    """Look at each place that may be meant, and take the first of which anything is known."""
    found = [_at(settings, place, asked, now) for place in places(settings, asked, cwd)]
    known = [(facts, arrival) for facts, arrival in found if facts.kind != "missing" or facts.done or facts.quarantined]
    return (known or found or [(Facts(asked, now), None)])[0]


def _at(settings: Settings, place: Place, asked: str, now: float) -> tuple[Facts, Arrival | None]:
    return (
        _in_library(settings, place, asked, now)
        if isinstance(place, InLibrary)
        else _in_inbox(settings, place, asked, now)
    )


def _in_library(settings: Settings, place: InLibrary, asked: str, now: float) -> tuple[Facts, Arrival | None]:
    facts = Facts(asked, now)
    origin, slot = quarantined_of(place.path), slot_of(place.path)
    if origin and any(inbox.name == origin.inbox for inbox in settings.inbox):
        facts = replace(facts, inbox=origin.inbox, quarantined=_entry_at(settings, place.path))
    elif slot:
        manifest = Slots(Tree(settings.library)).manifest(slot)
        if manifest:
            done = _done(settings.library.path, slot, manifest)
            facts = replace(facts, inbox=manifest.source.inbox, done=(done,))
    return facts, None


def _in_inbox(settings: Settings, place: InInbox, asked: str, now: float) -> tuple[Facts, Arrival | None]:
    inbox = settings.inbox_named(place.inbox)
    root = os.fspath(inbox.path)
    names = Names(inbox.ignore, inbox.suffixes)
    online = check_root(root, None, require_mount=inbox.require_mount)
    kind, blocked_why = _kind(root, place.path)
    sighting = see(root, place.path)
    arrival = None
    if isinstance(sighting, Sighting):
        arrival = Arrival(inbox.name, place.path, sighting.size_bytes, sighting.mtime_ns)
    facts = Facts(
        asked,
        now,
        inbox=inbox.name,
        kind=kind,
        blocked_why=blocked_why,
        offline_why=online.why if isinstance(online, Offline) else "",
        ignored_why=names.why_ignored(place.path, kind == "directory") or "",
        arrival_id=arrival.id if arrival else "",
        done=_done_from(settings, place, arrival),
        quarantined=_set_aside(settings, place, arrival if inbox.after == "keep" else None),
    )
    is_kept = inbox.after == "keep" and any(image.is_this_very_file for image in facts.done)
    facts = replace(facts, is_kept=is_kept)
    if isinstance(sighting, Sighting) and not facts.ignored_why:
        facts = _with_settling(facts, settings, inbox, sighting)
    return facts, arrival


def _kind(root: str, path: str) -> tuple[Kind, str]:
    """Tell what stands there, and why that may not be known."""
    try:
        parent, name = open_parent(root, path)
        try:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        finally:
            os.close(parent)
    except NotADirectoryError:
        return "link", ""  # a component is no real directory
    except FileNotFoundError:
        return "missing", ""
    except PermissionError as error:
        return "missing", f"{error.strerror}: {what_stands_in_the_way(root, path)}"
    except OSError as error:
        return "missing", error.strerror or str(error)
    return _KINDS.get(stat.S_IFMT(mode), "special"), ""


def _with_settling(facts: Facts, settings: Settings, inbox: InboxSettings, sighting: Sighting) -> Facts:
    root = os.fspath(inbox.path)
    is_network = Layout(root, read_mounts()).is_network(sighting.path)
    rules = rules_for(inbox.settle_seconds, settings.limits.empty_grace_seconds, is_network=is_network)
    # Judged by its ctime also on a network mount: this one look knows nothing of an earlier one.
    rules = replace(rules, network=False)
    known = trace(None, sighting, None, time.monotonic())
    judged = partial(judge, sighting, known, rules, now_ns=time.time_ns(), monotonic=time.monotonic())
    verdict = judged()
    if isinstance(verdict, AskWriter) and not is_network:
        verdict = judged(writer=writer_of(root, sighting.path))
    if not isinstance(verdict, WaitSeconds):
        return facts
    return replace(facts, settle_why="second_look" if is_network else verdict.why, settle_seconds=verdict.seconds)


# -- the library


def _done_from(settings: Settings, place: InInbox, arrival: Arrival | None) -> tuple[Done, ...]:
    """Find what this source became, the newest first."""
    tree = Tree(settings.library)
    memory = recall(tree, place.inbox, place.path)
    slots = Slots(tree)
    found = []
    for sha256, slot in memory.slots.items():
        manifest = slots.manifest(slot)
        if manifest and manifest.sha256 == sha256:
            is_it = _is_last(memory, sha256, arrival)
            found.append(replace(_done(settings.library.path, slot, manifest), is_this_very_file=is_it))
    return tuple(sorted(found, key=lambda image: image.ingested_at, reverse=True))


def _is_last(memory: Memory, sha256: str, arrival: Arrival | None) -> bool:
    return arrival is not None and memory.sha256 == sha256 and memory.is_of(arrival)


def _done(library: Path, slot: str, manifest: Manifest) -> Done:
    return Done(
        inbox=manifest.source.inbox,
        source=manifest.source.path,
        slot=slot,
        ingested_at=manifest.ingested_at,
        thumbnails=tuple(str(library / thumbnail.path) for thumbnail in manifest.thumbnails),
        original=str(library / manifest.original) if manifest.original else None,
        manifest=str(library / manifest_path(slot)),
        is_this_very_file=False,
        arrival_id=manifest.source.id,
    )


def _set_aside(settings: Settings, place: InInbox, kept: Arrival | None = None) -> tuple[Quarantined, ...]:
    quarantine = Quarantine(settings)
    entry = quarantine.find(place.inbox, place.path)
    if entry is None:
        return ()
    is_it = kept is not None and quarantine.reason_for(kept) is not None
    return (_quarantined(settings.library.path, entry, is_it=is_it),)


def _entry_at(settings: Settings, path: str) -> tuple[Quarantined, ...]:
    """Find the entry of a file in quarantine, whose name there may differ from the one it had."""
    entries = Quarantine(settings).entries()
    return tuple(
        _quarantined(settings.library.path, entry, is_it=False)
        for entry in entries
        if path in (entry.path, entry.path + REASON_SUFFIX)
    )


def _quarantined(library: Path, entry: Entry, *, is_it: bool) -> Quarantined:
    return Quarantined(
        reason=entry.finding.reason,
        message=entry.finding.message,
        hint=entry.finding.hint,
        attempts=entry.finding.attempts,
        at=entry.finding.quarantined_at,
        file=str(library / entry.path) if entry.has_file else None,
        reason_file=str(library / (entry.path + REASON_SUFFIX)),
        is_this_very_file=is_it,
        arrival_id=entry.finding.source.id,
    )
