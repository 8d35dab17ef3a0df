"""The plan of one chaos run, made from its seed: what is dropped when and how, which faults come when, and what must be
there at the end.

Pure, and the same for the same seed; the run itself is not, because processes race. What a reader would get wrong: an
image that another one took the place of while it still stood in the inbox may or may not have been done before, so it
is allowed at the end and not required.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from chaos_files import BAD, Picture, picture

# "near" is on the library's file system, so that originals are renamed, "far" on another one, so that they are copied; in
# "kept" the files stay when they are done (`after = "keep"`), in "deleted" they are removed.
Inbox = Literal["near", "far", "kept", "deleted"]
_INBOXES: dict[Inbox, int] = {"near": 36, "far": 36, "kept": 14, "deleted": 14}
How = Literal["slowly", "at once", "renamed", "linked", "by SFTP", "appended", "tree moved", "tree copied"]

# At a full run's length, for about six hundred faults' worth of bad luck in ten minutes. Those that `up` starts again
# are rare enough for its pauses (1 s, doubled up to 30 s while a part lives for less than a minute).
FAULTS = {
    "pool child killed": 125,
    "worker killed": 22,
    "worker deployed": 25,
    "worker of up killed": 10,
    "watcher killed": 12,
    "beat killed": 8,
    "Redis killed": 8,
    "Redis killed and its data deleted": 5,
    "Redis flushed": 24,
    "watcher stopped": 24,
    "Redis stopped": 20,
    "disk filled": 16,
    "clients paused": 14,
    "up killed": 4,
    "up restarted": 3,
}
# Those that come on top when RabbitMQ is the broker.
RABBITMQ_FAULTS = {"RabbitMQ killed": 5, "RabbitMQ stopped": 15}
WIPES = ("Redis flushed", "Redis killed and its data deleted")

_FOLDERS = ("", "", "holiday", "holiday/sea", "walk", "walk/a/b", "Zoo 2024", "zoo", "caf\u00e9", "-rf", "x", "x/x")
_NAMES = (
    "IMG_{}",
    "photo {}",
    "caf\udce9 {}",
    "\u9752\u3044 {}",
    "two\nlines {}",
    "{}~12345678",
    "a.b.{}",
    "n" * 185 + "{}",
)
_STEM_MAX_BYTES = 180  # DESIGN.md, library layout
# Ways of one file, weighted; trees and overwriting come on top.
_WAYS: dict[How, int] = {"slowly": 25, "at once": 30, "renamed": 25, "linked": 10, "by SFTP": 10}

Slot = tuple[str, str, str]  # category, stem before any hash, sha256


@dataclass(frozen=True)
class Step:
    """One thing that a client does to a path, after waiting so many seconds; `old` sets the mtime back before the close."""

    how: How
    content: bytes = b""
    wait_seconds: float = 0.0
    old: bool = False


@dataclass(frozen=True)
class Drop:
    """What one client does to one path of an inbox, from `at` (seconds) on; a tree brings its files, relative to it."""

    at: float
    inbox: Inbox
    path: str
    kind: str
    steps: tuple[Step, ...]
    tree: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Fault:
    """Something bad at a time; `seconds` is how long it lasts, `choice` picks the victim."""

    at: float
    kind: str
    seconds: float
    choice: int


@dataclass
class Expected:
    """What must be there at the end.

    `images` has every picture that may be there, `required` those that must, `bare` those that leave no original in the
    library. `bad` has the reason by (inbox, path, sha256). `kept` has what stands in that inbox at last, by path.
    """

    images: dict[Slot, Picture] = field(default_factory=dict)
    required: set[Slot] = field(default_factory=set)
    bare: set[Slot] = field(default_factory=set)
    bad: dict[tuple[str, str, str], str] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    with_rabbitmq: bool
    seconds: float
    min_free: str
    drops: tuple[Drop, ...]
    faults: tuple[Fault, ...]
    expected: Expected

    @property
    def files_by_kind(self) -> Counter[str]:
        """How many files each kind of drop brings."""
        counted: Counter[str] = Counter()
        for drop in self.drops:
            counted[drop.kind] += max(1, len(drop.tree))
        return counted


def make_plan(seed: int, files: int, faults: int, seconds: float, *, with_rabbitmq: bool = False) -> Plan:
    """A plan with so many files and faults in so many seconds."""
    shares = FAULTS | RABBITMQ_FAULTS if with_rabbitmq else FAULTS
    rng = Random(seed)
    drops = _Drops(rng, seconds)
    while drops.files < files:
        drops.add_one()
    # Sometimes the workers see the end of the room coming, sometimes a write fails in the middle.
    min_free = rng.choice(("0B", "1MB"))
    return Plan(
        seed=seed,
        with_rabbitmq=with_rabbitmq,
        seconds=seconds,
        min_free=min_free,
        drops=tuple(sorted(drops.made, key=lambda drop: drop.at)),
        faults=tuple(sorted(_faults(rng, shares, faults, seconds), key=lambda fault: fault.at)),
        expected=drops.expected,
    )


def _faults(rng: Random, shares: dict[str, int], count: int, seconds: float) -> list[Fault]:
    total = sum(shares.values())
    wanted = {kind: max(1, count * share // total) for kind, share in shares.items()}
    wanted["pool child killed"] += max(0, count - sum(wanted.values()))
    made = []
    for kind, number in wanted.items():
        for n in range(number):  # one in each part of the run: the same part is not killed twice in a breath
            at = (n + rng.random()) / number * seconds
            # Mostly shorter than what depends on it is patient (a watcher's hold: 15 s), sometimes longer.
            lasting = rng.choice((0.3, 1, 2, 3, 4, 6, 17)) if kind.endswith(" stopped") else rng.uniform(0.5, 5)
            lasting = min(lasting, seconds / 5)
            made.append(Fault(at, kind, lasting, rng.randrange(1 << 16)))
    return made


class _Drops:
    """The drops of a plan while it is made, and what they will have become."""

    def __init__(self, rng: Random, seconds: float) -> None:
        self._rng = rng
        self._seconds = seconds
        self._number = 0
        # (folder, stem) of earlier drops, for collisions, by top folder: images of different modes never share a slot.
        self._stems: dict[str, list[tuple[str, str]]] = {"": [], "kept": [], "deleted": []}
        self._taken: set[tuple[str, str]] = set()
        self.made: list[Drop] = []
        self.expected = Expected()
        self.files = 0

    def add_one(self) -> None:
        """Add one drop of a random kind."""
        rng = self._rng
        makers = {self._plain: 58, self._bad: 7, self._again: 7, self._elsewhere: 5, self._resumed: 8}
        makers |= {self._overwritten: 8, self._tree: 1}
        rng.choices(list(makers), list(makers.values()))[0]()

    # -- kinds

    def _plain(self) -> None:
        made = picture(self._rng)
        inbox, path, is_collision = self._new_path(made.suffix)
        self._require(inbox, path, made)
        self._add(inbox, path, "good, a name taken" if is_collision else "good", (self._step(made.content),))

    def _bad(self) -> None:
        reason = self._rng.choice(list(BAD))
        content = BAD[reason](self._rng)
        inbox, path, _ = self._new_path(self._rng.choice(("jpg", "png", "heic", "JPG")))
        self.expected.bad[inbox, path, sha256(content)] = reason
        self._note_kept(inbox, path, content)
        self._add(inbox, path, f"bad: {reason}", (self._step(content),))

    def _again(self) -> None:
        """The same bytes under the same path once more, perhaps while the first are still there."""
        made = picture(self._rng)
        inbox, path, _ = self._new_path(made.suffix)
        self._require(inbox, path, made)
        again = self._step(made.content, self._rng.uniform(0.1, 12))
        self._add(inbox, path, "dropped twice", (self._step(made.content), again))

    def _elsewhere(self) -> None:
        """The same bytes under two paths; if their slot is the same there is one image, else there are two."""
        made = picture(self._rng)
        inbox, path, _ = self._new_path(made.suffix, {"near": 1, "far": 1})
        self._require(inbox, path, made)
        self._add(inbox, path, "duplicate elsewhere", (self._step(made.content),))
        folder, _, name = path.rpartition("/")
        other: Inbox = "far" if inbox == "near" else "near"
        twin = f"{folder}/twin/{name}" if folder and self._rng.random() < 0.5 else path
        if (other, twin) in self._taken:
            return
        self._taken.add((other, twin))
        self._require(other, twin, made)
        self._add(other, twin, "duplicate elsewhere", (self._step(made.content),))

    def _resumed(self) -> None:
        """A connection that drops in the middle and comes back."""
        made = picture(self._rng, resumable=True)
        inbox, path, _ = self._new_path(made.suffix)
        self._require(inbox, path, made)
        cut = int(len(made.content) * self._rng.uniform(0.3, 0.95))
        tail = Step("appended", made.content[cut:], self._rng.uniform(0.3, 9))
        first = Step(self._rng.choice(("slowly", "at once")), made.content[:cut])
        self._add(inbox, path, "truncated, then resumed", (first, tail))

    def _overwritten(self) -> None:
        """Another image under the same path, perhaps while the first one is being worked on."""
        before, after = picture(self._rng), picture(self._rng)
        inbox, path, _ = self._new_path(before.suffix)
        self._allow(inbox, path, before)
        self._require(inbox, path, after)
        second = self._step(after.content, self._rng.choice((0.0, 0.3, 0.6, 1, 3)) * self._rng.random())
        self._add(inbox, path, "overwritten", (self._step(before.content), second))

    def _tree(self) -> None:
        inbox = self._choose(_INBOXES)
        self._number += 1
        top = f"tree {self._number}"
        names = [f"{folder}{n}" for folder in ("", "in/", "in/deep/er/") for n in range(self._rng.randint(1, 6))]
        files = {f"{name}.{made.suffix}": made for name in names for made in (picture(self._rng),)}
        for path, made in files.items():
            self._require(inbox, f"{top}/{path}", made)
        how: How = self._rng.choice(("tree moved", "tree copied"))
        self._add(inbox, top, "in a tree", (Step(how),), tuple((path, made.content) for path, made in files.items()))

    # -- parts of them

    def _step(self, content: bytes, wait_seconds: float = 0.0) -> Step:
        how = self._rng.choices(list(_WAYS), list(_WAYS.values()))[0]
        return Step(how, content, wait_seconds, old=self._rng.random() < 0.2)

    def _add(
        self, inbox: Inbox, path: str, kind: str, steps: tuple[Step, ...], tree: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        at = self._rng.uniform(0, self._seconds)
        if kind == "bad: truncated":  # its half minute of grace begins anew with every wipe
            at = at / 2
        self.made.append(Drop(at, inbox, path, kind, steps, tree))
        self.files += max(1, len(tree))

    def _allow(self, inbox: Inbox, path: str, made: Picture) -> Slot:
        slot = slot_of(path, made.content)
        self.expected.images[slot] = made
        if inbox in ("kept", "deleted"):
            self.expected.bare.add(slot)
        return slot

    def _require(self, inbox: Inbox, path: str, made: Picture) -> None:
        self.expected.required.add(self._allow(inbox, path, made))
        self._note_kept(inbox, path, made.content)

    def _note_kept(self, inbox: Inbox, path: str, content: bytes) -> None:
        if inbox == "kept":
            self.expected.kept[path] = content

    def _choose(self, inboxes: dict[Inbox, int]) -> Inbox:
        return self._rng.choices(list(inboxes), list(inboxes.values()))[0]

    def _new_path(self, suffix: str, inboxes: dict[Inbox, int] = _INBOXES) -> tuple[Inbox, str, bool]:
        """A path that no other drop has, and whether its name in the library is one that another image wants too."""
        while True:
            inbox = self._choose(inboxes)
            top = inbox if inbox in self._stems else ""
            stems = self._stems[top]
            is_collision = bool(stems) and self._rng.random() < 0.15
            folder, stem = self._rng.choice(stems) if is_collision else self._new_stem(top)
            if is_collision and folder and self._rng.random() < 0.5:
                folder += "/below"
            path = f"{folder}/{stem}.{suffix}".lstrip("/")
            if (inbox, path) not in self._taken:
                self._taken.add((inbox, path))
                stems.append((folder, stem))
                return inbox, path, is_collision

    def _new_stem(self, top: str) -> tuple[str, str]:
        self._number += 1
        return f"{top}/{self._rng.choice(_FOLDERS)}".strip("/"), self._rng.choice(_NAMES).format(self._number)


def slot_of(path: str, content: bytes) -> Slot:
    """Where the rules put it: the first folder is the category, the stem is cut with a hash when it is long."""
    folders, _, name = path.rpartition("/")
    stem = os.fsencode(name.rpartition(".")[0])
    if len(stem) > _STEM_MAX_BYTES:
        mark = b"~" + hashlib.sha256(stem).hexdigest()[:8].encode()
        stem = stem[: _STEM_MAX_BYTES - len(mark)] + mark  # the long names are ASCII
    return folders.partition("/")[0] or "uncategorized", os.fsdecode(stem), sha256(content)


def sha256(content: bytes) -> str:
    """The hex sha256."""
    return hashlib.sha256(content).hexdigest()
